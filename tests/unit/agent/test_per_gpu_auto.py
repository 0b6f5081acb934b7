"""`--per-gpu auto`: slots come and go as trials on a GPU show how many of them pay."""

import json
import sys
import threading
from dataclasses import replace

import pytest
from fake_nvml import FakeNvml

from sweepd.errors import InvalidInput
from sweepd_agent import EventKind, Options, meter, run_agent, sharing
from sweepd_agent.slot import SlotWorker

#: Tells that a GPU trains 200 rows a second at most, in however many trials; a row as it begins.
PROGRAM = """
import json, os, sys, time
share = os.environ.get("SWEEPD_MEMORY_FRACTION")
n = round(0.9 / float(share)) if share else 1
with open("notes.jsonl", "a") as file:
    names = ("WANDB_RUN_ID", "OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES")
    file.write(json.dumps({"n": n, **{name: os.environ.get(name) for name in names}}) + "\\n")
rates = {1: 100.0, 2: 95.0, 3: 65.0, 4: 50.0}  # 3 for a moment, as two of 4 leave
measured = {"rows_per_s": rates[n], "peak_bytes": 3 << 30, "total_bytes": 80 << 30}
with open(os.environ["SWEEPD_MEASURED"], "w") as file:
    json.dump(measured, file)
"""
WAITS = "time.sleep(1.0)\n"  # so long that slots at work are hardly ever between two


@pytest.fixture
def nvml(monkeypatch):
    """A machine with one GPU, and NVML as it is asked."""
    fake = FakeNvml()
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    for name in ("SWEEPD_MEMORY_FRACTION", "OMP_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(meter, "_LOOK_S", 0.05)
    monkeypatch.setattr(sharing, "_FULL", 0.0)  # a busy machine is slow to begin the next trial
    return fake


@pytest.fixture
def start(make_server, make_agent, nvml):
    """Start an agent that finds out how many trials to run at once; return it and its server."""

    def make(n_trials, **more):
        server = make_server(config={"program": "train.py"}, n_trials=n_trials)
        options = {"gpus": "all", "slots": None, "per_gpu": "auto", **more}
        return make_agent(server, **options), server

    return make


@pytest.fixture
def notes(tmp_path):
    """Read what each trial has noted as it began."""
    path = tmp_path / "notes.jsonl"
    return lambda: [json.loads(line) for line in path.read_text().splitlines()]


def words(agent):
    return [event.text for event in agent.of(EventKind.GPU_SHARED)]


def reasons(server):
    return {outcome["runName"]: outcome["reason"] for outcome in server.outcomes}


def test_slots_are_added_and_leave_until_it_is_known_how_many_pay(
    start, write_program, notes, tmp_path
):
    write_program(PROGRAM + WAITS)

    agent, server = start(20)

    assert agent.wait() == 0
    assert reasons(server) == {f"run{n}": "finished" for n in range(1, 21)}
    assert len(server.outcomes) == 20
    assert words(agent)[-1] == (
        "2 trials at once on each GPU: 4 train 1.05 times as many rows a second"
    )
    assert [event.data["per_gpu"] for event in agent.of(EventKind.GPU_SHARED)] == [2, 4, 2]
    assert [note["n"] for note in notes()[:2]] == [1, 1]
    assert {1, 2, 4} <= {note["n"] for note in notes()} <= {1, 2, 3, 4}
    assert notes()[-1]["n"] == 2
    assert {note["CUDA_VISIBLE_DEVICES"] for note in notes()} == {"0"}
    assert sorted(server.left) == [f"agent-{n}" for n in range(1, 5)]
    assert not list(tmp_path.rglob("*.measured.json"))


def test_count_is_exact_while_slots_are_added(start, write_program, monkeypatch):
    write_program(PROGRAM + WAITS)

    forgotten, forget = [], sharing.Sharing.forget

    def note(self, slot):
        forgotten.append(slot.number)
        forget(self, slot)

    monkeypatch.setattr(sharing.Sharing, "forget", note)

    agent, server = start(50, count=7)

    assert agent.wait() == 0
    assert len(server.issued) == len(server.outcomes) == 7
    assert sorted(forgotten) == list(range(len(forgotten)))  # none counts once its worker has ended
    assert len(forgotten) > 1


def test_trials_that_are_fetched_ahead_run_once_each(start, write_program):
    write_program(PROGRAM + WAITS)

    agent, server = start(20, prefetch=True)

    assert agent.wait() == 0
    run = [outcome["runName"] for outcome in server.outcomes]
    assert len(run) == len(set(run)) >= 16  # each of four slots gives one back at most, leaving
    assert words(agent)[-1].startswith("2 trials at once on each GPU: 4 train 1.05 times")


HELD = "while not os.path.exists('go'): time.sleep(0.01)\n"


def test_trial_that_is_fetched_ahead_has_the_part_of_the_machine_that_holds_as_it_begins(
    start, write_program, notes, wait_for, monkeypatch, tmp_path
):
    threads = 1
    monkeypatch.setattr(sharing.Sharing, "is_settled", lambda self, slot: True)
    monkeypatch.setattr(
        sharing.Sharing, "fitted", lambda self, slot: replace(slot, threads=threads)
    )
    write_program(PROGRAM + HELD)
    agent, server = start(2, prefetch=True)
    wait_for(lambda: waiting(server) == ["run2"])

    threads = 3
    (tmp_path / "go").touch()

    assert agent.wait() == 0
    assert reasons(server) == {"run1": "finished", "run2": "finished"}
    assert [note["OMP_NUM_THREADS"] for note in notes()] == ["1", "3"]


def waiting(server):
    """Return what a slot has told last of the trials that it has fetched ahead."""
    beats = [variables for name, variables in server.requests if name == "Heartbeat"]
    return beats[-1].get("waiting") if beats else None


def test_trial_that_runs_out_of_memory_beside_others_is_told_so(start, write_program):
    write_program(PROGRAM + "if n == 2: sys.exit('OutOfMemoryError: no room')\n" + WAITS)

    agent, server = start(9)

    assert agent.wait() == 0
    told = [outcome for outcome in server.outcomes if outcome["reason"] != "finished"]
    assert {(outcome["reason"], outcome["isCrowded"]) for outcome in told} == {("oom", True)}
    assert told[0]["message"] == "OutOfMemoryError: no room; it shared the GPU with others"
    assert words(agent)[-1] == "1 trial at a time on each GPU: one of 2 ran out of memory"


def test_number_at_which_trials_fail_is_given_up(start, write_program):
    write_program(PROGRAM + "if n == 2: sys.exit('OSError: the port is taken')\n" + WAITS)

    agent, server = start(8)

    agent.wait()
    assert words(agent)[-1] == "1 trial at a time on each GPU: 2 failed, 2 at once"
    assert list(reasons(server).values()).count("error") in (2, 3)  # one had begun beside them


def test_trial_that_runs_out_of_memory_alone_has_failed(start, write_program):
    write_program(PROGRAM + "sys.exit('OutOfMemoryError: no room')\n")

    agent, server = start(1)

    agent.wait()
    assert reasons(server) == {"run1": "oom"}


def test_memory_of_a_trial_that_fits_nowhere_keeps_the_others_from_nothing(start, write_program):
    fills = "if os.environ['WANDB_RUN_ID'] == 'run1':\n    sys.exit('OutOfMemoryError: no room')\n"
    full = PROGRAM.replace(
        "3 << 30", "79 << 30 if os.environ['WANDB_RUN_ID'] == 'run1' else 3 << 30"
    )
    write_program(full + fills + WAITS)

    agent, _ = start(4)

    agent.wait()
    assert words(agent)[0] == (
        "2 trials at once on each GPU: to be tried, as 1 took 3.0 of the GPU's 80.0 GiB"
    )


def test_what_cannot_be_read_is_said_once(start, write_program):
    write_program(
        "import os, time\nopen(os.environ['SWEEPD_MEASURED'], 'w').write('fast')\ntime.sleep(0.2)"
    )

    agent, server = start(3)

    assert agent.wait() == 0
    said = [event.text for event in agent.of(EventKind.NOTICE) if "SWEEPD_MEASURED" in event.text]
    assert len(said) == 1
    assert reasons(server) == dict.fromkeys(["run1", "run2", "run3"], "finished")


def test_without_nvml_and_a_word_of_the_program_it_stays_at_one(
    start, write_program, nvml, monkeypatch
):
    monkeypatch.setitem(sys.modules, "pynvml", None)  # as if it were not installed
    write_program("")

    agent, server = start(4)

    assert agent.wait() == 0
    assert words(agent) == [
        "1 trial at a time on each GPU: how much memory a trial takes is not known: "
        "the package nvidia-ml-py is missing; pip install 'sweepd[gpu]'"
    ]
    assert len(server.agents) == 1


def test_memory_of_processes_that_are_not_seen_is_that_of_the_whole_gpu(start, write_program, nvml):
    nvml.gpus["0"].held = {4711: 35 << 30}  # of this container, by the host's process ids
    write_program("import time\ntime.sleep(0.3)")

    agent, _ = start(4)

    agent.wait()
    assert words(agent) == ["1 trial at a time on each GPU: 1 needs 35.0 GiB of the GPU's memory"]


def test_unfit_gpu_is_given_up_once_its_last_slot_is_taken_out(
    start, write_program, nvml, wait_for, tmp_path
):
    write_program(PROGRAM + "while n == 2 and not os.path.exists('go'): time.sleep(0.01)\n" + WAITS)
    agent, server = start(40)
    wait_for(lambda: [note for note in agent.of(EventKind.TRIAL_STARTED) if note.data["slot"] == 1])

    nvml.gpus["0"].error = 15
    (tmp_path / "go").touch()

    assert agent.wait() == 1
    out = [event.data["slot"] for event in agent.of(EventKind.SLOT_OUT)]
    assert sorted(out) in ([0, 1], [0, 1, 2, 3])  # more had been added, or not yet
    assert set(reasons(server).values()) == {"finished"}


def test_machine_without_room_for_another_slot_goes_on(start, write_program, monkeypatch):
    def start_thread(worker):
        if worker.name != "slot-0":
            raise RuntimeError("can't start new thread")
        threading.Thread.start(worker)

    monkeypatch.setattr(SlotWorker, "start", start_thread)
    write_program(PROGRAM + WAITS)

    agent, server = start(5)

    assert agent.wait() == 0
    assert reasons(server) == {f"run{n}": "finished" for n in range(1, 6)}
    notices = [event.text for event in agent.of(EventKind.NOTICE)]
    assert "there is no room for slot 1: can't start new thread" in notices


def test_cpu_has_its_usual_number_of_slots(make_server, make_agent, write_program, monkeypatch):
    monkeypatch.setattr("sweepd_agent.devices.count_cores", lambda: 2)
    write_program("import os\nassert 'SWEEPD_MEASURED' not in os.environ")
    server = make_server(config={"program": "train.py"}, n_trials=3)

    agent = make_agent(server, slots=None, per_gpu="auto")

    assert agent.wait() == 0
    assert len(agent.of(EventKind.AGENT_STARTED)[0].data["slots"]) == 2
    assert set(reasons(server).values()) == {"finished"}
    assert words(agent) == []


@pytest.mark.parametrize(
    ("more", "flag"),
    [
        ({"slots": 4}, "--slots 4"),
        ({"memory_fraction": 0.3}, "--memory-fraction 0.3"),
        ({"gpus_per_trial": 2}, "--gpus-per-trial 2"),
        ({"pack": "auto"}, "--pack auto"),
    ],
)
def test_what_says_otherwise_is_refused(more, flag):
    with pytest.raises(InvalidInput, match=f"{flag} says otherwise; leave one of the two out"):
        run_agent(Options(sweep="a/b/c", per_gpu="auto", **more), report=print)


def test_other_words_are_refused():
    with pytest.raises(InvalidInput, match="--per-gpu must be auto or at least 1, not 'many'"):
        run_agent(Options(sweep="a/b/c", per_gpu="many"), report=print)
