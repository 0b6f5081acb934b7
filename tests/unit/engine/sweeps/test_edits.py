"""A sweep's definition is changed while the sweep goes on: `wandb sweep --update`."""

import json
from functools import partial

import pytest

from sweepd.engine import sweeps
from sweepd.engine.definitions import read_sent
from sweepd.engine.observed import observe
from sweepd.errors import Conflict
from sweepd.states import SweepState

NESTED = """
method: random
parameters:
  opt: {parameters: {lr: {min: 0.0, max: 1.0}}}
"""


@pytest.fixture
def edit(lab):
    def edit(sweep, definition, **fields):
        view, _ = lab.write(
            sweeps.update_sweep,
            actor=lab.actor,
            sweep_id=sweep.id,
            definition=definition,
            **fields,
        )
        return view

    return edit


def test_search_goes_on_in_the_new_space(lab, texts, edit):
    sweep = lab.create(texts["random"])
    agent = lab.register(sweep)
    old = lab.run(agent, 1.0)

    edit(sweep, texts["random"].replace("max: 1.0", "max: 9.0").replace("min: 0.0", "min: 8.0"))
    new = lab.run(agent, 2.0)

    assert old.config["lr"] < 1 < 8 <= new.config["lr"]
    assert [trial.version for trial in lab.trials(sweep)] == [1, 2]


def test_old_trials_teach_the_search_where_they_are_still_valid(lab, texts, edit):
    sweep = lab.create(texts["random"] + "sweepd: {initial: [{lr: 0.25}, {lr: 0.75}]}\n")
    agent = lab.register(sweep)
    for value in (1.0, 2.0):
        lab.run(agent, value)

    edit(sweep, texts["random"].replace("max: 1.0", "max: 0.5"))

    definition = sweeps.definition_of(lab.sweep(sweep))
    seen = lab.store.read_sync(observe, sweep_id=sweep.id, definition=definition)
    assert [(trial.config["lr"], trial.objective) for trial in seen.trials] == [(0.25, 1.0)]


def test_grid_that_grew_tries_only_what_is_new(lab, texts, edit):
    sweep = lab.create(texts["grid"].replace("[1, 2, 3]", "[1]"))
    agent = lab.register(sweep)
    done = [lab.run(agent, 1.0).config["b"]]

    edit(sweep, texts["grid"].replace("[1, 2, 3]", "[1, 2]"))
    rest = [lab.run(agent, 1.0) for _ in range(3)]

    assert done == ["x"]
    assert [(c.config["a"], c.config["b"]) for c in rest] == [(1, "y"), (2, "x"), (2, "y")]
    assert lab.beat(agent).type == "exit"


def test_cap_and_name_change_at_any_time(lab, texts, edit):
    sweep = lab.create(texts["random"])
    agent = lab.register(sweep)
    lab.run(agent, 1.0)

    view = edit(sweep, texts["random"] + "run_cap: 1\nname: late\n")

    assert (view.run_cap, view.display_name, view.expected) == (1, "late", 1)
    assert view.state == SweepState.FINISHED


@pytest.mark.parametrize(
    ("aim", "bound", "reason"),
    [
        ("goal: minimize, target: 0.1", "", "target reached: run {} logged loss = 0.05"),
        ("goal: maximize, target: 1", "", "target reached: run {} logged loss = 1 (target 1)"),
        ("goal: minimize, target: 0.01", "", None),
        (
            "goal: minimize, target: 0.1",
            "sweepd: {outcome_constraints: {size: {max: 1}}}\n",
            None,
        ),
    ],
    ids=["minimize", "maximize", "not yet", "out of its constraints"],
)
def test_target_that_a_run_has_reached_already_ends_the_sweep(lab, texts, edit, aim, bound, reason):
    old = "goal: " + aim.split()[1].strip(",")
    text = texts["random"].replace("goal: minimize", old) + bound
    sweep = lab.create(text)
    agent = lab.register(sweep)
    command = lab.run(agent, 1.0, 0.05)
    other = lab.ask(agent)

    view = edit(sweep, text.replace(old, aim))

    assert view.state == SweepState.RUNNING
    if reason is None:
        assert view.stop_reason is None
        return
    assert view.stop_reason.startswith(reason.format(command.run))
    lab.start(other)
    lab.end(other)
    assert lab.sweep(sweep).state == SweepState.FINISHED


def test_target_that_a_run_has_reached_waits_for_the_runs_outcome_constraints(lab, texts, edit):
    text = texts["random"] + "sweepd: {outcome_constraints: {size: {max: 1}}}\n"
    sweep = lab.create(text)
    command = lab.ask(lab.register(sweep))
    lab.start(command)
    lab.log(command, 0.05)

    view = edit(sweep, text.replace("goal: minimize", "goal: minimize, target: 0.1"))

    assert view.stop_reason is None


def test_requeued_trial_keeps_the_shape_that_it_had(lab, edit):
    sweep = lab.create(NESTED)
    agent = lab.register(sweep)
    command = lab.ask(agent)
    lab.tick(lab.limits.lease_s + 5)

    edit(sweep, "method: random\nparameters: {x: {min: 0.0, max: 1.0}}\n")
    again = lab.ask(lab.register(sweep))

    assert (again.run, again.config) == (command.run, command.config)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        pytest.param("minimize", "maximize", "the metric's name and goal", id="goal"),
        pytest.param("name: loss", "name: acc", "the metric's name and goal", id="metric"),
        pytest.param("method:", "program: other.py\nmethod:", "program", id="program"),
        pytest.param("method:", "command: [a]\nmethod:", "command", id="command"),
        pytest.param("method:", "sweepd: {objective: last}\nmethod:", "sweepd.obj", id="rule"),
        pytest.param(
            "method:", "controller: {type: local}\nmethod:", "who searches", id="controller"
        ),
    ],
)
def test_what_trials_ran_and_how_they_were_judged_stays(lab, texts, edit, old, new, words):
    sweep = lab.create(texts["random"])
    edit(sweep, texts["random"].replace(old, new))  # nothing was handed out yet
    edit(sweep, texts["random"])
    lab.ask(lab.register(sweep))

    with pytest.raises(Conflict, match=f"has handed out 1 trials.*{words}"):
        edit(sweep, texts["random"].replace(old, new))


def test_ended_or_ending_sweep_stays_as_it_is(lab, texts, edit):
    ended, ending = lab.create(), lab.create(texts["random"].replace("loss,", "loss, target: 0,"))
    lab.set_state(ended, "CANCELED")
    agent = lab.register(ending)
    lab.log(command := lab.ask(agent), -1.0)

    with pytest.raises(Conflict, match="has ended: its definition cannot be changed"):
        edit(ended, texts["grid"])
    with pytest.raises(Conflict, match="is ending: target reached"):
        edit(ending, texts["grid"])
    lab.end(command)


def test_the_same_definition_in_other_words_changes_nothing(lab, texts, edit):
    sweep = lab.create(texts["random"], display_name="mine")

    view = edit(sweep, json.dumps(sweeps.definition_of(texts["random"]).raw))

    assert (view.display_name, view.definition) == ("mine", texts["random"])


def test_name_of_the_request_wins_over_the_definitions(lab, texts, edit):
    sweep = lab.create(texts["random"] + "name: one\n")

    view = edit(sweep, texts["random"] + "name: two\n", display_name="three")

    assert view.display_name == "three"


def test_a_version_that_somebody_else_has_replaced_is_not_edited(lab, texts):
    sweep = lab.create(texts["random"])
    edit = partial(lab.write, sweeps.edit_sweep, actor=lab.actor, sweep_id=sweep.id, version=1)
    edit(definition=read_sent(texts["random"] + "run_cap: 77\n"))

    with pytest.raises(Conflict, match="somebody made version 2 of the sweep meanwhile"):
        edit(definition=read_sent(texts["random"] + "run_cap: 10\n"))

    assert lab.sweep(sweep).run_cap == 77


def test_a_smaller_grid_expects_no_fewer_trials_than_there_were(lab, texts, edit):
    sweep = lab.create(texts["random"])
    agent = lab.register(sweep)
    for _ in range(8):
        lab.run(agent, 1.0)

    edit(sweep, texts["grid"].replace("[1, 2, 3]", "[1]"))

    view = lab.sweep(sweep)
    assert (view.n_finished, view.expected) == (8, 8)
