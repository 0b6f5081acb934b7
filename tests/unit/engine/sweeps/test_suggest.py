import pickle
import re
import sys
from dataclasses import replace

import pytest

from sweepd.engine import agents, computing, runs, suggest, sweepviews
from sweepd.engine.computing import Answer, Kept
from sweepd.engine.preview import preview
from sweepd.errors import DefinitionError, SearchError, UnknownName
from sweepd.names import METHODS
from sweepd.search.model import Settings
from sweepd.spec import read_definition, reading


def job_of(lab):
    return lab.store.read_sync(suggest.next_job, limits=lab.limits)


def test_one_suggestion_is_prepared_for_each_live_agent(lab, texts):
    sweep = lab.create(texts["bayes"])
    assert job_of(lab).n == 1
    for _ in range(3):
        lab.register(sweep)

    job = job_of(lab)

    assert (job.sweep_id, job.n) == (sweep.id, 3)
    assert lab.think() == 1
    assert job_of(lab) is None


def test_prepared_suggestions_are_handed_out_before_fillers(lab, texts):
    sweep = lab.create(texts["bayes"])
    agent = lab.register(sweep)
    first = lab.ask(agent)
    lab.start(first, lease=False)
    lab.log(first, 1.0, lease=False)
    lab.end(first, lease=False)
    lab.think()

    second = lab.ask(agent)

    assert lab.trial(sweep, first).origin == "filler"
    assert lab.trial(sweep, second).origin == "search"


def test_suggestions_are_computed_again_after_each_result(lab, texts):
    agent = lab.register(lab.create(texts["bayes"]))
    lab.think()
    command = lab.ask(agent)
    lab.start(command)
    lab.think()
    assert job_of(lab) is None

    lab.log(command, 0.5)
    lab.end(command)

    job = job_of(lab)
    assert [trial.objective for trial in job.trials] == [0.5]
    assert job.pending == ()


def test_job_knows_what_runs_and_what_will_run_first(lab, texts):
    sweep = lab.create(texts["bayes"] + "sweepd: {initial: [{lr: 0.5}, {lr: 0.25}]}\n")
    command = lab.ask(lab.register(sweep))

    job = job_of(lab)

    assert sorted(config["lr"] for config in job.pending) == [0.25, 0.5]
    assert command.config["lr"] == 0.5


def test_no_more_is_prepared_than_run_cap_leaves(lab, texts):
    sweep = lab.create(texts["bayes"] + "run_cap: 2\n")
    crowd = [lab.register(sweep) for _ in range(4)]

    assert job_of(lab).n == 2
    for agent in crowd[:2]:
        lab.ask(agent)

    assert job_of(lab) is None


def test_computing_is_pure_and_travels_to_another_process(lab, texts):
    lab.create(texts["bayes"] + "sweepd: {seed: 3}\n")
    job = job_of(lab)

    again = pickle.loads(pickle.dumps(job))

    assert again == job
    assert computing.compute(again) == computing.compute(job)


def test_memo_comes_back_with_the_next_job_after_a_restart(lab, texts):
    sweep = lab.create(texts["bayes"])
    job = job_of(lab)
    kept = Kept(0, "", {"fits": [1, 2]})
    lab.write(suggest.store, job=job, answer=Answer(computing.compute(job).configs, kept))
    lab.restart()
    lab.run(lab.register(sweep), 1.0)

    assert job_of(lab).kept == kept


class Odd:
    """A search method that a test tells what to return or raise."""

    is_instant = False

    def __init__(self, answer):
        self.answer = answer

    def suggest(self, space, trials, pending, n, rng, memo):
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (ValueError("not positive definite"), "not positive definite"),
        (([{"lr": 7.0, "layers": 3}], {}), "not in the space"),
        (([{"nonsense": 1}], {}), "not in the space"),
        (([{"lr": float("nan"), "layers": 3}], {}), "not in the space"),
        (([None], {}), "suggested null, not in the space"),
        (None, "returned null, not configs and a memo"),
        (("ab", {}), "not up to 2 configs"),
        (([{"lr": 0.5, "layers": 3}] * 2, {}), "again, which was given before"),
        (([{"lr": i / 9, "layers": 3} for i in range(9)], {}), "not up to 2 configs"),
        (([{"lr": 0.5, "layers": 3}], {"x": {1}}), "a memo that is not JSON"),
        (([{"lr": 0.5, "layers": 3}], []), "the memo [], not an object"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_rubbish_of_a_search_is_refused_in_words(lab, texts, monkeypatch, answer, words):
    sweep = lab.create(texts["bayes"])
    for _ in range(2):
        lab.register(sweep)
    monkeypatch.setattr(computing, "load_method", lambda name: Odd(answer))

    with pytest.raises((SearchError, ValueError), match=re.escape(words)):
        computing.compute(job_of(lab))


def test_failing_search_goes_on_with_fillers_and_a_notice(lab, texts):
    sweep = lab.create(texts["bayes"])
    agent = lab.register(sweep)
    lab.write(suggest.store, job=job_of(lab), error="LinAlgError: not positive definite")

    notice = lab.sweep(sweep).notice
    assert "LinAlgError" in notice
    assert "space-filling" in notice
    assert job_of(lab) is None  # it is not asked again at once
    command = lab.run(agent, 1.0)
    assert lab.trial(sweep, command).origin == "filler"

    lab.clock.advance(1)
    assert lab.think() == 1

    assert lab.sweep(sweep).notice is None


def test_method_whose_package_is_gone_costs_its_own_sweep_alone(lab, texts, monkeypatch):
    with monkeypatch.context() as at_first:
        at_first.setattr(reading, "_METHODS", [*METHODS, "gone"])
        bad = lab.create(texts["bayes"].replace("bayes", "gone"))
    sweepviews._parse.cache_clear()
    good = lab.create(texts["bayes"])
    agent = lab.register(bad)

    assert lab.trial(bad, lab.run(agent, 1.0)).origin == "filler"
    job = job_of(lab)
    with pytest.raises(UnknownName) as raised:
        computing.compute(job)
    lab.write(suggest.store, job=job, error=str(raised.value))

    assert "unknown method 'gone'" in lab.sweep(bad).notice
    assert job_of(lab).sweep_id == good.id
    assert lab.trial(bad, lab.run(agent, 2.0)).origin == "filler"


def test_rehearsal_is_a_fit_of_made_up_trials(lab, texts, monkeypatch):
    lab.create(texts["bayes"])
    told = []

    class Listener(Odd):
        def suggest(self, space, trials, pending, n, rng, memo):
            told.extend(trials)
            return [], {}

    monkeypatch.setattr(computing, "load_method", lambda name: Listener(None))
    computing.rehearse(job_of(lab))

    assert len({trial.objective for trial in told}) > 1
    assert len(told) > Settings().n_initial


def test_search_that_fails_again_and_again_is_asked_ever_more_rarely(lab, texts):
    sweep = lab.create(texts["bayes"])
    lab.register(sweep)
    pauses = []
    for _ in range(9):
        lab.write(suggest.store, job=job_of(lab), error="no")
        pauses.append(lab.store.read_sync(suggest.next_try_in))
        lab.clock.advance(pauses[-1])

    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60]

    lab.think()
    assert lab.store.read_sync(suggest.next_try_in) is None


def test_search_that_fails_keeps_no_other_sweep_waiting(lab, texts):
    bad, good = lab.create(texts["bayes"]), lab.create(texts["bayes"])
    job = job_of(lab)
    assert job.sweep_id == bad.id

    lab.write(suggest.store, job=job, error="no answer within 60 s")

    assert job_of(lab).sweep_id == good.id
    assert lab.store.read_sync(suggest.next_job, without={good.id}) is None
    lab.clock.advance(1)
    for is_ailing, sweep in ((True, bad), (False, good)):
        job = lab.store.read_sync(suggest.next_job, is_ailing=is_ailing)
        assert job.sweep_id == sweep.id


def test_search_that_only_repeats_itself_gets_fillers(lab, texts):
    sweep = lab.create(texts["bayes"])
    agent = lab.register(sweep)
    first = lab.run(agent, 1.0)

    lab.write(suggest.store, job=job_of(lab), answer=Answer((first.config,)))

    assert "handed out before" in lab.sweep(sweep).notice
    assert job_of(lab) is None


@pytest.mark.parametrize("method", sorted(set(METHODS) - computing.INSTANT))
def test_suggestion_that_a_filler_has_taken_meanwhile_is_no_failure(lab, texts, method):
    sweep = lab.create(texts["bayes"].replace("bayes", method))
    agent = lab.register(sweep)
    job = job_of(lab)
    answer = computing.compute(job)
    filler = lab.run(agent, 1.0)
    assert filler.config == answer.configs[0], "both are the first point of the same sequence"

    lab.write(suggest.store, job=job, answer=answer)

    assert lab.sweep(sweep).notice is None
    assert lab.think() == 1
    command = lab.ask(agent)
    assert lab.trial(sweep, command).origin == "search"
    assert command.config != filler.config


def test_suggestion_that_an_older_one_has_taken_meanwhile_is_no_failure(lab, texts):
    sweep = lab.create(texts["bayes"])
    first, second = lab.register(sweep), lab.register(sweep)
    lab.think()
    lab.run(first, 1.0)  # of the two that are ready
    job = replace(job_of(lab), n=1)
    older = lab.ask(second)

    lab.write(suggest.store, job=job, answer=Answer((older.config,)))

    assert lab.sweep(sweep).notice is None
    lab.think()
    assert lab.trial(sweep, lab.ask(first)).origin == "search"


def test_search_that_gives_too_few_is_no_exhausted_space(lab, texts):
    sweep = lab.create(texts["bayes"])
    agent = lab.register(sweep)

    lab.write(suggest.store, job=job_of(lab), answer=Answer())

    assert "gave 0 of 1 suggestions" in lab.sweep(sweep).notice
    assert lab.trial(sweep, lab.ask(agent)).origin == "filler"


def test_result_for_a_definition_that_changed_meanwhile_is_dropped(lab, texts):
    from sweepd.engine import sweeps

    sweep = lab.create(texts["bayes"])
    job = job_of(lab)
    wider = texts["bayes"].replace("max: 1.0", "max: 9.0")
    lab.write(sweeps.update_sweep, actor=lab.actor, sweep_id=sweep.id, definition=wider)

    lab.write(suggest.store, job=job, answer=computing.compute(job))

    assert job_of(lab).definition == wider


def test_small_space_is_exhausted_once_and_ends_the_sweep(lab, texts):
    text = "method: bayes\nmetric: {name: loss}\nparameters: {a: {values: [1, 2, 3, 4]}}\n"
    sweep = lab.create(text)
    agent = lab.register(sweep)

    given = []
    while (command := lab.beat(agent)) is not None and command.type == "run":
        lab.start(command)
        lab.log(command, float(command.config["a"]))
        lab.end(command)
        given.append(command.config["a"])
        lab.think()

    assert sorted(given) == [1, 2, 3, 4]
    after = lab.sweep(sweep)
    assert after.state == "FINISHED"
    assert after.stop_reason == "every configuration has been tried: 4 trials"
    assert (after.best_value, after.n_finished) == (1.0, 4)


def test_random_over_a_small_space_repeats_nothing(lab):
    sweep = lab.create("method: random\nparameters: {a: {values: [1, 2, 3]}}\n")
    agent = lab.register(sweep)

    given = sorted(lab.run(agent).config["a"] for _ in range(3))

    assert given == [1, 2, 3]
    assert lab.beat(agent).type == "exit"
    assert lab.sweep(sweep).state == "FINISHED"


@pytest.mark.parametrize(
    ("impute", "objectives"),
    [
        ("", [1.0, None, None]),
        (", impute: worst", [1.0, 1.0, 1.0]),
        (", impute: latest", [1.0, 9.0, 1.0]),
    ],
    ids=["table of outcomes", "worst", "latest"],
)
def test_failed_trials_teach_what_the_definition_says(lab, texts, impute, objectives):
    sweep = lab.create(texts["bayes"].replace("goal: minimize", "goal: minimize" + impute))
    agent = lab.register(sweep)
    lab.run(agent, 1.0)
    lab.clock.advance(1)
    lab.run(agent, 9.0, exit_code=1)
    lab.clock.advance(1)
    lab.run(agent)

    job = job_of(lab)

    assert [trial.objective for trial in job.trials] == objectives
    assert [trial.is_feasible for trial in job.trials] == [True, bool(impute), True]
    assert job.trials[1].blame == (1.0 if impute else 0.3)  # the program may be wrong as well


@pytest.mark.parametrize("how", ["worst", "latest", "best"])
@pytest.mark.parametrize("values", [(9.0,), ()], ids=["with values", "without"])
def test_trial_that_a_person_killed_teaches_nothing_whatever_impute_says(lab, texts, how, values):
    goal = f"goal: minimize, impute: {how}"
    sweep = lab.create(texts["bayes"].replace("goal: minimize", goal))
    command = lab.ask(lab.register(sweep))
    lab.start(command)
    lab.log(command, *values)

    lab.write(runs.request_stop, actor=lab.actor, run_id=lab.run_of(command).id)
    lab.end(command, 1)

    (trial,) = job_of(lab).trials
    assert lab.trial(sweep, command).reason == "killed"
    assert (trial.objective, trial.is_feasible) == (None, True)


@pytest.mark.parametrize(
    ("how", "objectives"), [("latest", [2.0]), ("best", [1.0]), ("worst", [0.0]), ("false", [])]
)
def test_running_trials_teach_if_the_definition_says_so(lab, texts, how, objectives):
    goal = f"goal: minimize, impute_while_running: {how}"
    sweep = lab.create(texts["bayes"].replace("goal: minimize", goal))
    command = lab.ask(lab.register(sweep))
    lab.start(command)
    lab.log(command, 1.0, 2.0)

    job = job_of(lab)

    assert [trial.objective for trial in job.trials] == objectives
    assert len(job.pending) == 1 - len(objectives)


def test_fillers_alone_exhaust_a_small_space_and_end_the_sweep(lab):
    text = "method: bayes\nmetric: {name: loss}\nparameters: {a: {values: [1, 2, 3]}}\n"
    sweep = lab.create(text)
    agent = lab.register(sweep)

    given = sorted(lab.run(agent, 1.0).config["a"] for _ in range(3))

    assert given == [1, 2, 3]
    assert lab.beat(agent) is None
    assert lab.sweep(sweep).state == "FINISHED"


def test_killed_trials_teach_nothing(lab, texts):
    sweep = lab.create(texts["bayes"])
    agent = lab.register(sweep)
    command = lab.ask(agent)
    lab.start(command)
    lab.log(command, 1.0)
    lab.report(command, "killed")

    job = job_of(lab)

    assert [(trial.objective, trial.is_feasible) for trial in job.trials] == [(None, True)]


def test_silent_agents_are_not_prepared_for(lab, texts):
    sweep = lab.create(texts["bayes"])
    for _ in range(4):
        gone = lab.register(sweep)
    lab.write(agents.leave, actor=lab.actor, agent_id=gone)
    assert job_of(lab).n == 3

    lab.tick(65)

    assert job_of(lab).n == 1


@pytest.mark.parametrize("method", ["random", "grid"])
def test_preview_shows_what_the_sweep_hands_out(lab, texts, method):
    initial = {"random": "{lr: 0.5}", "grid": "{a: 2, b: y}"}[method]
    text = texts[method] + f"sweepd: {{seed: 11, initial: [{initial}]}}\n"
    agent = lab.register(lab.create(text))

    shown = preview(read_definition(text).definition, n=6)

    assert shown.n_initial == 1
    assert list(shown.configs) == [lab.run(agent, 1.0).config for _ in range(6)]


def test_preview_of_a_grid_tells_its_size_and_its_end(texts):
    definition = read_definition(texts["grid"]).definition

    few, all_ = preview(definition, n=4), preview(definition, n=50)

    assert (few.grid_size, len(few.configs), few.is_everything) == (6, 4, False)
    assert (all_.grid_size, len(all_.configs), all_.is_everything) == (6, 6, True)


def test_preview_of_bayes_shows_its_start(texts):
    shown = preview(read_definition(texts["bayes"]).definition, n=5)

    assert len({config["lr"] for config in shown.configs}) == 5
    assert shown.grid_size is None


def test_a_method_that_lacks_its_packages_is_refused_with_the_command(lab, texts, monkeypatch):
    monkeypatch.setitem(sys.modules, "cmaes", None)

    with pytest.raises(DefinitionError, match=r"method: cmaes needs .*pip install 'sweepd\[optuna"):
        lab.create(texts["bayes"].replace("bayes", "cmaes"))


def test_a_stored_sweep_goes_on_at_random_where_the_packages_are_gone(lab, texts, monkeypatch):
    sweep = lab.create(texts["bayes"].replace("bayes", "tpe"))
    agent = lab.register(sweep)
    monkeypatch.setitem(sys.modules, "optuna", None)
    job = job_of(lab)
    with pytest.raises(SearchError) as failure:
        computing.compute(job)

    lab.write(suggest.store, job=job, error=str(failure.value))

    assert "pip install 'sweepd[optuna]'" in lab.sweep(sweep).notice
    lab.run(agent, 0.5)
    assert lab.ask(agent).run
    monkeypatch.undo()
    lab.clock.advance(1)
    lab.think()
    assert lab.sweep(sweep).notice is None
