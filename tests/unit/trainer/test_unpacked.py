"""Large arrays are unpacked once on a machine."""

import os

import numpy as np
import pytest

from sweepd_trainer.unpacked import unpacked

ITEMS = np.arange(1 << 20, dtype=np.uint8).reshape(1024, 1024)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "images.gz"
    path.write_bytes(b"packed")
    return path


@pytest.fixture
def get(file, tmp_path):
    """Asks for the file's array, unpacked by a function that notes that it was called."""
    calls = []

    def get(items=ITEMS, folder=tmp_path / "kept"):
        calls.clear()
        found = unpacked(file, lambda: calls.append(1) or items, folder=folder)
        return found, len(calls)

    return get


def test_a_large_file_is_unpacked_by_the_first_who_asks(get):
    first, n_first = get()
    second, n_second = get()

    assert (n_first, n_second) == (1, 0)
    assert np.array_equal(first, ITEMS)
    assert np.array_equal(second, ITEMS)


def test_a_file_that_was_changed_is_unpacked_anew_and_kept_once(get, file, tmp_path):
    get()
    file.write_bytes(b"packed otherwise")

    found, n = get(items=ITEMS[::-1])

    assert (n, found[0, 0]) == (1, ITEMS[-1, 0])
    assert len(list((tmp_path / "kept").iterdir())) == 1


def test_a_small_file_is_not_kept(get, tmp_path):
    assert [get(items=ITEMS[:10])[1] for _ in range(2)] == [1, 1]
    assert not (tmp_path / "kept").exists()


@pytest.mark.parametrize("damage", [b"", b"\x93NUMPY\x01\x00 no header", None])
def test_a_kept_file_that_is_damaged_is_made_anew(get, tmp_path, damage):
    get()
    (kept,) = (tmp_path / "kept").iterdir()
    whole = kept.read_bytes()
    kept.write_bytes(whole[:-1000] if damage is None else damage)

    found, n = get()

    assert n == 1
    assert np.array_equal(found, ITEMS)
    assert kept.read_bytes() == whole


def test_where_nothing_can_be_kept_it_is_read_by_everybody(get, tmp_path):
    (tmp_path / "file").touch()

    assert [get(folder=tmp_path / "file" / "kept")[1] for _ in range(2)] == [1, 1]


def test_what_fails_to_be_read_is_raised_and_keeps_nothing(file, tmp_path):
    def read():
        raise ValueError("damaged")

    with pytest.raises(ValueError, match="damaged"):
        unpacked(file, read, folder=tmp_path / "kept")

    assert os.listdir(tmp_path) == ["images.gz"]
