"""Data sets and their split."""

import pytest
import torch
from idx_files import write_idx_folder

from sweepd.errors import UnknownName
from sweepd_trainer.data import load


@pytest.fixture
def tiny_mnist(tmp_path, monkeypatch):
    write_idx_folder(tmp_path, "MNIST", packed=True)
    monkeypatch.setenv("SWEEP_DATA", str(tmp_path))


def _as_set(images):
    return {image.numpy().tobytes() for image in images.inputs}


def test_digits_are_split_into_three_parts_that_share_nothing():
    data = load("digits")

    assert [len(part) for part in (data.train, data.validation, data.test)] == [1199, 239, 359]
    parts = [_as_set(part) for part in (data.train, data.validation, data.test)]
    assert len(set.union(*parts)) == sum(len(part) for part in parts)


def test_the_split_does_not_depend_on_what_ran_before():
    first = load("digits")
    torch.manual_seed(99)
    torch.rand(3)

    second = load("digits")

    assert torch.equal(first.validation.inputs, second.validation.inputs)
    assert torch.equal(first.test.targets, second.test.targets)


@pytest.mark.usefixtures("tiny_mnist")
def test_slice_thins_the_training_images_and_leaves_the_test_images_whole():
    whole, thin = load("mnist"), load("mnist", every=5)

    assert len(thin.train) + len(thin.validation) == 12
    assert len(thin.test) == len(whole.test) == 20
    assert _as_set(thin.train) | _as_set(thin.validation) <= (
        _as_set(whole.train) | _as_set(whole.validation)
    )


@pytest.mark.usefixtures("tiny_mnist")
def test_one_image_in_six_is_for_validation():
    data = load("mnist")

    assert (len(data.train), len(data.validation)) == (50, 10)


def test_an_unknown_data_set_lists_the_known_ones():
    with pytest.raises(UnknownName, match="digits, fashion_mnist, mnist"):
        load("mnits")


def test_data_moves_to_a_device_whole(few_digits):
    moved = few_digits.to(torch.device("meta"))

    assert {part.inputs.device.type for part in (moved.train, moved.validation, moved.test)} == {
        "meta"
    }
