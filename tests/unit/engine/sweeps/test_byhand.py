"""A person enqueues configs of their own, and looks at an edit before making it."""

import pytest
from effort import at_most_calls

from sweepd.engine import byhand, sweeps, versions
from sweepd.engine.access import Need
from sweepd.errors import Conflict, Forbidden, InvalidInput, NotFound

NESTED = """
method: random
metric: {name: loss}
parameters:
  opt: {parameters: {lr: {min: 0.0, max: 1.0}, name: {values: [sgd, adam]}}}
  layers: {value: 3}
"""


@pytest.fixture
def enqueue(lab):
    def enqueue(sweep, *configs, actor=None, **fields):
        return lab.write(
            byhand.enqueue,
            actor=actor or lab.actor,
            sweep_id=sweep.id,
            configs=configs,
            **fields,
        )

    return enqueue


@pytest.fixture
def preview(lab):
    def preview(sweep, definition):
        return lab.store.read_sync(
            versions.preview_edit,
            actor=lab.actor,
            sweep_id=sweep.id,
            definition=definition,
            need=Need.READ,
        )

    return preview


@pytest.mark.parametrize(
    "config",
    [
        {"opt.lr": 0.5, "opt.name": "adam"},
        {"opt": {"lr": 0.5, "name": "adam"}},
        {"opt.lr": 0.5, "opt.name": "adam", "layers": 3},
    ],
)
def test_flat_and_nested_names_are_taken_and_constants_filled_in(lab, enqueue, config):
    sweep = lab.create(NESTED)

    made = enqueue(sweep, config, display_name="mine")
    command = lab.ask(lab.register(sweep))

    assert made.warnings == ()
    assert (command.run,) == made.runs
    assert command.config == {"opt": {"lr": 0.5, "name": "adam"}, "layers": 3}
    assert lab.run_of(command).display_name == "mine"


def test_part_of_a_nested_group_goes_before_the_run_that_is_like_it(lab, enqueue):
    sweep = lab.create(NESTED)
    first = lab.run(lab.register(sweep), 1.0)

    made = enqueue(sweep, {"opt": {"lr": 0.9, "extra": 1}}, like=first.run)
    command = lab.ask(lab.register(sweep))

    assert command.config == {"opt": {**first.config["opt"], "lr": 0.9, "extra": 1}, "layers": 3}
    (warning,) = made.warnings
    assert warning.startswith("the definition has no parameter 'opt.extra'")


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"opt": 5}, "config 2: opt is 5, and opt.lr would be in it"),
        ({"opt": {"lr": 0.9}, "opt.lr": 0.1}, "config 2: opt.lr is given both flat and nested"),
        ({"opt.lr": 0.1, "opt": {"lr": 0.9}}, "config 2: opt.lr is given both flat and nested"),
    ],
)
def test_config_that_says_two_things_of_a_name_is_refused(lab, enqueue, config, words):
    sweep = lab.create(NESTED)
    first = lab.run(lab.register(sweep), 1.0)

    with pytest.raises(InvalidInput, match=words):
        enqueue(sweep, {"opt.lr": 0.3}, config, like=first.run)

    assert len(lab.trials(sweep)) == 1


def test_what_is_left_out_comes_from_the_best_run_or_a_named_one(lab, enqueue, texts):
    sweep = lab.create(texts["grid"])
    agent = lab.register(sweep)
    first, second = lab.run(agent, 2.0), lab.run(agent, 1.0)

    enqueue(sweep, {"a": 7}, like="best")
    enqueue(sweep, {"a": 8}, like=first.run)

    assert lab.ask(agent).config == {**second.config, "a": 7}
    assert lab.ask(lab.register(sweep)).config == {**first.config, "a": 8}


def test_missing_parameters_are_named_with_what_is_allowed_and_nothing_is_made(lab, enqueue, texts):
    sweep = lab.create(texts["grid"])

    with pytest.raises(InvalidInput, match=r"config 2: needs b \(one of \"x\", \"y\"\)"):
        enqueue(sweep, {"a": 1, "b": "x"}, {"a": 2})

    assert lab.trials(sweep) == []


def test_a_misspelt_name_is_told_with_what_is_missing_for_it(lab, enqueue, texts):
    sweep = lab.create(texts["random"])

    with pytest.raises(InvalidInput, match=r"--like best\); .* 'layer'; did you mean layers\?"):
        enqueue(sweep, {"layer": 2})


def test_odd_values_run_with_a_warning(lab, enqueue, texts):
    sweep = lab.create(texts["random"])

    made = enqueue(sweep, {"lr": 5.0, "layer": 2}, {"lr": 0.5}, {"lr": 0.5})

    outside, unknown, twice = made.warnings
    assert outside.startswith("config 1: lr is 5.0, not a number from 0 to 1: it runs")
    assert "no parameter 'layer'; did you mean layers?" in unknown
    assert twice == "config 3: trial-2 has had this configuration"
    assert lab.ask(lab.register(sweep)).config == {"lr": 5.0, "layer": 2, "layers": 3}


def test_conditions_and_constraints_are_known(lab, enqueue):
    sweep = lab.create(
        """
method: random
metric: {name: loss}
parameters:
  opt: {values: [sgd, adam]}
  momentum: {min: 0.0, max: 1.0}
  width: {values: [8, 16]}
  depth: {values: [1, 2]}
sweepd:
  when: {momentum: {opt: [sgd]}}
  constraints: ["width * depth <= 16"]
"""
    )

    plain = enqueue(sweep, {"opt": "adam", "width": 8, "depth": 2})
    odd = enqueue(sweep, {"opt": "adam", "momentum": 0.5, "width": 16, "depth": 2})
    with pytest.raises(InvalidInput, match=r"^needs momentum \(a number from 0 to 1\)"):
        enqueue(sweep, {"opt": "sgd", "width": 8, "depth": 2})

    assert plain.warnings == ()
    left_out, broken = odd.warnings
    assert (
        left_out == "momentum does not exist in this configuration by sweepd.when: it is left out"
    )
    assert broken.startswith("width * depth <= 16 is not so: it runs")
    assert lab.ask(lab.register(sweep)).config == {"opt": "adam", "width": 8, "depth": 2}


def test_what_was_checked_beforehand_is_only_written(lab, texts):
    sweep = lab.create(texts["random"])
    asked = {
        "actor": lab.actor,
        "sweep_id": sweep.id,
        "configs": [{"lr": i / 200} for i in range(100)],
    }
    checked = lab.store.read_sync(byhand.check, **asked)

    def enqueue(tx):
        with at_most_calls(400 * 100):
            return byhand.enqueue(tx, **asked, checked=checked)

    assert len(lab.write(enqueue).runs) == 100


def test_what_was_checked_for_another_definition_is_checked_again(lab, texts):
    sweep = lab.create(texts["random"])
    asked = {"actor": lab.actor, "sweep_id": sweep.id, "configs": [{"lr": 0.9}]}
    checked = lab.store.read_sync(byhand.check, **asked)
    narrow = texts["random"].replace("max: 1.0", "max: 0.5")
    lab.write(sweeps.update_sweep, actor=lab.actor, sweep_id=sweep.id, definition=narrow)

    (warning,) = lab.write(byhand.enqueue, **asked, checked=checked).warnings

    assert warning.startswith("lr is 0.9, not a number from 0 to 0.5: it runs")


def test_more_than_may_wait_are_refused_whole(lab, enqueue, texts, monkeypatch):
    monkeypatch.setattr("sweepd.engine.enqueued._MAX_WAITING", 3)
    sweep = lab.create(texts["random"])
    enqueue(sweep, {"lr": 0.1}, {"lr": 0.2})

    with pytest.raises(Conflict, match="2 runs that wait for agents and takes no 2 more"):
        enqueue(sweep, {"lr": 0.3}, {"lr": 0.4})
    enqueue(sweep, {"lr": 0.3})
    with pytest.raises(Conflict, match=r"has 3 runs that wait for agents$"):
        enqueue(sweep, {"lr": 0.4})

    assert len(lab.trials(sweep)) == 3


def test_who_may_not_write_or_names_nothing_is_refused(lab, enqueue, texts, bob):
    sweep = lab.create(texts["random"])

    with pytest.raises((NotFound, Forbidden)):
        enqueue(sweep, {"lr": 0.5}, actor=bob)
    with pytest.raises(NotFound, match="no run 'nope'"):
        enqueue(sweep, {}, like="nope")
    with pytest.raises(NotFound, match="none is the best"):
        enqueue(sweep, {}, like="best")
    with pytest.raises(InvalidInput, match="0 configs"):
        enqueue(sweep)
    lab.set_state(sweep, "FINISHED")
    with pytest.raises(Conflict, match="takes no more runs"):
        enqueue(sweep, {"lr": 0.5})


def test_edit_is_seen_before_it_is_made(lab, preview, texts):
    sweep = lab.create(texts["random"] + "sweepd: {initial: [{lr: 0.25}, {lr: 0.75}]}\n")
    agent = lab.register(sweep)
    for value in (1.0, 2.0):
        lab.run(agent, value)
    text = texts["random"]

    narrow = preview(sweep, text.replace("max: 1.0", "max: 0.8").replace("min: 0.0", "min: 0.5"))
    refused = preview(sweep, text.replace("minimize", "maximize"))
    wrong = preview(sweep, "method: sideways\nparameters: {}\n")

    assert "lr: a number from 0 to 1 → a number from 0.5 to 0.8" in narrow.changes
    assert (narrow.n_kept, narrow.n_lost) == (1, 1)
    assert "cannot change the metric's name and goal" in refused.problems[0]
    assert any("sideways" in problem for problem in wrong.problems)
    assert lab.sweep(sweep).definition == sweep.definition


def test_every_version_is_listed_with_its_author_and_trials(lab, texts):
    sweep = lab.create(texts["random"])
    agent = lab.register(sweep)
    lab.run(agent, 1.0)
    lab.clock.advance(60)
    edit = {"actor": lab.actor, "sweep_id": sweep.id}
    lab.write(sweeps.update_sweep, definition=texts["random"] + "run_cap: 9\n", **edit)
    lab.write(sweeps.update_sweep, display_name="renamed", **edit)
    lab.run(agent, 1.0)
    lab.run(agent, 1.0)

    first, second = lab.store.read_sync(versions.list_versions, need=Need.READ, **edit)

    assert (first.version, first.actor, first.n_trials) == (1, "alice", 1)
    assert (second.version, second.actor, second.n_trials) == (2, "alice", 2)
    assert second.definition.endswith("run_cap: 9\n")
    assert second.created_at == first.created_at + 60


def test_config_of_a_failed_run_is_not_the_best(lab, enqueue, texts):
    sweep = lab.create(texts["grid"])
    agent = lab.register(sweep)
    lab.run(agent, 0.1, exit_code=1)
    finished = lab.run(agent, 2.0)

    enqueue(sweep, {"a": 7}, like="best")

    assert lab.ask(agent).config == {**finished.config, "a": 7}


def test_configs_that_the_cap_leaves_out_are_told(lab, enqueue, texts):
    sweep = lab.create(texts["grid"] + "run_cap: 3\n")
    lab.run(lab.register(sweep), 1.0)

    fits = enqueue(sweep, {"a": 7, "b": "x"}, {"a": 8, "b": "x"})
    made = enqueue(sweep, {"a": 9, "b": "x"}, {"a": 10, "b": "x"})

    assert not any("run_cap" in words for words in fits.warnings)
    assert (
        "run_cap is 3, of which 1 are taken: no agent will get 2 of the 4 that wait"
        in made.warnings
    )


def test_an_edit_that_ends_the_sweep_says_so(lab, preview, texts):
    sweep = lab.create(texts["random"])
    agent = lab.register(sweep)
    for value in (1.0, 2.0, 3.0):
        lab.run(agent, value)

    ends, goes_on = (preview(sweep, texts["random"] + f"run_cap: {n}\n") for n in (2, 9))

    assert ends.warnings[0].startswith("3 trials have been handed out, so that run_cap 2 ends")
    assert goes_on.warnings == ()
