"""How many trials a GPU takes, found out by our agent and the real service; the GPU is played.

The played GPU has room for two trials at once: of more than two, each keeps it for itself for as
long as it has taken so far, on whatever machine, and the others wait. Which processes use it is
what they say in the folder `gpu`.
"""

import signal
from pathlib import Path

import pytest
from agents import events_of

pytestmark = pytest.mark.timeout(300)

TESTS = str(Path(__file__).parents[1])
NVML = f"""
import os, sys
sys.path.insert(0, {TESTS!r})
from fake_nvml import FakeNvml

class Played(FakeNvml):
    def nvmlDeviceGetComputeRunningProcesses(self, gpu):
        gpu.held = {{int(pid): 3 << 30 for pid in os.listdir(os.environ["PLAYED_GPU"])}}
        return super().nvmlDeviceGetComputeRunningProcesses(gpu)

sys.modules[__name__] = Played()
"""
PROGRAM = """
import fcntl, os, time
began = time.monotonic()
import wandb

folder = os.environ["PLAYED_GPU"]
own = os.path.join(folder, str(os.getpid()))
with wandb.init() as run:
    open(own, "w").close()
    try:
        time.sleep(3.0)
        so_far_s = time.monotonic() - began
        with open(folder + ".lock", "w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if len(os.listdir(folder)) > 2:
                time.sleep(so_far_s)
    finally:
        os.remove(own)
    for step in range(3):
        run.log({"loss": float(run.config["x"]) ** 2 + 1 / (step + 1)})
"""
QUICK = PROGRAM.replace("sleep(3.0)", "sleep(1.0)")


@pytest.fixture
def start_on_gpu(start, tmp_path):
    """Start an agent that sees one GPU and finds out how many trials it takes."""
    (tmp_path / "gpu").mkdir()
    (tmp_path / "nvml").mkdir()
    (tmp_path / "nvml" / "pynvml.py").write_text(NVML)

    def start_agent(sweep, *arguments):
        return start(
            sweep,
            *("--gpus=all", "--per-gpu=auto"),
            *arguments,
            CUDA_VISIBLE_DEVICES="0",
            PYTHONPATH=str(tmp_path / "nvml"),
            PLAYED_GPU=str(tmp_path / "gpu"),
        )

    return start_agent


@pytest.mark.parametrize("more", [[], ["--prefetch"]], ids=["plain", "fetched ahead"])
def test_gpu_with_room_for_two_trials_runs_two_and_each_trial_once(
    sweep, start_on_gpu, trials_of, more
):
    name = sweep(PROGRAM, run_cap=14)

    events = events_of(start_on_gpu(name, *more), timeout=280)

    trials = trials_of(name)
    assert [(trial.reason, trial.rows) for trial in trials] == [("finished", 3)] * 14
    if not more:  # what was fetched ahead by a slot that left went to another one
        assert {trial.attempt for trial in trials} == {1}
    assert trials[0].sweep_state == "FINISHED"
    ended = [event["run"] for event in events if event["event"] == "trial_ended"]
    assert len(set(ended)) == len(ended) == 14
    decided = [event for event in events if event["event"] == "gpu_shared"]
    assert [(event["per_gpu"], event["is_settled"]) for event in decided] == [
        (2, False),
        (4, False),
        (2, True),
    ]
    assert "2 trials at once on each GPU: 4 finish " in decided[-1]["text"]
    assert "as 1 took 3.0 of the GPU's 80.0 GiB" in decided[0]["text"]


def test_agent_that_is_ended_as_it_adds_slots_gives_all_trials_back(sweep, start_on_gpu, trials_of):
    name = sweep(QUICK, run_cap=4)
    process = start_on_gpu(name)

    next(line for line in iter(process.stdout.readline, "") if "gpu_shared" in line)
    process.send_signal(signal.SIGTERM)
    events = events_of(process)

    assert events[-1]["event"] == "agent_ended"
    events_of(start_on_gpu(name))
    assert [trial.reason for trial in trials_of(name)] == ["finished"] * 4


@pytest.mark.parametrize("retries", [0, 2])
def test_trial_that_runs_out_of_memory_beside_another_is_run_again_alone(
    sweep, start_on_gpu, trials_of, retries
):
    text = QUICK.replace("    try:\n", "    try:\n        check_room()\n")
    room = """
def check_room():
    if "SWEEPD_MEMORY_FRACTION" in os.environ:
        raise MemoryError("no room for two")
"""
    name = sweep(
        text.replace("\nfolder =", f"{room}\nfolder ="), run_cap=5, sweepd={"retries": retries}
    )

    events = events_of(start_on_gpu(name))

    trials = trials_of(name)
    assert [(trial.reason, trial.rows) for trial in trials] == [("finished", 3)] * 5
    assert sorted(trial.attempt for trial in trials)[-1] == 2
    decided = [event["text"] for event in events if event["event"] == "gpu_shared"]
    assert decided[1:] == ["1 trial at a time on each GPU: one of 2 ran out of memory"]


def test_bundle_is_run_by_as_many_at_once_as_pay(service, sweep, start_on_gpu, tmp_path):
    name = sweep(QUICK, run_cap=6)
    service.sweep("bundle", "make", name, "-n", "6", "-o", "away", cwd=tmp_path)

    events = events_of(start_on_gpu("", "--offline=away"))

    ended = [event for event in events if event["event"] == "trial_ended"]
    assert [event["reason"] for event in ended] == ["finished"] * 6
    assert len({event["run"] for event in ended}) == 6
    assert {event["slot"] for event in ended} >= {0, 1}
