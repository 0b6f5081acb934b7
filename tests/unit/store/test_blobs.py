import hashlib
from base64 import b64encode

import pytest

from sweepd.store import Blobs


@pytest.fixture
def blobs(tmp_path):
    return Blobs(tmp_path / "blobs")


def put(blobs, *parts):
    with blobs.writer() as writer:
        for part in parts:
            writer.write(part)
        return writer.commit()


def test_committed_blob_is_there_with_its_size_and_md5(blobs):
    written = put(blobs, b"hello ", b"world")

    assert blobs.path(written.key).read_bytes() == b"hello world"
    assert written.size == 11
    assert written.md5 == b64encode(hashlib.md5(b"hello world").digest()).decode()
    assert written.sha256 == hashlib.sha256(b"hello world").hexdigest()


def test_equal_bytes_get_keys_of_their_own(blobs):
    assert put(blobs, b"x").key != put(blobs, b"x").key


def test_uncommitted_blob_leaves_nothing(blobs, tmp_path):
    with blobs.writer() as writer:
        writer.write(b"half")

    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_deleting_is_harmless_when_repeated(blobs):
    key = put(blobs, b"x").key

    blobs.delete(key)
    blobs.delete(key)

    assert not blobs.path(key).exists()


def test_open_blob_stays_readable_when_it_is_deleted(blobs):
    key = put(blobs, b"x").key

    with blobs.open(key) as file:
        blobs.delete(key)
        assert file.read() == b"x"
    assert blobs.open(key) is None


def test_second_copy_is_dropped(blobs):
    kept, second = put(blobs, b"x"), put(blobs, b"x")

    blobs.settle(kept, kept.key)
    blobs.settle(second, kept.key)

    assert blobs.path(kept.key).read_bytes() == b"x"
    assert not blobs.path(second.key).exists()


@pytest.mark.parametrize("rest", [None, b"xy"], ids=["missing", "cut short"])
def test_second_copy_heals_the_first(blobs, rest):
    kept, second = put(blobs, b"xyz"), put(blobs, b"xyz")
    blobs.delete(kept.key)
    if rest is not None:
        blobs.path(kept.key).write_bytes(rest)

    blobs.settle(second, kept.key)

    assert blobs.path(kept.key).read_bytes() == b"xyz"
    assert not blobs.path(second.key).exists()


def test_half_written_blobs_can_be_dropped(blobs, tmp_path):
    leftover = tmp_path / "blobs" / "tmp" / "leftover"
    leftover.write_bytes(b"x")

    blobs.drop_unfinished()

    assert not leftover.exists()


def test_sweep_removes_what_nothing_refers_to_and_is_old_enough(blobs):
    live, dead = put(blobs, b"live").key, put(blobs, b"dead").key

    assert blobs.sweep({live}.intersection, before=0.0) == 0
    assert blobs.sweep({live}.intersection, before=2**40) == 1
    assert blobs.path(live).exists()
    assert not blobs.path(dead).exists()
