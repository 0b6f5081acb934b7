"""Rebuilding a model from a run's config and checkpoint."""

import pytest
import torch

from sweepd.errors import ExportError
from sweepd_trainer.checkpoint import Best, image_header, load_plain, write_plain
from sweepd_trainer.config import read_config
from sweepd_trainer.export import rebuild
from sweepd_trainer.images import Normalise
from sweepd_trainer.models import build_model
from sweepd_trainer.task import Score

CONFIG = read_config({"kernels": [2, 3], "slice": 4})


@pytest.fixture
def model(few_digits):
    torch.manual_seed(0)
    return build_model(few_digits.spec, CONFIG).eval()


@pytest.fixture
def checkpoint(tmp_path, few_digits, model):
    best = Best(tmp_path / "checkpoint.pt", header=image_header(CONFIG, few_digits.spec))
    best.offer(model, epoch=1, score=Score(loss=1, accuracy=0.5))
    return best.path


def test_a_rebuilt_model_takes_raw_pixels_and_says_what_the_trained_one_says(
    checkpoint, few_digits, model
):
    rebuilt = rebuild(CONFIG.to_dict(), checkpoint)

    found = rebuilt.model(few_digits.test.inputs[:9])
    wanted = model(Normalise(few_digits.spec)(few_digits.test.inputs[:9]))
    assert torch.allclose(found, wanted, atol=1e-5)


def test_held_out_inputs_are_the_test_images(checkpoint, few_digits):
    rebuilt = rebuild(CONFIG.to_dict(), checkpoint)

    assert torch.equal(rebuilt.inputs, few_digits.test.inputs)
    assert torch.equal(rebuilt.labels, few_digits.test.targets)


def test_metadata_say_what_a_reader_needs(checkpoint):
    metadata = rebuild(CONFIG.to_dict(), checkpoint).metadata

    assert metadata["classes"].split("\n") == list("0123456789")
    assert metadata["dataset"] == "digits"
    assert metadata["input"] == "uint8 pixels, 0 to 16"
    assert metadata["normalisation"] == "(pixel / 16 - 0.3053) / 0.376"
    assert "version.torch" in metadata
    assert all(isinstance(value, str) for value in metadata.values())


def test_parameters_that_the_trainer_does_not_know_are_no_obstacle(checkpoint):
    assert rebuild({**CONFIG.to_dict(), "comment": "mine"}, checkpoint).inputs.shape[1:] == (
        1,
        8,
        8,
    )


def test_a_checkpoint_of_another_config_is_refused(checkpoint):
    with pytest.raises(ExportError, match=r"kernels is \[2, 3\], not \[4, 8\]"):
        rebuild({**CONFIG.to_dict(), "kernels": [4, 8]}, checkpoint)


def test_a_config_out_of_range_is_refused(checkpoint):
    with pytest.raises(ExportError, match="epochs must be"):
        rebuild({**CONFIG.to_dict(), "epochs": -1}, checkpoint)


def test_weights_of_another_architecture_are_refused(checkpoint):
    saved = load_plain(checkpoint)
    weights = {**saved["weights"], "0.weight": torch.zeros(5, 1, 5, 5)}
    write_plain(checkpoint, {**saved, "weights": weights})

    with pytest.raises(ExportError, match=r"does not fit .* 0\.weight"):
        rebuild(CONFIG.to_dict(), checkpoint)


def test_a_damaged_checkpoint_is_refused(checkpoint):
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])

    with pytest.raises(ExportError, match="damaged"):
        rebuild(CONFIG.to_dict(), checkpoint)
