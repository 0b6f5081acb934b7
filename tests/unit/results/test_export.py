"""From a run to a verified file, or to no file at all."""

import hashlib
import json
import re
import sys
from fnmatch import fnmatch
from types import SimpleNamespace

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import wandb
from torch import nn
from wandb.sdk.lib.service.service_connection import WandbApiFailedError

from sweepd.errors import ExportError, InvalidInput, NotFound, ServerUnreachable
from sweepd.results import export, onnx_file, select
from sweepd_trainer.data import load

HIGHER = {"name": "val_accuracy", "goal": "maximize"}


@pytest.fixture
def api(fake, trained_run):
    return fake.api([fake.run("worse", [0.1]), trained_run], metric=HIGHER)


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out" / "best.onnx"


def _fail(*_, **__):
    raise wandb.errors.CommError("502 bad gateway")


def _left_behind(out):
    return sorted(path.name for path in out.parent.iterdir()) if out.parent.exists() else []


def test_the_file_serves_alone_at_any_batch_size(exported, tmp_path):
    elsewhere = tmp_path / "m.onnx"
    elsewhere.write_bytes(exported.out.read_bytes())
    session = onnxruntime.InferenceSession(elsewhere, providers=["CPUExecutionProvider"])
    images = load("digits").test.inputs

    for size in (1, 2, 7, 100):
        (logits,) = session.run(None, {"image": images[:size].numpy()})
        assert logits.shape == (size, 10)

    assert session.get_inputs()[0].type == "tensor(uint8)"
    assert _left_behind(exported.out) == ["best.md", "best.onnx"]


def test_the_report_says_what_was_proven(exported):
    report, out = exported.report, exported.out

    assert report.path == out.resolve()
    assert report.sha256 == hashlib.sha256(out.read_bytes()).hexdigest()
    assert report.size_bytes == out.stat().st_size
    assert 0 <= report.max_abs_diff <= 1e-4
    assert set(report.latency_ms) == {1, 256}
    assert report.n_held_out == 359
    assert any("differs from PyTorch by at most" in line for line in report.lines())
    assert json.loads(json.dumps(report.as_json()))["run"] == "me/digits/r1"


def test_the_accuracy_is_the_files_own_on_the_test_images(exported):
    test = load("digits").test
    session = onnxruntime.InferenceSession(exported.out, providers=["CPUExecutionProvider"])
    (logits,) = session.run(None, {"image": test.inputs.numpy()})

    assert exported.report.accuracy == np.mean(logits.argmax(1) == test.targets.numpy())


def test_the_file_says_where_it_comes_from(exported):
    session = onnxruntime.InferenceSession(exported.out, providers=["CPUExecutionProvider"])

    told = session.get_modelmeta().custom_metadata_map

    assert told["run"] == "me/digits/r1"
    assert told["sweep"] == "me/digits/s1"
    assert told["metric"] == "val_accuracy"
    assert (told["rule"], told["value"]) == ("best", "0.9")
    assert json.loads(told["config"])["kernels"] == [2, 4]
    assert told["git.commit"] == "abc"
    assert told["dataset"] == "digits"
    assert len(told["weights_sha256"]) == 64
    assert "version.torch" in told


def test_the_file_holds_no_notes_of_the_exporter(exported):
    model = onnx.load(exported.out)

    assert not any(node.metadata_props or node.doc_string for node in model.graph.node)
    assert b"site-packages" not in exported.out.read_bytes()
    assert model.opset_import[0].version == 20


def test_the_file_becomes_a_file_of_the_run(exported):
    assert exported.run.uploads == [
        ("model.onnx", exported.out.read_bytes()),
        ("model.md", exported.report.card.read_bytes()),
    ]
    assert exported.report.uploaded_as == "model.onnx"


@pytest.mark.parametrize("kind", [wandb.errors.CommError, WandbApiFailedError])
def test_a_failed_upload_is_a_warning_and_the_file_stays(api, trained_run, out, kind):
    def refuse(path, root):
        raise kind("the disk is full\nmore")

    trained_run.upload_file = refuse

    report = export("me/digits/r1", out=out, api=api)

    assert out.exists()
    assert report.warning == "the file was not uploaded: the disk is full"
    assert report.lines()[-1].startswith("warning:")


def test_a_sweep_that_cannot_be_read_any_more_is_a_warning_and_the_files_stay(api, out):
    selection = select("me/digits/s1", api=api)
    api.sweep = _fail

    report = export(selection, out=out, api=api)

    assert report.uploaded_as == "model.onnx"
    assert report.warning == (
        "it was not registered as an artifact: the sweep me/digits/s1: 502 bad gateway"
    )


def test_a_server_that_fails_midway_leaves_all_files_as_they_were(api, trained_run, out):
    trained_run.sweep = SimpleNamespace(
        entity="me", project="digits", id="s1", config={"metric": HIGHER}
    )
    export("me/digits/r1", out=out, upload=False, api=api)
    before = {path.name: path.read_bytes() for path in out.parent.iterdir()}
    trained_run.scan_history = _fail
    trained_run.config = {**trained_run.config, "note": "another"}

    with pytest.raises(ServerUnreachable, match="the history of the run me/digits/r1: 502"):
        export("me/digits/r1", out=out, api=api)

    assert {path.name: path.read_bytes() for path in out.parent.iterdir()} == before


@pytest.mark.parametrize(
    "content",
    [
        pytest.param("# My notes\n", id="a text"),
        pytest.param('# My notes\n\n```json\n{"files": []}\n```\n', id="with JSON"),
        pytest.param("```json\n[1\n```\n", id="with half of it"),
    ],
)
def test_a_page_that_is_no_card_is_refused_before_anything_is_read(out, content):
    out.parent.mkdir()
    page = out.with_name("best.md")
    page.write_text(content)

    with pytest.raises(InvalidInput, match=r"best\.md is there already and is no model's card"):
        export("me/digits/r1", out=out, api=SimpleNamespace())

    assert page.read_text() == content


def test_a_page_that_is_no_text_is_refused_too(out):
    out.parent.mkdir()
    out.with_name("best.md").write_bytes(b"\xff\xfe")

    with pytest.raises(InvalidInput, match="is no model's card"):
        export("me/digits/r1", out=out, api=SimpleNamespace())


def test_smaller_files_of_an_earlier_export_go_and_those_of_others_stay(api, out):
    out.parent.mkdir()
    stale = onnx.ModelProto()
    onnx.helper.set_model_props(stale, {"precision": "int8", "weights_sha256": "0" * 64})
    out.with_name("best.int8.onnx").write_bytes(stale.SerializeToString())
    out.with_name("best.fp16.onnx").write_bytes(b"my own")

    report = export("me/digits/r1", out=out, upload=False, api=api)

    assert _left_behind(out) == ["best.fp16.onnx", "best.md", "best.onnx"]
    assert out.with_name("best.fp16.onnx").read_bytes() == b"my own"
    assert report.notes == (
        "best.fp16.onnx was there before, is no part of this export and was left",
        "best.int8.onnx of an earlier export was removed",
    )
    assert report.lines()[-2:] == list(report.notes)


def test_a_run_alone_is_exported_without_a_sweep(api, trained_run, out):
    report = export("me/digits/r1", out=out, upload=False, api=api)

    assert "sweep" not in report.metadata
    assert trained_run.uploads == []


def _cut_short(path):
    path.write_bytes(path.read_bytes()[:1000])


def _of_no_storage(path):
    """Write a file in torch's old format whose tensor names a storage that is not there."""
    torch.save({"w": torch.ones(2)}, path, _use_new_zipfile_serialization=False)
    content = path.read_bytes()
    (key, *_) = re.findall(rb"X.\x00\x00\x00(\d{4,})", content)
    path.write_bytes(content.replace(key, b"9" * len(key), 1))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        pytest.param(lambda p: p.unlink(), "has no file checkpoint.pt", id="missing"),
        pytest.param(_cut_short, "damaged", id="cut short"),
        pytest.param(lambda p: p.write_bytes(b""), "damaged", id="empty"),
        pytest.param(lambda p: torch.save({"w": 1}, p), "--model module:function", id="foreign"),
        pytest.param(lambda p: p.write_bytes(b"hello world\n" * 9), "damaged", id="a text"),
        pytest.param(lambda p: p.write_bytes(b"\x80\x02a."), "damaged", id="nothing to take"),
        pytest.param(lambda p: p.write_bytes(b"\x80\x02}]K\x01s."), "damaged", id="a list as key"),
        pytest.param(lambda p: p.write_bytes(b"\x80\x02X\x00."), "damaged", id="half a number"),
        pytest.param(_of_no_storage, "damaged", id="no such storage"),
    ],
)
def test_a_bad_checkpoint_leaves_no_file(api, trained_run, out, damage, said):
    damage(trained_run.folder / "checkpoint.pt")

    with pytest.raises(ExportError, match=said):
        export("me/digits/r1", out=out, api=api)

    assert _left_behind(out) == []


def test_a_download_that_came_short_is_refused(api, trained_run, out, monkeypatch):
    files = trained_run.files

    def lie_about_the_size(names=()):
        found = files(names)
        for file in found:
            file.size += 1
        return found

    monkeypatch.setattr(trained_run, "files", lie_about_the_size)

    with pytest.raises(ExportError, match="the server says"):
        export("me/digits/r1", out=out, api=api)


def test_an_unknown_run_is_not_found(api, out):
    with pytest.raises(NotFound, match="the run me/digits/nope"):
        export("me/digits/nope", out=out, api=api)


@pytest.fixture
def own_module(tmp_path, monkeypatch):
    """Write `own.py` into the folder of the command; forget it afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield (tmp_path / "own.py").write_text
    sys.modules.pop("own", None)


@pytest.mark.parametrize(
    "hook", ["nonsense", "json:nothing", "no_such_module_here:f", "json:__doc__"]
)
def test_a_wrong_hook_is_refused_before_anything_is_read(out, hook):
    with pytest.raises(InvalidInput):
        export("me/digits/r1", out=out, model=hook, api=SimpleNamespace())


def test_a_hook_that_is_not_there_names_the_folder_it_was_looked_for_in(out, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    with pytest.raises(InvalidInput, match=f"cannot be imported in {tmp_path}: No module named"):
        export("me/digits/r1", out=out, model="no_such_module_here:f", api=SimpleNamespace())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("import wandb\ntry:\n    wandb.init()\nexcept Exception:\n    pass", "starts a run when"),
        ("import sys\nsys.exit('no data')", "SystemExit: no data (*own.py, line 2)"),
        (
            "import argparse\nargparse.ArgumentParser().error('no')",
            "SystemExit: 2 (*own.py, line 2)",
        ),
        ("1 / 0", "ZeroDivisionError: division by zero (*own.py, line 1)"),
        (
            "def f(config): ...",
            "is f(config); what rebuilds a model is function(",
        ),
    ],
    ids=["a run", "an exit", "its arguments", "an error", "other arguments"],
)
def test_a_module_that_does_not_rebuild_is_refused_in_words(
    out, tmp_path, monkeypatch, own_module, text, said
):
    own_module(text)

    with pytest.raises(InvalidInput) as caught:
        export("me/digits/r1", out=out, model="own:f", api=SimpleNamespace())

    assert fnmatch(str(caught.value), f"own:f*{said}*")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("return config['way']", "own:f failed: KeyError: 'way' (*own.py, line 2)"),
        ("return 1", "(model, held-out inputs); what it returned lacks model, inputs, "),
        ("import torch; return torch.nn.Linear(1, 1)", "; it returned the model alone"),
        ("return 1, 2", "(model, held-out inputs); it returned (int, int)"),
    ],
)
def test_a_function_that_does_not_rebuild_is_told_in_words(
    api, trained_run, out, own_module, text, said
):
    own_module(f"def f(config, checkpoint):\n    {text}\n")

    with pytest.raises(ExportError) as caught:
        export("me/digits/r1", out=out, model="own:f", api=api)

    assert fnmatch(str(caught.value), f"*{said}*")


def test_a_users_own_function_rebuilds_a_users_own_model(api, trained_run, out, monkeypatch):
    torch.save(nn.Linear(3, 2).state_dict(), trained_run.folder / "checkpoint.pt")
    (out.parent).mkdir()
    (out.parent / "my_models.py").write_text(
        "import torch\n"
        "def build(config, checkpoint):\n"
        "    model = torch.nn.Linear(3, 2)\n"
        "    model.load_state_dict(torch.load(checkpoint, weights_only=True))\n"
        "    return model, torch.randn(5, 3)\n"
    )
    monkeypatch.chdir(out.parent)

    report = export("me/digits/r1", out=out, model="my_models:build", api=api)

    assert report.accuracy is None
    assert onnxruntime.InferenceSession(out).get_inputs()[0].shape == ["batch", 3]


def _rebuilt(model, inputs):
    return SimpleNamespace(
        model=model.eval(),
        inputs=inputs,
        labels=None,
        input_name="input",
        output_name="output",
        metadata={},
    )


class _Moody(nn.Module):
    """Says something else after its export: what a lost weight would look like."""

    def forward(self, x):
        return x * (1.0 if torch.compiler.is_exporting() else 1.001)


class _Endless(nn.Module):
    def forward(self, x):
        return x / 0.0


class _Heads(nn.Module):
    def forward(self, x):
        return x, -x


class _Branching(nn.Module):
    def forward(self, x):
        return x if x.sum() > 0 else -x


@pytest.mark.parametrize(
    ("model", "said"),
    [
        pytest.param(_Moody(), "differs from PyTorch by 0.00", id="different"),
        pytest.param(_Endless(), "not a finite number", id="infinite"),
        pytest.param(_Branching(), "cannot export", id="depends on data"),
        pytest.param(_Heads(), "returns a tuple, .* --model", id="several heads"),
    ],
)
def test_a_model_that_fails_a_check_gets_no_file_and_leaves_the_old_one(tmp_path, model, said):
    out = tmp_path / "model.onnx"
    out.write_bytes(b"the last good one")

    with pytest.raises(ExportError, match=said):
        onnx_file.write(_rebuilt(model, torch.ones(5, 3)), out, metadata={})

    assert out.read_bytes() == b"the last good one"
    assert _left_behind(out) == ["model.onnx"]


def test_a_folder_that_cannot_be_written_is_said_in_words(tmp_path):
    (tmp_path / "file").write_text("")

    with pytest.raises(ExportError, match="cannot be written"):
        onnx_file.write(
            _rebuilt(nn.Identity(), torch.ones(5, 3)), tmp_path / "file" / "m.onnx", metadata={}
        )


def test_the_sum_of_the_weights_depends_on_each_of_them():
    one, same, other = nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 2)
    same.load_state_dict(one.state_dict())

    assert onnx_file.weights_sha256(one) == onnx_file.weights_sha256(same)
    assert onnx_file.weights_sha256(one) != onnx_file.weights_sha256(other)
