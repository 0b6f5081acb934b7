"""Which versions and drafts go by themselves, and when."""

import hashlib
import itertools
import json
from base64 import b64encode

import pytest
from sqlalchemy import func, select

from sweepd.engine.artifacts import changes, commit, drafts, find, removal, uploads
from sweepd.engine.artifacts.manifests import Kind
from sweepd.engine.artifacts.views import DraftFile
from sweepd.store import artifact_tables as a
from sweepd.store import tables as t

DAY = 24 * 3600.0


class Logging:
    """Logs artifacts of alice's project `toy` that hold one file each."""

    def __init__(self, store, alice):
        self.store, self.alice, self._numbers = store, alice, itertools.count()

    def draft(self, name="data", *, ttl_s=None, text="x"):
        """Make a draft whose only file is here; return it."""
        wanted = drafts.Draft(
            entity=None, project="toy", type="dataset", collection=name, digest=text, ttl_s=ttl_s
        )
        made = self.store.write_sync(drafts.create, actor=self.alice, draft=wanted)
        file = DraftFile(made.id, "a.txt", _md5(text.encode()))
        (upload,), _ = self.store.write_sync(uploads.announce, actor=self.alice, files=[file])
        if not upload.is_here:
            received = [uploads.Received(upload.id, self._written(text.encode()))]
            self.store.write_sync(uploads.receive, received)
        return made

    def log(self, name="data", *, ttl_s=None):
        """Commit a version of contents that no other has; return it."""
        text = f"text {next(self._numbers)}"
        draft = self.draft(name, ttl_s=ttl_s, text=text)
        contents = {"a.txt": {"digest": _md5(text.encode()), "size": len(text)}}
        manifest = self._written(json.dumps({"version": 1, "contents": contents}).encode())
        view = self.store.write_sync(
            drafts.add_manifest, actor=self.alice, artifact_id=draft.id, kind=Kind.FULL,
            digest=manifest.md5, base_id=None,
        )  # fmt: skip
        self.store.write_sync(drafts.receive_manifest, manifest_id=view.id, written=manifest)
        plan = self.store.read_sync(commit.plan, actor=self.alice, artifact_id=draft.id)
        prepared = commit.prepare(self.store.blobs, plan)
        return self.store.write_sync(commit.commit, actor=self.alice, prepared=prepared).artifact

    def _written(self, data):
        with self.store.blobs.writer() as writer:
            writer.write(data)
            return writer.commit()

    def is_there(self, artifact):
        found = self.store.read_sync(
            find.artifact_or_none, actor=self.alice, artifact_id=artifact.id
        )
        return found is not None

    def alias(self, name, alias):
        """Return the version that an alias leads to, None if there is none."""
        place = self.store.read_sync(lambda tx: tx.conn.scalar(select(t.project.c.id)))
        found = self.store.read_sync(
            find.member_by_name, actor=self.alice, project_id=place, name=f"{name}:{alias}"
        )
        return found.version_index if found is not None else None

    def count(self, table):
        return self.store.read_sync(
            lambda tx: tx.conn.scalar(select(func.count()).select_from(table))
        )


def _md5(data):
    return b64encode(hashlib.md5(data).digest()).decode()


@pytest.fixture
def logging(store, alice):
    return Logging(store, alice)


def test_a_version_goes_once_its_time_is_over_and_not_before(store, clock, logging):
    short, ever = logging.log(ttl_s=round(2 * DAY)), logging.log()
    clock.advance(2 * DAY)
    early = store.write_sync(removal.expire)
    was_there = logging.is_there(short)

    clock.advance(1)
    freed = store.write_sync(removal.expire)

    assert (early, was_there) == ([], True)
    assert not logging.is_there(short)
    assert logging.is_there(ever)
    assert len(freed) == 2  # the file and the manifest
    assert logging.count(t.blob) == 2


def test_latest_leads_to_the_newest_version_that_is_left(store, clock, logging):
    logging.log()
    logging.log(ttl_s=60)
    clock.advance(61)

    store.write_sync(removal.expire)

    assert logging.alias("data", "latest") == 0
    assert logging.log().version_index == 2


def test_a_version_that_is_linked_stays_as_long_as_it_is(store, clock, logging, alice):
    version = logging.log(ttl_s=60)
    member = store.write_sync(
        changes.link, actor=alice, artifact_id=version.id, entity=None, project="toy",
        portfolio="shelf", wanted=[],
    )  # fmt: skip
    clock.advance(DAY)
    store.write_sync(removal.expire)
    while_linked = logging.is_there(version)

    place = member.collection.id
    store.write_sync(removal.unlink, actor=alice, artifact_id=version.id, collection_id=place)
    store.write_sync(removal.expire)

    assert while_linked
    assert not logging.is_there(version)


@pytest.mark.parametrize(
    ("seconds", "stays"),
    [
        pytest.param(-2, True, id="for ever"),
        pytest.param(-1, True, id="inherited"),
        pytest.param(60, False, id="a minute"),
        pytest.param(round(3 * DAY), True, id="longer"),
    ],
)
def test_a_lifetime_that_is_set_later_counts_from_the_beginning(
    store, clock, logging, alice, seconds, stays
):
    version = logging.log(ttl_s=round(DAY / 2))
    clock.advance(DAY / 4)
    store.write_sync(
        changes.update_artifact, actor=alice, artifact_id=version.id,
        change=changes.Change(ttl_s=seconds),
    )  # fmt: skip
    clock.advance(DAY)

    store.write_sync(removal.expire)

    assert logging.is_there(version) == stays


def test_a_draft_that_nobody_works_on_is_thrown_away_with_its_bytes(store, clock, logging):
    draft = logging.draft()
    clock.advance(7 * DAY)
    store.write_sync(removal.expire)
    was_there = logging.is_there(draft)

    clock.advance(1)
    freed = store.write_sync(removal.expire)

    assert was_there
    assert not logging.is_there(draft)
    assert len(freed) == 1
    assert [logging.count(table) for table in (t.blob, a.artifact_upload, a.artifact)] == [0, 0, 0]


def test_what_was_sent_for_a_broken_draft_need_not_be_sent_again(logging, store, alice):
    logging.draft("first", text="same")

    again = logging.draft("second", text="same")
    file = DraftFile(again.id, "b.txt", _md5(b"same"))
    (upload,), _ = store.write_sync(uploads.announce, actor=alice, files=[file])

    assert upload.is_here
    assert logging.count(t.blob) == 1
