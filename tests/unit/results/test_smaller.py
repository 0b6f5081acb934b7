"""Smaller files: made of the verified one, judged on real data, kept if they answer as it does."""

import json
import logging
import sys
from types import SimpleNamespace

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from click.testing import CliRunner
from rebuilt import made_of
from torch import nn

from sweepd.cli import winner
from sweepd.cli.winner import export as command
from sweepd.cli.winner import print_export
from sweepd.errors import ExportError, InvalidInput
from sweepd.results import export, onnx_file, smaller
from sweepd.results.converters import Made
from sweepd.results.export import MIN_AGREEMENT, OPSET, OPSETS, PRECISIONS
from sweepd.results.proof import Answers, agreement
from sweepd.results.smaller import set_apart, write_smaller
from sweepd_trainer.data import load

export_module = sys.modules["sweepd.results.export"]
KINDS = [np.array([0, 1]), np.array([1, 1])]


@pytest.fixture(scope="session")
def three(exported_in_three):
    """Return the report of an export in three precisions, at `m.onnx` and beside it."""
    return exported_in_three.report


def _names(folder):
    return sorted(path.name for path in folder.iterdir() if path.suffix == ".onnx")


def test_three_precisions_are_three_files(three):
    fp32, fp16, int8 = three.files

    assert [file.path.name for file in three.files] == ["m.onnx", "m.fp16.onnx", "m.int8.onnx"]
    assert _names(three.path.parent) == ["m.fp16.onnx", "m.int8.onnx", "m.onnx"]
    assert fp16.size_bytes < fp32.size_bytes
    assert fp32.max_abs_diff < fp16.max_abs_diff < int8.max_abs_diff
    assert not three.refused


def test_each_file_takes_and_gives_what_the_first_does_at_any_batch_size(three):
    images = load("digits").test.inputs

    for file in three.files:
        session = onnxruntime.InferenceSession(file.path, providers=["CPUExecutionProvider"])
        for size in (1, 2, 7, 100):
            (logits,) = session.run(["logits"], {"image": images[:size].numpy()})
            assert (logits.shape, logits.dtype) == ((size, 10), np.float32)


def test_each_file_says_where_it_comes_from_and_what_it_computes_in(three):
    for file in three.files:
        told = onnxruntime.InferenceSession(file.path).get_modelmeta().custom_metadata_map
        assert told["run"] == "me/digits/r1"
        assert told.get("precision", "fp32") == file.precision
        assert [entry.domain for entry in onnx.load(file.path).opset_import] == [""]


def test_int8_has_a_scale_for_each_channel(three):
    model = onnx.load(three.files[2].path)

    assert "QuantizeLinear" in {node.op_type for node in model.graph.node}
    weights = [entry for entry in model.graph.initializer if entry.name.endswith("_scale")]
    assert any(len(entry.dims) == 1 and entry.dims[0] == 4 for entry in weights)


def test_the_trainers_models_are_calibrated_on_validation_and_judged_on_every_test_image(three):
    test = load("digits").test

    for file in three.files:
        session = onnxruntime.InferenceSession(file.path, providers=["CPUExecutionProvider"])
        (logits,) = session.run(["logits"], {"image": test.inputs.numpy()})
        right = np.mean(logits.argmax(1) == test.targets.numpy())
        assert (file.n_held_out, file.accuracy) == (359, pytest.approx(right, abs=0.006))


def test_without_inputs_for_it_one_in_five_calibrates_and_judges_no_more():
    inputs = torch.arange(100).reshape(100, 1)

    apart = set_apart(made_of(nn.Identity(), inputs, labels=torch.arange(100)))

    assert apart.calibration.flatten().tolist() == list(range(0, 100, 5))
    assert apart.inputs.flatten().tolist() == [n for n in range(100) if n % 5]
    assert apart.labels.tolist() == apart.inputs.flatten().tolist()


def test_int8_of_two_held_out_inputs_is_refused_as_one_alone_would_judge():
    with pytest.raises(ExportError, match="int8 takes three held-out inputs or more"):
        set_apart(made_of(nn.Identity(), torch.zeros(2, 1)))

    assert len(set_apart(made_of(nn.Identity(), torch.zeros(3, 1))).inputs) == 2


def test_inputs_to_calibrate_on_are_taken_from_all_over_and_are_not_too_many():
    rebuilt = made_of(nn.Identity(), torch.zeros(4, 1))
    rebuilt.calibration = torch.arange(5000)

    apart = set_apart(rebuilt)

    assert len(apart.inputs) == 4
    assert apart.calibration.tolist() == list(range(0, 5000, 10))


def test_the_report_and_its_table_have_a_row_for_each_file(three, capsys):
    told = json.loads(json.dumps(three.as_json()))
    print_export(three)
    said = capsys.readouterr().out

    assert [file["precision"] for file in told["files"]] == list(PRECISIONS)
    assert told["sha256"] == told["files"][0]["sha256"]
    assert told["files"][0]["agreement"] is None
    assert 0.9 <= told["files"][2]["agreement"] <= 1
    for file in three.files:
        assert file.path.name in said


def test_all_files_become_files_of_the_run(three, exported_in_three):
    uploaded = dict(exported_in_three.run.uploads)

    assert uploaded["model.onnx"] == three.path.read_bytes()
    assert uploaded["model.int8.onnx"] == three.files[2].path.read_bytes()
    assert uploaded["model.fp16.onnx"] == three.files[1].path.read_bytes()


class _CloseCalls(nn.Module):
    """Names the class by a difference that eight bits do not hold, of values that are large.

    Nor do eight bits of its weights, if `large` is.
    """

    def __init__(self, large):
        super().__init__()
        self.layer = nn.Linear(4, 2)
        with torch.no_grad():
            self.layer.weight.copy_(torch.tensor([[large, 1, 0, 0], [large, 0, 1, 0]]))

    def forward(self, x):
        return self.layer(x)


def test_a_file_that_answers_otherwise_is_not_kept_and_it_is_said_by_how_much(tmp_path):
    inputs = torch.cat([torch.rand(400, 1) * 100, torch.rand(400, 3)], dim=1)
    rebuilt = set_apart(made_of(_CloseCalls(3000.0), inputs, outputs="classes"))
    out, beside = tmp_path / "m.onnx", tmp_path / "m.int8.onnx"
    beside.write_bytes(b"the last good one")
    reference = onnx_file.write(rebuilt, out, metadata={})

    with pytest.raises(ExportError, match=r"answers as fp32 does for \d\d\.\d\d% of 320 .* points"):
        write_smaller("int8", out, beside, rebuilt, reference=reference, min_agreement=0.99)

    assert beside.read_bytes() == b"the last good one"
    assert _names(tmp_path) == ["m.int8.onnx", "m.onnx"]
    write_smaller("int8", out, beside, rebuilt, reference=reference, min_agreement=0.0)
    assert beside.read_bytes() != b"the last good one"


def test_weights_that_float16_does_not_hold_are_refused(tmp_path):
    model = nn.Linear(2, 2, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.diag(torch.tensor([1e6, 2e6])))
    rebuilt = made_of(model, torch.rand(50, 2, generator=torch.Generator().manual_seed(0)))
    out, beside = tmp_path / "m.onnx", tmp_path / "m.fp16.onnx"
    reference = onnx_file.write(rebuilt, out, metadata={})

    said = "answers as fp32 does for .* let the model's function return labels too"
    with pytest.raises(ExportError, match=said):
        write_smaller("fp16", out, beside, rebuilt, reference=reference, min_agreement=0.99)

    assert _names(tmp_path) == ["m.onnx"]


def test_a_refused_precision_leaves_the_others(fake, trained_run, tmp_path, monkeypatch):
    def fail(source, rebuilt):
        raise RuntimeError("no such operator\nmore")

    monkeypatch.setattr(smaller, "SMALLER", {**smaller.SMALLER, "int8": fail})

    report = export(
        "me/digits/r1",
        out=tmp_path / "m.onnx",
        precisions=PRECISIONS,
        min_agreement=0,
        api=fake.api([trained_run]),
    )

    assert [file.precision for file in report.files] == ["fp32", "fp16"]
    why = "onnxruntime's converter failed: no such operator"
    assert report.refused["int8"] == f"m.int8.onnx was not written: {why}"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        pytest.param({"opset": 17}, "the opset must be from 18 to 25, not 17", id="opset"),
        pytest.param({"precisions": ["fp8"]}, "'fp8' is none of fp32, fp16, int8", id="precision"),
        pytest.param({"min_agreement": 99}, "a share from 0 to 1, not 99", id="percent"),
    ],
)
def test_wrong_options_are_refused_before_anything_is_read(tmp_path, options, said):
    with pytest.raises(InvalidInput, match=said):
        export("me/digits/r1", out=tmp_path / "m.onnx", api=SimpleNamespace(), **options)


def test_the_command_offers_what_the_function_takes():
    options = {parameter.name: parameter for parameter in command.params}

    assert tuple(options["precisions"].type.choices) == PRECISIONS
    assert (options["opset"].type.min, options["opset"].type.max) == (OPSETS[0], OPSETS[-1])
    assert (options["opset"].default, options["min_agreement"].default) == (OPSET, MIN_AGREEMENT)


def test_tokens_go_through_all_three(tmp_path):
    tokens = torch.randint(0, 50, (60, 7), generator=torch.Generator().manual_seed(0))
    model = nn.Sequential(nn.Embedding(50, 16), nn.GELU(), nn.Linear(16, 50))
    rebuilt = set_apart(made_of(model, tokens, labels=tokens.roll(1, 1)))
    out = tmp_path / "m.onnx"

    proof = onnx_file.write(rebuilt, out, metadata={})
    shares = [
        write_smaller(
            precision,
            out,
            tmp_path / f"m.{precision}.onnx",
            rebuilt,
            reference=proof,
            min_agreement=0.9,
        )[1]
        for precision in PRECISIONS[1:]
    ]

    assert onnxruntime.InferenceSession(out).get_inputs()[0].type == "tensor(int64)"
    assert proof.accuracy is not None
    assert proof.answers.given.shape == (48, 7)
    assert min(shares) >= 0.9


class _LooksBack(nn.Module):
    """Attends to the places so far, by far the most to those that are like the place itself."""

    def forward(self, x):
        heads = (4 * x).unsqueeze(1)
        seen = nn.functional.scaled_dot_product_attention(heads, heads, heads, is_causal=True)
        return seen.squeeze(1)


def test_the_mask_of_an_attention_does_not_drown_its_scores_in_int8(tmp_path):
    inputs = torch.randn(200, 6, 8, generator=torch.Generator().manual_seed(0))
    rebuilt = set_apart(made_of(_LooksBack(), inputs))
    out = tmp_path / "m.onnx"
    proof = onnx_file.write(rebuilt, out, metadata={})

    found = write_smaller(
        "int8", out, tmp_path / "m.int8.onnx", rebuilt, reference=proof, min_agreement=0
    )

    assert found.agreement > 0.95


def test_int8_leaves_the_layers_in_float_without_which_its_answers_would_be_others(tmp_path):
    model = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 2, bias=False))
    with torch.no_grad():  # the last layer tells two numbers apart beside a large one
        model[0].weight.copy_(torch.eye(3))
        model[0].bias.zero_()
        model[2].weight.copy_(torch.tensor([[300.0, 1, 0], [300.0, 0, 1]]))
    inputs = torch.rand(400, 3, generator=torch.Generator().manual_seed(0))
    rebuilt = set_apart(made_of(model, inputs, outputs="classes"))
    out, beside = tmp_path / "m.onnx", tmp_path / "m.int8.onnx"
    reference = onnx_file.write(rebuilt, out, metadata={})

    found = write_smaller("int8", out, beside, rebuilt, reference=reference, min_agreement=0.98)

    made = onnx.load(beside)
    whole = [one for one in made.graph.initializer if one.data_type == onnx.TensorProto.FLOAT]
    assert found.agreement >= 0.98
    assert found.in_float == "the last layer, and what lies between layers"
    assert {one.key: one.value for one in made.metadata_props}["in_float"] == found.in_float
    assert [list(one.dims) for one in whole if len(one.dims) == 2] == [[2, 3]]


def test_int8_weights_alone_are_the_last_resort(tmp_path):
    inputs = torch.cat([torch.rand(400, 1) * 100, torch.rand(400, 3)], dim=1)
    model = nn.Sequential(
        nn.Unflatten(1, (1, 2, 2)), nn.Conv2d(1, 4, 2, bias=False), nn.Flatten(), _CloseCalls(9.0)
    )
    with torch.no_grad():
        model[1].weight.copy_(torch.eye(4).view(4, 1, 2, 2))
    rebuilt = set_apart(made_of(model, inputs, outputs="classes"))
    out, beside = tmp_path / "m.onnx", tmp_path / "m.int8.onnx"
    reference = onnx_file.write(rebuilt, out, metadata={})

    found = write_smaller("int8", out, beside, rebuilt, reference=reference, min_agreement=0.99)

    made = onnx.load(beside)
    assert found.in_float == "all but the weights"
    assert sum(one.data_type == onnx.TensorProto.INT8 for one in made.graph.initializer) == 2
    assert {node.op_type for node in made.graph.node}.isdisjoint({"QuantizeLinear"})


def test_a_file_of_which_nothing_became_int8_is_never_passed_off_as_one(tmp_path):
    inputs = torch.randn(200, 6, 8, generator=torch.Generator().manual_seed(0))
    rebuilt = set_apart(made_of(_LooksBack(), inputs))
    out, beside = tmp_path / "m.onnx", tmp_path / "m.int8.onnx"
    proof = onnx_file.write(rebuilt, out, metadata={})

    with pytest.raises(ExportError, match="answers as fp32 does for"):
        write_smaller("int8", out, beside, rebuilt, reference=proof, min_agreement=1)

    assert not beside.exists()


class _Recurrent(nn.Module):
    """An LSTM, which onnxruntime's converter leaves as it is, and a layer on its last state."""

    def __init__(self, n_out):
        super().__init__()
        self.memory = nn.LSTM(6, 24, batch_first=True)
        self.head = nn.Linear(24, n_out)

    def forward(self, x):
        return self.head(self.memory(x)[0][:, -1])


def _in_int8(model, inputs, folder):
    """Return what came of making an int8 file, and where it is."""
    rebuilt = set_apart(made_of(model, inputs))
    out, beside = folder / "m.onnx", folder / "m.int8.onnx"
    proof = onnx_file.write(rebuilt, out, metadata={})
    return write_smaller("int8", out, beside, rebuilt, reference=proof, min_agreement=0), beside


@pytest.mark.filterwarnings("ignore")  # of PyTorch itself, as it exports an LSTM
def test_a_file_whose_weights_stayed_float_is_not_passed_off_as_int8(tmp_path):
    with pytest.raises(ExportError, match=r"only 3% of its weights .* leaves the weights of LSTM"):
        _in_int8(_Recurrent(4), torch.randn(60, 5, 6), tmp_path)

    assert _names(tmp_path) == ["m.onnx"]


@pytest.mark.filterwarnings("ignore")  # of PyTorch itself, as it exports an LSTM
def test_weights_that_stayed_float_beside_others_are_named(tmp_path):
    found, beside = _in_int8(_Recurrent(200), torch.randn(60, 5, 6), tmp_path)

    told = {one.key: one.value for one in onnx.load(beside).metadata_props}
    assert found.in_float == told["in_float"] == "the weights of LSTM, 39% of all"


@pytest.mark.parametrize(
    ("found", "wanted", "share"),
    [
        pytest.param(Answers(True, KINDS[0]), Answers(True, KINDS[1]), 0.5, id="classes"),
        pytest.param(
            Answers(False, np.array([0.0, 1.9, 99.5])),
            Answers(False, np.array([0.0, 0.0, 100.0])),
            2 / 3,
            id="values to a hundredth of their range",
        ),
    ],
)
def test_answers_agree(found, wanted, share):
    assert agreement(found, wanted) == pytest.approx(share)


def test_the_converters_say_nothing_and_leave_the_logging_as_it_was(tmp_path, caplog):
    root = logging.getLogger()
    handlers, filters = list(root.handlers), list(root.filters)
    model = nn.Sequential(nn.Linear(3, 6), nn.LayerNorm(6), nn.Linear(6, 2))
    rebuilt = set_apart(made_of(model, torch.rand(20, 3)))
    proof = onnx_file.write(rebuilt, tmp_path / "m.onnx", metadata={})
    caplog.clear()

    for precision in PRECISIONS[1:]:
        beside = tmp_path / f"m.{precision}.onnx"
        write_smaller(
            precision, tmp_path / "m.onnx", beside, rebuilt, reference=proof, min_agreement=0
        )

    assert not caplog.records
    assert (root.handlers, root.filters) == (handlers, filters)


def test_classes_may_lie_along_the_second_axis(tmp_path):
    model = nn.Conv2d(1, 3, 1)
    inputs = torch.rand(6, 1, 4, 5)
    with torch.inference_mode():
        labels = model(inputs).argmax(1)

    proof = onnx_file.write(made_of(model, inputs, labels=labels), tmp_path / "m.onnx", metadata={})

    assert proof.answers.given.shape == (6, 4, 5)
    assert proof.accuracy == 1.0


def test_the_command_ends_as_failed_if_a_precision_is_refused(
    fake, trained_run, tmp_path, monkeypatch
):
    api = fake.api([trained_run])
    monkeypatch.setattr(winner, "sign_in", lambda *_, **__: ("me/digits/r1", "run"))
    monkeypatch.setattr(export_module, "open_api", lambda: api)
    monkeypatch.setitem(smaller.SMALLER, "int8", lambda *_: iter([Made(onnx.ModelProto())]))
    arguments = ["r1", "--out", str(tmp_path / "m.onnx"), "--precision", "int8", "--no-upload"]

    done = CliRunner().invoke(command, [*arguments, "--json"])

    assert isinstance(done.exception, ExportError)
    assert str(done.exception).startswith("m.int8.onnx was not written: the exported file is not")
    assert json.loads(done.stdout)["refused"].keys() == {"int8"}
    assert _names(tmp_path) == ["m.onnx"]
