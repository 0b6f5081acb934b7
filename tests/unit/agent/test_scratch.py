"""The temporary folder of a warm parent: made when it is needed, gone with what is in it."""

import tempfile

import pytest

from sweepd_agent.scratch import Scratch


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A temporary folder with a short path, as they are."""
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="t") as name:
        monkeypatch.setattr(tempfile, "tempdir", name)
        yield tmp_path.__class__(name)


def test_nothing_is_made_before_it_is_opened(place):
    assert Scratch().make(7) is None
    assert list(place.iterdir()) == []


def test_what_a_child_leaves_goes_with_it_and_the_rest_at_the_end(place):
    scratch = Scratch()
    scratch.open()
    first, second = scratch.make(7), scratch.make(8)
    (first / "socket").touch()

    scratch.drop(7)

    assert [path.name for path in first.parent.iterdir()] == ["8"]
    assert second.exists()
    scratch.close()
    assert list(place.iterdir()) == []


def test_folder_whose_sockets_would_have_too_long_a_name_is_not_used(place, monkeypatch):
    deep = place / ("d" * 40)
    deep.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    scratch = Scratch()
    scratch.open()

    assert scratch.make(7) is None
    scratch.close()
    assert list(deep.iterdir()) == []
