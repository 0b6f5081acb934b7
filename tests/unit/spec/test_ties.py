"""`sweepd.when` and `sweepd.constraints`: what they make of the space, and what is refused."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweepd.errors import DefinitionError
from sweepd.search import filler
from sweepd.search.random import Random
from sweepd.search.unique import Taken, left_over
from sweepd.spec import grid_size, read_definition
from sweepd.spec.constraints import parse_constraint

OPTIMIZER = {"optimizer": {"values": ["adam", "sgd", "lion"]}}
SGD = {
    **OPTIMIZER,
    "momentum": {"values": [0, 0.9]},
    "nesterov": {"values": [True, False]},
    "depth": {"min": 1, "max": 4},
}
SGD_WHEN = {"momentum": {"optimizer": ["sgd"]}, "nesterov": {"momentum": 0.9}}


def _space(parameters, *, method="random", **block):
    text = json.dumps({"method": method, "parameters": parameters, "sweepd": block})
    return read_definition(text).definition.space


def _warned(parameters, *, method="random", **block):
    text = json.dumps({"method": method, "parameters": parameters, "sweepd": block})
    return {w.path: w.message for w in read_definition(text).warnings}


def _names(space, **config):
    return set(space.existing({"momentum": 0.9, "nesterov": True, "depth": 2, **config}))


def test_a_parameter_exists_beside_the_values_that_it_hangs_on():
    space = _space(SGD, when=SGD_WHEN)

    assert _names(space, optimizer="sgd") == {"optimizer", "momentum", "nesterov", "depth"}
    assert _names(space, optimizer="sgd", momentum=0) == {"optimizer", "momentum", "depth"}
    assert _names(space, optimizer="adam") == {"optimizer", "depth"}
    assert [p.name for p in space.ordered] == ["depth", "optimizer", "momentum", "nesterov"]


def test_a_config_has_exactly_the_parameters_that_exist():
    space = _space(SGD, when=SGD_WHEN)

    assert space.contains({"optimizer": "adam", "depth": 2})
    assert space.contains({"optimizer": "sgd", "momentum": 0.0, "depth": 2})
    assert not space.contains({"optimizer": "adam", "depth": 2, "momentum": 0.9})
    assert not space.contains({"optimizer": "sgd", "depth": 2})
    assert not space.contains({"optimizer": "adam", "depth": 2, "nesterov": True})
    assert not space.contains({"depth": 2})


def test_configs_that_differ_in_what_does_not_exist_are_the_same():
    space = _space(SGD, when=SGD_WHEN)
    plain = {"optimizer": "adam", "depth": 2}

    assert space.key(plain | {"momentum": 0.9}) == space.key(plain)
    np.testing.assert_array_equal(space.to_unit(plain | {"momentum": 0}), space.to_unit(plain))
    assert space.key(plain) != space.key(plain | {"optimizer": "lion"})


def test_nested_names_and_whole_groups_hang_on_others():
    group = {"parameters": {"lr": {"min": 0.0, "max": 1.0}, "m": {"values": [1, 2]}}}
    space = _space(
        {"opt": {"parameters": {"name": {"values": ["a", "b"]}}}, "sgd": group},
        when={"sgd": {"opt.name": "b"}},
    )

    assert space.nest(space.from_unit(np.array([0.2, 0.5, 0.5]))) == {"opt": {"name": "a"}}
    there = space.nest(space.from_unit(np.array([0.9, 0.5, 0.2])))
    assert there == {"opt": {"name": "b"}, "sgd": {"lr": 0.5, "m": 1}}


def test_several_parents_must_all_agree_and_numbers_may_be_bounded():
    space = _space(
        {**OPTIMIZER, "depth": {"min": 1, "max": 4}, "skip": {"values": [True, False]}},
        when={"skip": {"depth": {"min": 3}, "optimizer": ["sgd", "lion"]}},
    )

    assert not space["skip"].exists_in({"depth": 2, "optimizer": "sgd"})
    assert not space["skip"].exists_in({"depth": 3, "optimizer": "adam"})
    assert space["skip"].exists_in({"depth": 3.0, "optimizer": "lion"})
    assert space.size == 3 * 4 + 2 * 2


def test_falsy_and_odd_values_are_conditions_like_any_other():
    space = _space(
        {
            "a": {"values": [None, False, 0, "", [1], {"min": 1}]},
            **{name: {"value": name} for name in "nfzelm"},
        },
        when={
            "n": {"a": None},
            "f": {"a": False},
            "z": {"a": 0},
            "e": {"a": ""},
            "l": {"a": [[1]]},
            "m": {"a": {"min": 1}},
        },
    )

    found = [set(space.lattice.config(number)) - {"a"} for number in space.lattice.walk()]

    assert found == [{"n"}, {"f"}, {"z"}, {"e"}, {"l"}, {"m"}]


def test_a_constraint_is_satisfied_where_a_name_of_it_does_not_exist():
    space = _space(SGD, when=SGD_WHEN, constraints=["momentum * depth < 2"])

    assert space.contains({"optimizer": "adam", "depth": 4})
    assert space.contains({"optimizer": "sgd", "momentum": 0.9, "nesterov": True, "depth": 2})
    assert not space.contains({"optimizer": "sgd", "momentum": 0.9, "nesterov": True, "depth": 3})


def test_draws_and_grids_keep_to_what_is_rarely_satisfied():
    numbers = {name: {"min": 0, "max": 99} for name in "abc"}
    space = _space(numbers, constraints=["a + b + c == 3"])
    endless = _space(numbers | {"x": {"min": 0.0, "max": 1.0}}, constraints=["a + b + c == 30"])
    rng = np.random.default_rng(0)

    assert space.size == 10
    assert {sum(space.sample(rng).values()) for _ in range(5)} == {3}
    config = endless.sample(rng)
    assert config["a"] + config["b"] + config["c"] == 30


@pytest.mark.parametrize(
    ("block", "path", "words"),
    [
        ({"when": []}, "sweepd.when", "must be a mapping such as"),
        ({"when": {"momentun": {"optimizer": "sgd"}}}, "sweepd.when.momentun", "mean momentum?"),
        ({"when": {"momentum": "sgd"}}, "sweepd.when.momentum", "to its values, not sgd"),
        ({"when": {"momentum": {}}}, "sweepd.when.momentum", "another parameter"),
        (
            {"when": {"momentum": {"optimiser": "sgd"}}},
            "sweepd.when.momentum.optimiser",
            "did you mean optimizer?",
        ),
        (
            {"when": {"momentum": {"optimizer": ["sgd", "sdg"]}}},
            "sweepd.when.momentum.optimizer[1]",
            'optimizer must be one of "adam", "sgd", "lion", not sdg',
        ),
        (
            {"when": {"momentum": {"optimizer": []}}},
            "sweepd.when.momentum.optimizer",
            "at least one value",
        ),
        (
            {"when": {"momentum": {"momentum": 0}}},
            "sweepd.when.momentum.momentum",
            "momentum cannot depend on itself",
        ),
        (
            {
                "when": {
                    "momentum": {"depth": 1},
                    "depth": {"nesterov": True},
                    "nesterov": {"momentum": 0},
                }
            },
            "sweepd.when.depth",
            "in a circle: depth depends on nesterov depends on momentum depends on depth",
        ),
        (
            {"when": {"momentum": {"lr": 0.5}}},
            "sweepd.when.momentum.lr",
            "hardly ever has exactly this value: write {min: …, max: …}",
        ),
        (
            {"when": {"momentum": {"depth": {"min": 3, "max": 2}}}},
            "sweepd.when.momentum.depth",
            "min 3 is above max 2",
        ),
        (
            {"when": {"momentum": {"depth": {"min": "x"}}}},
            "sweepd.when.momentum.depth.min",
            "must be a finite number, not x",
        ),
        (
            {"when": {"momentum": {"optimizer": {"min": 1}}}},
            "sweepd.when.momentum.optimizer",
            "optimizer has no numbers",
        ),
        (
            {"when": {"momentum": {"depth": {"min": 9}}}},
            "sweepd.when.momentum",
            "never exists: its conditions are never all true",
        ),
        (
            {
                "when": {
                    "momentum": {"optimizer": "sgd"},
                    "nesterov": {"momentum": 0, "optimizer": "adam"},
                }
            },
            "sweepd.when.nesterov",
            "never exists",
        ),
        ({"constraints": "a < b"}, "sweepd.constraints", "must be a list of texts"),
        ({"constraints": [3]}, "sweepd.constraints[0]", "must be text in quotes, not 3"),
        ({"constraints": ["depth ** 2 < 3"]}, "sweepd.constraints[0]", "a power is not allowed"),
        ({"constraints": ["dept < 3"]}, "sweepd.constraints[0]", "did you mean depth?"),
        ({"constraints": ["w < 3"]}, "sweepd.constraints[0]", 'in quotes: "w-d"'),
        ({"constraints": ["optimizer > 1"]}, "sweepd.constraints[0]", "has no numbers to compute"),
        ({"constraints": ["depth > 9"]}, "sweepd.constraints[0]", "no configuration satisfies it"),
        (
            {"constraints": ["depth > 2", "depth < 3"]},
            "sweepd.constraints",
            "no configuration satisfies all of them at once",
        ),
        (
            {"constraints": ["lr > 2"]},
            "sweepd.constraints[0]",
            "no configuration satisfies it among 131,072 that were drawn",
        ),
        ({"constraints": ["depth < 9"] * 51}, "sweepd.constraints", "at most 50"),
    ],
)
def test_what_makes_no_sense_is_refused_in_words(block, path, words, refusal, text_of):
    more = {"lr": {"min": 0.0, "max": 1.0}, "w-d": {"values": [0, 1]}}

    found = refusal(text_of(SGD | more, sweepd=block))

    assert path in found
    assert words in found[path].message
    assert found[path].line is not None


def test_every_problem_is_told_at_once(refusal, text_of):
    block = {"when": {"x": {"optimizer": 1}, "depth": {"optimizer": "x"}}, "constraints": ["a", 1]}

    assert set(refusal(text_of(SGD, sweepd=block))) == {
        "sweepd.when.x",
        "sweepd.when.x.optimizer",
        "sweepd.when.depth.optimizer",
        "sweepd.constraints[0]",
        "sweepd.constraints[1]",
    }


def test_beside_a_wrong_parameter_all_is_told_that_does_not_hang_on_it(refusal, text_of):
    parameters = {
        **SGD,
        "size": {"values": [1, 2]},
        "width": {"min": 9, "max": 1},
        "opt": {"parameters": {"lr": {"min": 0.0, "max": "much"}, "decay": {"values": [0, 1]}}},
    }
    block = {
        "when": {
            "momentum": {"optimizer": ["adm"]},  # wrong by itself
            "depth": {"width": 3},  # who knows
            "opt.decay": {"opt.lr": 0.5},
            "nope": {"optimizer": ["sgd"]},
        },
        "constraints": [
            "depth * width <= 4",
            "opt.lr + momentum <= 4",
            "deep <= 3",
            "size >= 3",
        ],
        "initial": [
            {"optimizer": "sdg", "width": 3, "opt": {"lr": 7, "decay": 1}, "depht": 2},
            {"optimizer": "adam", "depth": 77, "opt.lr": 2},
            {"width": 3},
        ],
    }

    found = refusal(text_of(parameters, sweepd=block))

    assert set(found) == {
        "parameters.width",
        "parameters.opt.parameters.lr.max",
        "sweepd.when.momentum.optimizer[0]",
        "sweepd.when.nope",
        "sweepd.constraints[2]",
        "sweepd.constraints[3]",
        "sweepd.initial[0].optimizer",
        "sweepd.initial[0].depht",
        "sweepd.initial[0]",
        "sweepd.initial[1]",
        "sweepd.initial[2]",
    }
    assert found["sweepd.constraints[3]"].message.endswith("no configuration satisfies it")
    assert found["sweepd.initial[2]"].message.startswith("needs nesterov, optimizer, size: ")


def test_without_parameters_only_how_the_rest_is_written_is_told(refusal):
    text = """
method: random
parameters: [lr]
sweepd:
  when: {momentum: []}
  constraints: ["lr <=", "lr <= depth"]
  initial: [{lr: 1}, 7]
"""

    assert set(refusal(text)) == {
        "parameters",
        "sweepd.when.momentum",
        "sweepd.constraints[0]",
        "sweepd.initial[1]",
    }


def test_conditions_and_constraints_that_change_nothing_are_pointed_out():
    warned = _warned(
        SGD, when={"momentum": {"depth": {"min": 1}}}, constraints=["depth >= 1", "depth > 1"]
    )

    assert "always exists" in warned["sweepd.when.momentum"]
    assert "every configuration satisfies it" in warned["sweepd.constraints[0]"]
    assert len(warned) == 2


def test_constraints_that_hardly_anything_satisfies_are_pointed_out():
    numbers = {"a": {"min": 0.0, "max": 1.0}, "b": {"min": 0.0, "max": 1.0}}

    warned = _warned(numbers, constraints=["a + b < 0.02"])

    assert "about one configuration in" in warned["sweepd.constraints"]


def test_a_grid_is_judged_by_its_own_points():
    steps = {"x": {"distribution": "q_uniform", "min": 0, "max": 4, "q": 2}, "y": {"value": 1}}

    with pytest.raises(DefinitionError, match="no configuration satisfies it"):
        _space(steps, method="grid", constraints=["x >= 4"])
    assert _space(steps, constraints=["x >= 4"]).size == 1


_LARGE = {name: {"min": 0, "max": 10_000} for name in "abcdef"}


def test_a_grid_that_a_walk_would_get_lost_in_is_refused(refusal, text_of):
    found = refusal(
        text_of(_LARGE, method="grid", sweepd={"constraints": ["a + b + c + d + e + f > 59990"]})
    )

    assert "at most 1,048,576 can be gone through" in found["sweepd.constraints"].message


def test_what_is_left_of_a_space_too_large_to_go_through_is_not_looked_for():
    space = _space(_LARGE, constraints=["a == 10000"])

    assert space.size == 10_001**5
    assert left_over(Taken(space), start=0) is None


def test_a_definition_costs_no_more_than_it_may_however_it_is_tied(refusal, text_of):
    many = {f"p{i:04d}": {"min": 0.0, "max": 1.0} for i in range(502)}
    chain = {f"p{i:04d}": {f"p{i + 1:04d}": {"min": 0.5}} for i in range(501)}
    large = {"a": {"min": 0, "max": 500_000}, "b": {"min": 0.0, "max": 1.0}}

    found = refusal(text_of(many, sweepd={"when": chain}))
    warned = _warned(dict(list(many.items())[:301]), when=dict(list(chain.items())[:300]))
    space = _space(large, when={"b": {"a": list(range(20_000))}})

    assert found["sweepd.when"].message == "501 parameters have conditions: at most 500"
    assert "among 55,738 that were drawn" in warned["sweepd.when.p0000"]
    assert space.existing({"a": 20_000, "b": 0.5}) == {"a": 20_000}
    assert space.existing({"a": 19_999, "b": 0.5}) == {"a": 19_999, "b": 0.5}


def test_the_bands_of_early_termination_have_an_end(refusal, text_of):
    rule = {"type": "hyperband", "max_iter": 10**9, "s": 10**9, "eta": 1.0000001}
    x = {"x": {"min": 0.0, "max": 1.0}}

    found = refusal(text_of(x, metric={"name": "loss"}, early_terminate=rule))

    assert "more than 1000 bands" in found["early_terminate"].message


def test_a_constraint_that_no_draw_satisfies_any_more_leaves_nothing_to_hand_out():
    space = _space({"x": {"min": 0.0, "max": 1.0}, "y": {"min": 0.0, "max": 1.0}})
    space = replace(space, constraints=(parse_constraint("x < 0"),))

    assert Random().pick(space, Taken(space), index=0, seed=1) is None
    assert filler(space, Taken(space), index=0, seed=1) is None


def test_initial_configs_have_what_exists_and_satisfy_the_constraints(refusal, text_of):
    block = {
        "when": SGD_WHEN,
        "constraints": ["momentum * depth < 3"],
        "initial": [
            {"optimizer": "adam", "depth": 1},
            {"optimizer": "adam", "depth": 1, "momentum": 0},
            {"optimizer": "sgd", "depth": 1},
            {"optimizer": "sgd", "depth": 4, "momentum": 0.9, "nesterov": False},
        ],
    }

    found = refusal(text_of(SGD, sweepd=block))

    assert {path: v.message for path, v in found.items()} == {
        "sweepd.initial[1].momentum": "does not exist in a trial with optimizer adam",
        "sweepd.initial[2]": "needs momentum: a trial sets every parameter",
        "sweepd.initial[3]": "does not satisfy momentum * depth < 3",
    }


# Any space with conditions and constraints.

_LAW = st.one_of(
    st.integers(2, 4).map(lambda n: {"values": list(range(n))}),
    st.integers(2, 3).map(lambda n: {"values": ["x", None, True][:n]}),
    st.just({"min": 1, "max": 3}),
    st.just({"distribution": "q_uniform", "min": 0.0, "max": 1.0, "q": 0.5}),
    st.just({"value": 2}),
)
_ENDLESS = st.just({"min": 0.0, "max": 4.0})
_TEXTS = ["{0} <= 1", "{0} + {1} < 4", "{0} * {1} != 2", "{0} // {1} >= 1 or {0} < 2"]


@st.composite
def _tied(draw, laws=_LAW):
    names = draw(st.permutations("abcde"))[: draw(st.integers(2, 5))]
    parameters = {name: draw(laws) for name in names}
    when = {}
    for i, name in enumerate(names[1:], 1):
        for parent in draw(st.lists(st.sampled_from(names[:i]), max_size=2, unique=True)):
            law = parameters[parent]
            values = law.get("values") or ([law["value"]] if "value" in law else None)
            bound = {"min": draw(st.sampled_from([0, 1, 2]))}
            if values and draw(st.booleans()):
                bound = draw(st.lists(st.sampled_from(values), min_size=1, max_size=2))
            when.setdefault(name, {})[parent] = bound
    constraints = [
        draw(st.sampled_from(_TEXTS)).format(*draw(st.permutations(names)))
        for _ in range(draw(st.integers(0, 2)))
    ]
    return {"parameters": parameters, "sweepd": {"when": when, "constraints": constraints}}


def _read(definition, method="random"):
    try:
        return read_definition(json.dumps({"method": method, **definition})).definition.space
    except DefinitionError:
        return None  # nothing satisfies it, or a category with a bound


@settings(deadline=None, max_examples=40)
@given(_tied(_LAW | _ENDLESS), st.integers(0, 2**32))
def test_any_draw_is_a_config_and_comes_back_from_the_unit_cube(definition, seed):
    space = _read(definition)
    if space is None:
        return

    config = space.sample(np.random.default_rng(seed))

    assert space.contains(config)
    assert config == space.sample(np.random.default_rng(seed))
    assert json.loads(json.dumps(config, allow_nan=False)) == config
    assert space.flatten(space.nest(config)) == config
    point = space.to_unit(config)
    assert ((point >= 0) & (point <= 1)).all()
    assert space.key(space.from_unit(point)) == space.key(config)
    assert space.are_allowed(point[None]).all()
    np.testing.assert_allclose(space.snap(point[None]), point[None], atol=1e-9)


@settings(deadline=None, max_examples=40)
@given(_tied(_LAW | _ENDLESS), st.integers(0, 2**32))
def test_many_points_are_judged_as_each_of_them(definition, seed):
    space = _read(definition)
    if space is None:
        return
    points = np.random.default_rng(seed).random((20, space.d))
    configs = [space.from_unit(point) for point in points]

    exists, allowed = space.existing_at(points), space.are_allowed(points)

    for i, config in enumerate(configs):
        assert {name for name, there in exists.items() if there[i]} == config.keys()
        assert allowed[i] == space.satisfies(config)
    snapped = [space.to_unit(config) for config in configs]
    np.testing.assert_allclose(space.snap(points), np.reshape(snapped, points.shape), atol=1e-9)


@settings(deadline=None, max_examples=40)
@given(_tied())
def test_a_finite_space_has_the_configs_that_a_walk_over_all_points_finds(definition):
    space, grid = _read(definition), _read(definition, "grid")

    for found, lattice in ((space, space and space.lattice), (grid, grid and grid.grid)):
        if found is None:
            continue
        wanted = {}
        for config in _product(found, is_grid=lattice is not space.lattice):
            config = found.existing(config)
            if found.satisfies(config):
                wanted.setdefault(found.key(config), config)
        walked = [lattice.config(number) for number in lattice.walk()]
        assert walked == list(wanted.values())
        assert lattice.n_configs == len(walked)
        assert [lattice.number(config) for config in walked] == list(lattice.walk())
    if space is not None:
        assert space.size == space.lattice.n_configs
    if grid is not None:
        assert grid_size(grid) == grid.grid.n_configs


def _product(space, *, is_grid):
    configs = [{}]
    for p in space.parameters:
        values = p.distribution.grid() if is_grid else _values(p.distribution)
        configs = [config | {p.name: value} for config in configs for value in values]
    return configs


def _values(law):
    return (
        list(dict.fromkeys(map(law.ppf, np.linspace(0, 1, 97)))) if law.size != 1 else [law.ppf(0)]
    )
