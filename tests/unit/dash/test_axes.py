"""The axes of the parallel coordinates."""

import pytest

from sweepd.dash.axes import metric_axis, parameter_axes, parameter_axis
from sweepd.spec import (
    Beta,
    Categorical,
    Distribution,
    IntUniform,
    LogNormal,
    LogUniform,
    Normal,
    Uniform,
    canonical,
    read_definition,
)


@pytest.mark.parametrize(
    ("law", "kind"),
    [
        pytest.param(Uniform(low=0.0, high=1.0), "linear", id="uniform"),
        pytest.param(LogUniform(low=1e-4, high=0.1), "log", id="log-uniform"),
        pytest.param(IntUniform(low=1, high=100), "linear", id="many integers"),
        pytest.param(IntUniform(low=1, high=4), "band", id="few integers"),
        pytest.param(Categorical(values=("a", "b"), probabilities=None), "band", id="category"),
        pytest.param(Normal(), "linear", id="normal"),
        pytest.param(LogNormal(), "log", id="log-normal"),
        pytest.param(Beta(), "linear", id="beta"),
    ],
)
def test_scale_is_that_of_the_distribution(law: Distribution, kind: str) -> None:
    axis = parameter_axis("x", law, [])

    assert axis["kind"] == kind
    if kind != "band":
        assert axis["lo"] < axis["hi"]


def test_ends_take_in_values_beyond_the_distribution() -> None:
    axis = parameter_axis("x", Uniform(low=0.0, high=1.0), [0.5, 3.0])

    assert (axis["lo"], axis["hi"]) == (0.0, 3.0)


def test_numbers_as_categories_are_sorted() -> None:
    axis = parameter_axis("x", Categorical(values=(64, 16, 32), probabilities=None), [])

    assert axis["values"] == [16, 32, 64]


def test_value_that_the_category_lost_keeps_a_band_of_its_own() -> None:
    law = Categorical(values=(True, "a"), probabilities=None)

    assert parameter_axis("x", law, ["a", 1, "gone", "gone"])["values"] == [True, "a", 1, "gone"]


@pytest.mark.parametrize(
    ("law", "expected"),
    [
        pytest.param(
            Categorical(values=(64, 16, 32), probabilities=None),
            [8, 16, 24.5, 32, 64, 128, "many", True, None],
            id="categories that are numbers",
        ),
        pytest.param(
            IntUniform(low=1, high=3),
            [1, 2, 3, 8, 24.5, 128, "many", True, None],
            id="few whole numbers",
        ),
        pytest.param(
            Categorical(values=("b", "a"), probabilities=None),
            ["b", "a", 128, "many", 24.5, True, 8, None],
            id="categories without an order",
        ),
    ],
)
def test_values_outside_of_the_law_stand_in_their_order(law, expected) -> None:
    axis = parameter_axis("x", law, [128, "many", 24.5, True, 8, None, 8])

    assert [canonical(value) for value in axis["values"]] == list(map(canonical, expected))


def test_constants_have_no_axis() -> None:
    definition = read_definition(
        "method: random\nprogram: t.py\nparameters: {a: {value: 1}, b: {min: 0.0, max: 1.0}}"
    ).definition

    assert [axis["name"] for axis in parameter_axes(definition, [])] == ["b"]


@pytest.mark.parametrize(
    ("goal", "values", "clamp"),
    [
        pytest.param("maximize", [0.1] + [0.97 + i / 1000 for i in range(20)], "low", id="max"),
        pytest.param("minimize", [9e9] + [1 + i / 10 for i in range(20)], "high", id="min"),
        pytest.param("maximize", [0.1, 0.97, 0.98], None, id="few values"),
        pytest.param("minimize", [0.001] + [1 + i / 10 for i in range(20)], None, id="a good one"),
    ],
)
def test_far_worse_runs_do_not_squeeze_the_metric_axis(
    goal: str, values: list[float], clamp: str | None
) -> None:
    axis = metric_axis("m", goal=goal, values=values)

    assert axis.get("clamp") == clamp
    assert axis["lo"] <= (max(values) if goal == "maximize" else min(values)) <= axis["hi"]


def test_metric_axis_has_a_length_whatever_was_measured() -> None:
    for values in ([], [0.0], [5.0, 5.0], [float("nan")]):
        axis = metric_axis("m", goal="minimize", values=values)

        assert axis["lo"] < axis["hi"]
