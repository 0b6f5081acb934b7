"""Earlier runs that a sweep's search learns from: `prior_runs`, `wandb sweep -R`."""

import json

import pytest

from sweepd.engine import runs, sweeps
from sweepd.engine.access import Need
from sweepd.engine.observed import observe
from sweepd.errors import InvalidInput, NotFound, ProtocolError

MAXIMIZED = """
method: bayes
metric: {name: acc, goal: maximize}
parameters:
  lr: {min: 0.0, max: 1.0}
  net: {parameters: {width: {values: [8, 16]}}}
"""

GRID = "method: grid\nparameters: {a: {values: [1, 2, 3]}}\n"


@pytest.fixture
def prior(upsert, stream):
    """Makes a run of alice's project `toy` with a config and values of one metric; it has ended."""

    def prior(name, config, *values, metric="acc", exit_code=0, **fields):
        wrapped = {key: {"value": value} for key, value in config.items()}
        run = upsert(name, config=json.dumps({**wrapped, "_wandb": {"value": {}}}), **fields)
        history = [{"_step": step, metric: value} for step, value in enumerate(values)]
        end = {"complete": True, "exitcode": exit_code} if exit_code is not None else {}
        stream(run, history=history, **end)
        return run

    return prior


@pytest.fixture
def learn(lab):
    """Makes a sweep that learns from runs; returns it and the warnings."""

    def learn(*names, definition=MAXIMIZED, actor=None, project="toy"):
        return lab.write(
            sweeps.create_sweep,
            actor=actor or lab.actor,
            project=project,
            definition=definition,
            prior_runs_filters=json.dumps({"$or": [{"name": name} for name in names]}),
        )

    return learn


@pytest.fixture
def seen(lab):
    def seen(sweep):
        definition = sweeps.definition_of(lab.sweep(sweep))
        found = lab.store.read_sync(observe, sweep_id=sweep.id, definition=definition)
        return [(trial.config, trial.objective) for trial in found.trials]

    return seen


def test_prior_run_is_an_observation_by_the_sweeps_own_rule(prior, learn, seen):
    prior("r1", {"lr": 0.5, "net": {"width": 8}, "other": 1}, 0.1, 0.9, 0.4)

    best, _ = learn("r1")
    last, _ = learn("r1", definition=MAXIMIZED + "sweepd: {objective: last}\n")

    config = {"lr": 0.5, "net.width": 8}
    assert seen(best) == [(config, -0.9)]
    assert seen(last) == [(config, -0.4)]


def test_summary_speaks_for_a_run_without_such_rows(upsert, stream, learn, seen):
    config = {"lr": {"value": 0.5}, "net": {"value": {"width": 8}}}
    run = upsert("r1", config=json.dumps(config))
    stream(run, summary={"acc": {"max": 0.7}}, complete=True, exitcode=0)

    sweep, _ = learn("r1")

    assert seen(sweep) == [({"lr": 0.5, "net.width": 8}, -0.7)]


def test_prior_runs_are_listed_and_count_as_no_trials(lab, prior, learn):
    prior("r1", {"lr": 0.5, "net": {"width": 8}}, 0.1)

    sweep, warnings = learn("r1", definition=MAXIMIZED + "run_cap: 1\n")

    listed = lab.store.read_sync(
        sweeps.prior_runs_of, actor=lab.actor, sweep_id=sweep.id, need=Need.READ
    )
    assert [run.name for run in listed] == ["r1"]
    assert (sweep.n_issued, sweep.expected, warnings) == (0, 1, [])
    assert lab.beat(lab.register(sweep)).type == "run"


def test_grid_point_that_a_prior_run_has_tried_is_not_tried_again(lab, prior, learn):
    prior("r1", {"a": 1})

    sweep, _ = learn("r1", definition=GRID)
    agent = lab.register(sweep)

    assert sweep.expected == 3
    assert [lab.run(agent).config for _ in range(2)] == [{"a": 2}, {"a": 3}]
    assert lab.beat(agent).type == "exit"


@pytest.mark.parametrize("exit_code", [1, None], ids=["failed", "running"])
def test_grid_tries_the_point_of_a_prior_run_that_did_not_finish(lab, prior, learn, exit_code):
    grid = GRID + "metric: {name: loss}\n"
    prior("r1", {"a": 1}, 0.5, metric="loss", exit_code=exit_code)
    prior("r2", {"a": 2}, 0.5, metric="loss")

    sweep, warnings = learn("r1", "r2", definition=grid)
    agent = lab.register(sweep)

    assert [lab.run(agent, 1.0).config for _ in range(2)] == [{"a": 1}, {"a": 3}]
    assert warnings == ["prior runs that tell the search nothing: r1 (it did not finish)"]
    assert lab.beat(agent).type == "exit"
    assert lab.sweep(sweep).stop_reason == "every point of the grid has been tried: 2 trials"


def test_grid_tries_the_point_of_a_prior_run_only_until_that_one_finishes(
    lab, prior, learn, stream
):
    grid = GRID + "metric: {name: loss}\n"
    run = prior("r1", {"a": 2}, 0.5, metric="loss", exit_code=None)
    sweep, _ = learn("r1", definition=grid)
    agent = lab.register(sweep)
    assert lab.run(agent, 1.0).config == {"a": 1}

    stream(run, complete=True, exitcode=0)
    lab.write(
        sweeps.update_sweep,
        actor=lab.actor,
        sweep_id=sweep.id,
        prior_runs_filters='{"$or": [{"name": "r1"}]}',
    )

    assert lab.run(agent, 1.0).config == {"a": 3}


def test_without_a_metric_a_prior_run_that_did_not_finish_is_told(prior, learn):
    prior("r1", {"a": 1}, exit_code=1)

    _, warnings = learn("r1", definition=GRID.replace("grid", "random"))

    assert warnings == ["prior runs that tell the search nothing: r1 (it did not finish)"]


@pytest.mark.parametrize("method", ["random", "qmc", "bayes"])
def test_other_methods_know_a_failed_prior_run_by_its_value_and_do_not_repeat_it(
    lab, prior, learn, seen, method
):
    prior("r1", {"a": 1}, 0.5, metric="loss", exit_code=1)

    sweep, warnings = learn("r1", definition=GRID.replace("grid", method) + "metric: {name: loss}")
    agent = lab.register(sweep)

    assert (seen(sweep), warnings) == ([({"a": 1}, 0.5)], [])
    assert sorted(lab.run(agent, 1.0).config["a"] for _ in range(2)) == [2, 3]


def test_run_that_tells_the_search_nothing_is_kept_with_a_warning(prior, learn, seen):
    prior("r1", {"lr": 0.5}, 0.1)
    prior("r2", {"lr": 5.0, "net": {"width": 8}}, 0.1)
    prior("r3", {"lr": 0.5, "net": {"width": 8}}, 0.1, metric="loss")

    sweep, warnings = learn("r1", "r2", "r3")

    assert seen(sweep) == []
    assert "r1 (its config lacks net.width)" in warnings[0]
    assert "r2 (its lr is outside of the search)" in warnings[0]
    assert "r3 (it never logged acc)" in warnings[0]


def test_what_is_learnt_stays_when_the_run_changes_or_is_deleted(lab, prior, learn, seen):
    run = prior("r1", {"lr": 0.5, "net": {"width": 8}}, 0.1)
    sweep, _ = learn("r1")
    change = runs.RunChange(id=run.id, config="{}")

    lab.write(runs.upsert_run, actor=lab.actor, change=change)
    changed = seen(sweep)
    lab.write(runs.delete_run, actor=lab.actor, run_id=run.id)

    assert changed == seen(sweep) == [({"lr": 0.5, "net.width": 8}, -0.1)]


def test_run_that_was_deleted_is_listed_no_more(lab, prior, learn):
    runs_of = [prior(name, {"lr": 0.5, "net": {"width": 8}}, 0.1) for name in ("r1", "r2")]
    sweep, _ = learn("r1", "r2")

    lab.write(runs.delete_run, actor=lab.actor, run_id=runs_of[0].id)

    listed = lab.store.read_sync(
        sweeps.prior_runs_of, actor=lab.actor, sweep_id=sweep.id, need=Need.READ
    )
    assert [run.name for run in listed] == ["r2"]


def test_run_made_anew_under_a_deleted_ones_name_is_another_prior_run(lab, prior, learn, seen):
    run = prior("r1", {"lr": 0.5, "net": {"width": 8}}, 0.1)
    sweep, _ = learn("r1")
    lab.write(runs.delete_run, actor=lab.actor, run_id=run.id)
    prior("r1", {"lr": 0.25, "net": {"width": 8}}, 0.2)

    lab.write(
        sweeps.update_sweep,
        actor=lab.actor,
        sweep_id=sweep.id,
        prior_runs_filters='{"$or": [{"name": "r1"}]}',
    )

    assert [objective for _, objective in seen(sweep)] == [-0.1, -0.2]


def test_run_of_another_project_is_not_found_and_nothing_is_made(lab, prior, learn):
    prior("r1", {"lr": 0.5}, project="elsewhere")

    with pytest.raises(NotFound, match="no run 'r1' in alice/toy: prior runs are of the sweep's"):
        learn("r1")
    page = lab.store.read_sync(sweeps.list_sweeps, actor=lab.actor, need=Need.READ)
    assert page.items == ()


def test_run_of_another_user_is_not_found(prior, learn, bob):
    prior("r1", {"lr": 0.5}, 0.1)

    with pytest.raises(NotFound, match="no run 'r1' in bob/toy"):
        learn("r1", actor=bob)


def test_more_prior_runs_join_with_an_update(lab, prior, learn, seen):
    prior("r1", {"lr": 0.5, "net": {"width": 8}}, 0.1)
    prior("r2", {"lr": 0.6, "net": {"width": 8}}, 0.2)
    sweep, _ = learn("r1")

    lab.write(
        sweeps.update_sweep,
        actor=lab.actor,
        sweep_id=sweep.id,
        prior_runs_filters='{"$or": [{"name": "r2"}]}',
    )

    assert [objective for _, objective in seen(sweep)] == [-0.1, -0.2]


@pytest.mark.parametrize(
    ("filters", "error"),
    [
        pytest.param('{"state": "finished"}', ProtocolError, id="another filter"),
        pytest.param('{"$or": [{"name": 3}]}', ProtocolError, id="no name"),
        pytest.param("[", ProtocolError, id="no json"),
        pytest.param(
            json.dumps({"$or": [{"name": f"r{i}"} for i in range(10_001)]}), InvalidInput, id="many"
        ),
    ],
)
def test_other_filters_are_refused(lab, filters, error):
    with pytest.raises(error, match="prior"):
        lab.create(MAXIMIZED, prior_runs_filters=filters)
