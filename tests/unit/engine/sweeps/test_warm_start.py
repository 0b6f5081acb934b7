"""A sweep whose search knows what finished in earlier ones."""

import pytest

from sweepd.engine import agents, prior_runs, runs, sweeps
from sweepd.engine.access import Need
from sweepd.engine.prior_runs import observed_of
from sweepd.engine.project_deletion import delete_project
from sweepd.errors import DefinitionError, InvalidInput, NotFound

OLD = """
method: random
metric: {name: loss, goal: minimize}
parameters: {lr: {min: 0.0, max: 1.0}, extra: {value: 2}}
sweepd: {initial: [{lr: 0.125}, {lr: 0.25}, {lr: 0.75}]}
"""


def new_text(*references, **changes):
    text = """
method: random
run_cap: 2
metric: {name: loss, goal: minimize}
parameters: {lr: {min: 0.0, max: 0.5}}
sweepd: {objective: best, warm_start: [REFERENCES]}
"""
    for was, becomes in changes.items():
        text = text.replace(was, becomes)
    return text.replace("REFERENCES", ", ".join(references))


@pytest.fixture
def old(lab):
    """A sweep whose three finished trials have lr 0.125, 0.25 and 0.75; a fourth one failed."""
    sweep = lab.create(OLD)
    agent = lab.register(sweep)
    for values in ((3.0, 1.0, 2.0), (2.0,), (0.5,)):
        lab.run(agent, *values)
    lab.run(agent, exit_code=1)
    return sweep


@pytest.fixture
def known(lab):
    def known(sweep):
        definition = sweeps.definition_of(sweep)
        found = lab.store.read_sync(observed_of, sweep_id=sweep.id, definition=definition)
        return [(trial.config, trial.objective) for trial in found]

    return known


@pytest.mark.parametrize("form", ["{name}", "alice/toy/{name}"])
def test_finished_trials_that_fit_are_known_and_the_rest_is_told(lab, old, known, form):
    reference = form.format(name=old.name)

    sweep = lab.create(new_text(reference))

    assert known(sweep) == [({"lr": 0.125}, 1.0), ({"lr": 0.25}, 2.0)]
    assert lab.sweep(sweep).notice == (
        f"warm start: the search knows 2 of 3 finished trials of sweep {reference}; "
        "not the others (1: its lr is outside of the search)"
    )


def test_they_do_not_count_towards_run_cap_and_are_not_tried_again(lab, old):
    sweep = lab.create(new_text(old.name))
    agent = lab.register(sweep)

    tried = [lab.run(agent, 1.0).config["lr"] for _ in range(2)]

    assert lab.sweep(sweep).stop_reason is not None
    assert lab.sweep(sweep).n_issued == 2
    assert not {0.125, 0.25} & set(tried)


@pytest.mark.parametrize(
    ("was", "becomes", "words"),
    [
        ("goal: minimize", "goal: maximize", "is to minimize loss, and this one to maximize loss"),
        ("name: loss", "name: acc", "is to minimize loss, and this one to minimize acc"),
        (
            "parameters: {lr",
            "parameters: {other: {values: [1, 2]}, lr",
            "2: its config lacks other",
        ),
        ("objective: best", "objective: mean:3", "3: its value by the rule mean:3 is not known"),
    ],
)
def test_what_does_not_fit_is_told_and_teaches_nothing(lab, old, known, was, becomes, words):
    sweep = lab.create(new_text(old.name, **{was: becomes}))

    assert known(sweep) == []
    assert words in lab.sweep(sweep).notice


def test_values_of_several_metrics_by_another_rule_teach_nothing(lab, known):
    metrics = "metrics: [{name: loss, goal: minimize}, {name: acc, goal: maximize}]"
    one = "metric: {name: loss, goal: minimize}"
    sweep = lab.create(OLD.replace(one, metrics))
    command = lab.ask(lab.register(sweep))
    lab.start(command, lease=False)
    lab.stream(command, rows=[{"loss": 0.1, "acc": 0.1}, {"loss": 0.9, "acc": 0.9}], lease=False)
    lab.end(command, lease=False)

    def learnt(rule):
        changes = {one: metrics, "objective: best": f"objective: {rule}", "0.5": "1.0"}
        return lab.create(new_text(sweep.name, **changes))

    assert len(known(learnt("best"))) == 1
    assert known(other := learnt("last")) == []
    assert "1: its value by the rule last is not known" in lab.sweep(other).notice


def test_value_is_that_of_the_new_rule(lab, old, known):
    sweep = lab.create(new_text(old.name, **{"objective: best": "objective: last"}))

    assert known(sweep) == [({"lr": 0.125}, 2.0), ({"lr": 0.25}, 2.0)]


def test_outcome_constraints_of_the_new_sweep_judge_the_old_trials(lab, old, known):
    text = new_text(old.name, **{"objective: best": "outcome_constraints: {cost: {max: 1}}"})

    sweep = lab.create(text)

    assert known(sweep) == [({"lr": 0.125}, None), ({"lr": 0.25}, None)]  # never logged


def test_edit_adds_sweeps_to_start_from(lab, old, known):
    sweep = lab.create(new_text())
    assert known(sweep) == []

    view, _ = lab.write(
        sweeps.update_sweep, actor=lab.actor, sweep_id=sweep.id, definition=new_text(old.name)
    )

    assert len(known(view)) == 2


@pytest.mark.parametrize(
    ("again", "words"),
    [
        ("a1b2c3d4", "a1b2c3d4 is given twice"),
        ("alice/toy/a1b2c3d4", "alice/toy/a1b2c3d4 is given twice, first as a1b2c3d4"),
    ],
)
def test_sweep_named_twice_is_refused_by_its_name(lab, again, words):
    with pytest.raises(DefinitionError, match=rf"warm_start\[1\]: {words}$"):
        lab.create(new_text("a1b2c3d4", again))


def test_sweep_named_twice_in_what_is_stored_is_known_once(lab, old, known):
    sweep = lab.create(new_text(old.name))
    twice = new_text(old.name, f"alice/toy/{old.name}")

    assert sweeps.definition_of(twice).own.warm_start == (old.name, f"alice/toy/{old.name}")
    assert len(known(sweep)) == 2


def test_sweep_that_is_not_there_or_not_theirs_makes_nothing(lab, old, bob, root):
    for actor in (bob, lab.actor):
        name = old.name if actor is bob else "nope"
        with pytest.raises(NotFound, match=f"there is no sweep '{name}'"):
            lab.write(sweeps.create_sweep, actor=actor, project="toy", definition=new_text(name))
    sweep = lab.create(new_text())
    with pytest.raises(InvalidInput, match="from itself"):
        lab.write(
            sweeps.update_sweep, actor=lab.actor, sweep_id=sweep.id, definition=new_text(sweep.name)
        )
    with pytest.raises(DefinitionError, match="entity/project/id, not a/b"):
        lab.create(new_text("a/b"))


@pytest.mark.parametrize("what", ["sweep", "runs", "project"])
def test_what_is_known_stays_when_its_source_is_deleted(lab, old, known, what):
    view, _ = lab.write(
        sweeps.create_sweep, actor=lab.actor, project="other", definition=new_text(old.name)
    )
    before = known(view)

    if what == "sweep":
        lab.write(sweeps.delete_sweep, actor=lab.actor, sweep_id=old.id)
    elif what == "runs":
        for trial in lab.trials(old):
            lab.write(runs.delete_run, actor=lab.actor, run_id=trial.run_id)
    else:
        lab.write(delete_project, actor=lab.actor, project_id=old.project_id)

    assert before == known(view) == [({"lr": 0.125}, 1.0), ({"lr": 0.25}, 2.0)]
    agent = lab.write(
        agents.register, actor=lab.actor, project="other", sweep=view.name, host="box"
    )
    assert lab.ask(agent.id).config["lr"] not in (0.125, 0.25)


def test_edit_that_still_names_a_deleted_sweep_goes_through(lab, old, known):
    sweep = lab.create(new_text(old.name))
    lab.write(sweeps.delete_sweep, actor=lab.actor, sweep_id=old.id)

    view, _ = lab.write(
        sweeps.update_sweep,
        actor=lab.actor,
        sweep_id=sweep.id,
        definition=new_text(old.name, **{"run_cap: 2": "run_cap: 3"}),
    )

    assert (view.run_cap, len(known(view))) == (3, 2)


def test_runs_of_other_projects_are_not_listed(lab, old):
    view, _ = lab.write(
        sweeps.create_sweep, actor=lab.actor, project="other", definition=new_text(old.name)
    )

    listed = lab.store.read_sync(
        sweeps.prior_runs_of, actor=lab.actor, sweep_id=view.id, need=Need.READ
    )

    assert listed == []


def test_ten_thousand_prior_runs_may_be_named_and_no_more():
    def names(n):
        members = ", ".join(f'{{"name": "r{i}"}}' for i in range(n))
        return prior_runs.names_in(f'{{"$or": [{members}]}}')

    assert len(names(10_000)) == 10_000
    with pytest.raises(InvalidInput, match="at most 10,000"):
        names(10_001)
