"""Leaders with fresh seeds: what is planned, and what comes of it."""

import json
import math

import pytest

from sweepd.errors import InvalidInput
from sweepd.results import n_waiting_for, plan_confirmation, select
from sweepd.spec import read_definition

METRIC = {"name": "acc", "goal": "maximize"}


def config(lr, seed, **more):
    return {"epochs": 3, "learning_rate": lr, "seed": seed, **more}


@pytest.fixture
def api(fake):
    """A sweep of three runs, `lucky` the best of them by its own value."""
    runs = [
        fake.run("lucky", [0.95], config=config(0.1, 0)),
        fake.run("solid", [0.90], config=config(0.2, 0)),
        fake.run("poor", [0.10], config=config(0.3, 0)),
    ]
    api = fake.api(runs, metric=METRIC)
    api.sweep("s1").config["parameters"]["seed"] = {"value": 0}
    api.sweep("s1").config["program"] = "train.py"
    return api


@pytest.fixture
def confirmed(fake, api):
    """The same, with three fresh seeds of two of them."""
    values = {0.1: [0.80, 0.82, 0.84], 0.2: [0.89, 0.90, 0.91]}
    runs = [
        fake.run(f"{lr}-{seed}", [value], config=config(lr, seed))
        for lr, of_seeds in values.items()
        for seed, value in enumerate(of_seeds, 1)
    ]
    api.confirm("c1", runs)
    return api


def plan(api, **how):
    how = {"top": 2, "n_seeds": 2, "is_ours": True, **how}
    return plan_confirmation(select("s1", api=api), api=api, **how)


def trials_of(made):
    """Return the configurations that our service runs for a definition."""
    definition = read_definition(json.dumps(made), source="it").definition
    assert made["run_cap"] == len(definition.own.initial)
    return [(one["learning_rate"], one["seed"]) for one in definition.own.initial]


def test_on_our_service_one_sweep_runs_each_leader_with_each_seed(api):
    found = plan(api)

    assert [run.name for run in found.leaders] == ["lucky", "solid"]
    assert len(found.definitions) == 1
    assert trials_of(found.definitions[0]) == [(0.1, 1), (0.2, 1), (0.1, 2), (0.2, 2)]
    assert found.definitions[0]["program"] == "train.py"


@pytest.mark.parametrize("top", [1, 2])
@pytest.mark.parametrize("n_seeds", [1, 2])
def test_every_size_of_plan_is_a_definition_that_our_service_takes(api, top, n_seeds):
    assert len(trials_of(plan(api, top=top, n_seeds=n_seeds).definitions[0])) == top * n_seeds


def test_elsewhere_each_leader_is_a_grid_of_seeds(api):
    made = plan(api, is_ours=False).definitions

    assert [one["method"] for one in made] == ["grid", "grid"]
    for one in made:
        assert read_definition(json.dumps(one), source="it").definition.space.size == 2
    assert made[1]["parameters"] == {
        "epochs": {"value": 3},
        "learning_rate": {"value": 0.2},
        "seed": {"values": [1, 2]},
    }


def test_leaders_that_do_not_have_the_same_parameters_are_sweeps_of_their_own(api):
    api.sweep("s1").config["parameters"]["momentum"] = {"min": 0.0, "max": 1.0}
    api.listed[0].config["momentum"] = 0.5

    assert [one["method"] for one in plan(api).definitions] == ["grid", "grid"]


def test_nested_values_are_run_again_as_they_were(api):
    api.sweep("s1").config["parameters"]["opt"] = {"parameters": {"name": {"values": ["a", "b"]}}}
    for run, name in zip(api.listed, "abb", strict=True):
        run.config["opt"] = {"name": name}

    made = plan(api).definitions[0]

    assert made["parameters"]["opt"] == {"values": [{"name": "a"}, {"name": "b"}]}
    assert len(trials_of(made)) == 4


def test_seeds_are_fresh_beside_the_sweeps_and_those_of_earlier_confirmations(confirmed):
    confirmed.listed[2].config["seed"] = 4

    assert plan(confirmed).seeds == (5, 6)


def test_runs_of_one_configuration_are_one_leader(fake, api):
    api.listed.append(fake.run("again", [0.94], config=config(0.1, 7)))

    assert [run.name for run in plan(api).leaders] == ["lucky", "solid"]


def test_what_the_program_added_to_the_config_is_not_run_again(api):
    api.listed[0].config["device"] = "cuda"

    assert "device" not in plan(api, top=1).definitions[0]["parameters"]


def test_the_search_and_its_end_are_left_out_of_what_runs_again(api):
    own = {"objective": "last", "budget": {"hours": 1}, "timeout": {"minutes": 5}}
    api.sweep("s1").config |= {"sweepd": own, "early_terminate": {"type": "hyperband"}}
    api.sweep("s1").config["metric"] = METRIC | {"target": 0.9}

    made = plan(api).definitions[0]

    assert made["metric"] == {"name": "acc", "goal": "maximize"}
    assert "early_terminate" not in made
    assert made["sweepd"].keys() == {"objective", "timeout", "confirms", "initial"}


@pytest.fixture
def edited(fake, api):
    """An edit has removed the parameter dropout; two leaders differ in nothing else."""
    api.listed[:] = [
        fake.run("low", [0.9], config=config(0.1, 0, dropout=0.1)),
        fake.run("high", [0.8], config=config(0.1, 0, dropout=0.5)),
        fake.run("none", [0.7], config=config(0.1, 0)),
    ]
    return api


def given(api):
    """Return what our service says that the trials were given: here what their configs hold."""
    return {run.id: dict(run.config) for run in api.listed}


def test_leaders_that_differ_in_a_parameter_that_an_edit_removed_are_two(edited):
    found = plan(edited, top=3, handed_out=given(edited))

    assert [run.name for run in found.leaders] == ["low", "high", "none"]
    dropouts = [one["parameters"].get("dropout") for one in found.definitions]
    assert dropouts == [{"value": 0.1}, {"value": 0.5}, None]
    own = [one["sweepd"]["confirms"]["parameters"] for one in found.definitions]
    assert own == [["dropout", "epochs", "learning_rate"]] * 3


def test_runs_with_a_parameter_that_an_edit_removed_count_for_their_own_leader(fake, edited):
    made = plan(edited, top=2, handed_out=given(edited)).definitions[0]
    runs = [
        fake.run("l1", [0.91], config=config(0.1, 1, dropout=0.1)),
        fake.run("h1", [0.81], config=config(0.1, 1, dropout=0.5)),
    ]
    edited.confirm("c1", runs, names=made["sweepd"]["confirms"]["parameters"])

    leaders = select("s1", api=edited).confirmation.leaders

    assert [(one.leader.name, one.values) for one in leaders] == [
        ("low", (0.91,)),
        ("high", (0.81,)),
    ]


def test_what_a_trial_was_given_runs_again_and_not_what_its_program_made_of_it(fake, api):
    handed_out = {run.id: dict(run.config) for run in api.listed}
    for run in api.listed:
        run.config["learning_rate"] *= 2

    found = plan(api, handed_out=handed_out)
    again = fake.run("x", [0.8], config=config(0.2, 1))  # it was given 0.1 and doubled that too
    api.confirm("c1", [again])

    assert trials_of(found.definitions[0]) == [(0.1, 1), (0.2, 1), (0.1, 2), (0.2, 2)]
    (one,) = select("s1", api=api).confirmation.leaders
    assert (one.leader.name, one.values) == ("lucky", (0.8,))


def test_without_a_seed_it_says_what_to_add(api):
    del api.sweep("s1").config["parameters"]["seed"]

    with pytest.raises(InvalidInput, match=r"--seed-key NAME.*add `seed: {value: 0}`"):
        plan(api)
    made = plan(api, seed_key="random_state").definitions[0]
    assert made["parameters"]["random_state"] == {"values": [1, 2]}


@pytest.mark.parametrize("law", [{"value": {"seed": 0}}, {"parameters": {"seed": {"value": 0}}}])
def test_a_seed_inside_of_a_parameter_is_refused(api, law):
    api.sweep("s1").config["parameters"]["train"] = law

    with pytest.raises(InvalidInput, match="would be a parameter of its own beside train of"):
        plan(api, seed_key="train.seed")


def test_a_seed_whose_own_name_has_a_dot_is_taken(api):
    api.sweep("s1").config["parameters"]["train.seed"] = {"value": 0}
    api.sweep("s1").config["parameters"]["train"] = {"value": 1}

    assert plan(api, seed_key="train.seed").seed_key == "train.seed"


def test_a_dotted_seed_inside_of_nothing_is_taken(api):
    assert plan(api, seed_key="train.seed").seed_key == "train.seed"


def test_confirmations_are_not_confirmed(api):
    api.sweep("s1").config["sweepd"] = {"confirms": {"sweep": "s0", "seed_key": "seed"}}

    with pytest.raises(InvalidInput, match="confirms s0 itself"):
        plan(api)


def test_more_than_a_thousand_runs_are_refused(api):
    with pytest.raises(InvalidInput, match="50 × 50 are 2500 runs"):
        plan(api, top=50, n_seeds=50)


def test_the_confirmed_rank_by_their_means_before_the_others(confirmed):
    found = select("s1", api=confirmed)

    assert [run.name for run in found.ranking] == ["solid", "lucky", "poor"]
    assert [run.name for run in found.by_value] == ["lucky", "solid", "poor"]
    assert found.confirmed_in_words == (
        "confirmed with fresh seeds: 2 leaders first, by the mean acc, 0.9 of 3 for the best; "
        "the best single value is 0.95 (run lucky)"
    )
    told = json.loads(json.dumps(found.as_json()))
    assert (told["best"]["run"], told["best_single"]["run"]) == (
        "me/digits/solid",
        "me/digits/lucky",
    )


def test_of_equal_values_the_best_single_is_the_first_whatever_was_confirmed(confirmed):
    confirmed.listed[1].values = [0.95]

    assert [run.name for run in select("s1", api=confirmed).by_value] == ["lucky", "solid", "poor"]


def test_a_leader_has_its_mean_its_interval_and_its_fall(confirmed):
    solid, lucky = select("s1", api=confirmed).confirmation.leaders

    assert lucky.mean == pytest.approx(0.82)
    assert lucky.fall == pytest.approx(0.13)
    # t of 95 % with two degrees of freedom is 2.92; the standard deviation is 0.02.
    assert lucky.half_width == pytest.approx(2.91999 * 0.02 / math.sqrt(3), rel=1e-5)
    assert solid.is_tied is None
    assert lucky.is_tied is False


def test_a_leader_whose_interval_overlaps_the_best_is_tied(fake, api):
    values = {0.1: [0.7, 0.9], 0.2: [0.75, 0.95]}
    runs = [
        fake.run(f"{lr}{seed}", [value], config=config(lr, seed))
        for lr, of_seeds in values.items()
        for seed, value in enumerate(of_seeds, 1)
    ]
    api.confirm("c1", runs)

    assert [one.is_tied for one in select("s1", api=api).confirmation.leaders] == [None, True]


def test_where_less_is_better_a_rise_is_the_fall(fake, confirmed):
    confirmed.sweep("s1").config["metric"] = {"name": "acc", "goal": "minimize"}

    falls = {one.leader.name: one.fall for one in select("s1", api=confirmed).confirmation.leaders}

    assert falls["lucky"] == pytest.approx(-0.13)


def test_one_seed_has_no_interval(fake, api):
    api.confirm("c1", [fake.run("x", [0.8], config=config(0.1, 1))])

    (one,) = select("s1", api=api).confirmation.leaders

    assert (one.interval, one.is_tied) == (None, None)
    assert one.as_json()["interval"] is None


def test_runs_that_have_not_ended_are_waited_for_until_their_sweep_has(fake, api):
    runs = [
        fake.run("x", [0.8], config=config(0.1, 1)),
        fake.run("y", [0.1], config=config(0.1, 2), state="running"),
    ]
    api.confirm("c1", runs, n=4, state="RUNNING")
    confirmation = select("s1", api=api).confirmation

    waiting = n_waiting_for("s1", api=api)
    api.confirm("c1", runs, n=4, state="CANCELED")
    canceled = select("s1", api=api).confirmation

    assert (confirmation.n_waiting, waiting, canceled.n_waiting) == (3, 3, 0)
    assert confirmation.leaders[0].values == (0.8,)


def again(fake, values, **more):
    """Return runs with fresh seeds: by learning rate, the values that they come to."""
    return [
        fake.run(f"{lr}-{seed}", [value], config={**config(lr, seed), **more})
        for lr, of_seeds in values.items()
        for seed, value in enumerate(of_seeds, 1)
    ]


def test_the_leader_whose_seed_ends_first_is_not_the_best_for_that(fake, api):
    api.confirm("c1", again(fake, {0.3: [0.55]}), n=9, state="RUNNING", leaders=3)

    found = select("s1", api=api)

    assert [run.name for run in found.ranking] == ["lucky", "solid", "poor"]
    assert found.confirmed_in_words == (
        "8 runs have not ended that try the leaders with fresh seeds: until then each leader "
        "counts by its own value"
    )
    assert found.confirmation.leaders[0].mean == 0.55
    assert "confirmed_mean" not in found.facts_of_best()


def test_leaders_that_were_never_run_again_are_not_behind_one_that_was(fake, api):
    api.confirm("c1", again(fake, {0.3: [0.55]}), n=9, state="CANCELED", leaders=3)

    found = select("s1", api=api)

    assert found.best.name == "lucky"
    assert "not every leader was run again with fresh seeds" in found.confirmed_in_words


def test_elsewhere_a_leader_waits_until_the_grids_of_all_have_ended(fake, api):
    api.confirm("c1", again(fake, {0.3: [0.55, 0.56]}), leaders=2)
    alone = select("s1", api=api)

    api.confirm("c2", again(fake, {0.2: [0.9, 0.91]}), leaders=2)
    both = select("s1", api=api)

    assert (alone.best.name, alone.confirmation.is_settled) == ("lucky", False)
    assert [run.name for run in both.ranking] == ["solid", "poor", "lucky"]


def test_further_seeds_count_once_all_of_them_have_ended(fake, confirmed):
    more = [fake.run("more", [0.99], config=config(0.1, 4))]
    confirmed.confirm("c2", more, n=2, state="RUNNING", leaders=2)
    meanwhile = select("s1", api=confirmed)

    more.append(fake.run("other", [0.9], config=config(0.2, 4)))
    after = select("s1", api=confirmed)

    assert meanwhile.best.name == after.best.name == "solid"
    assert [len(one.values) for one in meanwhile.confirmation.leaders] == [3, 3]
    assert [len(one.values) for one in after.confirmation.leaders] == [4, 4]


def test_seeds_that_nobody_reads_are_no_evidence_beside_others(fake, api):
    api.confirm("c1", again(fake, {0.1: [0.95, 0.95, 0.95], 0.2: [0.9, 0.9, 0.9]}))
    runs = again(fake, {0.1: [0.81, 0.82, 0.83], 0.2: [0.88, 0.87, 0.9]})
    for run in runs:
        run.config["rng"], run.config["seed"] = run.config["seed"], 0
    api.confirm("c2", runs, seed_key="rng", names=["epochs", "learning_rate"])

    solid, lucky = select("s1", api=api).confirmation.leaders

    assert lucky.values == (0.81, 0.82, 0.83)
    assert solid.leader.name == "solid"


def test_leaders_are_told_apart_seed_by_seed(fake, api):
    api.confirm("c1", again(fake, {0.1: [0.7, 0.8, 0.9], 0.2: [0.6, 0.71, 0.79]}))

    lucky, solid = select("s1", api=api).confirmation.leaders

    assert lucky.interval[0] < solid.interval[1]
    assert solid.is_tied is False


def test_equal_values_are_tied_however_many_there_are(fake, api):
    api.confirm("c1", again(fake, {0.1: [0.1, 0.1, 0.1], 0.2: [0.1, 0.1]}))

    assert [one.is_tied for one in select("s1", api=api).confirmation.leaders] == [None, True]


def test_runs_that_failed_are_counted_beside_the_mean(fake, api):
    runs = [
        fake.run("x", [0.8], config=config(0.1, 1)),
        fake.run("y", [], config=config(0.1, 2), state="failed"),
        fake.run("z", [], config=config(0.2, 1), state="crashed"),
    ]
    api.confirm("c1", runs)

    first, last = select("s1", api=api).confirmation.leaders

    assert (first.n_without, last.n_without, last.values) == (1, 1, ())
    assert [run.name for run in select("s1", api=api).ranking] == ["lucky", "solid", "poor"]


@pytest.fixture
def survived(fake, api):
    """One seed of `lucky` came to more than all three of `solid`; its two others failed."""
    runs = [
        fake.run("l1", [0.93], config=config(0.1, 1)),
        fake.run("l2", [], config=config(0.1, 2), state="failed"),
        fake.run("l3", [0.9, math.nan], config=config(0.1, 3)),
        *(fake.run(f"s{n}", [0.9 + n / 1000], config=config(0.2, n)) for n in (1, 2, 3)),
    ]
    api.confirm("c1", runs)
    return api


def test_a_leader_that_lost_seeds_comes_after_one_that_lost_none(survived):
    found = select("s1", api=survived)

    assert [run.name for run in found.ranking] == ["solid", "lucky", "poor"]
    assert [one.is_tied for one in found.confirmation.leaders] == [None, False]
    assert found.facts_of_best()["confirmed_mean"] == pytest.approx(0.902)
    assert found.facts_of_best()["confirmed_without"] == 0


def test_of_leaders_that_lost_seeds_the_one_with_most_of_them_left_comes_first(fake, survived):
    survived.again["c1"][1][5].state = "failed"

    found = select("s1", api=survived)

    assert [run.name for run in found.ranking] == ["solid", "lucky", "poor"]
    assert found.facts_of_best()["confirmed_seeds"] == 2
    assert found.facts_of_best()["confirmed_without"] == 1
    assert "by the mean acc, 0.9015 of 2 of 3 seeds for the best" in found.confirmed_in_words
    assert found.confirmation.as_json()["leaders"][1]["n_without"] == 2


def test_confirmations_of_other_sweeps_and_of_nothing_known_are_passed_over(fake, api):
    api.confirm("c1", [fake.run("x", [0.8], config=config(0.1, 1))], sweep="other")
    api.confirm("c2", [fake.run("y", [0.8], config=config(0.7, 1))])

    found = select("s1", api=api)

    assert found.confirmation.sweeps == ("me/digits/c2",)
    assert found.confirmation.leaders == ()
    assert found.confirmed_in_words is None
    assert found.confirmation.as_json()["strangers"] == 1
