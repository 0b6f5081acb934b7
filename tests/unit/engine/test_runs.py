import json
import re

import pytest
from sqlalchemy import func, select

from sweepd.engine import files, leftovers, paging, runs, watchdog
from sweepd.engine.access import Need
from sweepd.engine.services import Limits
from sweepd.errors import Conflict, IllegalMove, InvalidInput, NotFound, ProtocolError
from sweepd.states import RunState
from sweepd.store import Written
from sweepd.store import tables as t

STARTED = {"cli_version": "0.31.0", "e": {"w1": {"startedAt": "2027-01-15T07:00:00.5Z"}}}


@pytest.fixture
def change(store, alice):
    """Upserts with exactly these fields; returns the run and whether it is new."""

    def change(*, actor=alice, **fields):
        return store.write_sync(runs.upsert_run, actor=actor, change=runs.RunChange(**fields))

    return change


@pytest.fixture
def sweep(store, alice, upsert):
    """A sweep row of alice's project `toy`: its storage id."""
    project_id = upsert("plain").project_id
    return store.write_sync(
        lambda tx: tx.insert(
            t.sweep,
            project_id=project_id,
            name="sw1",
            state="RUNNING",
            display_name="lr hunt",
            definition="",
            method="grid",
            seed=1,
            created_at=tx.now,
            updated_at=tx.now,
        )
    )


def kinds(store, run):
    """Return what has happened to a run."""
    query = select(t.event.c.kind).where(t.event.c.run_id == run.id).order_by(t.event.c.id)
    return store.read_sync(lambda tx: list(tx.conn.scalars(query)))


def test_first_upsert_of_a_process_makes_a_running_run(change, clock):
    run, is_new = change(
        name="r1",
        project="toy",
        host="box",
        group="g",
        job_type="train",
        program="train.py",
        repo="git@x",
        commit="abc",
        notes="n",
        tags=("t1", "t2", "t1"),
        config='{"lr": {"value": 0.1}}',
    )

    assert is_new
    assert (run.entity, run.project, run.name, run.state) == ("alice", "toy", "r1", "running")
    assert (run.group, run.job_type, run.program, run.repo) == ("g", "train", "train.py", "git@x")
    assert (run.commit, run.notes, run.user_name) == ("abc", "n", "alice")
    assert json.loads(run.tags) == ["t1", "t2"]
    assert json.loads(run.config) == {"lr": {"value": 0.1}}
    assert run.created_at == run.started_at == run.heartbeat_at == clock.now


def test_repeated_upsert_changes_nothing(change):
    first, _ = change(name="r1", project="toy", host="box", config='{"a": {"value": 1}}')

    again, is_new = change(name="r1", project="toy", host="box", config='{"a": {"value": 1}}')

    assert again == first
    assert not is_new


def test_what_an_upsert_leaves_out_stays(change):
    full, _ = change(
        name="r1",
        project="toy",
        host="box",
        display_name="mine",
        notes="n",
        group="g",
        tags=("t",),
        config='{"a": {"value": 1}}',
        summary='{"loss": 1}',
    )

    after, _ = change(name="r1", project="toy")

    assert after == full


def test_config_is_replaced_whole(change):
    change(name="r1", project="toy", host="box", config='{"a": {"value": 1}}')

    run, _ = change(name="r1", project="toy", config='{"b": {"value": 2}}')

    assert json.loads(run.config) == {"b": {"value": 2}}


def test_nan_in_config_and_summary_is_kept_as_strict_json(change):
    run, _ = change(
        name="r1", project="t", config='{"a": {"value": NaN}}', summary='{"l": -Infinity}'
    )

    assert json.loads(run.config)["a"]["value"] == "NaN"
    assert json.loads(run.summary) == {"l": "-Infinity"}


def test_empty_tags_of_a_process_keep_tags_and_those_of_the_public_api_clear_them(change):
    run, _ = change(name="r1", project="toy", host="box", tags=("t1",))

    kept, _ = change(name="r1", project="toy", host="box", tags=())
    cleared, _ = change(id=run.id, tags=(), config="{}")

    assert json.loads(kept.tags) == ["t1"]
    assert json.loads(cleared.tags) == []


def test_update_by_the_public_api_does_not_start_a_pending_run(change):
    run, _ = change(name="r1", project="toy", state="pending")

    run, is_new = change(id=run.id, notes="n", config=json.dumps({"_wandb": {"value": {"t": {}}}}))

    assert (run.state, run.started_at, run.notes, is_new) == ("pending", None, "n", False)


def test_run_without_a_name_gets_one(change):
    run, _ = change(project="toy", host="box")

    assert re.fullmatch(r"[a-z][a-z0-9]{7}", run.name)


def test_plain_runs_get_names_that_people_can_tell_apart(change):
    names = [change(project="toy", host="box")[0].display_name for _ in range(3)]

    assert [re.fullmatch(r"[a-z]+-[a-z]+-(\d)", name)[1] for name in names] == ["1", "2", "3"]


@pytest.mark.parametrize("name", ["a/b", "a:b", "x" * 129, " a", "a\x00b", "\ud800"])
def test_run_id_that_cannot_be_one_is_refused(change, name):
    with pytest.raises(InvalidInput, match="run id"):
        change(name=name, project="toy", host="box")


def test_run_of_the_public_api_begins_pending_and_starts_with_its_process(change):
    made, _ = change(name="r1", project="toy", state="pending")

    started, is_new = change(name="r1", project="toy", config=json.dumps({"_wandb": {"value": {}}}))

    assert (made.state, made.started_at, made.heartbeat_at) == ("pending", None, None)
    assert (started.state, is_new) == ("running", False)


def test_run_cannot_begin_at_its_end(change):
    with pytest.raises(ProtocolError, match="begins pending or running, not 'finished'"):
        change(name="r1", project="toy", state="finished")


@pytest.mark.parametrize("text", ["[1]", "{", "null", '"a"', "[" * 100_000])
def test_config_that_is_no_object_is_refused(change, text):
    with pytest.raises(ProtocolError, match="config: "):
        change(name="r1", project="toy", host="box", config=text)


def test_offline_run_is_as_old_as_its_process_says(change, clock):
    clock.now = 1_800_000_000.0 + 86_400
    run, _ = change(name="r1", project="toy", host="box", config='{"_wandb": {"value": {}}}')

    run, _ = change(name="r1", project="toy", config=json.dumps({"_wandb": {"value": STARTED}}))

    assert run.created_at == 1_799_996_400.5
    assert run.started_at == clock.now


@pytest.mark.parametrize(
    "started", ["soon", None, 7, "1970-01-01T00:00:00Z", "9999-12-31T23:59:59Z"]
)
def test_start_that_cannot_be_is_passed_over(change, clock, started):
    environment = {"_wandb": {"value": {"e": {"w1": {"startedAt": started}}}}}

    run, _ = change(name="r1", project="toy", host="box", config=json.dumps(environment))

    assert run.created_at == clock.now


@pytest.mark.parametrize("exit_code", [0, 3])
def test_resume_opens_an_ended_run_again(change, upsert, stream, reread, store, exit_code):
    run = upsert("r1")
    stream(run, history=[{"_step": 0, "loss": 1}], complete=True, exitcode=exit_code)
    assert reread(run).exit_code == exit_code

    opened, is_new = change(id=run.id, name="r1", project="toy", host="box")

    assert (opened.state, opened.exit_code, opened.ended_at) == ("running", None, None)
    assert (opened.history_lines, opened.last_step, is_new) == (1, 0, False)
    assert kinds(store, run) == ["run.created", "run.state", "run.state"]


def test_resume_forgets_that_the_run_was_stopped(store, alice, upsert, stream, reread):
    run = upsert("r1")
    store.write_sync(runs.request_stop, actor=alice, run_id=run.id)
    stream(run, complete=True, exitcode=1)
    assert reread(run).state == "killed"

    assert upsert("r1", id=run.id).stop_requested is None


def test_config_update_does_not_open_an_ended_run(change, upsert, stream):
    stream(upsert("r1"), complete=True, exitcode=0)

    run, _ = change(name="r1", project="toy", config=json.dumps({"_wandb": {"value": {}}}))

    assert (run.state, run.exit_code) == ("finished", 0)


def test_unknown_storage_id_is_not_found(change):
    with pytest.raises(NotFound, match="no run with id 77"):
        change(id=77, notes="n")


def test_run_of_another_user_is_not_found(change, upsert, bob, store, reread):
    run = upsert("r1")

    with pytest.raises(NotFound, match="no run with id"):
        change(actor=bob, id=run.id, notes="mine now")
    with pytest.raises(NotFound, match="no entity 'alice'"):
        change(actor=bob, entity="alice", project="toy", name="r1", host="box")
    with pytest.raises(NotFound, match="no run with id"):
        store.read_sync(runs.run_by_id, actor=bob, need=Need.READ, run_id=run.id)
    assert store.write_sync(runs.delete_run, actor=bob, run_id=run.id) == []
    assert reread(run) == run


def test_run_that_names_a_sweep_by_hand_joins_it(change, sweep):
    run, _ = change(name="r1", project="elsewhere", host="box", sweep="sw1")
    _, is_new = change(name="r1", project="elsewhere", host="box", sweep="sw1")

    assert (run.sweep_id, run.sweep, run.project) == (sweep, "sw1", "toy")
    assert (run.display_name, run.state, run.trial) == ("lr hunt-run-1", "running", None)
    assert not is_new


def test_run_that_names_a_sweep_that_is_gone_is_refused(change):
    with pytest.raises(NotFound, match="no sweep 'zzz'"):
        change(name="r1", project="toy", host="box", sweep="zzz")


def test_run_stays_in_its_sweep(change, sweep, store):
    change(name="r1", host="box", sweep="sw1")
    copy = select(*[c for c in t.sweep.c if c.name not in ("id", "name")])

    def other(tx):
        row = tx.conn.execute(copy.where(t.sweep.c.id == sweep)).mappings().one()
        tx.insert(t.sweep, **{**row, "name": "sw2"})

    store.write_sync(other)

    with pytest.raises(ProtocolError, match="belongs to sweep sw1, not sw2"):
        change(name="r1", host="box", sweep="sw2")


def test_run_of_another_project_cannot_join_a_sweep(change, sweep):
    run, _ = change(name="r9", project="elsewhere", host="box")

    with pytest.raises(ProtocolError, match="another project than sweep sw1"):
        change(id=run.id, sweep="sw1")


@pytest.mark.parametrize("key", [10**30, "\ud800", [1], {}])
def test_cursor_that_no_row_can_have_is_refused(store, alice, upsert, key):
    project_id = upsert("plain").project_id

    with pytest.raises(ProtocolError, match="cursor"):
        store.read_sync(
            runs.query_runs,
            actor=alice,
            need=Need.READ,
            project_id=project_id,
            after=paging.encode([key, 1]),
        )


def hand_out(tx, sweep_id, project_id, *, attempt=1):
    """Make a pending run with a trial, as an agent is given one; return the run's id."""
    run_id = tx.insert(
        t.run,
        project_id=project_id,
        name="t1",
        sweep_id=sweep_id,
        state=RunState.PENDING,
        display_name="trial-1",
        config='{"lr":{"value":0.5},"bs":{"value":8}}',
        created_at=tx.now,
    )
    trial_id = tx.insert(
        t.trial,
        sweep_id=sweep_id,
        number=1,
        run_id=run_id,
        config="{}",
        config_key="{}",
        origin="search",
        state="leased",
        attempt=attempt,
        created_at=tx.now,
    )
    tx.conn.execute(
        t.attempt.insert(),
        {
            "trial_id": trial_id,
            "number": attempt,
            "token": "tok",
            "agent_id": "ag",
            "issued_at": tx.now,
            "seen_at": tx.now,
        },
    )
    return run_id


def test_trial_starts_with_its_first_upsert_and_keeps_what_was_suggested(
    change, sweep, store, upsert
):
    store.write_sync(hand_out, sweep, upsert("plain").project_id)

    run, is_new = change(
        name="t1", project="toy", host="box", sweep="sw1", config='{"lr": {"value": 0.25}}'
    )
    later, _ = change(name="t1", project="toy", config='{"lr": {"value": 0.125}}')

    assert (run.state, run.display_name, is_new) == ("running", "trial-1", False)
    assert json.loads(run.config) == {"lr": {"value": 0.25}, "bs": {"value": 8}}
    assert json.loads(later.config) == {"lr": {"value": 0.125}}
    assert run.trial.number == 1
    started = store.read_sync(lambda tx: tx.conn.scalar(select(t.attempt.c.started_at)))
    assert started == run.started_at


def test_upsert_of_an_attempt_that_lost_its_lease_changes_nothing(change, sweep, store, upsert):
    store.write_sync(hand_out, sweep, upsert("plain").project_id, attempt=2)

    run, is_new = change(name="t1", project="toy", host="old", attempt=1, token="old")

    assert (run.state, run.host, is_new) == ("pending", None, False)


def test_run_is_read_by_its_address(store, alice, upsert):
    run = upsert("r1")

    where = {"actor": alice, "entity": None, "project": "toy", "need": Need.READ}
    assert store.read_sync(runs.get_run, **where, name="r1") == run
    with pytest.raises(NotFound, match="no run alice/toy/r2"):
        store.read_sync(runs.get_run, **where, name="r2")


def test_deleting_a_run_frees_its_files_and_repeating_it_is_fine(
    store, alice, upsert, stream, reread
):
    run = upsert("r1")
    stream(run, history=[{"_step": 0, "loss": 1}], console=["hello"])
    for name, blob in (("a.txt", "b1"), ("b.txt", "b2")):
        store.write_sync(
            files.register,
            run_id=run.id,
            name=name,
            mimetype="text/plain",
            written=Written(key=blob, size=1, md5="x", sha256=blob),
        )

    freed = store.write_sync(runs.delete_run, actor=alice, run_id=run.id)
    again = store.write_sync(runs.delete_run, actor=alice, run_id=run.id)

    assert (sorted(freed), again) == (["b1", "b2"], [])
    store.write_sync(leftovers.sweep_up)
    lines = select(func.count()).select_from(t.stream_line)
    assert store.read_sync(lambda tx: tx.conn.scalar(lines)) == 0
    with pytest.raises(NotFound):
        reread(run)


def test_stop_is_asked_once_and_told_to_the_process(store, alice, upsert, stream):
    run = upsert("r1")
    for _ in range(2):
        asked = store.write_sync(runs.request_stop, actor=alice, run_id=run.id, why="too slow")

    assert (asked.stop_requested, asked.state) == ("too slow", "running")
    assert stream(run).stopped
    assert kinds(store, run) == ["run.created", "run.stop_requested"]


def test_stopping_a_run_that_ended_changes_nothing(store, alice, upsert, stream):
    run = upsert("r1")
    stream(run, complete=True, exitcode=0)

    asked = store.write_sync(runs.request_stop, actor=alice, run_id=run.id)

    assert (asked.stop_requested, asked.state) == (None, "finished")


def test_stopping_a_run_that_never_started_kills_it(store, alice, change):
    run, _ = change(name="r1", project="toy", state="pending")

    assert store.write_sync(runs.request_stop, actor=alice, run_id=run.id).state == "killed"


def test_state_is_set_by_hand_to_pending_or_failed_only(store, alice, upsert):
    run = upsert("r1")

    failed = store.write_sync(runs.set_run_state, actor=alice, run_id=run.id, state="failed")
    waiting = store.write_sync(runs.set_run_state, actor=alice, run_id=run.id, state="pending")

    assert (failed.state, failed.ended_at) == ("failed", run.created_at)
    assert (waiting.state, waiting.ended_at) == ("pending", None)
    with pytest.raises(ProtocolError, match="pending or failed, not 'finished'"):
        store.write_sync(runs.set_run_state, actor=alice, run_id=run.id, state="finished")


def test_state_of_a_finished_run_stays(store, alice, upsert, stream):
    run = upsert("r1")
    stream(run, complete=True, exitcode=0)

    with pytest.raises(IllegalMove, match="finished cannot become pending"):
        store.write_sync(runs.set_run_state, actor=alice, run_id=run.id, state="pending")


def test_state_of_a_sweeps_run_is_the_sweeps_affair(store, alice, change, sweep):
    run, _ = change(name="r1", host="box", sweep="sw1")

    with pytest.raises(Conflict, match="belongs to sweep sw1"):
        store.write_sync(runs.set_run_state, actor=alice, run_id=run.id, state="failed")


@pytest.mark.parametrize("is_crashed", [False, True], ids=["running", "crashed"])
def test_run_that_is_stuck_is_finished_by_hand_as_of_its_last_sign(
    store, alice, upsert, stream, clock, is_crashed
):
    run = upsert("r1")
    clock.advance(10)
    stream(run, history=[{"_step": 0, "loss": 1}])
    heard = clock.now
    clock.advance(1000)
    if is_crashed:
        store.write_sync(watchdog.tick, limits=Limits())

    for _ in range(2):
        done = store.write_sync(runs.finish_run, actor=alice, run_id=run.id)

    assert (done.state, done.exit_code, done.ended_at) == ("finished", 0, heard)
    told = [kind for kind in kinds(store, run) if kind == "run.state"]
    assert len(told) == (2 if is_crashed else 1)


def test_run_that_says_it_failed_stays_so(store, alice, upsert, stream, bob):
    run = upsert("r1")
    stream(run, complete=True, exitcode=1)

    with pytest.raises(IllegalMove, match="failed cannot become finished"):
        store.write_sync(runs.finish_run, actor=alice, run_id=run.id)
    with pytest.raises(NotFound, match="no run with id"):
        store.write_sync(runs.finish_run, actor=bob, run_id=run.id)


def test_what_a_deleted_runs_process_still_sends_does_not_make_it_again(
    store, alice, upsert, change
):
    run = upsert("r1")
    store.write_sync(runs.delete_run, actor=alice, run_id=run.id)

    with pytest.raises(NotFound, match="no run r1 any more"):
        change(name="r1", project="toy", config=json.dumps({"_wandb": {"value": {"t": {}}}}))
    assert upsert("r1").state == "running"
