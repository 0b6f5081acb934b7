"""Checkpoints: whole or absent, and safe to read."""

import pickle
import re
from random import Random

import pytest
import torch

from sweepd.errors import DataError
from sweepd_trainer.checkpoint import Best, image_header, load_checkpoint, load_plain
from sweepd_trainer.config import read_config
from sweepd_trainer.models import build_model
from sweepd_trainer.task import Score

CONFIG = read_config({"kernels": [2, 3], "seed": 5})


@pytest.fixture
def best(tmp_path, few_digits):
    return Best(tmp_path / "deep" / "checkpoint.pt", header=image_header(CONFIG, few_digits.spec))


@pytest.fixture
def saved(best, few_digits):
    model = build_model(few_digits.spec, CONFIG)
    best.offer(model, epoch=2, score=Score(loss=0.25, accuracy=0.75))
    return best.path


def test_what_was_saved_comes_back(best, few_digits):
    model = build_model(few_digits.spec, CONFIG)
    best.offer(model, epoch=2, score=Score(loss=0.25, accuracy=0.75))

    read = load_checkpoint(best.path)

    assert (read.config, read.spec, read.epoch) == (CONFIG, few_digits.spec, 2)
    assert read.score == Score(loss=0.25, accuracy=0.75)
    for name, weight in model.state_dict().items():
        assert torch.equal(read.weights[name], weight)


def test_only_better_epochs_are_kept(best, few_digits):
    model = build_model(few_digits.spec, CONFIG)
    offers = [(0.5, 1.0), (0.8, 0.9), (0.8, 0.7), (0.8, 0.8), (0.7, 0.1)]

    kept = [
        best.offer(model, epoch=epoch, score=Score(loss=loss, accuracy=accuracy))
        for epoch, (accuracy, loss) in enumerate(offers, 1)
    ]

    assert kept == [True, True, True, False, False]
    assert load_checkpoint(best.path).epoch == best.epoch == 3


def test_the_best_weights_are_given_back(best, few_digits):
    model = build_model(few_digits.spec, CONFIG)
    best.offer(model, epoch=1, score=Score(loss=1, accuracy=0.5))
    wanted = {name: weight.clone() for name, weight in model.state_dict().items()}
    with torch.no_grad():
        for weight in model.parameters():
            weight.zero_()

    best.restore(model)

    for name, weight in model.state_dict().items():
        assert torch.equal(weight, wanted[name])


def test_a_file_holds_plain_data_only(saved):
    content = torch.load(saved, weights_only=True)

    assert content["exporter"] == "sweepd_trainer"
    assert content["config"]["kernels"] == [2, 3]
    assert content["data"]["classes"] == list("0123456789") or content["data"]["classes"] == tuple(
        "0123456789"
    )


def test_nothing_but_the_checkpoint_is_left_in_the_folder(saved):
    assert [path.name for path in saved.parent.iterdir()] == ["checkpoint.pt"]


def test_a_failed_save_leaves_the_last_one(saved, best, few_digits, monkeypatch):
    def fail(content, file):
        file.write(b"half")
        raise OSError("no space left on device")

    before = saved.read_bytes()
    monkeypatch.setattr(torch, "save", fail)

    with pytest.raises(OSError, match="no space"):
        best.offer(build_model(few_digits.spec, CONFIG), epoch=3, score=Score(0.1, 0.9))

    assert saved.read_bytes() == before
    assert [path.name for path in saved.parent.iterdir()] == ["checkpoint.pt"]


class _Harmful:
    def __reduce__(self):
        return (print, ("this must not run",))


def _of_no_storage(path):
    """Write a file in torch's old format whose tensor names a storage that is not there."""
    torch.save({"w": torch.ones(2)}, path, _use_new_zipfile_serialization=False)
    content = path.read_bytes()
    (key, *_) = re.findall(rb"X.\x00\x00\x00(\d{4,})", content)
    path.write_bytes(content.replace(key, b"9" * len(key), 1))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        pytest.param(lambda p: p.unlink(), "does not exist", id="missing"),
        pytest.param(lambda p: p.write_bytes(b""), "damaged", id="empty"),
        pytest.param(lambda p: p.write_bytes(p.read_bytes()[:-500]), "damaged", id="cut short"),
        pytest.param(lambda p: p.write_bytes(b"PK garbage"), "damaged", id="garbage"),
        pytest.param(lambda p: p.write_bytes(b"hello world\n" * 9), "damaged", id="a text"),
        pytest.param(lambda p: p.write_bytes(b"\x80\x02a."), "damaged", id="nothing to take"),
        pytest.param(lambda p: p.write_bytes(b"\x80\x02}]K\x01s."), "damaged", id="a list as key"),
        pytest.param(lambda p: p.write_bytes(b"\x80\x02X\x00."), "damaged", id="half a number"),
        pytest.param(_of_no_storage, "damaged", id="no such storage"),
        pytest.param(
            lambda p: p.write_bytes(pickle.dumps(_Harmful(), protocol=2)), "damaged", id="pickle"
        ),
        pytest.param(lambda p: torch.save({"a": 1}, p), "not written by this", id="foreign"),
        pytest.param(lambda p: torch.save([1], p), "not written by this", id="a list"),
        pytest.param(
            lambda p: torch.save({"exporter": "sweepd_trainer", "version": 99}, p),
            "has the format 99",
            id="newer",
        ),
        pytest.param(
            lambda p: torch.save({"exporter": "sweepd_trainer", "version": 1}, p),
            "incomplete",
            id="no weights",
        ),
    ],
)
def test_a_bad_file_is_refused_in_words(saved, capsys, damage, said):
    damage(saved)

    with pytest.raises(DataError, match=said):
        load_checkpoint(saved)

    assert "must not run" not in capsys.readouterr().out


def test_a_file_with_wrong_bytes_is_refused_or_read_whatever_they_are(saved):
    whole, n_refused = saved.read_bytes(), 0

    for seed in range(600):
        rng, damaged = Random(seed), bytearray(whole)
        for _ in range(3):
            damaged[rng.randrange(len(whole))] ^= rng.randrange(1, 256)
        saved.write_bytes(damaged)
        try:
            load_plain(saved)
        except DataError:
            n_refused += 1

    assert n_refused > 100
