"""`ls`, `status`, `watch`, `pause`, `resume`, `stop`, `cancel` and `rm`."""

import io
import sys

import pytest


@pytest.fixture
def local(ours, data, sweep):
    """Run a command against the service on this machine."""
    ours.register(data)
    return lambda *arguments, **how: sweep(*arguments, "--data", data, **how)


def test_list_names_every_sweep_and_how_it_is_doing(local):
    out = local("ls", code=0).out

    assert "alice/toys/s1  RUNNING  random" in out
    assert "0.25" in out


def test_list_as_json_is_nothing_but_json(local):
    (row,) = local("ls", "--json", code=0).json

    assert row["sweep"] == "alice/toys/s1"
    assert row["finished"] == 1


def test_list_of_a_project_without_sweeps_says_so(local):
    assert local("ls", "--project", "others", code=0).out == "no sweeps in others\n"
    assert local("ls", "--project", "others", "--json").json == []


@pytest.mark.parametrize(
    "name",
    [
        "s1",
        "toys/s1",
        "alice/toys/s1",
        "{url}/alice/toys/sweeps/s1",
        "{url}/alice/toys/sweeps/s1/x",
    ],
)
def test_status_takes_every_way_to_name_a_sweep(local, ours, name):
    out = local("status", name.format(url=ours.url), code=0).out

    assert "alice/toys/s1 is running: 1 of 3 trials finished, 1 running, best loss 0.25" in out
    assert ours.sweep["sweepdStatus"]["url"] in out


def test_status_gives_the_reason_and_the_notice(local, ours):
    ours.sweep["sweepdStatus"] |= {"stopReason": "run_cap reached", "notice": "disk is full"}

    out = local("status", "s1").out

    assert "  run_cap reached\n  disk is full\n" in out


@pytest.fixture
def importance():
    """What our server says of two parameters."""
    interval = {"shareLow": 0.5, "shareHigh": 0.75, "trendLow": -0.9, "trendHigh": -0.25}
    none = dict.fromkeys(("share", "trend", "best", *interval))
    return {
        "metric": "loss",
        "goal": "minimize",
        "runs": 30,
        "runsNeeded": 20,
        "note": None,
        "metrics": ["loss"],
        "isComputing": False,
        "parameters": [
            {**none, "name": "few", "runs": 3},
            {**none, **interval, "name": "lr", "runs": 30, "share": 0.625, "trend": -0.5},
        ],
    }


def test_status_says_what_is_spent_of_each_budget(local, ours):
    ours.sweep["sweepdStatus"]["budget"] = [{"name": "hours", "used": 1.256, "limit": 12.0}]

    out = local("status", "s1", code=0).out
    facts = local("status", "s1", "--json", code=0).json

    assert "budget: 1.26 of 12 hours" in out
    assert facts["budget"] == {"hours": {"used": 1.256, "limit": 12.0}}


def test_status_tells_which_parameters_matter(local, ours, importance):
    asked = []
    ours.sweep["sweepdImportance"] = lambda info, metric=None, goal=None: (
        asked.append((metric, goal)) or {**importance, "metric": metric or "loss"}
    )

    out = local("status", "s1", "--importance", code=0).out
    found = local("status", "s1", "--metric=speed", "--goal=maximize", "--json", code=0).json[
        "importance"
    ]

    assert asked == [(None, None), ("speed", "maximize")]
    assert "importance for loss (lower is better), 30 runs" in out
    lines = [line.split() for line in out.splitlines()]
    wanted = ["lr", "62%", "(50%", "to", "75%)", "-0.50", "(-0.90", "to", "-0.25)", "30"]
    assert lines.index(wanted) < lines.index(
        ["few", "–", *["needs", "20", "runs", "that", "have", "it", "3"]]
    )
    assert found["parameters"][1]["share"] == 0.625


@pytest.mark.parametrize(("best", "words"), [('"adam"', 'best "adam"'), ("null", "best null")])
def test_status_names_the_best_value_of_what_has_no_order(local, ours, importance, best, words):
    one = {**importance["parameters"][1], "name": "opt", "best": best}
    one |= dict.fromkeys(("trend", "trendLow", "trendHigh"))
    none = {**one, "name": "same", "best": None}
    ours.sweep["sweepdImportance"] = {**importance, "parameters": [one, none]}

    lines = local("status", "s1", "--importance", code=0).out.splitlines()

    assert [words in line for line in lines if line.split()[:1] in (["opt"], ["same"])] == [
        True,
        False,
    ]


def test_status_waits_for_an_importance_that_takes_long_and_says_so(local, ours, importance):
    answers = [{**importance, "isComputing": True, "parameters": []}] * 3 + [importance]
    ours.sweep["sweepdImportance"] = lambda info, metric=None, goal=None: answers.pop(0)

    done = local("status", "s1", "--importance", code=0)

    assert answers == []
    assert done.err.count("computing the importance of the parameters from 30 runs") == 1
    assert "importance for loss (lower is better), 30 runs" in done.out


def test_status_says_that_there_are_too_few_runs_for_importance(local, ours, importance):
    ours.sweep["sweepdImportance"] = {**importance, "runs": 7}

    out = local("status", "s1", "--importance", code=0).out

    assert "importance for loss needs 20 finished runs; there are 7" in out


def test_status_says_that_no_run_has_logged_a_metric_with_the_nearest_name(local, ours, importance):
    told = {**importance, "runs": 0, "metric": "acuracy", "metrics": ["loss", "accuracy"]}
    ours.sweep["sweepdImportance"] = lambda info, metric=None, goal=None: told
    words = "no finished run has logged acuracy as a number, only loss, accuracy; did you mean"

    named = local("status", "s1", "--metric", "acuracy", code=1)
    own = local("status", "s1", "--importance", code=0)

    assert named.err == f"error: {words} accuracy?\n"
    assert named.out == ""
    assert f"  {words} accuracy?\n" in own.out


@pytest.mark.parametrize("name", ["nope", "alice/toys/nope", "bob/toys/s1", "alice/other/s1"])
@pytest.mark.parametrize("command", ["status", "watch", "pause", "resume", "stop", "cancel", "rm"])
def test_a_sweep_that_does_not_exist_is_one_sentence(local, ours, command, name):
    done = local(command, name, code=1)

    assert done.err.startswith("error: there is no sweep")
    assert name in done.err
    assert done.out == ""


@pytest.mark.parametrize(
    "name", ["", "a/b/c/d", "a//b", "http://[", "http://h:0/a/b/sweeps/c", "x y"]
)
def test_what_names_no_sweep_is_wrong_input(local, name):
    done = local("status", name, code=2)

    assert repr(name) in done.err
    assert "ENTITY/PROJECT" in done.err


def test_watch_follows_to_the_end_and_says_why(local, ours):
    looks = []

    def look(info, name):
        looks.append(name)
        if len(looks) == 2:
            ours.sweep["sweepdStatus"] |= {"finished": 3, "running": 0, "stopReason": "all done"}
            ours.sweep["state"] = "FINISHED"
        return ours.sweep

    ours.root["sweepdSweep"] = look

    out = local("watch", "s1", "--interval", "0.2", code=0).out

    assert out == (
        "running: 1 of 3 trials finished, 1 running, best loss 0.25\n"
        "finished: 3 of 3 trials finished, best loss 0.25\n"
        "all done\n"
    )


@pytest.mark.parametrize("interval", ["nan", "inf", "0", "-1", "soon"])
def test_an_interval_that_is_none_is_wrong_input(local, interval):
    assert "--interval" in local("watch", "s1", "--interval", interval, code=2).err


@pytest.mark.parametrize(
    ("command", "state"),
    [("pause", "PAUSED"), ("resume", "RUNNING"), ("stop", "FINISHED"), ("cancel", "CANCELED")],
)
def test_each_state_command_moves_the_sweep(local, ours, command, state):
    done = local(command, "s1", code=0)

    assert ours.sweep["state"] == state
    assert done.out.startswith("alice/toys/s1: ")
    assert local(command, "s1", "--json").json["state"] == state


def test_a_refused_move_is_told_in_the_servers_words(local, ours):
    def refuse(info, input):
        raise ValueError("a sweep that is FINISHED cannot become PAUSED")

    ours.root["upsertSweep"] = refuse

    assert local("pause", "s1", code=1).err == (
        "error: a sweep that is FINISHED cannot become PAUSED\n"
    )


def test_delete_asks_and_takes_no_for_an_answer(local, ours, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("n\n"))

    done = local("rm", "s1", code=1)

    assert "delete the sweep alice/toys/s1 with its 2 runs?" in done.err
    assert "nothing is deleted" in done.err
    assert ours.deleted == []


def test_delete_without_anybody_to_ask_names_the_option(local, ours, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))

    assert "--yes" in local("rm", "s1", code=2).err
    assert ours.deleted == []


def test_delete_with_yes_does_not_ask(local, ours):
    done = local("rm", "s1", "--yes", "--json", code=0)

    assert done.json == {"deleted": "alice/toys/s1", "kind": "sweep"}
    assert ours.deleted == [ours.sweep["id"]]


def test_delete_of_a_project_says_all_that_goes(local, ours, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("n\n"))

    done = local("rm", "--project", "alice/toys", code=1)

    words = "delete the project alice/toys with its 1,200 runs, 1 sweep and 2.5 MB of files?"
    assert words in done.err
    assert ours.deleted == []


@pytest.mark.parametrize("name", ["alice/toys", "toys", "{url}/alice/toys", "{url}/alice/toys/x"])
def test_delete_takes_a_project(local, ours, name):
    done = local("rm", "--project", name.format(url=ours.url), "--yes", "--json", code=0)

    assert done.json == {"deleted": "alice/toys", "kind": "project"}
    assert ours.deleted == ["UHJvamVjdDox"]


@pytest.mark.parametrize("name", ["a/b/c", "", "/", "http://host:x/a/b", "http://h/alice"])
def test_delete_refuses_what_names_no_project(local, ours, name):
    assert "names no project" in local("rm", "--project", name, "--yes", code=2).err
    assert ours.deleted == []


def test_delete_of_a_project_that_is_not_there_says_so(local, ours):
    assert "no project alice/none" in local("rm", "--project", "alice/none", code=1).err


@pytest.mark.parametrize("name", ["alice/toys/r1", "{url}/alice/toys/runs/r1/overview"])
def test_delete_takes_a_run(local, ours, name):
    done = local("rm", name.format(url=ours.url), "--yes", code=0)

    assert done.out == "deleted the run alice/toys/r1\n"
    assert ours.deleted == [ours.run["id"]]


def test_finish_marks_a_run_as_finished(local, ours):
    done = local("finish", "alice/toys/r1", code=0)

    assert done.out == "alice/toys/r1: finished\n"
    assert ours.finished == [ours.run["id"]]
    assert "no run alice/toys/r2" in local("finish", "alice/toys/r2", code=1).err


def test_another_server_tells_what_its_protocol_holds(plain, sweep):
    facts = sweep("status", "alice/toys/s1", "--json", code=0).json

    assert facts["state"] == "RUNNING"
    assert (facts["issued"], facts["running"], facts["finished"], facts["failed"]) == (5, 1, 2, 2)
    assert facts["best"] == 0.5
    assert facts["url"] == f"{plain.url}/alice/toys/sweeps/s1"


def test_another_server_takes_the_project_from_the_environment(plain, sweep, monkeypatch):
    assert "ENTITY/PROJECT/ID" in sweep("status", "s1", code=2).err
    assert "--project" in sweep("ls", code=2).err
    monkeypatch.setenv("WANDB_PROJECT", "toys")

    assert "alice/toys/s1 is running" in sweep("status", "s1", code=0).out
    assert "alice/toys/s1" in sweep("ls", code=0).out


def test_another_server_pauses_but_deletes_no_sweep(plain, sweep):
    sweep("pause", "alice/toys/s1", code=0)

    assert plain.sweep["state"] == "PAUSED"
    assert "on their pages" in sweep("rm", "alice/toys/s1", "--yes", code=2).err
    assert "on their pages" in sweep("rm", "--project", "alice/toys", "--yes", code=2).err


def test_another_server_without_the_project_or_sweep_says_so(plain, sweep):
    assert "no sweep alice/toys/s2" in sweep("status", "alice/toys/s2", code=1).err
    assert "no sweep alice/other/s1" in sweep("status", "alice/other/s1", code=1).err
    assert "no project other" in sweep("ls", "--project", "other", code=1).err


def test_a_key_that_the_server_does_not_know_says_how_to_get_one(plain, sweep):
    plain.root["viewer"] = None

    err = sweep("status", "toys/s1", code=1).err

    assert "does not know this key" in err
    assert "wandb login --host=" in err


def test_a_page_address_is_asked_at_its_own_server(plain, sweep, monkeypatch):
    monkeypatch.delenv("WANDB_BASE_URL")

    assert "is running" in sweep("status", f"{plain.url}/alice/toys/sweeps/s1", code=0).out
