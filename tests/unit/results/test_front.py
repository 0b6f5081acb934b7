"""The front of a sweep with several metrics."""

import json

import pytest

from sweepd.errors import InvalidInput, NotFound
from sweepd.results import Front, Selection, best_of, select

METRICS = [{"name": "acc", "goal": "maximize"}, {"name": "size"}]


@pytest.fixture
def api_of(fake):
    def make(*runs, **how):
        api = fake.api(list(runs), **how)
        if not how.get("metric"):
            api.sweep("s1").config["metrics"] = METRICS
        return api

    return make


def run(fake, name, acc, size, **how):
    return fake.run(name, {"acc": acc, "size": size}, **how)


def test_front_holds_what_no_run_beats_the_best_of_the_first_metric_first(fake, api_of):
    api = api_of(
        run(fake, "small", [0.5, 0.6], [1.0]),
        run(fake, "beaten", [0.7], [9.0]),
        run(fake, "large", [0.9, 0.8], [8.0]),
        run(fake, "half", [0.99], []),
        run(fake, "broken", [0.99], [0.1], state="failed"),
    )

    front = best_of("s1", api=api)

    assert isinstance(front, Front)
    assert [(one.run.name, one.values) for one in front.runs] == [
        ("large", {"acc": 0.9, "size": 8.0}),
        ("small", {"acc": 0.6, "size": 1.0}),
    ]
    assert front.rule_in_words == (
        "the front of highest acc and lowest size: 2 of 3 finished runs, each metric by its best "
        "value; left out: 1 failed, 1 without size"
    )
    assert json.loads(json.dumps(front.as_json()))["front"][1]["values"] == {"acc": 0.6, "size": 1}


def test_a_person_may_name_another_rule(fake, api_of):
    api = api_of(run(fake, "a", [0.9, 0.1], [1.0]), run(fake, "b", [0.5, 0.5], [2.0]))

    assert [one.run.name for one in best_of("s1", api=api).runs] == ["a"]
    assert [one.run.name for one in best_of("s1", by="last", api=api).runs] == ["b", "a"]


def test_equal_runs_are_on_the_front_together(fake, api_of):
    api = api_of(run(fake, "a", [0.9], [1.0]), run(fake, "b", [0.9], [1.0]))

    assert [one.run.name for one in best_of("s1", api=api).runs] == ["a", "b"]


def test_a_sweep_of_one_metric_has_a_ranking(fake, api_of):
    api = api_of(fake.run("a", [0.5]), metric={"name": "acc"})

    assert isinstance(best_of("s1", api=api), Selection)


def test_no_run_of_several_metrics_is_the_best(fake, api_of):
    with pytest.raises(InvalidInput, match=r"several metrics.*name one of its runs"):
        select("s1", api=api_of(run(fake, "a", [0.5], [1.0])))


def test_without_a_run_that_has_all_metrics_there_is_no_front(fake, api_of):
    with pytest.raises(NotFound, match="1 without acc"):
        best_of("s1", api=api_of(run(fake, "a", [], [1.0])))
