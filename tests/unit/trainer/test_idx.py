"""Reading data set files, sound and damaged."""

import gzip
import socket
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from idx_files import idx_bytes, write_idx_folder

from sweepd.errors import DataError
from sweepd_trainer import idx


@pytest.mark.parametrize("packed", [True, False], ids=["packed", "unpacked"])
def test_folder_is_read_packed_or_not(tmp_path, monkeypatch, packed):
    write_idx_folder(tmp_path, "MNIST", packed=packed)
    monkeypatch.setenv("SWEEP_DATA", str(tmp_path))

    parts = idx.read_folder("mnist", "MNIST", n_classes=10)

    assert parts.train[0].shape == (60, 28, 28)
    assert parts.test[1].tolist() == [n % 10 for n in range(20)]


def test_nothing_is_written_beside_the_data(tmp_path, monkeypatch):
    raw = write_idx_folder(tmp_path / "data", "MNIST", packed=True)
    monkeypatch.setenv("SWEEP_DATA", str(tmp_path / "data"))
    for path in (raw, raw.parent, raw.parent.parent):
        path.chmod(0o555)
    before = sorted(str(path) for path in tmp_path.rglob("*"))

    idx.read_folder("mnist", "MNIST", n_classes=10)

    assert sorted(str(path) for path in tmp_path.rglob("*")) == before
    for path in (raw.parent.parent, raw.parent, raw):
        path.chmod(0o755)


def test_downloads_of_before_are_found_in_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    write_idx_folder(tmp_path / "sweepd" / "data", "FashionMNIST", packed=False)

    parts = idx.read_folder("fashion_mnist", "FashionMNIST", n_classes=10)

    assert len(parts.train[0]) == 60


def test_a_missing_file_is_named(tmp_path, monkeypatch):
    raw = write_idx_folder(tmp_path, "MNIST", packed=True)
    (raw / "t10k-labels-idx1-ubyte.gz").unlink()
    monkeypatch.setenv("SWEEP_DATA", str(tmp_path))

    with pytest.raises(DataError, match=r"lacks t10k-labels-idx1-ubyte \(or the same with \.gz\)"):
        idx.read_folder("mnist", "MNIST", n_classes=10)


def test_no_network_says_what_to_set_and_names_the_embedded_set(monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError("network is unreachable")

    monkeypatch.setattr(socket, "create_connection", refuse)

    with pytest.raises(DataError) as caught:
        idx.read_folder("mnist", "MNIST", n_classes=10)

    assert "SWEEP_DATA" in str(caught.value)
    assert "dataset: digits" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not list(idx.cache_folder().rglob("*"))


def _cut_short(path):
    path.write_bytes(path.read_bytes()[:-40])


def _flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [_cut_short, _flip, lambda path: path.write_bytes(b"")])
def test_a_damaged_packed_file_is_refused_in_words(tmp_path, monkeypatch, damage):
    raw = write_idx_folder(tmp_path, "MNIST", packed=True)
    damage(raw / "train-images-idx3-ubyte.gz")
    monkeypatch.setenv("SWEEP_DATA", str(tmp_path))

    with pytest.raises(DataError, match="train-images-idx3-ubyte"):
        idx.read_folder("mnist", "MNIST", n_classes=10)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        pytest.param(b"hello world, not idx", "not an idx file", id="text"),
        pytest.param(b"", "not an idx file", id="empty"),
        pytest.param(b"\x00\x00\x08\x03\x00", "not an idx file", id="half a header"),
        pytest.param(b"\x00\x00\x0d\x01\x00\x00\x00\x00", "not an idx file", id="floats"),
        pytest.param(idx_bytes(np.zeros((3, 4)))[:-1], "its header says", id="cut short"),
    ],
)
def test_what_is_not_idx_is_refused(tmp_path, content, said):
    path = tmp_path / "file"
    path.write_bytes(content)

    with pytest.raises(DataError, match=said):
        idx.read_idx(path)


def test_a_full_size_file_must_have_the_published_md5(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(idx_bytes(np.zeros(5)))

    assert len(idx.read_idx(path, md5="0" * 32, official_size=6)) == 5
    with pytest.raises(DataError, match="its MD5 is"):
        idx.read_idx(path, md5="0" * 32, official_size=5)


def test_labels_must_fit_images_and_classes(tmp_path, monkeypatch):
    raw = write_idx_folder(tmp_path, "MNIST", packed=False)
    monkeypatch.setenv("SWEEP_DATA", str(tmp_path))

    (raw / "train-labels-idx1-ubyte").write_bytes(idx_bytes(np.zeros(59)))
    with pytest.raises(DataError, match="60 train images, but 59 labels"):
        idx.read_folder("mnist", "MNIST", n_classes=10)

    (raw / "train-labels-idx1-ubyte").write_bytes(idx_bytes(np.full(60, 10)))
    with pytest.raises(DataError, match="labels reach 10"):
        idx.read_folder("mnist", "MNIST", n_classes=10)

    (raw / "train-images-idx3-ubyte").write_bytes(idx_bytes(np.zeros((60, 8, 8))))
    with pytest.raises(DataError, match=r"items of the shape \(8, 8\)"):
        idx.read_folder("mnist", "MNIST", n_classes=10)


def test_digits_equal_what_scikit_learn_loads():
    from sklearn.datasets import load_digits

    table = idx.read_digits()

    published = load_digits()
    assert np.array_equal(table[:, :-1], published.data)
    assert np.array_equal(table[:, -1], published.target)


def test_torchvision_reads_what_we_call_its_layout(tmp_path):
    from torchvision.datasets import MNIST

    write_idx_folder(tmp_path, "MNIST", packed=False)

    assert len(MNIST(str(tmp_path), train=True)) == 60


def test_gzip_and_plain_bytes_agree(tmp_path):
    content = idx_bytes(np.arange(12).reshape(3, 4))
    (tmp_path / "a").write_bytes(content)
    (tmp_path / "a.gz").write_bytes(gzip.compress(content))

    assert np.array_equal(idx.read_idx(tmp_path / "a"), idx.read_idx(tmp_path / "a.gz"))


def test_a_download_is_kept_and_not_repeated(monkeypatch):
    from torchvision import datasets

    downloads = []

    def download(root, download):
        downloads.append(root)
        write_idx_folder(Path(root), "MNIST", packed=False)

    monkeypatch.setattr(datasets, "MNIST", download)

    first = idx.read_folder("mnist", "MNIST", n_classes=10)
    second = idx.read_folder("mnist", "MNIST", n_classes=10)

    assert len(downloads) == 1
    assert np.array_equal(first.train[0], second.train[0])
    assert [path.name for path in idx.cache_folder().iterdir()] == ["MNIST"]


def test_a_download_that_fails_says_why_on_one_line(monkeypatch):
    from torchvision import datasets

    def download(root, download):
        raise RuntimeError("Error downloading x.gz:\nTried http://a.test/, got: no route")

    monkeypatch.setattr(datasets, "MNIST", download)

    with pytest.raises(
        DataError, match=r"\(Error downloading x.gz: Tried .*, got: no route\); set"
    ):
        idx.read_folder("mnist", "MNIST", n_classes=10)


def test_digits_without_scikit_learn_say_what_to_install(monkeypatch):
    monkeypatch.setattr(idx, "find_spec", lambda name: None)

    with pytest.raises(DataError, match="pip install"):
        idx.read_digits()


def test_a_damaged_digits_file_is_named(monkeypatch, tmp_path):
    folder = tmp_path / "datasets" / "data"
    folder.mkdir(parents=True)
    (folder / "digits.csv.gz").write_bytes(b"not gzip")
    monkeypatch.setattr(
        idx, "find_spec", lambda name: SimpleNamespace(origin=str(tmp_path / "__init__.py"))
    )

    with pytest.raises(DataError, match=r"digits\.csv\.gz cannot be read"):
        idx.read_digits()
    (folder / "digits.csv.gz").write_bytes(gzip.compress(b"1,2,3\n4,5,6\n"))
    with pytest.raises(DataError, match=r"shape \(2, 3\)"):
        idx.read_digits()
