"""What comes for a run after its end: folders synced again, and processes that live after all."""

import json

import pytest

from sweepd.engine import history, runs, watchdog
from sweepd.engine.services import Limits

DAY = 86_400.0


def moment(clock, seconds):
    """A `startedAt`, so many seconds from now."""
    from datetime import UTC, datetime

    return datetime.fromtimestamp(clock.now + seconds, UTC).isoformat()


@pytest.fixture
def sync(store, alice, stream, clock):
    """Does what `wandb sync` does with a folder whose process began `began` seconds from now."""

    def sync(*, began, rows, offset=0, ends=True, config=None, name="r1"):
        def upsert(**fields):
            change = runs.RunChange(name=name, project="toy", **fields)
            return store.write_sync(runs.upsert_run, actor=alice, change=change)[0]

        plain = {key: {"value": value} for key, value in (config or {}).items()}
        own = {"t": {"5": "0.31.0"}, "m": []}
        run = upsert(
            host="synced-here",
            program="-m wandb",
            config=json.dumps({**plain, "_wandb": {"value": own}}),
        )
        at = offset if offset is not None else run.history_lines
        stream(run, events=[{"_timestamp": rows[0]["_timestamp"], "system.cpu": 1}])
        process = {"startedAt": began, "host": "node7", "program": "train.py"}
        own = {**own, "e": {f"w{clock.now}": process}}
        run = upsert(config=json.dumps({**plain, "_wandb": {"value": own}}))
        end = {"complete": True, "exitcode": 0} if ends else {}
        stream(run, history=rows, offset=at, summary=rows[-1], console=["a line"], **end)
        return run

    return sync


@pytest.fixture
def crash(store, reread, clock):
    """Lets a run be silent for too long; returns it."""

    def crash(run):
        store.write_sync(watchdog.tick, limits=Limits())
        clock.advance(Limits().run_silence_s + 1)
        store.write_sync(watchdog.tick, limits=Limits(gap_s=1e9))
        run = reread(run)
        assert run.state == "crashed"
        return run

    return crash


@pytest.fixture
def crashed(upsert, crash):
    return crash(upsert("r1"))


def rows_of(first_at, n=4, step=0):
    return [
        {"_step": step + i, "_timestamp": first_at + 10 * i, "loss": 1 / (i + 1)} for i in range(n)
    ]


def steps(store, run):
    return [json.loads(row)["_step"] for row in store.read_sync(history.rows, run_id=run.id)]


def test_synced_run_has_the_times_of_its_rows(sync, reread, clock):
    logged = rows_of(clock.now - 90 * DAY + 5)

    run = reread(sync(began=moment(clock, -90 * DAY), rows=logged))

    assert run.state == "finished"
    assert run.created_at == run.started_at == clock.now - 90 * DAY
    assert run.ended_at == run.heartbeat_at == logged[-1]["_timestamp"]
    assert (run.host, run.program) == ("node7", "train.py")


@pytest.mark.parametrize("exactly", [True, False], ids=["same keys", "keys in another order"])
def test_folder_that_is_synced_twice_counts_once(sync, reread, store, clock, exactly):
    began, logged = moment(clock, -DAY), rows_of(clock.now - DAY)
    before = reread(sync(began=began, rows=logged))
    clock.advance(30 * DAY)
    again = logged if exactly else [dict(reversed(row.items())) for row in logged]

    states = [sync(began=began, rows=again, offset=None).state for _ in range(2)]

    run = reread(before)
    assert states == ["finished", "finished"]
    assert steps(store, run) == [0, 1, 2, 3]
    assert (run.history_lines, run.history_keys) == (4, before.history_keys)
    assert (run.ended_at, run.heartbeat_at) == (before.ended_at, before.heartbeat_at)


def test_rest_of_a_run_that_was_cut_short_comes_with_the_sync(
    upsert, stream, sync, reread, store, crash, clock
):
    began, logged = moment(clock, 0), rows_of(clock.now + 1)
    run = upsert("r1")
    stream(run, history=logged[:2])
    heard = clock.now
    crash(run)
    clock.advance(DAY)

    run = reread(sync(began=began, rows=logged, offset=2))

    assert run.state == "finished"
    assert run.ended_at == logged[-1]["_timestamp"] > heard
    assert steps(store, run) == [0, 1, 2, 3]


def test_sync_does_not_undo_what_a_person_changed(sync, reread, store, alice, clock):
    began, logged = moment(clock, -DAY), rows_of(clock.now - DAY)
    run = sync(began=began, rows=logged, config={"lr": 0.1})
    change = runs.RunChange(
        id=run.id, config=json.dumps({"lr": {"value": 9}}), summary=json.dumps({"judged": "good"})
    )
    store.write_sync(runs.upsert_run, actor=alice, change=change)

    run = reread(sync(began=began, rows=logged, offset=None, config={"lr": 0.1, "late": 1}))

    config = json.loads(run.config)
    assert (config["lr"], config["late"]) == ({"value": 9}, {"value": 1})
    assert json.loads(run.summary)["judged"] == "good"


def test_process_that_began_after_the_end_opens_the_run_again(
    sync, upsert, stream, store, alice, clock
):
    stream(upsert("r1"), complete=True, exitcode=0)
    clock.advance(100)
    process = {"e": {"w2": {"startedAt": moment(clock, -1)}}}
    config = json.dumps({"_wandb": {"value": process}})

    knocked = upsert("r1")
    opened = upsert("r1", host=None, config=config)

    assert (knocked.state, opened.state) == ("finished", "running")


def test_process_without_metadata_opens_its_run_with_its_first_rows(upsert, stream, reread, clock):
    stream(upsert("r1"), complete=True, exitcode=0)
    clock.advance(100)
    run = upsert("r1")

    stream(run, history=[{"_step": 0, "_timestamp": clock.now, "loss": 1}])

    assert (run.state, reread(run).state) == ("finished", "running")


def test_late_rows_alone_open_nothing(upsert, stream, reread, clock):
    run = upsert("r1")
    stream(run, complete=True, exitcode=0)
    clock.advance(100)

    stream(run, history=[{"_step": 0, "_timestamp": clock.now, "loss": 1}])

    assert reread(run).state == "finished"


def test_crashed_run_ended_when_it_was_last_heard_of(upsert, crash, clock):
    heard = clock.now

    assert crash(upsert("r1")).ended_at == heard


def test_crashed_run_that_is_heard_of_again_is_running(crashed, stream, reread):
    stream(crashed)

    run = reread(crashed)
    assert (run.state, run.ended_at) == ("running", None)


def test_crashed_run_does_not_come_back_by_what_it_logged_before(crashed, upsert, stream, reread):
    upsert("r1")

    stream(crashed, history=[{"_step": 0, "_timestamp": crashed.ended_at - 1, "loss": 1}])
    stream(crashed)

    assert reread(crashed).state == "crashed"
