"""`sweep run`: what it refuses before anything is made, and how it reports."""

from pathlib import Path

import pytest

from sweepd.cli import run as run_module
from sweepd.cli.api import Api
from sweepd.cli.run import _Goal, _report, _workdir
from sweepd.cli.server import Server
from sweepd.spec import read_definition

TOY = "program: toy.py\nmethod: random\nmetric: {name: loss}\nparameters: {x: {min: 0, max: 1}}\n"
FACTS = {
    "sweep": "alice/toys/s1",
    "state": "FINISHED",
    "finished": 1,
    "metric": "loss",
    "stop_reason": "run_cap reached",
    "notice": None,
}


@pytest.fixture
def toy(folder):
    (folder / "toy.yaml").write_text(TOY)
    (folder / "toy.py").touch()
    return "toy.yaml"


@pytest.mark.parametrize(
    ("definition", "arguments", "said"),
    [
        (TOY, ["--gpus", "foo"], "--gpus must be all, none, or numbers"),
        (TOY, ["--out", "file/out"], "cannot make file/out"),
        (TOY, ["--out", "file"], "is a file"),
        (TOY, ["--server", "foo"], "must be a URL"),
        (TOY.replace("program: toy.py\n", ""), [], "names no program"),
        (TOY.replace("toy.py", "tyo.py"), [], "the program tyo.py does not exist in "),
        (TOY.replace("toy.py", "tyo:main"), [], "there is no module tyo in "),
        (TOY, ["--model", "no_such_module:f"], "no_such_module:f cannot be imported in "),
    ],
    ids=[
        "gpus",
        "out in a file",
        "out is a file",
        "server",
        "no program",
        "no file",
        "no module",
        "no model",
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_made(
    sweep, folder, data, definition, arguments, said
):
    (folder / "file").touch()
    (folder / "toy.py").touch()
    (folder / "d.yaml").write_text(definition)

    done = sweep("run", "d.yaml", "--data", data, *arguments, code=2)

    assert said in done.err
    assert not data.exists()
    assert done.out == ""


def test_a_gpu_that_is_not_there_is_told_before_anything_is_made(sweep, toy, data, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")

    assert "there is no GPU 3" in sweep("run", toy, "--gpus", "3", "--data", data, code=1).err
    assert not data.exists()


@pytest.mark.parametrize("mode", ["offline", "disabled", "dryrun"])
@pytest.mark.parametrize("command", ["run toy.yaml", "agent a/b/c"])
def test_runs_that_would_not_reach_the_server_are_refused(
    sweep, toy, data, monkeypatch, mode, command
):
    monkeypatch.setenv("WANDB_MODE", mode)

    assert f"WANDB_MODE={mode}" in sweep(*command.split(), "--data", data, code=2).err


def definition(program):
    return read_definition(TOY.replace("toy.py", program)).definition


def test_a_program_is_found_here_beside_the_definition_or_above_it(folder, data):
    deep = folder / "sweeps" / "d.yaml"
    deep.parent.mkdir()
    assert _workdir(deep, definition("toy.py"), data) == Path.cwd()  # nowhere

    (folder.parent / "above").mkdir()
    (folder.parent / "above" / "toy.py").touch()
    (folder.parent / "above" / "sweeps").mkdir()
    for program in ("toy.py", "toy:main", "toy\ncommand: [python, -m, '${program}']"):
        asked = definition(program)
        assert _workdir(folder.parent / "above/sweeps/d.yaml", asked, data).name == "above"

    (folder / "toy.py").touch()
    for program in ("toy.py", "json:loads", "x.py\ncommand: [sh, '${program}']"):
        assert _workdir(deep, definition(program), data) == Path.cwd()


def test_the_samples_program_is_laid_out_without_a_clone(folder, data, monkeypatch):
    installed = folder / "site" / "sweepd" / "cli" / "run.py"
    (folder / "site" / "sweepd_trainer").mkdir(parents=True)
    (folder / "site" / "sweepd_trainer" / "train.py").write_text("the program")
    monkeypatch.setattr(run_module, "__file__", str(installed))

    asked = definition("trainer/train.py")
    found = _workdir(folder / "site/sweepd/definitions/d.yaml", asked, data)

    assert (found / "trainer" / "train.py").read_text() == "the program"
    assert found == data / "samples"


@pytest.fixture
def report(ours, capsys, tmp_path):
    """Report on a sweep of which these facts are known; return the code and what was printed."""
    api = Api(Server(ours.url, "k" * 40, "other"))

    def report(definition: str = TOY, *, as_json: bool = False, **facts):
        parsed = read_definition(definition).definition
        goal = _Goal(tmp_path / "out", None, tmp_path, as_json)
        code = _report(api, {**FACTS, **facts}, parsed, goal)
        return code, capsys.readouterr()

    yield report
    api.close()


def test_no_finished_trial_is_a_failure_and_says_so(report):
    code, printed = report(finished=0, stop_reason="every trial failed the same way: boom")

    assert code == 1
    assert "the sweep ended: every trial failed the same way: boom" in printed.err
    assert "no trial finished" in printed.err


def test_a_notice_is_not_said_twice(report):
    reason = "every trial failed the same way: boom"
    assert "notice" not in report(finished=0, stop_reason=reason, notice="run r1: boom")[1].err

    assert "notice: disk full" in report(finished=0, stop_reason=reason, notice="disk full")[1].err


def test_the_report_as_json_is_there_even_when_there_is_no_best_run(report):
    import json

    code, printed = report(finished=0, as_json=True)

    assert code == 1
    told = json.loads(printed.out)
    assert told["sweep"]["sweep"] == "alice/toys/s1"
    assert (told["selection"], told["export"]) == (None, None)


def test_without_a_metric_there_is_no_best_run_and_no_failure(report):
    code, printed = report(TOY.replace("metric: {name: loss}\n", ""))

    assert code == 0
    assert "no metric, so there is no best run" in printed.err
