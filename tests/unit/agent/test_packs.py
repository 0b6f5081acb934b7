"""`--pack`: like trials are trained together by one process, each as a run of its own."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from sweepd.errors import InvalidInput, Reason
from sweepd_agent import EventKind, Options, run_agent
from sweepd_agent.api import Command, Outcome
from sweepd_agent.doubling import Measured
from sweepd_agent.pack import Pack, PackSizes, kind_of

#: Trains its pack as the agent expects it; `behave.py` beside it may change the course of things.
PROGRAM = """
import json, os, sys, time

folder = os.environ.get("SWEEPD_PACK")
trials = json.load(open(folder + "/pack.json"))["trials"] if folder else []
runs = [trial["run"] for trial in trials] or [os.environ["WANDB_RUN_ID"]]

def note(**facts):
    with open("notes.jsonl", "a") as file:
        file.write(json.dumps(facts) + "\\n")

def say(**event):
    with open(folder + "/events.jsonl", "a") as file:
        file.write(json.dumps(event) + "\\n")

def is_asked(run):
    return os.path.exists(folder + "/stop-" + run)

def wait_until(condition):
    while not condition():
        time.sleep(0.01)

note(runs=runs, is_pack=bool(folder), parameters=[
    open(trial["environment"]["WANDB_SWEEP_PARAM_PATH"]).read() for trial in trials
])
"""
TRAINS_ALL = """
if folder:
    for run in runs:
        say(event="began", run=run)
    for run in runs:
        say(event="ended", run=run, exit_code=0, message=None)
"""


@pytest.fixture
def notes(tmp_path):
    def notes():
        path = tmp_path / "notes.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    return notes


@pytest.fixture
def packs(notes):
    return lambda: [(note["runs"], note["is_pack"]) for note in notes()]


@pytest.fixture
def server(make_server):
    def make(n_trials, **own_args):
        config = {"program": "train.py"}
        return make_server(config=config, n_trials=n_trials, own_args=own_args)

    return make


def ends(server):
    return {outcome["runName"]: outcome["reason"] for outcome in server.outcomes}


def test_trials_that_differ_in_their_learning_rate_are_trained_by_one_process(
    server, make_agent, write_program, packs, notes
):
    write_program(PROGRAM + TRAINS_ALL)
    rates = {f"run{n}": {"learning_rate": n / 10} for n in range(1, 7)}

    agent = make_agent(server := server(6, **rates), pack="3")

    assert agent.wait() == 0
    assert packs() == [(["run1", "run2", "run3"], True), (["run4", "run5", "run6"], True)]
    assert [
        f"learning_rate:\n  value: {n / 10}" in notes()[0]["parameters"][n - 1] for n in (1, 2, 3)
    ]
    assert ends(server) == dict.fromkeys([f"run{n}" for n in range(1, 7)], "finished")
    started = agent.of(EventKind.TRIAL_STARTED)
    assert [(event.data["run"], event.data["pack"]) for event in started[:3]] == [
        ("run1", 3),
        ("run2", 3),
        ("run3", 3),
    ]


def test_trials_of_another_kind_are_in_a_pack_of_their_own(
    server, make_agent, write_program, packs
):
    write_program(PROGRAM + TRAINS_ALL)
    sizes = {f"run{n}": {"batch_size": 32 if n % 2 else 64} for n in range(1, 9)}

    assert make_agent(server := server(8, **sizes), pack="4").wait() == 0

    assert [runs for runs, _ in packs()] == [
        ["run1", "run3", "run5", "run7"],
        ["run2", "run4", "run6", "run8"],
    ]
    assert set(ends(server).values()) == {"finished"}


def test_trial_that_is_stopped_while_others_are_looked_for_does_not_begin(
    server, make_agent, write_program, packs
):
    write_program(PROGRAM + TRAINS_ALL)
    made = server(3)
    made.stop = {"run1"}

    assert make_agent(made, pack="2").wait() == 0

    assert packs() == [(["run2", "run3"], True)]


def test_one_trial_of_a_pack_is_stopped_and_the_others_go_on(
    server, make_agent, write_program, packs, wait_for, tmp_path
):
    write_program(
        PROGRAM
        + """
for run in runs:
    say(event="began", run=run)
wait_until(lambda: is_asked("run2"))
say(event="ended", run="run2", exit_code=143, message="stopped")
wait_until(lambda: os.path.exists("go"))
for run in ("run1", "run3"):
    say(event="ended", run=run, exit_code=0, message=None)
"""
    )
    agent = make_agent(server := server(3), pack="3")
    wait_for(lambda: len(packs()) == 1)

    server.stop = {"run2"}
    wait_for(lambda: ends(server) == {"run2": "killed"})
    (tmp_path / "go").touch()

    assert agent.wait() == 0
    wanted = {"run1": "finished", "run2": "killed", "run3": "finished"}
    assert ends(server) == wanted, server.outcomes


def test_trial_that_fails_in_a_pack_is_an_error_with_its_words(server, make_agent, write_program):
    write_program(
        PROGRAM
        + """
for run in runs:
    say(event="began", run=run)
say(event="ended", run="run1", exit_code=1, message="the loss is nan after 640 examples")
say(event="ended", run="run2", exit_code=0, message=None)
"""
    )

    make_agent(server := server(2), pack="2").wait()

    assert ends(server) == {"run1": "error", "run2": "finished"}
    assert server.outcomes[0]["message"] == "the loss is nan after 640 examples"


def test_trials_whose_pack_dies_are_given_back_and_none_is_blamed(
    server, make_agent, write_program, packs
):
    write_program(
        PROGRAM
        + """
if len(runs) > 1:
    for run in runs:
        say(event="began", run=run)
    say(event="ended", run="run1", exit_code=0, message=None)
    raise ValueError("boom")
"""
        + TRAINS_ALL
    )

    agent = make_agent(server := server(5), pack="3")

    assert agent.wait() == 0
    assert ends(server) == {
        "run1": "finished",
        "run2": "preempted",
        "run3": "preempted",
        "run4": "finished",
        "run5": "finished",
    }
    words = {o["runName"]: o["message"] for o in server.outcomes}
    assert words["run2"] == "its pack of 3 ended (ValueError: boom): it is tried again by itself"
    assert [runs for runs, _ in packs()[1:]] == [["run4"], ["run5"]]


def test_trials_that_the_program_refuses_to_pack_run_one_by_one(
    server, make_agent, write_program, packs
):
    write_program(
        PROGRAM
        + """
if folder:
    say(event="refused", message="resnet9 has batch norms")
"""
    )

    agent = make_agent(server := server(4), pack="2")

    assert agent.wait() == 0
    assert packs()[1:] == [([f"run{n}"], False) for n in (1, 2, 3, 4)]
    assert ends(server) == dict.fromkeys(["run1", "run2", "run3", "run4"], "finished")
    notices = [event.text for event in agent.of(EventKind.NOTICE)]
    assert notices.count("trials are run one by one: resnet9 has batch norms") == 1


def test_program_that_knows_nothing_of_packs_runs_each_trial_once(
    server, make_agent, write_program, packs
):
    write_program(
        "import json, os\n"
        "with open('notes.jsonl', 'a') as file:\n"
        "    run = os.environ['WANDB_RUN_ID']\n"
        "    file.write(json.dumps({'runs': [run], 'is_pack': False}) + '\\n')\n"
    )

    agent = make_agent(server := server(4), pack="3")

    assert agent.wait() == 0
    assert packs() == [([f"run{n}"], False) for n in (1, 2, 3, 4)]
    assert ends(server) == dict.fromkeys(["run1", "run2", "run3", "run4"], "finished")


def test_program_that_knows_nothing_of_packs_is_told_to_end_with_its_sweep(
    server, make_agent, write_program, wait_for, tmp_path
):
    write_program("import time\nopen('ready', 'w').close()\ntime.sleep(60)\n")
    agent = make_agent(server := server(3), pack="3")
    wait_for((tmp_path / "ready").exists)

    server.stop = {"run1", "run2", "run3"}

    assert agent.wait() == 0
    assert ends(server) == dict.fromkeys(["run1", "run2", "run3"], "killed")


def test_program_that_knows_nothing_of_packs_ends_a_trial_that_is_stopped(
    server, make_agent, write_program, wait_for, tmp_path
):
    write_program(
        "import os, time\n"
        "open('ready', 'w').close()\n"
        "time.sleep(60 if os.environ['WANDB_RUN_ID'] == 'run1' else 0)\n"
    )
    agent = make_agent(server := server(3), pack="3", kill_delay_s=0.3)
    wait_for((tmp_path / "ready").exists)

    server.stop = {"run1"}

    assert agent.wait() == 0
    assert ends(server) == {"run1": "killed", "run2": "finished", "run3": "finished"}


def test_pack_that_is_killed_before_it_begins_costs_no_trial(
    server, make_agent, write_program, packs
):
    write_program(
        PROGRAM
        + """
if len(runs) > 1:
    raise MemoryError("16 models")
"""
        + TRAINS_ALL
    )

    agent = make_agent(server := server(3), pack="2")

    assert agent.wait() == 0
    assert ends(server) == {"run1": "preempted", "run2": "preempted", "run3": "finished"}
    assert packs()[1:] == [(["run3"], True)]


def test_process_whose_trials_have_all_ended_is_waited_for_at_rest(
    server, make_agent, write_program, wait_for, packs
):
    write_program(PROGRAM + TRAINS_ALL + "time.sleep(3)\n")
    agent = make_agent(server := server(2), pack="2")
    wait_for(lambda: len(ends(server)) == 2)

    before = time.process_time()
    agent.wait()

    assert time.process_time() - before < 1.0


def test_packs_grow_while_that_pays(server, make_agent, write_program, packs):
    write_program(
        PROGRAM
        + """
rates = {1: 100.0, 2: 190.0, 4: 200.0}
say(event="began", run=runs[0])
say(event="measured", trials=len(runs), rows_per_s=rates[len(runs)])
"""
        + TRAINS_ALL
    )

    agent = make_agent(server := server(11), pack="auto")

    assert agent.wait() == 0
    assert [len(runs) for runs, _ in packs()] == [1, 2, 4, 2, 2]
    assert set(ends(server).values()) == {"finished"}
    assert any("packs of 2: 4 train 1.05 times as many rows" in e.text for e in agent.events)


def test_count_is_exact_over_packs(server, make_agent, write_program, packs):
    write_program(PROGRAM + TRAINS_ALL)

    assert make_agent(server := server(20), pack="4", count=6).wait() == 0

    assert [len(runs) for runs, _ in packs()] == [4, 2]
    assert len(server.issued) == 6


def test_agent_that_is_ended_ends_its_pack_in_order(
    make_server, write_program, wait_for, packs, tmp_path
):
    write_program(
        PROGRAM
        + """
import signal
def leave(number, frame):
    for run in runs:
        say(event="ended", run=run, exit_code=143, message="stopped by SIGTERM")
    sys.exit(143)
signal.signal(signal.SIGTERM, leave)
for run in runs:
    say(event="began", run=run)
open("ready", "w").close()
time.sleep(60)
"""
    )
    server = make_server(config={"program": "train.py"}, n_trials=2)
    environment = {key: value for key, value in os.environ.items() if "WANDB" not in key}
    process = subprocess.Popen(
        [sys.executable, "-m", "sweepd_agent", "alice/toy/sw1", "--gpus=none", "--pack=2"],
        env={**environment, "WANDB_BASE_URL": server.url, "WANDB_API_KEY": "k" * 40},
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        wait_for((tmp_path / "ready").exists, timeout_s=40)
        os.kill(process.pid, signal.SIGTERM)

        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
    assert ends(server) == {"run1": "preempted", "run2": "preempted"}


def test_trial_that_was_begun_before_is_run_by_itself(server, make_agent, write_program, packs):
    write_program(PROGRAM + TRAINS_ALL)
    server = server(2)
    give = server.next_command
    server.next_command = lambda: {**give(), "sweepd": {"attempt": 2, "token": "t"}}

    assert make_agent(server, pack="2").wait() == 0

    assert packs() == [(["run1"], False), (["run2"], False)]


def test_other_servers_give_no_packs_and_the_agent_says_so(make_server, make_agent, write_program):
    write_program("")
    server = make_server(config={"program": "train.py"}, n_trials=1, is_ours=False)

    agent = make_agent(server, pack="2")

    assert agent.wait() == 0
    assert any("not packed: that takes a service of sweepd's" in e.text for e in agent.events)


@pytest.mark.parametrize("text", ["0", "65", "many", "-1", "1.5", ""])
def test_size_that_is_none_is_refused_with_what_is_allowed(text):
    with pytest.raises(InvalidInput, match="--pack must be auto or from 1 to 64, not"):
        run_agent(Options(sweep="a/b/c", pack=text), report=print)


# Sizes


def test_packs_stop_growing_before_the_memory_is_full():
    sizes = PackSizes(None)
    assert sizes.note("a", 1, Measured(10.0, peak_bytes=30, total_bytes=100)) is None
    assert sizes.size("a") == 2

    why = sizes.note("a", 2, Measured(20.0, peak_bytes=60, total_bytes=100))

    assert sizes.size("a") == 2
    assert why is not None
    assert "GiB of the GPU's memory" in why


def test_slot_that_shares_its_gpu_packs_what_fits_its_part():
    sizes = PackSizes(None, memory_share=0.5)

    sizes.note("a", 1, Measured(10.0, peak_bytes=30, total_bytes=100))

    assert sizes.size("a") == 1


def test_pack_that_was_too_large_for_the_memory_is_halved_for_good():
    sizes = PackSizes(16)

    sizes.note_failure("a", 16, was_memory=True)

    assert sizes.size("a") == 8
    sizes.note("a", 8, Measured(1e9))
    assert sizes.size("a") == 8
    assert sizes.size("b") == 8  # other kinds begin there, too


def test_pack_that_was_short_of_trials_decides_nothing():
    sizes = PackSizes(None)
    sizes.note("a", 1, Measured(10.0))
    sizes.note("a", 2, Measured(20.0))

    sizes.note("a", 3, Measured(1.0))

    assert sizes.size("a") == 4


def test_largest_pack_is_of_64():
    sizes = PackSizes(None)
    for power in range(8):
        sizes.note("a", 2**power, Measured(10.0 * 2**power))

    assert sizes.size("a") == 64


# What is written


@pytest.fixture
def pack(tmp_path):
    commands = [Command("run", f"run{n}", "train.py", {"seed": n}, (1, "t")) for n in (1, 2)]
    pack = Pack(tmp_path / "pack", commands)
    (tmp_path / "pack").mkdir()
    return pack


def write(tmp_path, text):
    with (tmp_path / "pack" / "events.jsonl").open("a") as file:
        file.write(text)


def test_line_that_is_not_whole_yet_is_read_when_it_is(pack, tmp_path):
    write(tmp_path, '{"event": "ended", "run": "run1", "exit_code": 0, "mes')
    assert pack.read() == []

    write(tmp_path, 'sage": null}\n')

    assert [(c.run, outcome.reason) for c, outcome in pack.read()] == [("run1", Reason.FINISHED)]
    assert [command.run for command in pack.left] == ["run2"]


@pytest.mark.parametrize(
    "line",
    [
        "no JSON",
        "[]",
        "[" * 100_000,
        '{"run": "run1"}',
        '{"event": "ended", "run": "run1"}',
        '{"event": "ended", "run": "run1", "exit_code": 1e999, "message": null}',
        '{"event": "ended", "run": "run1", "exit_code": 1000, "message": null}',
        '{"event": "began", "run": ["run1"]}',
        '{"event": "measured", "trials": 1e999, "rows_per_s": 1}',
        '{"event": "measured", "trials": 1, "rows_per_s": NaN}',
    ],
)
def test_line_that_says_nothing_is_a_problem_and_ends_no_trial(pack, tmp_path, line):
    write(tmp_path, line + "\n")

    assert pack.read() == []
    assert pack.problem is not None
    assert len(pack.left) == 2


@pytest.mark.parametrize("end", [r"\n", "\u2028", "\x85"])
def test_words_of_a_program_become_a_line_that_can_be_printed(pack, tmp_path, end):
    message = rf"no file \udc80\u0000 here:{end}\u001b[31mred"
    write(
        tmp_path, f'{{"event": "ended", "run": "run1", "exit_code": 1, "message": "{message}"}}\n'
    )

    ((_, outcome),) = pack.read()

    assert outcome.message == "no file here: [31mred"


def test_folder_that_the_program_made_away_with_says_nothing(pack, tmp_path):
    (tmp_path / "pack" / "events.jsonl").mkdir()
    assert pack.read() == []
    shutil.rmtree(tmp_path / "pack")

    assert pack.stop("run1", Reason.KILLED)
    assert pack.read() == []


def test_trial_that_was_asked_to_end_was_killed_though_its_pack_died(pack):
    pack.stop("run1", Reason.KILLED)

    ends = pack.rest(Outcome(Reason.CRASHED, message="killed by SIGKILL"))

    assert [(c.run, outcome.reason) for c, outcome in ends] == [
        ("run1", Reason.KILLED),
        ("run2", Reason.PREEMPTED),
    ]


def test_kind_is_all_that_may_not_differ():
    def kind(**args):
        return kind_of(Command("run", "r", "train.py", args))

    assert kind(learning_rate=0.1, seed=1, batch_size=32) == kind(
        batch_size=32, learning_rate=0.2, seed=2
    )
    assert kind(batch_size=32) != kind(batch_size=64)
    assert kind(optimizer="adam") != kind(optimizer="sgd")
