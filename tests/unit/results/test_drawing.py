"""Plots as SVG text."""

import itertools
import math
import re
from xml.etree import ElementTree

import pytest

from sweepd.results.drawing import Dot, bars, best_so_far, scatter, ticks


def heights(svg):
    return [float(dot.get("cy")) for dot in ElementTree.fromstring(svg).iter("circle")]


@pytest.mark.parametrize(
    ("low", "high", "is_log", "expected"),
    [
        (0.0, 1.0, False, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (0.81, 0.99, False, [0.85, 0.9, 0.95]),
        (-30.0, 70.0, False, [-20, 0, 20, 40, 60]),
        (2.0, 2.0, False, [2]),
        (1e-5, 1e-1, True, [1e-5, 1e-4, 1e-3, 1e-2, 1e-1]),
        (0.004, 0.04, True, [0.005, 0.01, 0.02]),
        (1e-12, 1.0, True, [1e-12, 1e-9, 1e-6, 1e-3, 1]),
        (2.0, 2.5, True, [2]),
    ],
    ids=str,
)
def test_ticks_are_few_and_round(low, high, is_log, expected):
    assert ticks(low, high, is_log=is_log) == pytest.approx(expected)


@pytest.mark.parametrize("is_log", [False, True])
def test_there_is_a_tick_whatever_the_ends(is_log):
    assert ticks(1.3, 1.3000001, is_log=is_log)


def test_the_line_of_the_best_only_gets_better():
    svg = best_so_far([3.0, 5.0, 1.0, 2.0], list("abcd"), metric="loss", goal="minimize")

    path = ElementTree.fromstring(svg).find(".//path[@class='line']").get("d")
    levels = [float(number) for number in re.findall(r"V([\d.]+)", path)]
    assert levels == sorted(levels)  # down the page is up in y: less is lower
    assert levels[-1] == max(heights(svg))


def test_one_run_is_a_curve_too():
    assert "<circle" in best_so_far([0.5], ["a"], metric="acc", goal="maximize")


def test_what_is_far_off_does_not_press_the_others_together():
    dots = [Dot(float(n), n / 10, str(n)) for n in range(9)] + [Dot(9.0, 1e6, "far")]

    *others, far = heights(scatter(dots, x_label="x", y_label="loss", goal="minimize"))

    assert max(others) - min(others) > 60
    assert far < min(others)


def test_categories_have_their_names_and_the_best_is_on_top():
    dots = [Dot("adam", 0.9, "one", is_best=True), Dot("sgd", 0.5, "two"), Dot("sgd", 0.5, "three")]

    drawn = ElementTree.fromstring(scatter(dots, x_label="o", y_label="acc", goal="maximize"))

    assert {"adam", "sgd"} <= {text.text for text in drawn.iter("text")}
    circles = list(drawn.iter("circle"))
    assert circles[-1].get("class") == "best"
    assert circles[0].get("cx") != circles[1].get("cx")


def test_a_logarithmic_axis_spreads_powers_evenly():
    dots = [Dot(10.0**-n, 0.5, "") for n in range(4)]
    kind = {"x_label": "lr", "y_label": "a", "goal": "maximize"}
    drawn = ElementTree.fromstring(scatter(dots, is_log=True, **kind))

    places = [float(circle.get("cx")) for circle in drawn.iter("circle")]
    steps = [b - a for a, b in itertools.pairwise(places)]
    assert max(map(abs, steps)) - min(map(abs, steps)) < 0.2
    assert math.isfinite(sum(places))


def test_words_are_escaped_in_every_plot():
    bad = "<script>&\"'"
    plots = [
        best_so_far([1.0, 2.0], [bad, bad], metric=bad, goal="minimize"),
        scatter([Dot(bad, 1.0, bad)], x_label=bad, y_label=bad, goal="minimize"),
        bars([(bad, 0.5, 0.4, 0.6)]),
    ]

    for plot in plots:
        assert "<script" not in plot
        assert any(bad in (text.text or "") for text in ElementTree.fromstring(plot).iter())


def test_labels_do_not_overlap_nor_leave_the_picture():
    dots = [Dot(f"a category of a long name {n}", 1.0, "") for n in range(7)]

    drawn = ElementTree.fromstring(scatter(dots, x_label="x", y_label="y", goal="minimize"))

    places = [
        float(text.get("x"))
        for text in drawn.iter("text")
        if text.get("text-anchor") == "middle" and "category" in (text.text or "")
    ]
    assert places
    assert all(b - a > 80 for a, b in itertools.pairwise(places))


@pytest.mark.parametrize(
    "values", [[-1e308, 1e308], [1e308] * 9, [5e-324, 0.0], [0.0] * 9], ids=str
)
def test_every_finite_value_is_drawn(values):
    svg = best_so_far(values, ["a"] * len(values), metric="x", goal="minimize")
    over = scatter(
        [Dot(v, v, "") for v in values],
        x_label="x",
        y_label="y",
        goal="maximize",
        x_goal="minimize",
    )

    assert all(math.isfinite(y) for y in heights(svg) + heights(over))
