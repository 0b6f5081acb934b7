"""Faults 12, 13, 15 and 17: agents and trials are killed, and put to sleep, at random times.

An agent that was killed takes its trials along and is started again under its own name; one that
slept for longer than a lease wakes up beside whoever got its trials. `SWEEPD_ACTS` says how often
(4), and with it how many trials there are.
"""

import os
import random
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
import toy_grid
from crew import agent, family
from live import Service, wait_for
from seeds import SEEDS

N_ACTS = int(os.environ.get("SWEEPD_ACTS", "4"))
N_TRIALS = 2 * N_ACTS + 2
#: A trial may be hit more often than hosts fail.
PATIENT = "sweepd: {retries: 20}\n"
ACTS = ["kill a trial", "kill a trial", "kill the warm parent", "kill the agent", "sleep"]


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """A service whose leases last six seconds."""
    service = Service(tmp_path / "data", SWEEPD_TIME_SCALE="0.1")
    service.start()
    yield service
    service.stop()


def warm_parent_of(process: "subprocess.Popen[bytes]") -> list[int]:
    """Return the process from which an agent forks its trials, if it has one now."""
    return family(process.pid)[1:2]


def trials_of(process: "subprocess.Popen[bytes]") -> list[int]:
    """Return the processes of the trials that an agent runs now, each one's wandb-core included.

    A trial writes to a pipe; a child that still waits for one, and the warm parent, to a file.
    """
    found = set()
    for pid in family(process.pid):
        with suppress(OSError):
            if os.getpgid(pid) == pid and os.readlink(f"/proc/{pid}/fd/1").startswith("pipe:"):
                found |= {one for one in family(pid) if os.getpgid(one) == one}
    return sorted(found)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def signal_all(pids: list[int], number: int) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", SEEDS)
def test_sweep_is_exact_whenever_agents_and_trials_are_killed_or_sleep(
    seed: int, service: Service, tmp_path: Path
) -> None:
    rng, pause = random.Random(seed), threading.Event()
    folder = tmp_path / "work"
    sweep = toy_grid.begin(service, folder, n_points=N_TRIALS, pause=0.4, more=PATIENT)

    with ExitStack() as stack:
        start = lambda: stack.enter_context(agent(service, sweep, folder, slots=2))  # noqa: E731
        agents = [start(), start()]
        wait_for("a trial", lambda: any(trials_of(one) for one in agents))
        for _ in range(N_ACTS):
            pause.wait(rng.uniform(0.1, 1.5))
            n, act = rng.randrange(2), rng.choice(ACTS)
            if agents[n].poll() is not None:
                continue
            running = trials_of(agents[n])
            if act == "kill a trial" and running:
                signal_all([rng.choice(running)], signal.SIGKILL)
            elif act == "kill the warm parent":
                signal_all(warm_parent_of(agents[n]), signal.SIGKILL)
            elif act == "kill the agent":
                agents[n].kill()
                agents[n].wait()
                wait_for("its trials' end", lambda pids=running: not any(map(is_alive, pids)))
                agents[n] = start()
            elif act == "sleep":
                asleep = family(agents[n].pid)
                signal_all(asleep, signal.SIGSTOP)
                pause.wait(7)  # longer than a lease
                signal_all(asleep[::-1], signal.SIGCONT)
        for one in agents:
            wait_for("the agent's exit", lambda one=one: one.poll() is not None, seconds=120)
        assert [one.returncode for one in agents] == [0, 0]

    toy_grid.check(service, sweep, n_points=N_TRIALS)
