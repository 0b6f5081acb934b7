"""Runs side by side."""

import json

import pytest

from sweepd.errors import InvalidInput, NotFound
from sweepd.results import compare

METRIC = {"name": "acc", "goal": "maximize"}
A, B = "me/digits/a", "me/digits/b"


@pytest.fixture
def two(fake):
    a = fake.run("a", [0.5, 0.9, 0.8], config={"lr": 0.1, "opt": {"name": "sgd"}, "epochs": 3})
    b = fake.run("b", [0.7], config={"lr": 0.1, "opt": {"name": "adam"}, "epochs": 3, "wd": 0})
    a.summary_metrics = {"acc": 0.8, "_runtime": 61.5, "test": {"loss": 2}, "image": [1, 2]}
    a.summary_metrics["weights"] = {"_type": "histogram", "bins": [1]}
    a.metadata |= {"host": "node1", "gpu": "H200", "gpu_count": 2, "python": "3.11"}
    return fake.api([a, b], metric=METRIC)


def rows_of(found, group, **how):
    return {row.name: row.cells for row in found.rows(**how) if row.group == group}


def test_of_the_configs_only_what_differs_is_shown_unless_all_is_asked_for(two):
    found = compare([A, B], api=two)

    assert rows_of(found, "config") == {"opt.name": ("sgd", "adam"), "wd": (None, 0)}
    assert rows_of(found, "config", is_whole=True).keys() == {"lr", "opt.name", "epochs", "wd"}
    assert json.loads(json.dumps(found.as_json()))["differs"] == ["opt.name", "wd"]


def test_values_are_the_best_and_the_last_of_the_sweeps_metric(two):
    found = compare([A, B], api=two)

    assert rows_of(found, "values") == {"best acc": (0.9, 0.7), "last acc": (0.8, 0.7)}


def test_the_summary_is_flat_and_without_media_and_the_clients_own_keys(two):
    found = compare([A, B], api=two)

    assert rows_of(found, "summary") == {"acc": (0.8, None), "test.loss": (2, None)}


def test_a_run_says_where_how_long_and_from_what_code_it_ran(two):
    facts = rows_of(compare([A, B], api=two), "run")

    assert facts["outcome"] == ("finished", "finished")
    assert facts["duration_s"] == (61.5, None)
    assert facts["gpu"] == ("2 × H200", None)
    assert facts["git_commit"] == ("abc", "abc")


def test_a_run_of_no_sweep_and_without_metadata_is_compared_all_the_same(two):
    lone = two.run(B)
    lone.sweep_name, lone.metadata, lone.config = None, None, {}

    found = compare([A, B], api=two)

    assert rows_of(found, "values") == {"best acc": (0.9, None), "last acc": (0.8, None)}
    assert rows_of(found, "config")["lr"] == (0.1, None)


def test_sweeps_of_several_metrics_give_the_values_of_each(two):
    two.sweep("s1").config["metrics"] = [METRIC, {"name": "size"}]
    two.run(A).values = {"acc": [0.1, 0.2], "size": [5.0, 7.0]}

    found = compare([A, B], api=two)

    assert found.runs[0].curve == {
        "best acc": 0.2,
        "last acc": 0.2,
        "best size": 5.0,
        "last size": 7.0,
    }


@pytest.mark.parametrize(
    ("paths", "words"),
    [
        pytest.param([A], "1 named: name 2 to 50", id="one"),
        pytest.param([A, B, A], f"{A} is named twice", id="twice"),
    ],
)
def test_what_cannot_be_compared_is_one_sentence(two, paths, words):
    with pytest.raises(InvalidInput, match=words):
        compare(paths, api=two)


def test_a_run_that_is_not_there_is_named(two):
    with pytest.raises(NotFound, match="the run me/digits/nope"):
        compare([A, "me/digits/nope"], api=two)
