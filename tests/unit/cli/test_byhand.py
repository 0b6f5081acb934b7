"""`sweep enqueue` and `sweep edit`."""

import io
import json
import sys

import pytest

DEFINITION = "method: random\nrun_cap: 3\nparameters: {lr: {min: 0.0, max: 1.0}}\n"


@pytest.fixture
def local(ours, data, sweep):
    """Run a command against the service on this machine, which takes what it is given."""
    ours.register(data)
    asked, saved = [], []

    def enqueue(info, input):
        asked.append(input)
        n = len(json.loads(input["configs"]))
        return {"runs": [f"run{i}" for i in range(n)], "warnings": ["lr is odd"]}

    def preview(info, config):
        problems = ["it cannot change program"] if "program" in config else []
        changes = ["run_cap: 3 → 9"] if config != ours.sweep["config"] else []
        return {
            "problems": problems,
            "warnings": [],
            "changes": changes,
            "trialsKept": 1,
            "trialsLost": 2,
        }

    def save(info, input):
        saved.append(input)
        ours.sweep["config"] = input["config"]
        ours.sweep["sweepdVersions"] = [*ours.sweep["sweepdVersions"], version(2)]
        return {"version": 2, "warnings": []}

    def version(number):
        at = "2026-01-01T00:00:00Z"
        return {"version": number, "config": "", "createdAt": at, "actor": "alice", "trials": 1}

    ours.sweep |= {
        "config": DEFINITION,
        "sweepdVersions": [version(1)],
        "sweepdPreviewEdit": preview,
    }
    ours.root |= {"sweepdEnqueue": enqueue, "sweepdEdit": save}

    def run(*arguments, **how):
        return sweep(*arguments, "--data", data, **how)

    run.asked, run.saved = asked, saved
    return run


def test_enqueue_sends_values_as_yaml_reads_them(local):
    done = local("enqueue", "s1", "lr=1e-3", "opt.name=adam", "deep=true", "--name", "x", code=0)

    (asked,) = local.asked
    assert json.loads(asked["configs"]) == [{"lr": 1e-3, "opt.name": "adam", "deep": True}]
    assert (asked["displayName"], asked["like"]) == ("x", None)
    assert "enqueued alice/toys/run0" in done.out
    assert done.err == "warning: lr is odd\n"


def test_enqueue_takes_several_configs_of_a_file_and_values_on_top(local, folder):
    (folder / "configs.yaml").write_text("- lr: 0.1\n- {lr: 0.2, kind: b}\n")

    done = local("enqueue", "s1", "kind=a", "--file", "configs.yaml", "--like", "best", "--json")

    (asked,) = local.asked
    assert json.loads(asked["configs"]) == [{"lr": 0.1, "kind": "a"}, {"lr": 0.2, "kind": "a"}]
    assert asked["like"] == "best"
    assert done.json == {"runs": ["alice/toys/run0", "alice/toys/run1"], "warnings": ["lr is odd"]}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "nothing to enqueue"),
        (["lr"], "'lr' is not NAME=VALUE"),
        (["=3"], "'=3' is not NAME=VALUE"),
        (["lr=[1"], "lr: not valid YAML"),
        (["--file", "nowhere.yaml"], "cannot read nowhere.yaml: No such file"),
        (["--file", "."], "cannot read .: Is a directory"),
        (["--file", "text.yaml"], "text.yaml: must be a mapping"),
    ],
)
def test_enqueue_says_what_is_wrong_with_its_input(local, folder, arguments, words):
    (folder / "text.yaml").write_text("- just\n- text\n")

    done = local("enqueue", "s1", *arguments, code=2)

    assert words in done.err
    assert local.asked == []


@pytest.mark.parametrize("command", [["enqueue", "s1", "lr=1"], ["edit", "s1", "--set", "a=1"]])
def test_other_servers_are_told_apart(plain, sweep, data, command):
    done = sweep(*command, "--data", data, code=2)

    assert "is not a sweepd service" in done.err


def test_edit_shows_what_changes_and_makes_it(local):
    done = local("edit", "s1", "--set", "run_cap=9", "--yes", code=0)

    assert "-run_cap: 3\n+run_cap: 9\n" in done.out
    assert "  run_cap: 3 → 9\n" in done.out
    assert "2 of 3 trials so far are not of the new space" in done.out
    assert done.out.endswith("version 2 holds from now on\n")
    assert local.saved[0]["config"] == DEFINITION.replace("run_cap: 3", "run_cap: 9")


def test_edit_refuses_a_misspelt_key_unless_it_is_told_to_take_it(local):
    refused = local("edit", "s1", "--set", "runcap=9", "--yes", code=2)

    assert "runcap: unknown key; did you mean run_cap?" in refused.err
    assert local.saved == []
    local("edit", "s1", "--set", "runcap=9", "--yes", "--allow-unknown", code=0)
    assert "runcap: 9" in local.saved[0]["config"]


def test_edit_asks_first_and_without_an_answer_changes_nothing(local, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    asked = local("edit", "s1", "--set", "run_cap=9", code=2)
    seen = local("edit", "s1", "--set", "run_cap=9", "--dry-run", "--json", code=0)

    assert "make this version 2 of s1?" in asked.err
    assert "--yes does not ask" in asked.err
    assert (seen.json["edited"], seen.json["changes"]) == (False, ["run_cap: 3 → 9"])
    assert local.saved == []


def test_edit_takes_a_file_or_what_an_editor_leaves(local, folder, monkeypatch):
    text = DEFINITION.replace("1.0", "2.0")
    (folder / "new.yaml").write_text(text)
    editor = folder / "editor"
    editor.write_text('#!/bin/sh\nsed -i s/2.0/3.0/ "$1"\n')
    editor.chmod(0o755)
    monkeypatch.setenv("VISUAL", str(editor))

    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)

    local("edit", "s1", "--file", "new.yaml", "--yes", code=0)
    local("edit", "s1", "--yes", code=0)

    first, second = local.saved
    assert first["config"] == text
    assert second["config"] == text.replace("2.0", "3.0")


def test_edit_that_is_refused_says_why_and_one_that_changes_nothing_too(local, folder):
    (folder / "new.yaml").write_text(DEFINITION + "program: other.py\n")

    refused = local("edit", "s1", "--file", "new.yaml", "--yes", code=2)
    same = local("edit", "s1", "--set", "run_cap=3", "--yes", code=0)

    assert "error: it cannot change program" in refused.err
    assert same.out == "nothing changes\n"
    assert local.saved == []


def test_edit_without_a_terminal_names_what_needs_none(local, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))

    refused = local("edit", "s1", "--yes", code=2)

    assert "no terminal for an editor: give --file or --set" in refused.err
    assert local.saved == []


def test_edit_says_which_version_it_was_made_from(local):
    local("edit", "s1", "--set", "run_cap=9", "--yes", code=0)

    assert local.saved[0]["version"] == 1
