"""Which run is the best, by which rule, and who is left out."""

import json
import math

import pytest

from sweepd.errors import InvalidInput, NotFound
from sweepd.results import select

HIGHER = {"name": "val_accuracy", "goal": "maximize"}
LOWER = {"name": "val_loss", "goal": "minimize"}


def _order(selection):
    return [run.name for run in selection.ranking]


@pytest.mark.parametrize(
    ("by", "wanted", "value"),
    [
        pytest.param("best", "early", 0.9, id="best"),
        pytest.param("last", "late", 0.8, id="last"),
        pytest.param("mean:2", "steady", 0.75, id="mean of two"),
        pytest.param("mean:9", "steady", 0.7, id="mean of more than there are"),
    ],
)
def test_each_rule_picks_its_own_run(fake, by, wanted, value):
    runs = [
        fake.run("early", [0.9, 0.1, 0.2]),
        fake.run("late", [0.3, 0.1, 0.8]),
        fake.run("steady", [0.6, 0.75, 0.75]),
    ]

    selection = select("me/digits/s1", by=by, api=fake.api(runs, metric=HIGHER))

    assert selection.best.name == wanted
    assert selection.best.value == pytest.approx(value)
    assert selection.rule == by


def test_lower_is_better_unless_the_definition_says_otherwise(fake):
    runs = [fake.run("a", [0.5]), fake.run("b", [0.2]), fake.run("c", [0.9])]

    assert _order(select("s1", api=fake.api(runs, metric=LOWER))) == ["b", "a", "c"]
    assert _order(select("s1", api=fake.api(runs, metric={"name": "val_loss"}))) == ["b", "a", "c"]
    assert _order(select("s1", api=fake.api(runs, metric=HIGHER))) == ["c", "a", "b"]


def test_the_definition_names_the_rule_and_a_person_overrules_it(fake):
    api = fake.api([fake.run("a", [0.9, 0.1])], metric=HIGHER, objective="last")

    assert select("s1", api=api).best.value == 0.1
    assert select("s1", by="best", api=api).best.value == 0.9


def test_of_equals_the_run_that_started_first_wins(fake):
    runs = [fake.run("first", [0.9]), fake.run("second", [0.9]), fake.run("third", [0.9])]

    assert _order(select("s1", api=fake.api(runs, metric=HIGHER))) == ["first", "second", "third"]


def test_runs_without_a_comparable_value_are_left_out_with_the_reason(fake):
    runs = [
        fake.run("good", [0.5, "NaN", 0.6]),
        fake.run("nan", [0.9, math.nan]),
        fake.run("inf", [0.9, "Infinity"]),
        fake.run("silent", []),
        fake.run("text", ["high"]),
        fake.run("bool", [True]),
        fake.run("failed", [0.99], state="failed"),
        fake.run("crashed", [0.99], state="crashed"),
        fake.run("running", [0.99], state="running"),
    ]

    selection = select("s1", api=fake.api(runs, metric=HIGHER))

    assert _order(selection) == ["good"]
    assert {entry.path.split("/")[-1]: entry.why for entry in selection.excluded} == {
        "nan": "diverged",
        "inf": "diverged",
        "silent": "without val_accuracy",
        "text": "without val_accuracy",
        "bool": "without val_accuracy",
        "failed": "failed",
        "crashed": "crashed",
        "running": "running",
    }


@pytest.mark.parametrize("value", [0.7, {"max": 0.7}])
def test_a_metric_set_on_the_summary_alone_counts(fake, value):
    runs = [fake.run("a", summary={"val_accuracy": value})]

    assert select("s1", api=fake.api(runs, metric=HIGHER)).best.value == 0.7


def test_the_rule_is_said_in_words(fake):
    runs = [fake.run("a", [0.5]), fake.run("b", [0.6]), fake.run("c", state="failed")]
    api = fake.api(runs, metric=HIGHER)

    assert select("s1", api=api).rule_in_words == (
        "highest val_accuracy of 2 finished runs, each by its best logged value; left out: 1 failed"
    )
    assert (
        "the mean of its last 5 logged values" in select("s1", by="mean:5", api=api).rule_in_words
    )


def test_test_metrics_are_the_numbers_of_the_summary_that_say_so(fake):
    summary = {"test_accuracy": 0.97, "test_loss": 0.1, "val_accuracy": 0.99, "test_set": "mnist"}
    api = fake.api([fake.run("a", [0.99], summary=summary)], metric=HIGHER)

    assert select("s1", api=api).best.test_metrics == {"test_accuracy": 0.97, "test_loss": 0.1}


def test_parameters_that_the_sweep_varies_are_named(fake):
    selection = select("s1", api=fake.api([fake.run("a", [0.5])], metric=HIGHER))

    assert selection.parameters == ("learning_rate",)


def test_a_selection_is_plain_json(fake):
    runs = [fake.run("a", [0.5]), fake.run("b", [0.6]), fake.run("c", state="failed")]
    selection = select("s1", api=fake.api(runs, metric=HIGHER))

    told = json.loads(json.dumps(selection.as_json(limit=1)))

    assert told["best"]["run"] == "me/digits/b"
    assert [run["run"] for run in told["ranking"]] == ["me/digits/b"]
    assert told["excluded"] == [{"run": "me/digits/c", "display_name": "run c", "why": "failed"}]


def test_facts_of_a_confirmed_best_run_hold_its_own_value_and_what_fresh_seeds_came_to(fake):
    sober, lucky = ({"epochs": 3, "learning_rate": lr} for lr in (0.1, 0.2))
    runs = [fake.run("a", [0.8], config=sober), fake.run("b", [0.9], config=lucky)]
    api = fake.api(runs, metric=HIGHER)
    before = select("s1", api=api).facts_of_best()
    again = [fake.run(f"x{n}", [0.6 + n / 10], config={**sober, "seed": n}) for n in (1, 2)]
    api.confirm("c1", again)

    facts = select("s1", api=api).facts_of_best()

    assert before == {"metric": "val_accuracy", "goal": "maximize", "rule": "best", "value": 0.9}
    assert facts["value"] == 0.8
    assert (facts["confirmed_mean"], facts["confirmed_seeds"]) == (pytest.approx(0.75), 2)
    assert facts["confirmed_low"] < 0.7 < 0.8 < facts["confirmed_high"]


def test_an_unknown_sweep_is_not_found(fake):
    with pytest.raises(NotFound, match="the sweep me/digits/nope"):
        select("me/digits/nope", api=fake.api([], metric=HIGHER))


@pytest.mark.parametrize(
    ("runs", "said"),
    [
        pytest.param([], "it has no runs", id="none"),
        pytest.param([("failed", []), ("failed", []), ("finished", [])], "2 failed", id="bad"),
    ],
)
def test_a_sweep_without_a_good_run_says_why(fake, runs, said):
    listed = [fake.run(str(n), values, state=state) for n, (state, values) in enumerate(runs)]

    with pytest.raises(NotFound, match=said):
        select("s1", api=fake.api(listed, metric=HIGHER))


def test_a_sweep_without_a_metric_has_no_best_run(fake):
    with pytest.raises(InvalidInput, match="no metric"):
        select("s1", api=fake.api([fake.run("a", [1])]))


@pytest.mark.parametrize("by", ["first", "mean:0", "mean", ""])
def test_an_unknown_rule_is_refused(fake, by):
    with pytest.raises(InvalidInput, match="best, last or mean:k"):
        select("s1", by=by, api=fake.api([], metric=HIGHER))


def test_runs_that_break_outcome_constraints_are_left_out_with_the_reason(fake):
    runs = [
        fake.run("slow", [0.9], summary={"ms": 7}),
        fake.run("silent", [0.8]),
        fake.run("good", [0.7], summary={"ms": {"last": 5}}),
    ]
    api = fake.api(runs, metric=HIGHER)
    api.sweep("s1").config["sweepd"] = {"outcome_constraints": {"ms": {"max": 5}}}

    selection = select("s1", api=api)

    assert _order(selection) == ["good"]
    assert {entry.display_name: entry.why for entry in selection.excluded} == {
        "run slow": "with ms above 5",
        "run silent": "without ms",
    }
