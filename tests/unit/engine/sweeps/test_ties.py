"""Sweeps over spaces with conditional parameters and constraints."""

import json

import pytest

from sweepd.engine import byhand, sweeps
from sweepd.engine.observed import observe
from sweepd.engine.preview import preview
from sweepd.engine.sweepviews import definition_of, expected_trials
from sweepd.spec import read_definition

TIED = """
metric: {name: loss, goal: minimize}
parameters:
  optimizer: {values: [adam, sgd]}
  sgd: {parameters: {momentum: {values: [0, 0.9]}, nesterov: {values: [true, false]}}}
  depth: {min: 1, max: 3}
sweepd:
  seed: 1
  when: {sgd: {optimizer: sgd}, sgd.nesterov: {sgd.momentum: 0.9}}
  constraints: ["sgd.momentum * depth <= 2"]
"""
ALL = [
    *({"depth": depth, "optimizer": "adam"} for depth in (1, 2, 3)),
    *({"depth": depth, "optimizer": "sgd", "sgd": {"momentum": 0}} for depth in (1, 2, 3)),
    *(
        {"depth": depth, "optimizer": "sgd", "sgd": {"momentum": 0.9, "nesterov": nesterov}}
        for depth in (1, 2)
        for nesterov in (True, False)
    ),
]


def _text(method):
    return f"method: {method}{TIED}"


def _sorted(configs):
    return sorted(json.dumps(config, sort_keys=True) for config in configs)


@pytest.mark.parametrize("method", ["grid", "random"])
def test_a_sweep_hands_out_every_valid_config_once_and_ends(lab, method):
    agent = lab.register(lab.create(_text(method)))

    configs = [lab.run(agent, 1.0).config for _ in ALL]

    assert _sorted(configs) == _sorted(ALL)
    assert lab.beat(agent).type == "exit"


def test_preview_counts_what_exists_and_shows_it():
    definition = read_definition(_text("grid")).definition

    shown = preview(definition, n=50)

    assert (shown.grid_size, expected_trials(definition, None)) == (len(ALL), len(ALL))
    assert shown.is_everything
    assert _sorted(map(definition.space.nest, shown.configs)) == _sorted(ALL)


def test_a_cap_above_the_number_of_configurations_is_pointed_out():
    warnings = read_definition(_text("random") + "run_cap: 11\n").warnings

    assert [w.message for w in warnings] == ["11 is never reached: there are 10 configurations"]


def test_an_enqueued_config_loses_what_does_not_exist(lab):
    sweep = lab.create(_text("random"))
    values = {"depth": 1, "optimizer": "adam", "sgd": {"momentum": 0, "nesterov": True}}
    lab.write(
        sweeps.enqueue_run,
        actor=lab.actor,
        sweep_id=sweep.id,
        config={name: {"value": value} for name, value in values.items()},
    )

    command = lab.run(lab.register(sweep), 1.0)

    assert command.config == {"depth": 1, "optimizer": "adam"}
    assert "sgd" not in lab.run_of(command).config
    known = lab.store.read_sync(observe, sweep_id=sweep.id, definition=definition_of(sweep))
    assert [trial.config for trial in known.trials] == [{"depth": 1, "optimizer": "adam"}]


def test_a_config_by_hand_is_told_what_does_not_exist_or_breaks_a_constraint(lab):
    sweep = lab.create(_text("random"))

    made = lab.write(
        byhand.enqueue,
        actor=lab.actor,
        sweep_id=sweep.id,
        configs=[
            {"depth": 1, "optimizer": "adam", "sgd.momentum": 0},
            {"depth": 3, "optimizer": "sgd", "sgd.momentum": 0.9, "sgd.nesterov": True},
        ],
    )

    assert [words.partition(": ")[2] for words in made.warnings] == [
        "sgd.momentum does not exist in this configuration by sweepd.when: it is left out",
        "sgd.momentum * depth <= 2 is not so: it runs, and the search learns nothing from it",
    ]
    agent = lab.register(sweep)
    assert lab.run(agent, 1.0).config == {"depth": 1, "optimizer": "adam"}
    assert lab.run(agent, 1.0).config["sgd"] == {"momentum": 0.9, "nesterov": True}
    known = lab.store.read_sync(observe, sweep_id=sweep.id, definition=definition_of(sweep))
    assert len(known.trials) == 1
