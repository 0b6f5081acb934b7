"""Data sets in files: arrays, folders of pictures, CIFAR as torchvision leaves it."""

import pickle

import numpy as np
import pytest
import torch
from idx_files import write_npz
from PIL import Image

from sweepd.errors import DataError
from sweepd_trainer.data import load


def write_pictures(root, *, classes=("cat", "dog"), count=6, size=(8, 8), mode="RGB"):
    rng = np.random.default_rng(0)
    for label, name in enumerate(classes):
        (root / name).mkdir(parents=True)
        for number in range(count):
            shape = (*size[::-1], 3) if mode == "RGB" else size[::-1]
            pixels = rng.integers(0, 100, shape) + 100 * label
            Image.fromarray(pixels.astype(np.uint8), mode).save(root / name / f"{number}.png")


def test_arrays_in_a_file_are_a_data_set(tmp_path):
    write_npz(tmp_path / "kinds.npz")

    data = load(f"npz:{tmp_path / 'kinds.npz'}")

    assert data.spec.shape == (3, 32, 32)
    assert data.spec.classes[9] == "kind 9"
    assert (len(data.train), len(data.validation), len(data.test)) == (50, 10, 20)
    floats = data.train.inputs.float() / 255
    assert data.spec.mean == pytest.approx(floats.mean(dim=(0, 2, 3)).tolist(), abs=0.02)
    assert data.spec.std == pytest.approx(floats.std(dim=(0, 2, 3)).tolist(), abs=0.02)


def test_a_fifth_is_for_testing_where_nothing_else_is_said(tmp_path):
    images = np.arange(50 * 16, dtype=np.uint16).reshape(50, 4, 4).astype(np.uint8)
    np.savez(tmp_path / "grey.npz", images=images, labels=np.arange(50) % 3)

    data = load(f"npz:{tmp_path / 'grey.npz'}")

    assert len(data.test) == 10
    assert data.spec.classes == ("0", "1", "2")
    assert data.spec.shape == (1, 4, 4)


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        pytest.param({}, "has no x_train and y_train, only nothing", id="empty"),
        pytest.param({"x": np.zeros(3)}, "has no x_train and y_train, only x", id="other names"),
        pytest.param(
            {"x_train": np.zeros((4, 2, 2)), "y_train": np.zeros(4, int)},
            "must be uint8 of shape",
            id="floats",
        ),
        pytest.param(
            {"x_train": np.zeros((4, 2, 2), np.uint8), "y_train": np.zeros(4)},
            "must be whole numbers",
            id="float labels",
        ),
        pytest.param(
            {"x_train": np.zeros((4, 2, 2), np.uint8), "y_train": np.zeros(3, int)},
            "must go together",
            id="too few labels",
        ),
        pytest.param(
            {
                "x_train": np.zeros((4, 2, 2), np.uint8),
                "y_train": np.array([0, 1, 2, 3]),
                "classes": np.array(["a", "b"]),
            },
            "labels reach 3, but it names 2 classes",
            id="too few names",
        ),
        pytest.param(
            {"x_train": np.zeros((0, 2, 2), np.uint8), "y_train": np.zeros(0, int)},
            "x_train is empty",
            id="no images",
        ),
        pytest.param(
            {"x_train": np.zeros((4, 2, 2), np.uint8), "y_train": np.int64(4)},
            "must go together",
            id="one label",
        ),
        pytest.param(
            {"x_train": np.zeros((4, 3, 8, 8), np.uint8), "y_train": np.zeros(4, int)},
            "must have the channels last",
            id="channels first",
        ),
        pytest.param(
            {"x_train": np.zeros((2, 2, 2), np.uint8), "y_train": np.array([0, 10**9])},
            "reaches 1000000000",
            id="labels that count nothing",
        ),
    ],
)
def test_a_file_of_another_form_is_refused_in_words(tmp_path, arrays, said):
    np.savez(tmp_path / "data.npz", **arrays)

    with pytest.raises(DataError, match=said):
        load(f"npz:{tmp_path / 'data.npz'}")


def test_a_file_that_would_run_code_is_refused(tmp_path, capsys):
    np.savez(tmp_path / "data.npz", x_train=np.array([print], dtype=object), y_train=np.zeros(1))
    (tmp_path / "plain.npz").write_bytes(pickle.dumps("not an archive"))

    for name in ("data.npz", "plain.npz", "absent.npz"):
        with pytest.raises(DataError, match=name):
            load(f"npz:{tmp_path / name}")


def test_an_array_alone_is_refused(tmp_path):
    with (tmp_path / "data.npz").open("wb") as file:
        np.save(file, np.zeros((3, 4, 4), np.uint8))

    with pytest.raises(DataError, match="it is no zip file"):
        load(f"npz:{tmp_path / 'data.npz'}")


def test_a_file_with_wrong_bytes_is_refused_or_read_whatever_they_are(tmp_path):
    path = tmp_path / "data.npz"
    np.savez_compressed(
        path, x_train=np.arange(800, dtype=np.uint8).reshape(50, 4, 4), y_train=np.arange(50) % 3
    )
    whole, n_refused = path.read_bytes(), 0

    for seed in range(200):
        rng = np.random.default_rng(seed)
        damaged = bytearray(whole)
        for place in rng.integers(0, len(whole), 3):
            damaged[place] ^= int(rng.integers(1, 256))
        path.write_bytes(damaged)
        try:
            load(f"npz:{path}")
        except DataError:
            n_refused += 1

    assert n_refused > 100


def test_grey_pictures_of_16_bits_keep_their_greys(tmp_path):
    for number, name in enumerate("aabb"):
        (tmp_path / name).mkdir(exist_ok=True)
        pixels = (np.arange(64).reshape(8, 8) * 1000).astype(np.uint16)
        Image.fromarray(pixels).save(tmp_path / name / f"{number}.png")

    data = load(f"folder:{tmp_path}")

    assert data.spec.shape == (1, 8, 8)
    assert torch.equal(data.train.inputs[0, 0].flatten(), torch.arange(64) * 1000 // 256)


def test_folders_of_pictures_are_a_data_set(tmp_path):
    write_pictures(tmp_path / "pets" / "train")
    write_pictures(tmp_path / "pets" / "test", count=2, size=(16, 16))

    data = load(f"folder:{tmp_path / 'pets'}")

    assert data.spec.classes == ("cat", "dog")
    assert data.spec.shape == (3, 8, 8)
    assert (len(data.train) + len(data.validation), len(data.test)) == (12, 4)
    bright = data.test.inputs.float().mean(dim=(1, 2, 3)) > 125
    assert torch.equal(bright.long(), data.test.targets)


def test_one_folder_of_grey_pictures_is_split_and_fitted_to_a_size(tmp_path):
    write_pictures(tmp_path / "marks", mode="L", count=10, size=(12, 9))

    data = load(f"folder:{tmp_path / 'marks'}@6")

    assert data.spec.shape == (1, 6, 6)
    assert len(data.test) == 4


@pytest.mark.parametrize(
    ("make", "said"),
    [
        pytest.param(lambda root: None, "is not a folder", id="absent"),
        pytest.param(lambda root: root.mkdir(), "has no folder for each class", id="empty"),
        pytest.param(
            lambda root: (root / "cat").mkdir(parents=True), "no pictures in cat", id="no pictures"
        ),
        pytest.param(
            lambda root: (
                write_pictures(root),
                (root / "cat" / "0.png").write_bytes(b"no picture"),
            ),
            "cannot be read as a picture",
            id="damaged",
        ),
        pytest.param(
            lambda root: (
                write_pictures(root / "train"),
                write_pictures(root / "test", classes=("bird",)),
            ),
            "has classes that .* lacks: .'bird'.",
            id="other classes",
        ),
    ],
)
def test_a_folder_of_another_form_is_refused_in_words(tmp_path, make, said):
    make(tmp_path / "data")

    with pytest.raises(DataError, match=said):
        load(f"folder:{tmp_path / 'data'}")


def test_pictures_of_no_size_are_refused(tmp_path):
    write_pictures(tmp_path)

    with pytest.raises(DataError, match="pictures of 0 pixels"):
        load(f"folder:{tmp_path}@0")


def test_cifar_is_read_as_torchvision_left_it_and_kept_for_the_next_time(tmp_path, monkeypatch):
    from torchvision import datasets

    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    names = [*(f"data_batch_{k}" for k in range(1, 6)), "test_batch"]
    for name in names:
        content = {"data": np.full((2, 3072), 7, np.uint8), "labels": [0, 1]}
        (folder / name).write_bytes(pickle.dumps(content))
    kinds = ["plane", "car"]
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": kinds}))
    monkeypatch.setattr(datasets.CIFAR10, "_check_integrity", lambda self: True)
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda path, md5: True)
    monkeypatch.setenv("SWEEP_DATA", str(tmp_path))

    first = load("cifar10")
    for name in names:
        (folder / name).unlink()
    second = load("cifar10")

    assert (len(first.train) + len(first.validation), len(first.test)) == (10, 2)
    assert first.spec.classes == ("plane", "car")
    assert torch.equal(first.train.inputs, second.train.inputs)


def test_cifar_that_is_nowhere_says_what_to_do(monkeypatch):
    from torchvision import datasets

    def fail(*args, **kwargs):
        raise RuntimeError("no route to the archive")

    monkeypatch.setattr(datasets, "CIFAR100", fail)

    with pytest.raises(DataError, match=r"no route to the archive.*set SWEEP_DATA"):
        load("cifar100")
