"""Agents that are started somewhere, and found again by the next command."""

import json
import os
import re
import signal
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from sweepd.errors import InvalidInput, LaunchError, NoDevice, UnknownName
from sweepd_agent import Options
from sweepd_agent.launchers import Plan
from sweepd_agent.launchers.local import Local
from sweepd_agent.launchers.record import launch, launches_of

PROGRAM = "import pathlib, time\npathlib.Path('started').touch()\ntime.sleep(600)\n"
SWEEP = "alice/toy/sw1"


@pytest.fixture
def options(tmp_path):
    return Options(SWEEP, gpus="none", slots=1, folder=str(tmp_path))


@pytest.fixture
def start(tmp_path, options, make_server):
    """Launch agents on this machine that work for a server of four trials."""
    server = make_server(config={"program": "train.py"}, n_trials=4)
    environ = {"WANDB_BASE_URL": server.url, "WANDB_API_KEY": "k" * 40}
    made = []

    def start_agents(n_agents, **more):
        each = replace(options, **more)
        folder = tmp_path / "launches"
        made.append(
            launch(each, on="local", n_agents=n_agents, environ=environ, settings={}, folder=folder)
        )
        return server, made[-1]

    yield start_agents
    for one in made:
        one.stop()


def found(tmp_path):
    return launches_of(SWEEP, folder=tmp_path / "launches")


def test_local_agents_run_the_sweep_and_leave_their_words(start, write_program, wait_for, tmp_path):
    write_program("")

    server, made = start(2)

    wait_for(lambda: [agent.exit_code for agent in made.status()] == [0, 0])
    assert len(server.outcomes) == 4
    (again,) = found(tmp_path)
    assert [agent.state for agent in again.status()] == ["ended", "ended"]
    assert "the agent leaves" in again.logs("agent-1")
    with pytest.raises(InvalidInput, match="no agent 'agent-3', but agent-1, agent-2"):
        again.logs("agent-3")


@pytest.mark.parametrize(
    ("visible", "slots"),
    [
        pytest.param("4,5,6", ["2 slots on gpu 4, gpu 6", "1 slot on gpu 5"], id="dealt out"),
        pytest.param("", ["1 slot on cpu", "1 slot on cpu"], id="none"),
    ],
)
def test_local_agents_have_each_gpus_of_their_own(
    start, write_program, wait_for, monkeypatch, visible, slots
):
    write_program("")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)

    server, made = start(2, gpus="all", slots=None if visible else 1)

    wait_for(lambda: [agent.exit_code for agent in made.status()] == [0, 0])
    assert len(server.outcomes) == 4
    words = [made.logs(agent.name) for agent in made.status()]
    assert [one in said for one, said in zip(slots, words, strict=True)] == [True, True], words


def test_local_agents_that_would_share_a_gpu_are_not_started(start, monkeypatch, tmp_path):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")

    with pytest.raises(NoDevice, match=r"2 agents on one machine take 2 GPUs, .* there are: 1;"):
        start(2, gpus="all")

    assert list((tmp_path / "launches").iterdir()) == []


def test_files_named_like_pythons_own_modules_are_the_programs_alone(
    start, write_program, wait_for, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    for name in ("queue", "selectors", "base64"):  # the agent's own start needs each of them
        write_program("raise ImportError('of the program')", f"{name}.py")
    write_program("whose = 'mine'", "colorsys.py")
    write_program("import colorsys\nassert colorsys.whose == 'mine'")

    server, made = start(1)

    wait_for(lambda: made.status()[0].state == "ended")
    assert [outcome["reason"] for outcome in server.outcomes] == ["finished"] * 4


def test_another_command_ends_local_agents_and_their_trials(
    start, write_program, tmp_path, wait_for
):
    write_program(PROGRAM)
    server, _ = start(1)
    wait_for((tmp_path / "started").exists)
    (again,) = found(tmp_path)
    assert [agent.state for agent in again.status()] == ["running"]

    again.stop()

    assert [(agent.state, agent.exit_code) for agent in again.status()] == [("ended", 0)]
    assert [outcome["reason"] for outcome in server.outcomes] == ["preempted"]


def test_a_local_agent_whose_number_is_anothers_now_is_lost_and_left_alone(
    start, write_program, tmp_path, wait_for
):
    write_program(PROGRAM)
    _, made = start(1)
    wait_for((tmp_path / "started").exists)
    record = made.folder / "launch.json"
    content = json.loads(record.read_text())
    (agent,) = content["kept"]["agents"]
    agent["began"] = "another time"
    record.write_text(json.dumps(content))
    (again,) = found(tmp_path)

    again.stop()

    assert [one.state for one in again.status()] == ["lost"]
    assert [one.state for one in made.status()] == ["running"]


def test_an_agent_that_has_just_ended_does_not_keep_the_others_from_being_stopped(
    start, write_program, tmp_path, wait_for, monkeypatch
):
    write_program(PROGRAM)
    _, made = start(2)
    wait_for((tmp_path / "started").exists)
    first, _ = made.kept["agents"]
    kill = os.killpg

    def end_first(pid, number):
        if pid == first["pid"]:
            kill(pid, signal.SIGKILL)
            raise ProcessLookupError
        kill(pid, number)

    monkeypatch.setattr(os, "killpg", end_first)
    made.stop()

    assert [agent.state for agent in made.status()] == ["lost", "ended"]


def test_no_local_agent_is_left_when_a_later_one_cannot_be_started(
    options, write_program, make_server, tmp_path
):
    write_program(PROGRAM)
    server = make_server(config={"program": "train.py"}, n_trials=4)
    environ = {"WANDB_BASE_URL": server.url, "WANDB_API_KEY": "k" * 40}
    folder = tmp_path / "own"
    (folder / "agent-3.log").mkdir(parents=True)

    with pytest.raises(LaunchError, match=r"agent-3 cannot be started: .*Is a directory"):
        Local().start(Plan(options, 3, folder, environ))

    assert {path.name for path in folder.glob("*.exit")} == {"agent-1.exit", "agent-2.exit"}


def test_no_agent_is_left_that_cannot_be_written_down(options, tmp_path, docker, monkeypatch):
    def is_full(fd):
        raise OSError("No space left on device")

    monkeypatch.setattr(os, "fsync", is_full)
    with pytest.raises(OSError, match="No space left"):
        on_docker(options, tmp_path)

    states = json.loads((tmp_path / "bin" / "containers.json").read_text()).values()
    assert [state["Status"] for state in states] == ["exited", "exited"]
    assert found(tmp_path) == []


@pytest.mark.parametrize("text", ["{", "[]", '{"sweep": "alice/toy/sw1"}', "\x00"])
def test_a_record_that_cannot_be_read_is_told_and_left_out(options, tmp_path, docker, capsys, text):
    torn, made = on_docker(options, tmp_path), on_docker(options, tmp_path)
    (torn.folder / "launch.json").write_text(text)

    assert [one.name for one in found(tmp_path)] == [made.name]

    assert f"{torn.folder / 'launch.json'} cannot be read" in capsys.readouterr().err


def test_an_engine_and_a_setting_that_are_not_there_are_named(options, tmp_path):
    plain = {"n_agents": 1, "environ": {}, "folder": tmp_path}
    with pytest.raises(UnknownName, match="docker, k8s, local, ray, slurm"):
        launch(options, on="moon", settings={}, **plain)
    with pytest.raises(InvalidInput, match="local has no setting image; it has: none"):
        launch(options, on="local", settings={"image": "x"}, **plain)
    assert list(tmp_path.iterdir()) == []


FAKE = f"""#!{sys.executable}
import json, os, sys
place = os.path.dirname(os.path.abspath(__file__))
with open(os.path.join(place, "calls.jsonl"), "a") as file:
    file.write(json.dumps([sys.argv[1:], os.environ.get("WANDB_API_KEY")]) + "\\n")
command = sys.argv[1]
containers = os.path.join(place, "containers.json")
known = json.load(open(containers)) if os.path.exists(containers) else {{}}
if command == "run" and "--rm" in sys.argv:
    print("of the image\\n" + os.environ["GPUS"])
elif command == "run":
    if len(known) == int(os.environ.get("FAILS_AT", "99")):
        sys.exit("docker: Error response from daemon: no such image\\n")
    known["c%d" % (len(known) + 1)] = {{"Status": "running", "ExitCode": 0}}
    print("c%d" % len(known))
elif command == "ps":
    print("\\n".join(known))
elif command == "inspect":
    print(json.dumps([{{"Id": c, "State": known[c]}} for c in sys.argv[2:]]))
elif command == "logs":
    print("words of", sys.argv[2], flush=True)
    print("error of", sys.argv[2], file=sys.stderr)  # as of a container without a terminal
elif command == "stop":
    for c in sys.argv[3:]:
        known[c] = {{"Status": "exited", "ExitCode": 0}}
elif command == "rm":
    for c in sys.argv[3:]:
        del known[c]
json.dump(known, open(containers, "w"))
"""


@pytest.fixture
def docker(tmp_path, monkeypatch):
    """Put a stand-in for docker's command on the PATH; return what it was asked."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "docker").write_text(FAKE)
    (folder / "docker").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.delenv("WANDB_API_KEY", raising=False)

    def calls(command):
        lines = (folder / "calls.jsonl").read_text().splitlines()
        return [call for call in map(json.loads, lines) if call[0][0] == command]

    return calls


ENVIRON = {"WANDB_BASE_URL": "http://127.0.0.1:8080", "WANDB_API_KEY": "s" * 40}


def on_docker(options, tmp_path, n_agents=2, **settings):
    return launch(
        options,
        on="docker",
        n_agents=n_agents,
        environ=ENVIRON,
        settings=settings,
        folder=tmp_path / "launches",
    )


def test_containers_are_started_told_about_and_stopped(options, tmp_path, docker):
    on_docker(options, tmp_path, image="mine:1")
    (again,) = found(tmp_path)

    assert [agent.state for agent in again.status()] == ["running", "running"]
    assert again.logs(again.status()[1].name) == "words of c2\nerror of c2\n"
    again.stop()
    assert [(a.state, a.exit_code) for a in again.status()] == [("ended", 0)] * 2
    (command, key), _ = docker("run")
    assert key == "s" * 40
    assert all("s" * 40 not in word for word in command)
    assert command[command.index("mine:1") :][1:4] == ["-P", "-m", "sweepd_agent"]
    assert "--network=host" in command
    assert SWEEP in command
    assert not any(word.startswith("--gpus=all") for word in command[: command.index("mine:1")])


def test_containers_of_two_people_have_names_of_their_own(options, tmp_path, docker):
    for person in ("alice", "bob"):
        on_docker(options, tmp_path / person)

    words = [word for command, _ in docker("run") for word in command]
    names = [word.removeprefix("--name=") for word in words if word.startswith("--name=")]
    assert len(set(names)) == 4
    assert all(re.fullmatch(r"sw1-docker-1-[0-9a-f]{8}-[12]", name) for name in names)


def test_containers_get_gpus_and_the_network_that_is_named(options, tmp_path, docker):
    on_docker(replace(options, gpus="all"), tmp_path, 1, network="lab", gpus="device=1")

    ((command, _),) = docker("run")
    assert "--network=lab" in command
    assert "--gpus=device=1" in command
    assert "--gpus=all" in command


def test_containers_have_each_their_own_of_the_gpus_that_one_sees(
    options, tmp_path, docker, monkeypatch
):
    monkeypatch.setenv("GPUS", '["0", "1", "MIG-aa", "3"]')

    on_docker(replace(options, gpus="0,1,3"), tmp_path, image="mine:1", gpus="4")

    asked, *started = [command for command, _ in docker("run")]
    assert asked[:5] == ["run", "--rm", "--gpus=4", "--entrypoint=python", "mine:1"]
    assert all("--gpus=4" in command[: command.index("mine:1")] for command in started)
    agents = [command[command.index("mine:1") :] for command in started]
    assert [[word for word in agent if "gpus" in word] for agent in agents] == [
        ["--gpus=0,3"],
        ["--gpus=1"],
    ]


def test_containers_that_would_share_a_gpu_are_not_started(options, tmp_path, docker, monkeypatch):
    monkeypatch.setenv("GPUS", '["0"]')

    with pytest.raises(NoDevice, match="2 agents on one machine take 2 GPUs"):
        on_docker(replace(options, gpus="all"), tmp_path, gpus="device=0")

    assert [command[1] for command, _ in docker("run")] == ["--rm"]
    assert found(tmp_path) == []


def test_compose_makes_one_container_for_all_gpus():
    overlay = Path(__file__).parents[3] / "docker-compose.gpu.yml"
    agent = yaml.safe_load(overlay.read_text())["services"]["agent"]

    assert agent["deploy"]["resources"]["reservations"]["devices"][0]["count"] == "all"
    assert "container_name" in agent  # by which compose refuses a second one


def test_compose_lets_trials_save_themselves_for_as_long_as_the_agent_does():
    file = Path(__file__).parents[3] / "docker-compose.yml"
    grace = yaml.safe_load(file.read_text())["services"]["agent"]["stop_grace_period"]

    assert float(grace.removesuffix("s")) > Options.term_timeout_s


def test_a_container_that_was_removed_is_lost(options, tmp_path, docker):
    made = on_docker(options, tmp_path)
    (tmp_path / "bin" / "containers.json").write_text("{}")

    assert [agent.state for agent in made.status()] == ["lost", "lost"]


@pytest.mark.parametrize(
    ("told", "code"),
    [
        pytest.param(137, -9, id="killed"),
        pytest.param(75, 75, id="the server did not answer"),
        pytest.param(128, 128, id="no signal"),
        pytest.param(255, 255, id="beyond all signals"),
    ],
)
def test_exit_code_of_a_container_is_minus_the_signal_that_ended_it(
    options, tmp_path, docker, told, code
):
    made = on_docker(options, tmp_path, 1)
    ended = {"c1": {"Status": "exited", "ExitCode": told}}
    (tmp_path / "bin" / "containers.json").write_text(json.dumps(ended))

    assert [(agent.state, agent.exit_code) for agent in made.status()] == [("ended", code)]


def test_no_container_is_left_when_one_cannot_be_started(options, tmp_path, docker, monkeypatch):
    monkeypatch.setenv("FAILS_AT", "1")

    with pytest.raises(LaunchError, match=r"docker run failed: .*no such image"):
        on_docker(options, tmp_path)

    assert json.loads((tmp_path / "bin" / "containers.json").read_text()) == {}
    assert found(tmp_path) == []


def test_an_engine_that_is_not_installed_is_one_sentence(options, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "")

    with pytest.raises(LaunchError, match="docker is not installed here"):
        on_docker(options, tmp_path)


def test_a_killed_keeper_does_not_make_its_agent_look_alive(
    start, write_program, tmp_path, wait_for
):
    write_program(PROGRAM)
    _, made = start(1)
    wait_for((tmp_path / "started").exists)
    (agent,) = made.kept["agents"]

    os.killpg(agent["pid"], signal.SIGKILL)

    wait_for(lambda: made.status()[0].state == "lost")
