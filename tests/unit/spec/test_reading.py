"""Whole definitions: what is read, what is refused and in which words."""

import json
import sys

import pytest
import yaml
from effort import at_most_calls

from sweepd.errors import DefinitionError
from sweepd.spec import EarlyTerminate, read_definition

METRIC = {"name": "loss", "goal": "minimize"}
METRICS = [METRIC, {"name": "size", "goal": "minimize"}]
X = {"x": {"values": [1, 2]}}


def test_every_key_of_the_language_is_read(parsed):
    definition = parsed(
        {"lr": {"min": 0.0, "max": 1.0}},
        method="bayes",
        metric={"name": "acc", "goal": "maximize", "target": 0.9, "impute": "latest"},
        program="train.py",
        command=["python", "${program}", 3, "${args}"],
        early_terminate={"type": "hyperband", "min_iter": 2, "eta": 4, "strict": False},
        run_cap=5,
        name="n",
        description="d",
        project="p",
        entity="e",
        apiVersion="1",
        kind="sweep",
        controller={"type": "cloud"},
        sweepd={"seed": 7, "objective": "mean:3", "initial": [{"lr": 0.5}]},
    ).definition

    assert (definition.goal, definition.metric_name) == ("maximize", "acc")
    assert (definition.metric.target, definition.metric.impute) == (0.9, "latest")
    assert definition.command == ("python", "${program}", "3", "${args}")
    assert definition.early_terminate == EarlyTerminate(
        type="hyperband", min_iter=2, eta=4, strict=False
    )
    assert (definition.run_cap, definition.name, definition.project) == (5, "n", "p")
    assert (definition.own.seed, definition.own.objective) == (7, "mean:3")
    assert definition.own.initial == ({"lr": 0.5},)


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("constraint", "did you mean constraints?"),
        ("whn", "did you mean when?"),
        ("zzz", "seed, stop, timeout, warm_start, when"),
    ],
)
def test_a_misspelt_key_below_sweepd_is_told_with_the_nearest_of_all_its_keys(refusal, key, words):
    text = f"method: random\nparameters: {{x: {{values: [1]}}}}\nsweepd: {{{key}: 1}}\n"

    found = refusal(text, allow_unknown=False)

    assert list(found) == [f"sweepd.{key}"]
    assert found[f"sweepd.{key}"].message.startswith("unknown key; ")
    assert words in found[f"sweepd.{key}"].message


def test_what_is_left_out_has_wandbs_default(parsed):
    definition = parsed(
        metric={"name": "loss"}, early_terminate={"type": "hyperband", "min_iter": 1}
    ).definition

    assert definition.goal == "minimize"
    assert (definition.metric.impute, definition.metric.impute_while_running) == (None, "false")
    assert (definition.early_terminate.eta, definition.early_terminate.strict) == (3, True)
    assert (definition.own.seed, definition.own.objective) == (None, "best")
    assert (definition.run_cap, definition.program, definition.command) == (None, None, None)
    assert definition.uses_own_keys is False


def test_an_empty_command_is_wandbs_default_one(parsed):
    assert not parsed(command=[], program="train.py").definition.command


def test_all_problems_of_a_file_come_at_once_with_their_lines(refusal):
    text = """\
method: baies
metric: {goal: max}
parameters:
  lr: {min: 0.1, max: 0.1}
  bs: {values: []}
  wd: {distribution: log_uniform_valeus, min: 1, max: 2}
  opt:
    parameters:
      m: {vals: [1]}
run_cap: 0
early_terminate: {type: hyperband}
sweepd: {seed: -1}
"""
    found = refusal(text)

    assert {path: violation.line for path, violation in found.items()} == {
        "method": 1,
        "metric": 2,
        "metric.goal": 2,
        "parameters.lr": 4,
        "parameters.bs": 5,
        "parameters.wd.distribution": 6,
        "parameters.opt.parameters.m.vals": 9,
        "run_cap": 10,
        "early_terminate": 11,
        "sweepd.seed": 12,
    }
    assert found["metric.goal"].message == "must be minimize or maximize, not max"
    assert found["parameters.lr"].message == "min 0.1 is not below max 0.1"
    assert "did you mean bayes?" in found["method"].message
    assert "did you mean log_uniform_values?" in found["parameters.wd.distribution"].message
    assert "did you mean values?" in found["parameters.opt.parameters.m.vals"].message


def test_an_error_names_the_file_and_counts_its_problems():
    with pytest.raises(DefinitionError) as caught:
        read_definition("method: random\n", source="my.yaml")

    assert str(caught.value) == ("my.yaml: 1 problem\n  needs parameters: what to search over")


@pytest.mark.parametrize(
    ("budget", "path", "words"),
    [
        ({"runs": 0}, "sweepd.budget.runs", "at least 1"),
        ({"hours": 0}, "sweepd.budget.hours", "above 0"),
        ({"plateau": 1.5}, "sweepd.budget.plateau", "whole number"),
        ({"gpu_ours": 1}, "sweepd.budget.gpu_ours", "did you mean gpu_hours?"),
        (12, "sweepd.budget", "write sweepd.budget: {hours: 12}"),
    ],
    ids=str,
)
def test_budget_is_checked(text_of, refusal, budget, path, words):
    found = refusal(text_of(X, sweepd={"budget": budget}), allow_unknown=False)

    assert words in found[path].message


def test_plateau_of_a_budget_needs_a_metric_or_several(text_of, refusal):
    bare = {"sweepd": {"budget": {"hours": 1, "plateau": 9}}}
    several = [{"name": "a"}, {"name": "b"}]

    found = refusal(text_of(X, **bare))

    assert list(found) == ["sweepd.budget.plateau"]
    assert "needs a metric: write metric: {name: …" in found["sweepd.budget.plateau"].message
    assert read_definition(text_of(X, **bare | {"metrics": several}))
    (warning,) = read_definition(text_of(X, **bare), is_stored=True).warnings
    assert warning.path == "sweepd.budget.plateau"  # such sweeps were made before


@pytest.mark.parametrize(
    ("confirms", "path", "words"),
    [
        ({"sweep": "a/b"}, "sweepd.confirms.sweep", "must be a sweep's id"),
        ({"seed_key": "seed"}, "sweepd.confirms", "needs sweep"),
        ("s1", "sweepd.confirms", "write sweepd.confirms: {sweep: a1b2c3d4, seed_key: seed}"),
    ],
    ids=str,
)
def test_what_a_sweep_confirms_is_checked(text_of, refusal, confirms, path, words):
    found = refusal(text_of(X, sweepd={"confirms": confirms}), allow_unknown=False)

    assert words in found[path].message


@pytest.mark.parametrize(
    ("timeout", "path", "words"),
    [
        ({"minutes": 0}, "sweepd.timeout.minutes", "above 0"),
        ({"silent_minutes": "5m"}, "sweepd.timeout.silent_minutes", "must be a number"),
        ({"silent": 5}, "sweepd.timeout.silent", "did you mean silent_minutes?"),
        (15, "sweepd.timeout", "write sweepd.timeout: {minutes: 120, silent_minutes: 15}"),
    ],
    ids=str,
)
def test_timeout_is_checked(text_of, refusal, timeout, path, words):
    found = refusal(text_of(X, sweepd={"timeout": timeout}), allow_unknown=False)

    assert words in found[path].message


@pytest.mark.parametrize(
    ("timeout", "words"),
    [({}, "has no effect"), ({"minutes": 5, "silent_minutes": 9}, "minutes 5 ends a trial")],
    ids=str,
)
def test_timeout_that_ends_nothing_is_pointed_out(text_of, timeout, words):
    (warning,) = read_definition(text_of(X, sweepd={"timeout": timeout})).warnings

    assert words in warning.message


def test_stop_rules_beside_a_local_controller_are_pointed_out():
    text = (
        "method: custom\nmetric: {name: loss}\nparameters: {lr: {value: 1}}\n"
        "controller: {type: local}\nsweepd: {stop: {rule: median}}\n"
    )

    (warning,) = read_definition(text).warnings

    assert (warning.path, warning.line) == ("sweepd.stop", 5)
    assert "has no effect" in warning.message
    assert not read_definition(text.replace("{rule: median}", "")).warnings


@pytest.mark.parametrize(
    ("keys", "path", "words"),
    [
        ({"method": "Bayes"}, "method", "did you mean bayes?"),
        ({"method": ["grid"]}, "method", "must be one of grid"),
        ({"method": "bayes"}, "", "method bayes needs a metric"),
        ({"method": "tpe"}, "", "method tpe needs a metric"),
        ({"metric": "loss"}, "metric", "write metric: {name: loss, goal: minimize}"),
        ({"metric": ["loss"]}, "metric", "write metric: {name: …, goal: minimize}"),
        ({"metric": {"goal": "minimize"}}, "metric", "needs name"),
        ({"metric": {"name": ""}}, "metric.name", "must not be empty"),
        ({"metric": {"name": ["a"]}}, "metric.name", "must be text, not a list"),
        ({"metric": {"name": "a", "target": "x"}}, "metric.target", "must be a number"),
        ({"metric": {"name": "a", "impute": "mean"}}, "metric.impute", "worst, latest or best"),
        ({"run_cap": 0}, "run_cap", "at least 1, not 0"),
        ({"run_cap": 2.5}, "run_cap", "a whole number, not 2.5"),
        ({"run_cap": "ten"}, "run_cap", "must be a number, not ten"),
        ({"run_cap": True}, "run_cap", "must be a number, not true"),
        ({"command": "python train.py"}, "command", "must be a list"),
        ({"command": [["a"]]}, "command[0]", "must be text, not a list"),
        ({"command": ["python", "${program}"]}, "command[1]", "program, which is not given"),
        ({"program": ["a"]}, "program", "must be text, not a list"),
        ({"controller": {"type": "remote"}}, "controller.type", "local or cloud, not remote"),
        ({"controller": "local"}, "controller", "must be a mapping, not local"),
        ({"job": "a", "image_uri": "b"}, "image_uri", "cannot stand beside job"),
        ({"sweepd": [1]}, "sweepd", "must be a mapping"),
        ({"sweepd": {"initial": 3}}, "sweepd.initial", "must be a list, not 3"),
        ({"sweepd": {"seed": 1.5}}, "sweepd.seed", "a whole number"),
        ({"sweepd": {"objective": "first"}}, "sweepd.objective", "best, last or mean:k"),
        ({"scheduler": {"engine": "tpe"}}, "scheduler.engine", "wandb, optuna, ax, not tpe"),
        ({"scheduler": {}}, "scheduler.engine", "must be one of"),
        ({"scheduler": {"engine": "optuna"}}, "scheduler.engine", "needs method: custom"),
        (
            {"scheduler": {"engine": "wandb", "search_space": "f"}},
            "scheduler.search_space",
            "needs source",
        ),
        ({"metrics": [METRIC], "method": "custom"}, "metrics", "at least two"),
        ({"metrics": METRICS, "metric": METRIC}, "metrics", "cannot stand beside metric"),
        ({"metrics": [METRIC, METRIC]}, "metrics[1].name", "loss is named twice"),
        ({"metrics": METRICS, "method": "cmaes"}, "metrics", "method: nsga2, tpe or bayes"),
        ({"metrics": [{"name": f"m{i}"} for i in range(9)]}, "metrics", "at most 8"),
        (
            {"metrics": METRICS, "early_terminate": {"type": "hyperband", "min_iter": 3}},
            "early_terminate",
            "compares runs by one curve",
        ),
        (
            {"metrics": METRICS, "sweepd": {"stop": {"rule": "median"}}},
            "sweepd.stop",
            "compares runs by one curve",
        ),
    ],
)
def test_a_wrong_top_level_key_is_refused(keys, path, words, text_of, refusal):
    found = refusal(text_of(X, **keys))

    assert list(found) == [path]
    assert words in found[path].message


def test_unknown_keys_are_warnings_on_the_wire_and_errors_in_a_file(text_of, refusal):
    text = text_of(
        X,
        earli_terminate={"type": "hyperband"},
        seed=3,
        max_runs=9,
        lr={"values": [1]},
        metric=METRIC | {"gaol": "x"},
        sweepd={"sed": 1},
    )

    warned = {w.path: w.message for w in read_definition(text).warnings}
    found = {path: v.message for path, v in refusal(text, allow_unknown=False).items()}

    assert warned == found
    assert "did you mean early_terminate?" in found["earli_terminate"]
    assert "below sweepd" in found["seed"]
    assert "write run_cap" in found["max_runs"]
    assert "go below parameters" in found["lr"]
    assert "did you mean goal?" in found["metric.gaol"]
    assert "did you mean seed?" in found["sweepd.sed"]


@pytest.mark.parametrize(
    ("keys", "path", "words"),
    [
        ({"method": "custom"}, "method", "sweepd suggests nothing"),
        ({"controller": {"type": "local"}}, None, ""),
        ({"controller": {"type": "local"}, "method": "custom"}, None, ""),
        ({"scheduler": {"engine": "wandb"}}, None, ""),
        ({"scheduler": {"engine": "optuna"}, "method": "custom"}, None, ""),
        ({"scheduler": {"num_workers": 4}}, "scheduler", "does the search itself"),
        ({"job": "team/project/job:v1"}, "job", "Sweeps on Launch"),
        ({"settings": {"a": 1}}, "settings", "has no effect"),
        ({"metric": None, "description": ""}, None, ""),
        ({"metrics": METRICS, "method": "nsga2"}, None, ""),
        (
            {"metrics": [METRIC, {"name": "b", "impute": "worst"}]},
            "metrics[1].impute",
            "no effect beside other metrics",
        ),
        ({"run_cap": 3}, "run_cap", "never reached: there are 2 configurations"),
        ({"kind": "job"}, "kind", "must be sweep"),
        ({"command": ["python", "${arg}"]}, "command[1]", "did you mean ${args}?"),
        ({"command": ["python", "${x}"]}, "command[1]", "parameters come by ${args}"),
        ({"command": ["python", "--x=${x}"]}, "command[1]", "passed on literally"),
        ({"command": ["sh", "-c", "python a.py ${args}"]}, "command[2]", "must be the whole item"),
        ({"command": ["python", "$args"]}, "command[1]", "did you mean ${args}?"),
        ({"command": ["${envvar:home}"]}, "command[0]", "capitals"),
        ({"command": ["${envvar:HOME}/x", "--a=${envvar:B}", "${args_json}"]}, None, ""),
    ],
)
def test_what_is_odd_is_a_warning(keys, path, words, parsed):
    warnings = {warning.path: warning.message for warning in parsed(X, **keys).warnings}

    if path is None:
        assert warnings == {}
    else:
        assert list(warnings) == [path]
        assert words in warnings[path]


def test_a_definition_for_an_external_scheduler_needs_no_parameters():
    text = (
        "method: custom\nmetrics: [{name: a}, {name: b, goal: maximize}]\n"
        "scheduler: {engine: optuna, source: s.py, search_space: space}\n"
    )

    parsed = read_definition(text)

    assert parsed.definition.space.parameters == ()
    assert parsed.definition.scheduler["engine"] == "optuna"
    assert parsed.warnings == ()


@pytest.mark.parametrize(
    "other",
    [{"early_terminate": {"type": "hyperband", "min_iter": 1}}, {"controller": {"type": "local"}}],
)
def test_a_scheduler_excludes_our_stop_rule_and_the_local_controller(other, text_of, refusal):
    found = refusal(text_of(X, metric=METRIC, scheduler={"engine": "wandb"}, **other))

    assert "beside scheduler" in "".join(v.message for v in found.values())


def test_a_definition_survives_the_way_over_the_wire():
    text = """\
method: bayes
metric: {name: loss}
parameters:
  lr: {distribution: log_uniform_values, min: 1e-5, max: 1}
  o: {parameters: {k: {values: [[1, 2], null, "yes", "007"]}}}
sweepd: {seed: 3, initial: [{lr: 0.1, o: {k: [1, 2]}}]}
"""
    here = read_definition(text).definition

    there = read_definition(here.to_yaml())
    client = read_definition(yaml.dump(json.loads(json.dumps(here.raw))))

    assert there.warnings == client.warnings == ()
    assert there.definition.space == client.definition.space == here.space
    assert there.definition.own == client.definition.own == here.own


def test_shared_values_are_written_out_without_anchors():
    text = "method: random\nparameters: {a: {values: &v [1, 2]}, b: {values: *v}}\n"

    assert "&" not in read_definition(text).definition.to_yaml()


def test_more_problems_than_anyone_reads_are_counted():
    parameters = "".join(f"  p{i}: 1\n" for i in range(300))

    with pytest.raises(DefinitionError) as caught:
        read_definition(f"method: random\nparameters:\n{parameters}")

    assert len(caught.value.violations) == 101
    assert caught.value.violations[-1].message == "… and 200 more"


def test_a_misspelt_required_key_is_one_problem_of_a_file(refusal):
    text = "metod: random\nparamters: {x: {value: 1}}\n"

    assert set(refusal(text, allow_unknown=False)) == {"metod", "paramters"}
    with pytest.raises(
        DefinitionError, match="needs method: grid, random, bayes, tpe, cmaes, nsga2, qmc, custom"
    ):
        read_definition(text)


def test_thousands_of_unknown_keys_are_not_each_held_against_the_known_ones():
    text = "".join(f"key{i}: 1\n" for i in range(20_000))

    with pytest.raises(DefinitionError), at_most_calls(100 * 20_000):
        read_definition(text, allow_unknown=False)


def test_a_method_whose_packages_are_missing_is_a_warning_with_the_command(text_of, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)

    parsed = read_definition(text_of(X, method="tpe", metric=METRIC))

    assert parsed.definition.method == "tpe"
    assert [str(warning) for warning in parsed.warnings] == [
        "line 1: method: tpe needs packages that are not installed here: "
        "pip install 'sweepd[optuna]'"
    ]


def test_several_metrics_stand_side_by_side_and_none_of_them_is_the_metric(parsed):
    definition = parsed(
        X, method="nsga2", metrics=[METRIC, {"name": "acc", "goal": "maximize", "target": 0.9}]
    ).definition

    assert [(m.name, m.goal, m.target) for m in definition.metrics] == [
        ("loss", "minimize", None),
        ("acc", "maximize", 0.9),
    ]
    assert definition.objectives == definition.metrics
    assert (definition.metric, definition.metric_name) == (None, None)
    assert parsed(X, method="bayes", metric=METRIC).definition.objectives[0].name == "loss"
    assert parsed(X).definition.objectives == ()
