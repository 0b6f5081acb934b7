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
    key, size, md5 = put(blobs, b"hello ", b"world")

    assert blobs.path(key).read_bytes() == b"hello world"
    assert size == 11
    assert md5 == b64encode(hashlib.md5(b"hello world").digest()).decode()


def test_equal_bytes_get_keys_of_their_own(blobs):
    assert put(blobs, b"x")[0] != put(blobs, b"x")[0]


def test_uncommitted_blob_leaves_nothing(blobs, tmp_path):
    with blobs.writer() as writer:
        writer.write(b"half")

    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_deleting_is_harmless_when_repeated(blobs):
    key, *_ = put(blobs, b"x")

    blobs.delete(key)
    blobs.delete(key)

    assert not blobs.path(key).exists()


def test_sweep_removes_what_nothing_refers_to_and_is_old_enough(blobs, tmp_path):
    live, dead = put(blobs, b"live")[0], put(blobs, b"dead")[0]
    (tmp_path / "blobs" / "tmp" / "leftover").write_bytes(b"x")

    assert blobs.sweep({live}, before=0.0) == 0
    assert blobs.sweep({live}, before=2**40) == 2
    assert blobs.path(live).exists()
    assert not blobs.path(dead).exists()
