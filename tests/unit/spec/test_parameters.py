"""The `parameters:` block: what is refused, pointed out, and in which words."""

import pytest


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        pytest.param(0.1, "write value: 0.1", id="a number"),
        pytest.param([1, 2], "write values: […]", id="a list"),
        pytest.param(None, "is empty", id="nothing"),
        pytest.param({}, "needs value, values, or min and max", id="no keys"),
        pytest.param({"min": 1}, "needs max", id="no max"),
        pytest.param({"max": 1.0}, "needs min", id="no min"),
        pytest.param({"min": 3, "max": 3}, "min 3 is not below max 3", id="nothing between"),
        pytest.param({"min": 5, "max": 1}, "min 5 is not below max 1", id="turned round"),
        pytest.param({"values": []}, "must not be empty", id="no values"),
        pytest.param({"mu": 0}, "needs distribution: normal", id="mu alone"),
        pytest.param({"a": 1, "b": 2}, "needs distribution: beta", id="a and b alone"),
        pytest.param({"probabilities": [1]}, "needs values", id="probabilities alone"),
        pytest.param(
            {"values": [1, 2], "probabilities": [0.5, 0.4]}, "sum to 1, not 0.9", id="sum"
        ),
        pytest.param(
            {"values": [1, 2], "probabilities": [1]}, "2 values but 1 prob", id="too few weights"
        ),
        pytest.param({"distribution": "log_uniform", "min": 1, "max": 1000}, "exponent", id="exp"),
        pytest.param(
            {"distribution": "q_uniform", "min": 0, "max": 1, "q": 1e-300}, "too small", id="tiny q"
        ),
        pytest.param(
            {"distribution": "uniform", "min": -1e308, "max": 1e308}, "too far apart", id="too wide"
        ),
        pytest.param(
            {"distribution": "log_uniform_values", "min": 1e10, "max": 10000000000.000002},
            "too close",
            id="too close",
        ),
        pytest.param(
            {"distribution": "normal", "sigma": 1e308}, "to compute with", id="too spread"
        ),
    ],
)
def test_a_parameter_that_means_nothing_is_refused(spec, words, text_of, refusal):
    found = refusal(text_of({"x": spec}))

    assert list(found) == ["parameters.x"]
    assert words in found["parameters.x"].message


@pytest.mark.parametrize(
    ("spec", "key", "words"),
    [
        ({"min": "a", "max": 1}, "min", "must be a number, not a"),
        ({"min": "0.1", "max": 1}, "min", "remove the quotes"),
        ({"min": True, "max": 3.0}, "min", "must be a number, not true"),
        ({"min": None, "max": 1.0}, "min", "must be a number, not nothing"),
        ({"min": [1], "max": 1.0}, "min", "must be a number, not a list"),
        ({"distribution": "int_uniform", "min": 0.5, "max": 2}, "min", "a whole number, not 0.5"),
        ({"min": 0, "max": 10**30}, "max", "within ±2^53"),
        ({"min": 0, "max": 10**400}, "max", "finite"),
        ({"values": "abc"}, "values", "must be a list, not abc"),
        ({"values": {"a": 1}}, "values", "must be a list, not a mapping"),
        ({"values": [1], "probabilities": 1}, "probabilities", "must be a list"),
        ({"values": [1, 2], "probabilities": [-1, 2]}, "probabilities[0]", "at least 0"),
        ({"distribution": "log_uniform_values", "min": 0, "max": 1}, "min", "must be above 0"),
        ({"distribution": "normal", "sigma": 0}, "sigma", "must be above 0"),
        ({"distribution": "beta", "a": -1}, "a", "must be above 0"),
        ({"distribution": "q_uniform", "min": 0, "max": 1, "q": 0}, "q", "must be above 0"),
        ({"distribution": "unifrom", "min": 0, "max": 1}, "distribution", "mean uniform?"),
        ({"distribution": 3, "min": 0, "max": 1}, "distribution", "known: constant"),
        ({"min": 0, "max": 9, "q": 3}, "q", "write distribution: q_uniform"),
        ({"distribution": "normal", "q": 3}, "q", "write distribution: q_normal"),
        ({"value": 1, "values": [1]}, "values", "means nothing to constant"),
        ({"values": [1], "min": 3}, "min", "means nothing to categorical"),
        ({"values": [1, 2], "vaules": [3]}, "vaules", "did you mean values?"),
        ({"min": 0, "max": 9, "step": 3}, "step", "did you mean distribution: q_uniform with q?"),
        ({"min": 0, "max": 9, "high": 9}, "high", "did you mean max?"),
        ({"value": 1, "zzz": 9}, "zzz", "unknown key; known: a, b"),
        ({"distribution": "loguniform", "min": 1, "max": 2}, "distribution", "log_uniform_values?"),
        ({"lr": {"value": 1}}, "lr", "go below a key called parameters"),
        ({"parameters": {"a": {"value": 1}}, "value": 3}, "value", "cannot stand beside"),
        (
            {"distribution": "categorical", "values": [1], "probabilities": [1]},
            "probabilities",
            "categorical_w_probabilities",
        ),
    ],
)
def test_a_wrong_key_of_a_parameter_is_named(spec, key, words, text_of, refusal):
    found = refusal(text_of({"x": spec}))

    assert list(found) == [f"parameters.x.{key}"]
    assert words in found[f"parameters.x.{key}"].message


@pytest.mark.parametrize("name", ["1st", "a/b", "a b", "-x", "é", ""])
def test_names_that_wandb_refuses_are_refused(name, text_of, refusal):
    found = refusal(text_of({name: {"value": 1}}))

    assert "a name has letters" in next(iter(found.values())).message


@pytest.mark.parametrize("name", ["_wandb", "wandb_version"])
def test_names_that_wandb_keeps_for_itself_are_refused(name, text_of, refusal):
    found = refusal(text_of({name: {"values": [1, 2]}, "o": {"parameters": {name: {"value": 1}}}}))

    assert list(found) == [f"parameters.{name}"]


def test_two_spellings_of_one_name_are_refused(text_of, refusal):
    parameters = {"o.lr": {"value": 1}, "o": {"parameters": {"lr": {"value": 2}}}}

    found = refusal(text_of(parameters))

    assert "has the same full name, o.lr" in "".join(v.message for v in found.values())


@pytest.mark.parametrize("parameters", [{}, [], "x", 3, {"o": {"parameters": {}}}])
def test_a_block_without_parameters_is_refused(parameters, text_of, refusal):
    assert len(refusal(text_of(parameters))) == 1


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"min": 0.0, "max": 1.0}, "q: 0.1 would give 10 points"),
        ({"min": 0.0, "max": 300.0}, "q: 20 would give 15 points"),
        ({"distribution": "log_uniform_values", "min": 1e-4, "max": 1}, "values: [0.0001, 0.001"),
        ({"distribution": "normal"}, "list values in its place"),
        ({"distribution": "q_normal"}, "list values in its place"),
        (
            {"distribution": "q_log_uniform_values", "min": 1, "max": 64, "q": 8},
            "q: 8 it has 9 points",
        ),
        ({"values": [1, 2], "probabilities": [0.5, 0.5]}, "leave the probabilities out"),
        ({"min": 0, "max": 10**9}, "at most 1000000"),
    ],
)
def test_a_grid_over_what_has_none_is_refused_with_a_way_out(spec, words, text_of, refusal):
    found = refusal(text_of({"x": spec}, method="grid"))

    assert words in found["parameters.x"].message


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (
            {"distribution": "log_uniform", "min": 0.0001, "max": 0.1},
            "values from 1.0001 to 1.10517, which are hardly meant",
        ),
        ({"distribution": "log_uniform", "min": -9.2, "max": -2.3}, "from 0.000101039 to 0.100259"),
        ({"distribution": "q_log_uniform", "min": 0, "max": 3}, "are exponents of e"),
        ({"distribution": "inv_log_uniform", "min": 1, "max": 2}, "from 0.135335 to 0.367879"),
        ({"min": 0, "max": 1.5}, "read as distribution: uniform"),
        ({"distribution": "q_uniform", "min": 1, "max": 10, "q": 4}, "gives 0 to 8"),
        ({"distribution": "q_uniform", "min": 0.1, "max": 0.2}, "leaves one value, 0"),
        ({"values": [1, 2, 1.0]}, "1.0 is listed more than once"),
        ({"values": ["a", "b"], "probabilities": [0, 1]}, "a has probability 0"),
        ({"distribution": "log_normal", "mu": 1000, "sigma": 1}, "nearly all of its draws are one"),
    ],
)
def test_a_parameter_that_may_not_mean_what_it_says_is_pointed_out(spec, words, parsed):
    found = parsed({"p": spec}).warnings

    assert [warning.path for warning in found] == ["parameters.p"]
    assert words in found[0].message


def test_bounds_of_two_kinds_are_written_out_for_wandbs_client(parsed):
    definition = parsed({"p": {"min": 0, "max": 1.5}}).definition

    assert definition.raw["parameters"]["p"]["distribution"] == "uniform"
