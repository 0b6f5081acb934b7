"""The agent as a process of its own: signals, exit codes, and that nothing is left behind."""

import json
import os
import signal
import subprocess
import sys

import fake_wandb
import pytest
from fake_wandb import KEY, FakeServer

FAMILY = """
import os, subprocess, sys, time
own = subprocess.Popen(["sleep", "600"])                          # in the trial's group
far = subprocess.Popen(["sleep", "600"], start_new_session=True)  # in a session of its own
with open("pids.tmp", "w") as file:
    file.write(f"{os.getpid()} {os.getppid()} {own.pid} {far.pid}")
os.replace("pids.tmp", "pids.txt")
"""
SLEEP = FAMILY + "time.sleep(600)\n"


@pytest.fixture
def make_server():
    servers = []

    def make(**values):
        servers.append(FakeServer(**values))
        return servers[-1]

    yield make
    for server in servers:
        server.close()


@pytest.fixture
def wait_for():
    return fake_wandb.wait_for


@pytest.fixture
def write_program(tmp_path):
    return lambda text: (tmp_path / "train.py").write_text(text)


@pytest.fixture
def start(tmp_path):
    processes = []

    def start_agent(server, *arguments, **more):
        env = {k: v for k, v in os.environ.items() if not k.startswith("WANDB_")}
        env.update(WANDB_BASE_URL=server.url, WANDB_API_KEY=KEY, **more)
        fixed = ["alice/toy/sw1", "--gpus", "none", "--slots", "1", "--json"]
        process = subprocess.Popen(
            [sys.executable, "-m", "sweepd_agent", *fixed, *arguments],
            cwd=tmp_path,
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        return process

    yield start_agent
    for process in processes:
        process.kill()
        process.communicate()


def is_alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.fixture
def family(tmp_path, wait_for):
    """Return the trial's processes, once it has told them: itself, parent, children."""

    def read():
        path = tmp_path / "pids.txt"
        wait_for(path.exists)
        return [int(part) for part in path.read_text().split()]

    return read


def events_of(process, timeout=30):
    out, err = process.communicate(timeout=timeout)
    return [json.loads(line) for line in out.splitlines()], err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_first_signal_is_passed_on_and_the_agent_leaves_in_order(
    make_server, start, write_program, family, wait_for, tmp_path, number
):
    write_program(FAMILY + "import atexit\natexit.register(open, 'tidied', 'w')\ntime.sleep(600)\n")
    server = make_server(config={"program": "train.py"}, n_trials=5)
    process = start(server)
    pids = family()

    process.send_signal(number)
    events, _ = events_of(process)

    assert process.returncode == 0
    assert (tmp_path / "tidied").exists()
    assert [outcome["reason"] for outcome in server.outcomes] == ["preempted"]
    assert server.left == ["agent-1"]
    assert events[-1]["event"] == "agent_ended"
    wait_for(lambda: not any(is_alive(pid) for pid in pids))


def test_trial_that_saves_itself_on_sigterm_counts_as_finished(
    make_server, start, write_program, family
):
    write_program(
        "import signal, sys\n"
        "signal.signal(signal.SIGTERM, lambda *_: (print('saved'), sys.exit(0)))\n" + SLEEP
    )
    server = make_server(config={"program": "train.py"})
    process = start(server)
    family()

    process.terminate()
    events_of(process)

    assert [outcome["reason"] for outcome in server.outcomes] == ["finished"]


DEAF = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + SLEEP


def test_trial_that_does_not_end_in_time_is_killed(
    make_server, start, write_program, family, wait_for
):
    write_program(DEAF)
    server = make_server(config={"program": "train.py"})
    process = start(server, "--term-timeout", "0.3")
    pids = family()

    process.terminate()
    events_of(process)

    assert [(o["reason"], o["signal"]) for o in server.outcomes] == [("preempted", 9)]
    wait_for(lambda: not any(is_alive(pid) for pid in pids))


def test_second_signal_kills_at_once(make_server, start, write_program, family, wait_for):
    write_program(DEAF)
    server = make_server(config={"program": "train.py"})
    process = start(server)
    pids = family()

    process.terminate()
    wait_for(lambda: "once more kills" in process.stdout.readline())
    process.terminate()
    events_of(process, timeout=10)

    assert [outcome["reason"] for outcome in server.outcomes] == ["preempted"]
    wait_for(lambda: not any(is_alive(pid) for pid in pids))


def test_agent_that_still_imports_ahead_leaves_at_once(
    make_server, start, write_program, wait_for, tmp_path
):
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib/sitecustomize.py").write_text(
        "import sys, time\nif 'sweepd_agent.warm' in sys.orig_argv: time.sleep(600)\n"
    )
    write_program("")
    server = make_server(config={"program": "train.py"})
    process = start(server, PYTHONPATH=str(tmp_path / "lib"))
    wait_for(lambda: server.issued)

    process.terminate()
    events_of(process, timeout=10)

    assert process.returncode == 0
    assert [outcome["reason"] for outcome in server.outcomes] in ([], ["preempted"])


@pytest.mark.parametrize("has_command", [False, True], ids=["forked", "executed"])
def test_killed_agent_leaves_no_orphan(
    make_server, start, write_program, family, wait_for, has_command
):
    write_program(SLEEP)
    command = {"command": [sys.executable, "${program}"]} if has_command else {}
    process = start(make_server(config={"program": "train.py", **command}))
    pids = family()

    process.kill()

    wait_for(lambda: not any(is_alive(pid) for pid in pids), timeout_s=5)


def test_killed_warm_parent_takes_its_trial_along(
    make_server, start, write_program, family, wait_for
):
    write_program("import os\nif os.environ['WANDB_RUN_ID'] == 'run1':\n"
                  + "".join(f"    {line}\n" for line in SLEEP.strip().splitlines()))  # fmt: skip
    server = make_server(config={"program": "train.py"}, n_trials=2)
    process = start(server)
    pids = family()

    os.kill(pids[1], signal.SIGKILL)
    events_of(process)

    assert process.returncode == 0
    assert [outcome["reason"] for outcome in server.outcomes] == ["crashed", "finished"]
    wait_for(lambda: not any(is_alive(pid) for pid in pids))


IMPORTS_SLOWLY = """
import time
from pathlib import Path
from sweepd_agent.nursery import Nursery
nursery = Nursery(folder=Path(), modules=["slow"], threads=1, handshake_s=20.0,
                  log=Path("warm.log"), notice=print)
nursery.open()
time.sleep(600)
"""


def test_killed_agent_takes_along_a_warm_parent_that_is_importing(tmp_path, wait_for):
    (tmp_path / "slow.py").write_text(
        "import os, time\nwith open('pid.tmp', 'w') as file:\n    file.write(str(os.getpid()))\n"
        "os.replace('pid.tmp', 'pid.txt')\ntime.sleep(600)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    agent = subprocess.Popen([sys.executable, "-c", IMPORTS_SLOWLY], cwd=tmp_path, env=environment)
    wait_for((tmp_path / "pid.txt").exists)
    warm = int((tmp_path / "pid.txt").read_text())

    agent.kill()
    agent.wait()

    wait_for(lambda: not is_alive(warm), timeout_s=5)


def test_agent_that_is_ended_does_not_wait_for_a_server_that_is_away(
    make_server, start, write_program, family, wait_for
):
    write_program(SLEEP)
    server = make_server(config={"program": "train.py"})
    process = start(server)
    pids = family()
    server.status = 503
    wait_for(lambda: "server_lost" in process.stdout.readline())

    process.terminate()
    events_of(process, timeout=10)

    assert process.returncode == 0
    assert server.outcomes == []
    wait_for(lambda: not any(is_alive(pid) for pid in pids))


def test_what_a_trial_leaves_running_ends_with_it(
    make_server, start, write_program, family, wait_for
):
    write_program(FAMILY)
    process = start(make_server(config={"program": "train.py"}))
    pids = family()

    events_of(process)

    assert process.returncode == 0
    wait_for(lambda: not any(is_alive(pid) for pid in pids), timeout_s=5)


def test_events_are_one_line_each_and_the_first_names_the_server(
    make_server, start, write_program, tmp_path
):
    write_program("")
    server = make_server(config={"program": "train.py"})
    process = start(server)

    events, err = events_of(process)

    assert err == ""
    assert [event["event"] for event in events] == [
        "agent_started", "trial_started", "trial_ended", "agent_ended"
    ]  # fmt: skip
    assert server.url in events[0]["text"]
    assert events[1]["config"] == {"lr": 0.1}
    assert events[2]["reason"] == "finished"
    assert events[2]["log"] == str(tmp_path / "wandb/sweep-sw1/run1.log")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        pytest.param(
            ["--per-gpu", "0"], 2, "--per-gpu: must be auto or at least 1, not '0'", id="per gpu"
        ),
        pytest.param(["--count", "0"], 2, "--count must be at least 1", id="count"),
        pytest.param(["--gpus", "x"], 2, "--gpus must be all, none, or numbers", id="gpus"),
        pytest.param(["--base-url", "ftp://x"], 2, "not an http or https address", id="url"),
        pytest.param(["--no-such-option"], 2, "unrecognized arguments", id="option"),
    ],
)
def test_wrong_input_is_one_sentence_and_exit_code_two(make_server, start, arguments, code, words):
    process = start(make_server(), *arguments)

    _, err = events_of(process)

    assert process.returncode == code
    assert words in err
    assert "Traceback" not in err


def test_supervisor_is_small(tmp_path):
    code = "import sys, sweepd_agent.__main__; print(*sorted(sys.modules))"

    names = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path
    ).stdout.split()

    assert not {"torch", "wandb", "numpy", "httpx", "pydantic", "yaml"} & set(names)
