"""Trials of several processes, as torchrun starts them: on a CPU, with the real client."""

import os
import signal
import sys

import pytest
from agents import events_of
from live import wait_for

TRAIN = """
import json
import os

import torch
import torch.distributed as dist

config = json.loads(os.environ["SWEEPD_CONFIG"])
dist.init_process_group("gloo")
rank = dist.get_rank()
assert config["model"] == {"depth": 2} and -1 <= config["x"] <= 1
mine = torch.tensor([config["x"], float(rank)])
dist.all_reduce(mine)
assert torch.allclose(mine, torch.tensor([2 * config["x"], 1.0]))
if rank == 0:
    import wandb
    with wandb.init() as run:
        assert run.config["x"] == config["x"]
        for step in range(3):
            run.log({"loss": mine[0].item() ** 2 + 1 / (step + 1)})
dist.barrier()
dist.destroy_process_group()
"""
RAISES = """
import torch.distributed as dist

dist.init_process_group("gloo")
if dist.get_rank() == 0:
    import wandb
    wandb.init()
dist.barrier()
if dist.get_rank() == 1:
    raise ValueError("this rank has no rows")
dist.barrier()
"""
WAITS = """
import os, time

if os.environ["RANK"] == "0":
    import wandb
    run = wandb.init()
    run.log({"loss": 1.0})
if not os.path.exists("again"):
    open(f"pid-{os.environ['RANK']}-{os.getpid()}", "w").close()
    time.sleep(600)
"""
NAIVE = """
import os, pathlib, time
import wandb

rank = int(os.environ["RANK"])
with wandb.init() as run:
    pathlib.Path(f"ready-{rank}").touch()  # they wait for each other, as in a process group
    while not pathlib.Path(f"ready-{1 - rank}").exists():
        time.sleep(0.01)
    for step in range(3):
        run.log({"loss": float(step)})
"""
BOTH = f"RANK=1 {sys.executable} train.py & RANK=0 {sys.executable} train.py && wait $!"
RANKS = ["torchrun", "--standalone", "--nproc-per-node=2", "${program}", "${args}"]
PARAMETERS = {
    "x": {"min": -1.0, "max": 1.0},
    "model": {"parameters": {"depth": {"value": 2}}},
}
PATIENT_S = 250  # torchrun and each rank import torch

pytestmark = pytest.mark.timeout(300)


def is_alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.fixture
def ranks(tmp_path):
    """Return the processes of both ranks, once they wait."""

    def read():
        found = wait_for(
            "two ranks",
            lambda: len(names := list(tmp_path.glob("pid-*"))) == 2 and names,
            seconds=PATIENT_S,
        )
        return [int(name.name.rpartition("-")[2]) for name in found]

    return read


def test_each_rank_has_the_configuration_and_the_first_one_logs(sweep, start, trials_of):
    name = sweep(TRAIN, run_cap=2, command=RANKS, parameters=PARAMETERS)

    events_of(start(name, "--slots=1"), timeout=PATIENT_S)

    trials = trials_of(name)
    assert [(trial.reason, trial.message, trial.rows) for trial in trials] == [
        ("finished", None, 3)
    ] * 2
    assert trials[0].sweep_state == "FINISHED"


def test_error_of_a_rank_is_the_trials(sweep, start, trials_of):
    name = sweep(RAISES, run_cap=1, command=RANKS)

    events_of(start(name, "--slots=1"), timeout=PATIENT_S)

    (trial,) = trials_of(name)
    assert (trial.reason, trial.message) == ("error", "ValueError: this rank has no rows")


def test_ranks_of_an_agent_that_is_ended_end_and_run_again(
    sweep, start, trials_of, ranks, tmp_path
):
    name = sweep(WAITS, run_cap=1, command=RANKS)
    process = start(name, "--slots=1")
    pids = ranks()

    process.send_signal(signal.SIGTERM)
    ended = [e for e in events_of(process, timeout=PATIENT_S) if e["event"] == "trial_ended"]
    left = [pid for pid in pids if is_alive(pid)]
    (tmp_path / "again").touch()
    events_of(start(name, "--slots=1"), timeout=PATIENT_S)

    (trial,) = trials_of(name)
    assert ended[0]["reason"] == "preempted"
    assert left == []
    assert (trial.reason, trial.attempt) == ("finished", 2)


def test_trial_of_a_rank_that_is_killed_is_run_again(sweep, start, trials_of, ranks, tmp_path):
    name = sweep(WAITS, run_cap=1, command=RANKS)
    process = start(name, "--slots=1")
    pids = ranks()
    (tmp_path / "again").touch()

    os.kill(pids[0], signal.SIGKILL)
    ended = [e for e in events_of(process, timeout=PATIENT_S) if e["event"] == "trial_ended"]

    (trial,) = trials_of(name)
    assert [end["reason"] for end in ended] == ["crashed", "finished"]
    assert ended[0]["message"].startswith("rank ")
    assert (trial.reason, trial.attempt) == ("finished", 2)


def test_killed_agent_leaves_no_rank(sweep, start, ranks):
    process = start(sweep(WAITS, run_cap=1, command=RANKS), "--slots=1")
    pids = ranks()

    process.kill()

    wait_for("the end of both ranks", lambda: not any(is_alive(pid) for pid in pids))


def test_rows_are_not_doubled_where_every_rank_logs_the_run(sweep, start, trials_of):
    name = sweep(NAIVE, run_cap=1, command=["sh", "-c", BOTH])

    events_of(start(name, "--slots=1"), timeout=PATIENT_S)

    assert [(trial.reason, trial.rows) for trial in trials_of(name)] == [("finished", 3)]
