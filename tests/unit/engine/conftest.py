import json
import shutil

import pytest

from sweepd.engine import accounts, runs, streams
from sweepd.engine.access import Need
from sweepd.store import Store


class Clock:
    """A clock that stands still until a test moves it."""

    def __init__(self):
        self.now = 1_800_000_000.0

    def __call__(self):
        return self.now

    def advance(self, seconds):
        self.now += seconds


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture(scope="session")
def empty_folder(tmp_path_factory):
    """A data folder with tables and nothing in them: to copy one is quicker than to migrate."""
    folder = tmp_path_factory.mktemp("engine") / "data"
    Store.open(folder).close()
    return folder


@pytest.fixture
def store(tmp_path, clock, empty_folder):
    shutil.copytree(empty_folder, tmp_path / "data")
    store = Store.open(tmp_path / "data", clock=clock)
    yield store
    store.close()


@pytest.fixture
def root(store):
    """The first user, an administrator."""
    account, _ = store.write_sync(accounts.ensure_first_user, name="root")
    return account


@pytest.fixture
def alice(store, root):
    account, _ = store.write_sync(accounts.add_user, name="alice")
    return account


@pytest.fixture
def bob(store, root):
    account, _ = store.write_sync(accounts.add_user, name="bob")
    return account


@pytest.fixture
def upsert(store, alice):
    """Upserts a run of alice's project `toy` as a live process does; returns the run."""

    def upsert(name="r1", *, actor=alice, **fields):
        fields = {"project": "toy", "host": "box", **fields}
        change = runs.RunChange(name=name, **fields)
        return store.write_sync(runs.upsert_run, actor=actor, change=change)[0]

    return upsert


@pytest.fixture
def stream(store, alice):
    """Sends a file_stream request for one of alice's runs; returns the reply."""

    def stream(run, *, history=None, events=None, console=None, summary=None, offset=0, **rest):
        lease = {name: rest.pop(name) for name in ("attempt", "token", "limits") if name in rest}
        named = {
            "wandb-history.jsonl": history,
            "wandb-events.jsonl": events,
            "output.log": console,
            "wandb-summary.json": [summary] if summary is not None else None,
        }
        files = {
            name: {
                "offset": offset if name != "wandb-summary.json" else 0,
                "content": [row if isinstance(row, str) else json.dumps(row) for row in rows],
            }
            for name, rows in named.items()
            if rows is not None
        }
        body = streams.parse_body(json.dumps({"files": files, **rest}))
        return store.write_sync(
            streams.append,
            actor=alice,
            entity=run.entity,
            project=run.project,
            run=run.name,
            body=body,
            **lease,
        )

    return stream


@pytest.fixture
def reread(store, alice):
    """Reads a run again."""

    def reread(run):
        return store.read_sync(runs.run_by_id, actor=alice, need=Need.READ, run_id=run.id)

    return reread
