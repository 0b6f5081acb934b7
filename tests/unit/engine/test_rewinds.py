"""Runs that go back to an earlier step, and runs that begin where another one was."""

import json

import pytest
from sqlalchemy import func, select

from sweepd.engine import history, rewinds
from sweepd.errors import Forbidden, InvalidInput, NotFound
from sweepd.store import tables as t


def logged(*losses, step=0, at=1_800_000_000.0):
    return [
        {"_step": step + i, "_timestamp": at + step + i, "_runtime": step + i, "loss": loss}
        for i, loss in enumerate(losses)
    ]


@pytest.fixture
def rewind(store, alice):
    def rewind(run, value, *, actor=alice, metric="_step"):
        return store.write_sync(
            rewinds.rewind,
            actor=actor,
            entity="alice",
            project=run.project,
            name=run.name,
            metric=metric,
            value=value,
        )

    return rewind


@pytest.fixture
def losses(store):
    def losses(run):
        rows = map(json.loads, store.read_sync(history.rows, run_id=run.id))
        return [(row["_step"], row["loss"]) for row in rows]

    return losses


@pytest.fixture
def run(upsert, stream):
    """A finished run of five rows whose summary keeps the lowest loss."""
    run = upsert("r1")
    stream(
        run,
        history=logged(5, 1, 4, 3, 2),
        console=["one", "two"],
        events=[{"_timestamp": 1_800_000_000.0 + second, "cpu": second} for second in range(5)],
        summary={"loss": {"min": 1, "max": 5}, "_step": 4},
        complete=True,
        exitcode=0,
    )
    return run


def n_lines(store, run):
    count = select(func.count()).where(t.stream_line.c.run_id == run.id)
    return store.read_sync(lambda tx: tx.conn.scalar(count))


def test_rows_after_the_step_vanish_for_readers_and_are_kept(run, rewind, losses, store):
    before = n_lines(store, run)

    rewound = rewind(run, 2.0)

    assert losses(run) == [(0, 5), (1, 1), (2, 4)]
    assert (rewound.history_lines, rewound.last_step, rewound.log_lines) == (3, 2, 0)
    keys = json.loads(rewound.history_keys)["keys"]
    assert keys["loss"]["typeCounts"] == [{"type": "number", "count": 3}]
    summary = json.loads(rewound.summary)
    assert (summary["loss"], summary["_step"]) == ({"min": 1, "max": 5}, 2)
    assert n_lines(store, run) == before


def test_process_goes_on_from_the_step_as_often_as_it_likes(
    run, rewind, stream, losses, store, reread, upsert
):
    for turn in range(3):
        rewound = rewind(run, 1)
        upsert("r1", id=rewound.id)
        at = rewound.history_lines
        stream(run, history=logged(10 + turn, 20 + turn, step=2), offset=at)
        stream(run, events=[{"_timestamp": 1_900_000_000.0 + turn, "cpu": 99 + turn}])

    assert losses(run) == [(0, 5), (1, 1), (2, 12), (3, 22)]
    events = [json.loads(row)["cpu"] for row in store.read_sync(history.events, run_id=run.id)]
    assert events == [0, 1, 101]
    assert reread(run).state == "running"
    assert n_lines(store, run) == 5 + 2 + 5 + 3 * 3


def test_rewinding_before_the_first_row_leaves_an_empty_run(upsert, stream, rewind, losses):
    run = upsert("r1")
    stream(run, history=logged(1, 2, step=5))

    rewound = rewind(run, 3)

    assert losses(run) == []
    assert (rewound.history_lines, rewound.history_keys, rewound.last_step) == (0, None, None)


@pytest.mark.parametrize(
    ("metric", "value", "words"),
    [
        ("loss", 1.0, "by `_step` only"),
        ("_step", -1.0, "a whole number from 0"),
        ("_step", float("nan"), "a whole number from 0"),
        ("_step", 1e300, "a whole number from 0"),
    ],
)
def test_what_is_no_step_is_refused(run, rewind, metric, value, words):
    with pytest.raises(InvalidInput, match=words):
        rewind(run, value, metric=metric)


def test_only_who_may_change_a_run_rewinds_it(run, rewind, bob, losses):
    with pytest.raises((Forbidden, NotFound)):
        rewind(run, 1, actor=bob)
    assert len(losses(run)) == 5


def branch(run, step):
    point = {"run_id": run, "step": step}
    return json.dumps({"_wandb": {"value": {"branch_point": point}}})


def test_fork_begins_with_its_parents_rows_up_to_the_step(run, upsert, stream, losses, reread):
    child = upsert("child", config=branch("r1", 2))
    begun = reread(child)

    stream(child, history=logged(7, 8, step=3))

    assert (begun.history_lines, begun.last_step) == (0, 2)
    assert losses(child) == [(0, 5), (1, 1), (2, 4), (3, 7), (4, 8)]
    assert len(losses(run)) == 5
    assert reread(child).history_lines == 2


def test_fork_of_a_fork_has_all_that_came_before(run, upsert, stream, losses):
    child = upsert("child", config=branch("r1", 1))
    stream(child, history=logged(7, 8, step=2))

    grandchild = upsert("grandchild", config=branch("child", 2))

    assert losses(grandchild) == [(0, 5), (1, 1), (2, 7)]


def test_fork_of_a_run_that_is_not_there_is_refused(upsert):
    with pytest.raises(NotFound, match="no run nosuch in this project to fork from"):
        upsert("child", config=branch("nosuch", 1))


def test_config_that_names_the_run_itself_forks_nothing(run, upsert, losses):
    assert upsert("other", config=branch("other", 1)).history_lines == 0
