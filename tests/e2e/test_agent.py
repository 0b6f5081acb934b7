"""Our agent, the real service and the real client together."""

import signal
import sys

from agents import events_of
from live import wait_for

TOY = """
import time
import wandb
with wandb.init() as run:
    for step in range(3):
        run.log({"loss": float(run.config["x"]) ** 2 + 1 / (step + 1)})
open("ran.txt", "w").close()
"""
LONG = """
import os, time
import wandb
with wandb.init() as run:
    is_first = not os.path.exists("first.txt")
    run.log({"loss": 1.0})
    if is_first:
        open("first.txt", "w").close()
        time.sleep(600)
"""
KILLS_CORE = """
import os, signal, subprocess, sys
import wandb
with wandb.init() as run:
    if os.path.exists("killed.txt"):
        run.log({"loss": 1.0}, step=5000)
    else:
        open("killed.txt", "w").close()
        file = os.path.join(os.path.dirname(run.dir), f"run-{run.id}.wandb")
        while not os.path.exists(file) or os.path.getsize(file) < 3 * 32768:
            run.log({"loss": 2.0})
        core = subprocess.check_output(["pgrep", "-P", str(os.getpid()), "wandb-core"])
        os.kill(int(core.split()[0]), signal.SIGKILL)
        sys.exit(1)
"""


def test_sweep_runs_to_its_end_over_two_slots(sweep, start, trials_of):
    name = sweep(TOY, run_cap=6)

    events = events_of(start(name, "--slots=2"))

    trials = trials_of(name)
    assert [(trial.reason, trial.rows) for trial in trials] == [("finished", 3)] * 6
    assert trials[0].sweep_state == "FINISHED"
    started = [event for event in events if event["event"] == "trial_started"]
    assert {event["mode"] for event in started} == {"fork"}
    assert {event["slot"] for event in started} == {0, 1}


def test_trials_that_are_fetched_ahead_run_once_each(sweep, start, trials_of):
    values = {"x": {"values": [n / 10 for n in range(8)]}}
    name = sweep(TOY, method="grid", parameters=values)

    events = events_of(start(name, "--slots=2", "--prefetch"))

    trials = trials_of(name)
    assert [(trial.reason, trial.attempt, trial.rows) for trial in trials] == [
        ("finished", 1, 3)
    ] * 8
    assert trials[0].sweep_state == "FINISHED"
    ended = [event["run"] for event in events if event["event"] == "trial_ended"]
    assert len(set(ended)) == len(ended) == 8


def test_plain_command_and_module_function_run_as_well(sweep, start, trials_of, tmp_path):
    (tmp_path / "work.py").write_text(
        "import wandb\ndef go(config):\n    with wandb.init() as run:\n"
        "        assert run.config['x'] == config['x']\n        run.log({'loss': config['x']})\n"
    )
    command = ["${env}", sys.executable, "${program}", "${args_no_hyphens}"]
    executed = sweep(TOY, run_cap=1, command=command)
    called = sweep(TOY, run_cap=1, program="work:go")

    for name in (executed, called):
        events_of(start(name, "--slots=1"))

    assert [trial.reason for trial in trials_of(executed) + trials_of(called)] == ["finished"] * 2


def test_sweep_whose_program_cannot_be_imported_stops_by_itself(sweep, start, trials_of):
    name = sweep("import no_such_module_at_all", run_cap=50)

    events_of(start(name, "--slots=1"))

    trials = trials_of(name)
    assert trials[0].sweep_state == "FAILED"
    assert len(trials) < 10
    assert "No module named 'no_such_module_at_all'" in trials[0].message


def test_program_that_never_calls_init_is_told_so(sweep, start, trials_of):
    name = sweep("print('nothing to say')", run_cap=1)

    events_of(start(name, "--slots=1"))

    (trial,) = trials_of(name)
    assert (trial.state, trial.reason) == ("ended", "never_init")


def test_program_that_is_missing_is_told_so_and_costs_no_trial(sweep, start, trials_of):
    name = sweep("", run_cap=1, program="nowhere.py")
    process = start(name, "--slots=1")

    said, _ = process.communicate(timeout=100)

    assert process.returncode == 2
    assert "the program nowhere.py does not exist" in said
    assert trials_of(name) == []


def test_trial_of_an_agent_that_was_ended_is_run_again(sweep, start, trials_of, tmp_path):
    name = sweep(LONG, run_cap=1)
    process = start(name, "--slots=1")
    wait_for("the trial", (tmp_path / "first.txt").exists)

    process.send_signal(signal.SIGTERM)
    ended = [event for event in events_of(process) if event["event"] == "trial_ended"]
    events_of(start(name, "--slots=1"))

    (trial,) = trials_of(name)
    assert ended[0]["reason"] == "preempted"
    assert (trial.reason, trial.attempt, trial.run_state) == ("finished", 2, "finished")


def test_rows_logged_just_before_the_end_are_kept(sweep, start, trials_of, tmp_path):
    text = LONG.replace('run.log({"loss": 1.0})', "[run.log({'loss': i}) for i in range(50)]")
    name = sweep(text, run_cap=1)
    process = start(name, "--slots=1")
    wait_for("the trial", (tmp_path / "first.txt").exists)

    process.send_signal(signal.SIGTERM)
    events_of(process)

    assert [trial.rows for trial in trials_of(name)] == [50]


def test_killed_wandb_core_costs_no_trial_and_what_it_wrote_is_sent(
    sweep, start, trials_of, tmp_path
):
    name = sweep(KILLS_CORE, run_cap=3)

    events = events_of(start(name, "--slots=1"))

    trials = trials_of(name)
    assert [trial.reason for trial in trials] == ["finished"] * 3
    assert [trial.attempt for trial in trials] == [2, 1, 1]
    assert trials[0].rows > 200  # all but the last 32 KiB and the next attempt's one
    (said,) = [event["text"] for event in events if event["event"] == "notice"]
    assert "sent what wandb had written to" in said
    assert str(tmp_path) in said


def test_agent_goes_on_over_a_restart_of_the_service(service, sweep, start, trials_of, tmp_path):
    slow = TOY.replace("for step in range(3):", "for step in range(3):\n        time.sleep(0.3)")
    name = sweep(slow, run_cap=4)
    process = start(name, "--slots=1")
    wait_for("the first trial", (tmp_path / "ran.txt").exists)

    service.kill()
    service.start()
    events = events_of(process)

    assert [(trial.reason, trial.rows) for trial in trials_of(name)] == [("finished", 3)] * 4
    assert len([event for event in events if event["event"] == "server_lost"]) <= 1
