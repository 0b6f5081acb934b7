"""`--prefetch`: the next trial is fetched, and its process made, while another one runs."""

import json
import os
import signal
import subprocess
import sys

import pytest

from sweepd_agent import EventKind, starting
from sweepd_agent.run_trial import open_gpu

WAITS = """
import json, os, time
with open("notes.jsonl", "a") as file:
    file.write(json.dumps({"run": os.environ["WANDB_RUN_ID"], "pid": os.getpid()}) + "\\n")
while not os.path.exists("go-" + os.environ["WANDB_RUN_ID"]):
    time.sleep(0.01)
"""


@pytest.fixture
def notes(tmp_path):
    def notes():
        path = tmp_path / "notes.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    return notes


@pytest.fixture
def let_go(tmp_path):
    return lambda *runs: [(tmp_path / f"go-{run}").touch() for run in runs]


@pytest.fixture
def start_process(tmp_path):
    """Starts an agent as a process of its own, which a test may signal."""
    started = []
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # under nohup it would ignore it, too

    def start(server, *options):
        environment = {key: value for key, value in os.environ.items() if "WANDB" not in key}
        process = subprocess.Popen(
            [sys.executable, "-m", "sweepd_agent", "alice/toy/sw1", "--gpus", "none", *options],
            env={**environment, "WANDB_BASE_URL": server.url, "WANDB_API_KEY": "k" * 40},
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        started.append(process)
        return process

    yield start
    signal.signal(signal.SIGHUP, before)
    for process in started:
        if process.poll() is None:
            process.kill()
        process.wait()


def beats(server):
    return [variables for name, variables in server.requests if name == "Heartbeat"]


def test_every_trial_runs_once_and_the_next_is_held_before_the_last_has_ended(
    make_server, make_agent, write_program, wait_for, notes, let_go
):
    write_program(WAITS)
    server = make_server(config={"program": "train.py"}, n_trials=3)

    agent = make_agent(server, prefetch=True)
    wait_for(lambda: len(notes()) == 1)
    wait_for(lambda: server.issued == ["run1", "run2"])
    wait_for(lambda: beats(server)[-1].get("waiting") == ["run2"])
    assert json.loads(beats(server)[-1]["runState"]) == {"run1": True, "run2": True}
    let_go("run1", "run2", "run3")

    assert agent.wait() == 0
    assert [note["run"] for note in notes()] == ["run1", "run2", "run3"]
    assert [outcome["reason"] for outcome in server.outcomes] == ["finished"] * 3
    assert server.returned == []


def test_count_is_exact_over_trials_that_are_fetched_ahead(
    make_server, make_agent, write_program, notes, let_go
):
    write_program(WAITS)
    server = make_server(config={"program": "train.py"}, n_trials=9)
    let_go(*(f"run{n}" for n in range(1, 10)))

    assert make_agent(server, prefetch=True, count=3).wait() == 0

    assert len(notes()) == 3
    assert len(server.issued) == 3


@pytest.mark.parametrize("n", [1, 3])
def test_trial_that_begins_while_the_server_is_away_is_run_once(
    make_server, make_agent, write_program, notes, let_go, n
):
    write_program(WAITS)
    server = make_server(config={"program": "train.py"}, n_trials=3)
    server.outages = {"SweepdReportOutcome": n}  # of the first trial, as the second one begins
    let_go("run1", "run2", "run3")

    assert make_agent(server, prefetch=True).wait() == 0

    assert [note["run"] for note in notes()] == ["run1", "run2", "run3"]
    assert [outcome["reason"] for outcome in server.outcomes] == ["finished"] * 3


def test_trial_that_waits_is_dropped_when_the_server_takes_it_back(
    make_server, make_agent, write_program, wait_for, notes, let_go
):
    write_program(WAITS)
    server = make_server(config={"program": "train.py"}, n_trials=2)
    agent = make_agent(server, prefetch=True)
    wait_for(lambda: server.issued == ["run1", "run2"])
    wait_for(lambda: beats(server)[-1].get("waiting") == ["run2"])

    server.stop = {"run2"}
    wait_for(lambda: beats(server)[-1].get("waiting") == [])
    let_go("run1", "run2")

    assert agent.wait() == 0
    assert [note["run"] for note in notes()] == ["run1"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_agent_that_is_ended_gives_back_what_it_fetched_at_once(
    make_server, write_program, wait_for, notes, start_process, tmp_path, number
):
    write_program("import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + WAITS)
    server = make_server(config={"program": "train.py"}, n_trials=2)
    process = start_process(server, "--slots", "1", "--prefetch")
    wait_for(lambda: server.issued == ["run1", "run2"], timeout_s=40)
    wait_for(lambda: beats(server)[-1].get("waiting") == ["run2"])

    os.kill(process.pid, number)
    wait_for(lambda: server.returned == ["run2"])
    assert server.outcomes == []  # the one that runs does not end at SIGTERM
    (tmp_path / "go-run1").touch()

    assert process.wait(30) == 0
    assert [note["run"] for note in notes()] == ["run1"]


def test_process_that_dies_while_it_waits_is_made_anew_at_its_turn(
    make_server, make_agent, write_program, wait_for, notes, let_go, tmp_path
):
    write_program(WAITS)
    server = make_server(config={"program": "train.py"}, n_trials=2)
    agent = make_agent(server, prefetch=True)
    wait_for(lambda: beats(server) and beats(server)[-1].get("waiting") == ["run2"])
    (one,) = notes()

    for pid in waiting_children(one["pid"]):
        os.kill(pid, signal.SIGKILL)
    let_go("run1", "run2")

    assert agent.wait() == 0
    assert [note["run"] for note in notes()] == ["run1", "run2"]
    assert [outcome["reason"] for outcome in server.outcomes] == ["finished", "finished"]


class FakeTorch:
    """Notes what is asked of CUDA; fails as torch does where there is none, if it is to."""

    def __init__(self, error=None):
        self.asked, self._error = [], error
        self.cuda = self

    def init(self):
        self.asked.append("init")
        if self._error is not None:
            raise self._error

    def empty(self, size, *, device):
        self.asked.append(device)


def test_gpu_is_opened_if_torch_was_imported(monkeypatch):
    fake = FakeTorch()
    monkeypatch.setitem(sys.modules, "torch", fake)
    open_gpu()
    monkeypatch.delitem(sys.modules, "torch")
    open_gpu()

    assert fake.asked == ["init", "cuda"]


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(RuntimeError("all CUDA-capable devices are busy"), id="taken"),
        pytest.param(AssertionError("Torch not compiled with CUDA enabled"), id="none"),
    ],
)
def test_gpu_that_cannot_be_opened_yet_is_the_programs_business(monkeypatch, error):
    fake = FakeTorch(error)
    monkeypatch.setitem(sys.modules, "torch", fake)

    open_gpu()

    assert fake.asked == ["init"]


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        pytest.param({"gpus": "all"}, [False, True], id="a GPU for itself"),
        pytest.param({"gpus": "all", "per_gpu": 2}, [False, False, False], id="shared"),
        pytest.param({"gpus": "none"}, [False, False], id="no GPU"),
    ],
)
def test_process_that_waits_opens_a_gpu_that_no_other_slot_has(
    make_server, make_agent, write_program, wait_for, let_go, monkeypatch, options, wanted
):
    asked, spawn = [], starting.spawn

    def note(crew, job, *rest, **more):
        asked.append(job["opens_gpu"])
        return spawn(crew, job, *rest, **more)

    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.setattr(starting, "spawn", note)
    write_program(WAITS)
    server = make_server(config={"program": "train.py"}, n_trials=len(wanted))
    agent = make_agent(server, prefetch=True, slots=None, **options)
    wait_for(lambda: len(asked) == len(wanted))
    let_go("run1", "run2", "run3")

    assert agent.wait() == 0
    assert asked == wanted


def waiting_children(running: int) -> list[int]:
    """Return the other children of the warm parent of a trial: a spare, and the one that waits."""
    with open(f"/proc/{running}/stat") as file:
        parent = int(file.read().rpartition(")")[2].split()[1])
    with open(f"/proc/{parent}/task/{parent}/children") as file:
        return [int(pid) for pid in file.read().split() if int(pid) != running]


@pytest.mark.parametrize("is_ours", [True, False])
def test_command_and_foreign_server_do_without_a_process_that_waits(
    make_server, make_agent, write_program, notes, let_go, is_ours
):
    write_program(WAITS)
    command = ["${interpreter}", "${program}"] if is_ours else None
    config = {"program": "train.py", **({"command": command} if command else {})}
    server = make_server(config=config, n_trials=3, is_ours=is_ours)
    let_go("run1", "run2", "run3")

    agent = make_agent(server, prefetch=True)

    assert agent.wait() == 0
    assert [note["run"] for note in notes()] == ["run1", "run2", "run3"]
    assert len(agent.of(EventKind.TRIAL_ENDED)) == 3
