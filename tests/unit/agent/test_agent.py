"""The agent against a small server: real processes, without wandb in them."""

import json
import os
import signal

import pytest

from sweepd.errors import InvalidInput, LaunchError, NotFound, ServerUnreachable
from sweepd_agent import EventKind, dialogue, running

NOTE = """
import json, os, sys
names = ["WANDB_RUN_ID", "WANDB_SWEEP_ID", "WANDB_ENTITY", "WANDB_PROJECT", "WANDB_BASE_URL",
         "WANDB_API_KEY", "WANDB_X_EXTRA_HTTP_HEADERS", "WANDB_X_FILE_STREAM_TRANSMIT_INTERVAL",
         "CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "OMP_WAIT_POLICY", "WANDB_SWEEP_PARAM_PATH"]
facts = {name: os.environ.get(name) for name in names}
facts.update(argv=sys.argv, cwd=os.getcwd(), stdin=sys.stdin.read(), main=__name__,
             leader=os.getsid(0) == os.getpid(), path=sys.path[0])
with open("notes.jsonl", "a") as file:
    file.write(json.dumps(facts) + "\\n")
"""
KEYS = ("a" * 40, "b" * 40)


def read_notes(folder):
    return [json.loads(line) for line in (folder / "notes.jsonl").read_text().splitlines()]


def test_every_trial_runs_once_and_the_agent_leaves(
    make_server, make_agent, write_program, tmp_path
):
    write_program(NOTE)
    server = make_server(config={"program": "train.py"}, n_trials=3, args={"lr": 0.1, "on": True})

    code = make_agent(server).wait()

    notes = read_notes(tmp_path)
    assert code == 0
    assert [note["WANDB_RUN_ID"] for note in notes] == ["run1", "run2", "run3"]
    assert notes[0]["argv"] == ["train.py", "--lr=0.1", "--on=True"]
    assert [outcome["reason"] for outcome in server.outcomes] == ["finished"] * 3
    assert [outcome["exitcode"] for outcome in server.outcomes] == [0] * 3
    assert server.left == ["agent-1"]


def test_a_trial_is_told_who_it_is_and_what_it_may_use(
    make_server, make_agent, write_program, tmp_path
):
    write_program(NOTE)
    server = make_server(config={"program": "train.py"})

    make_agent(server, slots=2).wait()

    (note,) = read_notes(tmp_path)
    assert note["WANDB_SWEEP_ID"] == "sw1"
    assert (note["WANDB_ENTITY"], note["WANDB_PROJECT"]) == ("alice", "toy")
    assert note["WANDB_BASE_URL"] == server.url
    assert note["WANDB_API_KEY"] == "k" * 40
    assert json.loads(note["WANDB_X_EXTRA_HTTP_HEADERS"]) == {"X-Sweepd-Lease": "run1;1;token-run1"}
    assert note["WANDB_X_FILE_STREAM_TRANSMIT_INTERVAL"] == "1"
    assert note["CUDA_VISIBLE_DEVICES"] == ""
    assert int(note["OMP_NUM_THREADS"]) >= 1
    assert note["OMP_WAIT_POLICY"] == "passive"
    assert note["main"] == "__main__"
    assert note["stdin"] == ""
    assert note["leader"] is True
    assert note["cwd"] == note["path"] == str(tmp_path)


def test_the_configuration_file_is_what_wandb_reads(
    make_server, make_agent, write_program, tmp_path
):
    import yaml

    write_program(NOTE)
    args = {"lr": 1e-05, "nested": {"a": [1, None]}, "text": "a: b ☃"}

    make_agent(make_server(config={"program": "train.py"}, args=args)).wait()

    (note,) = read_notes(tmp_path)
    with open(note["WANDB_SWEEP_PARAM_PATH"], encoding="utf-8") as file:
        values = yaml.safe_load(file)
    assert values.pop("wandb_version") == 1
    assert {key: row["value"] for key, row in values.items()} == args


@pytest.mark.parametrize(("slots", "count"), [(1, 2), (3, 4), (3, 1)])
def test_count_is_exact_over_every_slot(make_server, make_agent, write_program, slots, count):
    write_program("")
    server = make_server(config={"program": "train.py"}, n_trials=50)

    code = make_agent(server, slots=slots, count=count).wait()

    assert code == 0
    assert len(server.issued) == len(server.outcomes) == count
    assert len(server.agents) == min(slots, count)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"program": "nowhere.py"}, "the program nowhere.py does not exist in "),
        ({"program": "no_where.deep:main"}, "there is no module no_where in "),
        ({"program": "a.py", "command": ["${env}", "python", "${program}"]}, "the program a.py "),
        ({}, "the definition names no program; give it one, or run the sweep with wandb.agent"),
    ],
)
def test_agent_takes_no_trial_where_the_program_is_not(make_server, make_agent, config, words):
    server = make_server(config=config, n_trials=2)

    with pytest.raises(InvalidInput) as caught:
        make_agent(server).wait()

    assert str(caught.value).startswith("no trial of alice/toy/sw1 can be started here: ")
    assert words in str(caught.value)
    assert server.issued == []


def test_a_sweep_that_is_over_is_no_failure_where_its_program_is_not(make_server, make_agent):
    server = make_server(config={"program": "nowhere.py"})
    server.state = "FINISHED"

    assert make_agent(server).wait() == 0


@pytest.mark.parametrize(
    "config",
    [
        {"program": "json:loads", "command": ["true"]},
        {"program": "a.py", "command": ["sh", "-c", "cd elsewhere && python ${program}"]},
        {"command": ["true"]},
    ],
)
def test_agent_takes_trials_where_a_command_may_find_the_program(make_server, make_agent, config):
    server = make_server(config=config, n_trials=1)

    assert make_agent(server).wait() == 0
    assert len(server.outcomes) == 1


def test_program_that_goes_away_is_reported_with_that_sentence(
    make_server, make_agent, write_program, tmp_path
):
    write_program("import os; os.remove(__file__)")
    server = make_server(config={"program": "train.py"}, n_trials=2)

    assert make_agent(server).wait() == 0

    assert server.outcomes[1]["reason"] == "error"
    assert server.outcomes[1]["message"] == f"the program train.py does not exist in {tmp_path}"


@pytest.mark.parametrize(
    ("program", "reason", "code", "number", "message"),
    [
        pytest.param("import no_such_module", "error", 1, None,
                     "ModuleNotFoundError: No module named 'no_such_module'", id="import"),
        pytest.param("def f(:", "error", 1, None, "SyntaxError: ", id="syntax"),
        pytest.param("raise SystemExit(3)", "error", 3, None, "exit code 3", id="exit code"),
        pytest.param("import os; os.kill(os.getpid(), 9)", "crashed", None, 9,
                     "killed by SIGKILL", id="killed"),
        pytest.param("import ctypes; ctypes.string_at(0)", "error", None, 11,
                     "killed by SIGSEGV", id="segfault"),
        pytest.param("raise MemoryError('no more')", "oom", 1, None, "MemoryError: no more",
                     id="memory"),
    ],
)  # fmt: skip
def test_failure_is_told_with_its_reason_and_first_line(
    make_server, make_agent, write_program, program, reason, code, number, message
):
    write_program(program)
    server = make_server(config={"program": "train.py"})

    make_agent(server).wait()

    (outcome,) = server.outcomes
    assert (outcome["reason"], outcome["exitcode"], outcome["signal"]) == (reason, code, number)
    assert outcome["message"].startswith(message)


def test_traceback_shows_the_program_alone(make_server, make_agent, write_program, tmp_path):
    write_program("def f():\n    1 / 0\n\nf()\n")

    make_agent(make_server(config={"program": "train.py"})).wait()

    output = (tmp_path / "wandb/sweep-sw1/run1.log").read_text()
    assert output.count("File ") == 2
    assert "sweepd_agent" not in output
    assert output.rstrip().endswith("ZeroDivisionError: division by zero")


def test_stop_ends_the_trial_in_order_and_the_agent_goes_on(
    make_server, make_agent, write_program, tmp_path, wait_for
):
    write_program("""
import atexit, os, time
atexit.register(lambda: open("tidied.txt", "a").write("yes"))
open("started.txt", "w").close()
while os.environ["WANDB_RUN_ID"] == "run1":
    time.sleep(0.01)
""")
    server = make_server(config={"program": "train.py"}, n_trials=2)
    agent = make_agent(server)
    wait_for((tmp_path / "started.txt").exists)

    server.stop.add("run1")

    assert agent.wait() == 0
    assert [outcome["reason"] for outcome in server.outcomes] == ["killed", "finished"]
    assert (tmp_path / "tidied.txt").read_text() == "yesyes"


def test_trial_that_ignores_a_stop_is_killed(
    make_server, make_agent, write_program, tmp_path, wait_for
):
    write_program("""
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
open("started.txt", "w").close()
while True:
    time.sleep(1)
""")
    server = make_server(config={"program": "train.py"})
    agent = make_agent(server, kill_delay_s=0.2)
    wait_for((tmp_path / "started.txt").exists)

    server.stop.add("run1")

    assert agent.wait() == 0
    (outcome,) = server.outcomes
    assert (outcome["reason"], outcome["signal"]) == ("killed", signal.SIGKILL)


def test_trial_that_runs_for_too_long_is_ended_as_timed_out(make_server, make_agent, write_program):
    write_program("import time\nwhile True:\n    time.sleep(1)\n")
    server = make_server(config={"program": "train.py"})

    assert make_agent(server, trial_timeout_s=0.3).wait() == 0

    (outcome,) = server.outcomes
    assert outcome["reason"] == "timed_out"
    assert outcome["message"] == "it ran for longer than the 0.3 s it may"


def test_definition_with_its_own_command_is_executed(make_server, make_agent, tmp_path):
    command = ["${env}", "sh", "-c", 'echo "$0 $@" $WANDB_RUN_ID > out.txt', "${args_no_hyphens}"]
    server = make_server(
        config={"program": "train.py", "command": command}, args={"a": 1, "b": "x"}
    )

    make_agent(server).wait()

    assert (tmp_path / "out.txt").read_text() == "a=1 b=x run1\n"
    assert server.outcomes[0]["reason"] == "finished"


def test_command_that_cannot_be_started_says_so(make_server, make_agent):
    server = make_server(config={"program": "train.py", "command": ["no-such-command", "${args}"]})

    make_agent(server).wait()

    (outcome,) = server.outcomes
    assert outcome["reason"] == "error"
    assert outcome["message"] == "cannot start 'no-such-command': no such file or directory"


@pytest.mark.parametrize("signature", ["()", "(config)"])
def test_function_of_a_module_is_called(
    make_server, make_agent, write_program, tmp_path, signature
):
    body = "config" if "config" in signature else "None"
    write_program(
        f"""
import json
def go{signature}:
    open("out.txt", "w").write(json.dumps({body}))
""",
        "work.py",
    )

    make_agent(make_server(config={"program": "work:go"})).wait()

    expected = {"lr": 0.1} if "config" in signature else None
    assert json.loads((tmp_path / "out.txt").read_text()) == expected


def test_server_that_goes_away_is_waited_for_and_nothing_is_lost(
    make_server, make_agent, write_program, tmp_path, wait_for
):
    write_program("""
import os, time
open("started.txt", "w").close()
while not os.path.exists("go.txt"):
    time.sleep(0.01)
""")
    server = make_server(config={"program": "train.py"}, n_trials=2)
    agent = make_agent(server)
    wait_for((tmp_path / "started.txt").exists)

    server.status = 503
    wait_for(lambda: agent.of(EventKind.SERVER_LOST))
    (tmp_path / "go.txt").touch()
    n_requests = len(server.requests)
    wait_for(lambda: len(server.requests) > n_requests)
    server.status = None

    assert agent.wait() == 0
    assert [outcome["reason"] for outcome in server.outcomes] == ["finished", "finished"]
    assert len(agent.of(EventKind.SERVER_LOST)) == len(agent.of(EventKind.SERVER_BACK)) == 1


def test_server_that_is_not_there_at_the_start_means_try_again(
    make_server, make_agent, monkeypatch
):
    monkeypatch.setattr("sweepd_agent.supervisor._FIRST_WAITS_S", (0.01,))
    server = make_server()
    server.close()

    with pytest.raises(ServerUnreachable) as caught:
        make_agent(server).wait()

    assert caught.value.exit_code == 75


def test_sweep_that_is_deleted_lets_its_trial_finish(
    make_server, make_agent, write_program, tmp_path, wait_for
):
    write_program("""
import os, time
open("started.txt", "w").close()
while not os.path.exists("go.txt"):
    time.sleep(0.01)
""")
    server = make_server(config={"program": "train.py"}, n_trials=9)
    agent = make_agent(server)
    wait_for((tmp_path / "started.txt").exists)

    server.is_deleted = True
    wait_for(lambda: [event for event in agent.of(EventKind.NOTICE) if "gone" in event.text])
    (tmp_path / "go.txt").touch()

    assert agent.wait() == 1
    assert len(server.issued) == 1


def test_agent_that_comes_after_the_end_of_its_sweep_leaves_in_peace(
    make_server, make_agent, write_program
):
    write_program("")
    server = make_server(config={"program": "train.py"}, state="FINISHED")

    agent = make_agent(server)

    assert agent.wait() == 0
    assert server.issued == []
    assert [event for event in agent.of(EventKind.NOTICE) if "has ended" in event.text]


def test_sweep_that_does_not_exist_is_said(make_server, make_agent):
    with pytest.raises(NotFound, match="there is no sweep alice/toy/none"):
        make_agent(make_server(), sweep="alice/toy/none").wait()


def test_sweep_is_found_by_its_short_id_on_our_service(make_server, make_agent, write_program):
    write_program("")
    server = make_server(config={"program": "train.py"})

    assert make_agent(server, sweep="sw1").wait() == 0
    assert server.agents[0]["project"] == "toy"


def test_short_id_that_our_service_does_not_have_is_said(make_server, make_agent):
    with pytest.raises(NotFound, match="there is no sweep none on http"):
        make_agent(make_server(), sweep="none").wait()


def test_short_id_alone_is_not_enough_elsewhere(make_server, make_agent):
    with pytest.raises(InvalidInput, match="project of sweep sw1 is not known"):
        make_agent(make_server(is_ours=False), sweep="sw1").wait()


def test_another_server_gets_nothing_but_the_protocol(
    make_server, make_agent, write_program, tmp_path
):
    write_program(NOTE)
    server = make_server(config={"program": "train.py"}, is_ours=False)

    assert make_agent(server).wait() == 0

    (note,) = read_notes(tmp_path)
    assert note["WANDB_X_EXTRA_HTTP_HEADERS"] is None
    assert note["WANDB_X_FILE_STREAM_TRANSMIT_INTERVAL"] is None
    assert {name for name, _ in server.requests} == {
        "ServerFeaturesQuery", "GetSweep", "CreateAgent", "Heartbeat"
    }  # fmt: skip


def test_three_failures_at_the_start_end_an_agent_of_another_server(
    make_server, make_agent, write_program
):
    write_program("1 / 0")
    server = make_server(config={"program": "train.py"}, is_ours=False, n_trials=20)

    assert make_agent(server).wait() == 1
    assert len(server.issued) == 3


def test_our_server_is_left_to_judge_failures(make_server, make_agent, write_program):
    write_program("1 / 0")
    server = make_server(config={"program": "train.py"}, n_trials=5)

    assert make_agent(server).wait() == 0
    assert len(server.issued) == 5


def test_death_of_the_warm_parent_costs_one_trial(
    make_server, make_agent, write_program, tmp_path, wait_for
):
    write_program("""
import os, time
while os.environ["WANDB_RUN_ID"] == "run1":
    with open("parent.tmp", "w") as file:
        file.write(str(os.getppid()))
    os.replace("parent.tmp", "parent.txt")
    time.sleep(0.01)
""")
    server = make_server(config={"program": "train.py"}, n_trials=2)
    agent = make_agent(server)
    wait_for((tmp_path / "parent.txt").exists)

    os.kill(int((tmp_path / "parent.txt").read_text()), signal.SIGKILL)

    assert agent.wait() == 0
    assert [outcome["reason"] for outcome in server.outcomes] == ["crashed", "finished"]


def test_death_of_a_warm_parent_costs_no_trial_of_another_agent_though_their_ids_are_the_same(
    make_server, make_agent, write_program, tmp_path, wait_for
):
    write_program("""
import os, time
with open(f"{os.environ['WANDB_API_KEY']}.tmp", "w") as file:
    file.write(str(os.getppid()))
os.replace(file.name, file.name.replace("tmp", "txt"))
while not os.path.exists("go"):
    time.sleep(0.01)
""")
    servers = [make_server(config={"program": "train.py"}) for _ in range(2)]
    agents = [make_agent(server, api_key=key) for server, key in zip(servers, KEYS, strict=True)]
    parents = [tmp_path / f"{key}.txt" for key in KEYS]
    wait_for(lambda: all(path.exists() for path in parents))

    os.kill(int(parents[0].read_text()), signal.SIGKILL)
    agents[0].wait()
    (tmp_path / "go").touch()
    agents[1].wait()

    assert [outcome["reason"] for outcome in servers[0].outcomes] == ["crashed"]
    assert [outcome["reason"] for outcome in servers[1].outcomes] == ["finished"]


def test_output_of_a_trial_is_kept_within_bounds(make_server, make_agent, write_program, tmp_path):
    write_program("""
import sys
print("first")
for _ in range(600):
    sys.stdout.write("x" * 99999 + "\\n")
print("last")
""")

    make_agent(make_server(config={"program": "train.py"})).wait()

    path = tmp_path / "wandb/sweep-sw1/run1.log"
    assert 4_000_000 < path.stat().st_size < 5_000_000
    text = path.read_text()
    assert text.startswith("first\n")
    assert "bytes left out" in text
    assert text.endswith("last\n")


def test_random_numbers_differ_between_trials(make_server, make_agent, write_program, tmp_path):
    write_program("""
import random, numpy
open("numbers.txt", "a").write(f"{numpy.random.rand()} {random.random()}\\n")
""")

    make_agent(make_server(config={"program": "train.py"}, n_trials=2)).wait()

    lines = (tmp_path / "numbers.txt").read_text().splitlines()
    assert len({line.split()[0] for line in lines}) == 2
    assert len({line.split()[1] for line in lines}) == 2


def test_folder_that_cannot_be_written_ends_the_agent_in_words(
    make_server, make_agent, write_program, tmp_path
):
    write_program("")
    (tmp_path / "wandb").write_text("a file where a folder is to be")

    agent = make_agent(make_server(config={"program": "train.py"}, n_trials=1))

    with pytest.raises(LaunchError, match=r"no trial can be run: .*wandb.*: Not a"):
        agent.wait()


def test_trial_whose_files_cannot_be_written_fails_alone_and_says_which(
    make_server, make_agent, write_program, tmp_path
):
    write_program("")
    (tmp_path / "wandb" / "sweep-sw1" / "config-run1.yaml").mkdir(parents=True)

    make_agent(server := make_server(config={"program": "train.py"}, n_trials=2)).wait()

    first, second = server.outcomes
    assert first["reason"] == "crashed"  # by the machine: another one may be able to
    assert first["message"].endswith("config-run1.yaml: Is a directory")
    assert second["reason"] == "finished"


def test_full_disk_keeps_no_trial_from_printing_nor_its_error_from_being_told(
    make_server, make_agent, write_program, tmp_path
):
    write_program("print('x' * 3_000_000)\nraise ValueError('boom')")
    folder = tmp_path / "wandb" / "sweep-sw1"
    folder.mkdir(parents=True)
    (folder / "run1.log").symlink_to("/dev/full")

    make_agent(server := make_server(config={"program": "train.py"}, n_trials=1)).wait()

    (outcome,) = server.outcomes
    assert (outcome["reason"], outcome["message"]) == ("error", "ValueError: boom")


def test_trials_go_on_though_what_happens_cannot_be_printed(make_server, make_agent, write_program):
    write_program("")
    server = make_server(config={"program": "train.py"}, n_trials=2)

    def fail(event):
        raise BrokenPipeError("nobody reads it")

    agent = make_agent(server, report=fail)

    assert agent.wait() == 0
    assert [outcome["reason"] for outcome in server.outcomes] == ["finished"] * 2


def test_end_of_a_trial_is_told_when_the_server_is_back_though_the_sweep_has_ended(
    make_server, make_agent, write_program, wait_for, monkeypatch, tmp_path
):
    for module in (running, dialogue):
        monkeypatch.setattr(module, "BACKOFF_S", (0.01, 0.02))
    write_program("import os, time\nwhile not os.path.exists('go'): time.sleep(0.01)")
    server = make_server(config={"program": "train.py"}, n_trials=1)
    agent = make_agent(server, slots=2)
    wait_for(lambda: len(server.left) == 1)  # the other slot, which was told that it is over

    server.outages = {"SweepdReportOutcome": 6}
    (tmp_path / "go").touch()

    assert agent.wait() == 0
    assert [outcome["reason"] for outcome in server.outcomes] == ["finished"]
