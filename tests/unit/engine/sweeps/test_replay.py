"""A stored sweep's suggestions, worked out again from its log."""

import dataclasses
import json

import pytest
from sqlalchemy import update

from sweepd.engine import computing, runs, suggest, sweeps
from sweepd.engine.access import Need
from sweepd.engine.replay import ReplayLog, log_of, replay
from sweepd.engine.services import Limits
from sweepd.store import tables as t

SEEDED = "sweepd: {seed: 5}\n"
MIXED = """
method: bayes
metric: {name: loss, goal: maximize}
parameters:
  lr: {distribution: log_uniform_values, min: 0.0001, max: 1.0}
  layers: {min: 1, max: 4}
sweepd: {seed: 5, initial: [{lr: 0.1, layers: 2}, {lr: 0.2, layers: 1}]}
"""


@pytest.fixture
def check(lab):
    """Replays a sweep; returns the checks of suggestions and of states by their verdict."""

    def check(sweep):
        log = lab.store.read_sync(log_of, actor=lab.actor, sweep_id=sweep.id, need=Need.READ)
        found = {}
        for one in replay(ReplayLog.read(log.text())):
            found.setdefault((one.what, one.verdict), []).append(one)
        return found

    return check


def busy(lab, sweep, *, n=14, restart_at=7):
    """Run a sweep as a busy service would: the search comes late, trials fail and are repeated."""
    agents = [lab.register(sweep) for _ in range(4)]
    held = []
    for step in range(n):
        agent = agents[step % 4]
        command = lab.ask(agent)
        lab.start(command, lease=False)
        held.append((agent, command))
        if step % 6 == 5:
            lab.think()
        if len(held) == 4:
            _, command = held.pop(0)
            if step % 5:
                lab.log(command, 1.0 / (step + 1), lease=False)
            lab.end(command, 0 if step % 5 else 1, lease=False)
            lab.clock.advance(1)
        if step == restart_at:
            lab.restart()
    return held


def test_every_suggestion_follows_from_the_log(lab, check):
    sweep = lab.create(MIXED)
    busy(lab, sweep)

    found = check(sweep)

    assert found.keys() == {("suggestion", "same"), ("state", "same")}
    origins = {one.origin for one in found["suggestion", "same"]}
    assert origins == {"initial", "search", "filler"}


@pytest.mark.parametrize("method", ["grid", "random", "bayes"])
def test_edits_enqueued_runs_and_late_words_are_part_of_it(lab, texts, check, method):
    sweep = lab.create(texts[method] + SEEDED)
    agent = lab.register(sweep)
    lab.think()
    first = lab.run(agent, 1.0)
    config = {"a": 3, "b": "y"} if method == "grid" else {"lr": 0.3, "layers": 3}
    lab.write(sweeps.enqueue_run, actor=lab.actor, sweep_id=sweep.id, config=config)
    lab.think()
    lab.run(agent, 0.5)
    wider = texts[method].replace("max: 1.0", "max: 2.0").replace("[x, y]", "[x, y, z]")
    lab.write(
        sweeps.update_sweep, actor=lab.actor, sweep_id=sweep.id, definition=wider + "run_cap: 9\n"
    )
    for value in (0.25, None, 2.0):
        lab.think()
        lab.run(agent, *([value] if value else []), exit_code=0 if value else 1)
    lab.log(first, 0.75, offset=1, lease=False)
    lab.think()
    lab.ask(agent)

    assert check(sweep).keys() == {("suggestion", "same"), ("state", "same")}


def test_what_running_trials_had_logged_is_part_of_it(lab, texts, check):
    goal = "goal: minimize, impute_while_running: latest"
    sweep = lab.create(texts["bayes"].replace("goal: minimize", goal) + SEEDED)
    crowd = [lab.register(sweep) for _ in range(8)]
    for step, agent in enumerate(crowd):
        lab.think()
        command = lab.ask(agent)
        lab.start(command, lease=False)
        lab.log(command, 1.0 + step, lease=False)
        if step % 2:
            lab.end(command, lease=False)

    assert check(sweep).keys() == {("suggestion", "same"), ("state", "same")}


def test_config_or_state_that_does_not_follow_is_shown(lab, texts, check):
    sweep = lab.create(texts["random"] + SEEDED)
    agent = lab.register(sweep)
    for _ in range(3):
        lab.run(agent, 1.0)
    lab.write(
        lambda tx: tx.conn.execute(
            update(t.trial)
            .where(t.trial.c.number == 2)
            .values(config=json.dumps({"lr": 0.5, "layers": 3}), reason="error")
        )
    )

    found = check(sweep)

    (wrong,) = found["suggestion", "differs"]
    assert (wrong.number, wrong.stored) == (2, {"lr": 0.5, "layers": 3})
    assert wrong.found["lr"] != 0.5
    assert [one.number for one in found["state", "differs"]] == [2]


def test_what_a_deleted_run_has_changed_is_not_held_against_it(lab, texts, check):
    sweep = lab.create(texts["bayes"] + SEEDED)
    agent = lab.register(sweep)
    lab.think()
    for value in (1.0, 2.0, 0.5, 3.0, 4.0, 0.1, 0.2):
        command = lab.run(agent, value)
        lab.think()
    lab.write(runs.delete_run, actor=lab.actor, run_id=lab.run_of(command).id)
    lab.think()
    lab.run(agent, 1.0)
    lab.write(runs.delete_run, actor=lab.actor, run_id=lab.store.read_sync(first_run))
    lab.think()
    lab.run(agent, 1.0)

    found = check(sweep)

    assert ("suggestion", "differs") not in found
    assert "was deleted later" in found["suggestion", "unknown"][0].why
    assert max(one.number for one in found["suggestion", "same"]) == 8


def first_run(tx):
    return tx.conn.scalar(t.trial.select().with_only_columns(t.trial.c.run_id).limit(1))


def test_trials_of_older_versions_are_not_compared(lab, texts, check):
    sweep = lab.create(texts["bayes"])
    lab.run(lab.register(sweep), 1.0)
    lab.write(lambda tx: tx.conn.execute(update(t.trial).values(position=None)))

    (one,) = check(sweep)["suggestion", "unknown"]

    assert "did not note where it came from" in one.why


def test_a_memo_is_only_used_for_the_trials_that_it_was_made_of(lab, texts):
    sweep = lab.create(MIXED)
    lab.limits = Limits(max_prepared=2)
    busy(lab, sweep, n=12)
    job = lab.store.read_sync(suggest.next_job, limits=lab.limits)
    if job is None:
        lab.register(sweep)
        job = lab.store.read_sync(suggest.next_job, limits=Limits())
    kept = computing.Kept(3, "another", {"fit": "rubbish"})

    assert computing.compute(_with(job, kept)) == computing.compute(_with(job, computing.Kept()))


def _with(job, kept):
    return dataclasses.replace(job, kept=kept)


def test_prior_runs_that_are_attached_again_do_not_change_what_was_known(
    lab, texts, check, upsert, stream
):
    configs = {"r1": 0.1, "r2": 0.6, "r3": 0.9}
    for number, (name, lr) in enumerate(configs.items()):
        config = {"lr": {"value": lr}, "layers": {"value": 3}}
        run = upsert(name, config=json.dumps(config))
        stream(run, history=[{"_step": 0, "loss": float(number)}])
    filters = json.dumps({"$or": [{"name": name} for name in configs]})
    sweep = lab.create(texts["bayes"] + SEEDED, prior_runs_filters=filters)
    agent = lab.register(sweep)
    for value in (3.0, 2.0, 1.0):
        lab.think()
        lab.run(agent, value)

    stream(upsert("r1"), history=[{"_step": 1, "loss": -9.0}], offset=1)
    for _ in range(2):
        lab.write(
            sweeps.update_sweep, actor=lab.actor, sweep_id=sweep.id, prior_runs_filters=filters
        )
        lab.think()
        lab.run(agent, 0.5)

    found = check(sweep)
    assert found.keys() == {("suggestion", "same"), ("state", "same")}
    assert len(found["suggestion", "same"]) == 5


@pytest.mark.parametrize(
    ("method", "config"),
    [("grid", {"a": 2, "b": "y"}), ("bayes", {"lr": 0.75, "layers": 3})],
    ids=["grid", "bayes"],
)
def test_what_was_learnt_from_runs_and_sweeps_that_are_deleted_since_is_part_of_it(
    lab, texts, check, upsert, stream, method, config
):
    earlier = lab.create(texts[method])
    agent = lab.register(earlier)
    for value in (3.0, 1.0):
        lab.run(agent, value)
    wrapped = {name: {"value": value} for name, value in config.items()}
    prior = upsert("r1", config=json.dumps(wrapped))
    stream(prior, history=[{"_step": 0, "loss": 4.0}], complete=True, exitcode=0)
    own = f"sweepd: {{seed: 5, warm_start: [{earlier.name}]}}\n"
    filters = '{"$or": [{"name": "r1"}]}'
    sweep = lab.create(texts[method] + own, prior_runs_filters=filters)
    agent = lab.register(sweep)
    lab.think()
    lab.run(agent, 3.0)
    stream(upsert("r1"), history=[{"_step": 1, "loss": -9.0}], offset=1)
    lab.write(sweeps.update_sweep, actor=lab.actor, sweep_id=sweep.id, prior_runs_filters=filters)

    lab.write(sweeps.delete_sweep, actor=lab.actor, sweep_id=earlier.id)
    lab.write(runs.delete_run, actor=lab.actor, run_id=prior.id)
    for value in (1.0, 0.5):
        lab.think()
        lab.run(agent, value)

    found = check(sweep)
    assert found.keys() == {("suggestion", "same"), ("state", "same")}
    assert len(found["suggestion", "same"]) == 3
