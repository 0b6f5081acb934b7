"""Agents that are started somewhere, and found again by the next command."""

import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import yaml

from sweepd.errors import InvalidInput, LaunchError, UnknownName
from sweepd_agent import Options
from sweepd_agent.launchers import Plan
from sweepd_agent.launchers.k8s import manifests
from sweepd_agent.launchers.local import Local
from sweepd_agent.launchers.ray import AgentActor
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

    def start_agents(n_agents):
        folder = tmp_path / "launches"
        made.append(
            launch(
                options, on="local", n_agents=n_agents, environ=environ, settings={}, folder=folder
            )
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
if command == "run":
    if len(known) == int(os.environ.get("FAILS_AT", "99")):
        sys.exit("docker: Error response from daemon: no such image\\n")
    known["c%d" % (len(known) + 1)] = {{"Status": "running", "ExitCode": 0}}
    print("c%d" % len(known))
elif command == "ps":
    print("\\n".join(known))
elif command == "inspect":
    print(json.dumps([{{"Id": c, "State": known[c]}} for c in sys.argv[2:]]))
elif command == "logs":
    print("words of", sys.argv[2])
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


def on_docker(options, tmp_path, **settings):
    return launch(
        options,
        on="docker",
        n_agents=2,
        environ=ENVIRON,
        settings=settings,
        folder=tmp_path / "launches",
    )


def test_containers_are_started_told_about_and_stopped(options, tmp_path, docker):
    on_docker(options, tmp_path, image="mine:1")
    (again,) = found(tmp_path)

    assert [agent.state for agent in again.status()] == ["running", "running"]
    assert again.logs(again.status()[1].name) == "words of c2\n"
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
    on_docker(replace(options, gpus="all"), tmp_path, network="lab", gpus="device=1")

    (command, _), _ = docker("run")
    assert "--network=lab" in command
    assert "--gpus=device=1" in command


def test_a_container_that_was_removed_is_lost(options, tmp_path, docker):
    made = on_docker(options, tmp_path)
    (tmp_path / "bin" / "containers.json").write_text("{}")

    assert [agent.state for agent in made.status()] == ["lost", "lost"]


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


SLURM = f"""#!{sys.executable}
import os, sys
place = os.path.dirname(os.path.abspath(__file__))
command = os.path.basename(sys.argv[0])
queue = os.path.join(place, "queue")
if command == "sbatch":
    open(queue, "w").write("7 0 RUNNING\\n7 1 PENDING\\n8 0 RUNNING\\n")
    print("7;cluster")
elif command == "squeue":
    print(open(queue).read(), end="")
elif command == "scancel":
    open(queue, "w").write("")
"""


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """Put stand-ins for Slurm's commands on the PATH; return the file of their queue."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("sbatch", "squeue", "scancel"):
        (folder / name).write_text(SLURM)
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return folder / "queue"


def on_slurm(options, tmp_path, **settings):
    environ = {"WANDB_BASE_URL": "https://sweeps.example", "WANDB_API_KEY": "s" * 40}
    folder = tmp_path / "launches"
    return launch(
        options, on="slurm", n_agents=2, environ=environ, settings=settings, folder=folder
    )


def test_an_array_of_slurm_is_queued_told_about_and_cancelled(options, tmp_path, slurm):
    made = on_slurm(replace(options, gpus="all"), tmp_path, partition="long", time="8:00:00")

    script = (made.folder / "job.sh").read_text()
    for line in ("--partition=long", "--time=8:00:00", "--array=0-1", "--gpus-per-task=1"):
        assert f"#SBATCH {line}\n" in script
    assert "--requeue" in script
    assert f"srun {sys.executable} -P -m sweepd_agent {SWEEP} " in script
    assert "s" * 40 not in script
    assert [agent.state for agent in made.status()] == ["running", "waiting"]

    (made.folder / "agent-0.exit").write_text("0\n")
    (made.folder / "agent-0.log").write_text("the agent leaves")
    found(tmp_path)[0].stop()

    assert [(a.state, a.exit_code) for a in made.status()] == [("ended", 0), ("lost", None)]
    assert made.logs("agent-0") == "the agent leaves"
    assert made.logs("agent-1") == ""


@pytest.mark.parametrize(
    ("asked", "given"),
    [pytest.param(30.0, "20.0", id="the usual"), pytest.param(50.0, "50.0", id="a person's own")],
)
def test_trials_on_slurm_end_before_slurm_kills_their_agent(options, tmp_path, slurm, asked, given):
    script = (
        on_slurm(replace(options, term_timeout_s=asked), tmp_path).folder / "job.sh"
    ).read_text()

    assert f" --term-timeout={given}\n" in script


def test_an_agent_without_gpus_asks_slurm_for_none(options, tmp_path, slurm):
    script = (on_slurm(options, tmp_path, cpus="4").folder / "job.sh").read_text()

    assert "#SBATCH --gpus" not in script
    assert "--cpus-per-task=4" in script


def on_ray(options, tmp_path, **settings):
    environ = {"WANDB_BASE_URL": "https://sweeps.example", "WANDB_API_KEY": "s" * 40}
    folder = tmp_path / "launches"
    return launch(options, on="ray", n_agents=2, environ=environ, settings=settings, folder=folder)


def test_where_ray_is_not_installed_the_sentence_says_how_it_is(options, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)

    with pytest.raises(
        LaunchError, match=r"ray is not installed here; pip install 'sweepd\[ray\]'"
    ):
        on_ray(options, tmp_path, address="127.0.0.1:6379")

    assert found(tmp_path) == []


@pytest.mark.parametrize(
    ("address", "said"),
    [
        pytest.param("http://head:8265", "is no address of a Ray cluster's", id="of jobs"),
        pytest.param("local", "is no address of a Ray cluster's", id="a cluster of its own"),
        pytest.param("head:six", "is no address of a Ray cluster's", id="no port"),
        pytest.param("127.0.0.1:1", "no Ray cluster answers at 127.0.0.1:1", id="nobody"),
        pytest.param("ray://127.0.0.1:1", "no Ray cluster answers at ray://", id="no client"),
    ],
)
def test_an_address_where_no_ray_cluster_is_is_named_at_once(
    options, tmp_path, monkeypatch, address, said
):
    monkeypatch.setitem(sys.modules, "ray", ModuleType("ray"))

    with pytest.raises(LaunchError, match=said):
        on_ray(options, tmp_path, address=address)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        pytest.param({"gpus": "all"}, "gpus must be a number of at least 0, not 'all'", id="gpus"),
        pytest.param({"cpus": "-1"}, "cpus must be a number of at least 0, not '-1'", id="cpus"),
        pytest.param({"gpus": "1.5"}, "gpus must be whole above 1, as Ray has it", id="parts"),
        pytest.param({"upload": "no"}, "upload must be true or false, not 'no'", id="upload"),
    ],
)
def test_a_wrong_setting_of_ray_is_named(options, tmp_path, settings, said):
    with pytest.raises(InvalidInput, match=said):
        on_ray(options, tmp_path, **settings)


def test_an_actor_of_ray_tells_again_how_its_agent_ended_when_nobody_hears_it(
    monkeypatch, wait_for
):
    class RayError(Exception):
        pass

    told = []

    def get(answer, timeout):
        told.append(answer)
        if len(told) < 3:
            raise RayError("the head node is away")

    fake = ModuleType("ray")
    fake.exceptions = SimpleNamespace(RayError=RayError)
    fake.get = get
    note = SimpleNamespace(remote=lambda name, code, words: (name, code, "usage:" in words))
    desk = SimpleNamespace(remote=lambda: SimpleNamespace(note=note))
    fake.remote = lambda actor: SimpleNamespace(options=lambda **how: desk)
    monkeypatch.setitem(sys.modules, "ray", fake)
    monkeypatch.setattr("sweepd_agent.launchers.ray._AGAIN_S", 0.0)

    AgentActor("one", ["--help"], {})

    wait_for(lambda: len(told) == 3)
    assert told == [("one", 0, True)] * 3


def plan(options, tmp_path, **settings):
    environ = {"WANDB_BASE_URL": "https://sweeps.example", "WANDB_API_KEY": "s" * 40}
    folder = tmp_path / "Sweep_1-k8s-1"
    return Plan(options, 3, folder, environ=environ, settings=settings)


def test_a_job_of_kubernetes_has_a_pod_for_each_agent_and_no_key(options, tmp_path):
    asked = plan(replace(options, gpus="all"), tmp_path, image="mine:1", memory="4Gi")
    files = manifests(asked, "sweep-1")

    job = files["job.yaml"]
    assert job["metadata"]["name"] == files["budget.yaml"]["metadata"]["name"] == "sweep-1"
    assert (job["spec"]["completions"], job["spec"]["parallelism"]) == (3, 3)
    assert job["spec"]["completionMode"] == "Indexed"
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert container["image"] == "mine:1"
    assert "python -P -m sweepd_agent" in container["command"][2]
    assert container["args"][0] == SWEEP
    assert container["resources"]["limits"] == {"memory": "4Gi", "nvidia.com/gpu": 1}
    assert "s" * 40 not in json.dumps(files)
    selector = files["budget.yaml"]["spec"]["selector"]["matchLabels"]
    assert selector.items() <= job["spec"]["template"]["metadata"]["labels"].items()
    assert files["kustomization.yaml"]["resources"] == ["job.yaml", "budget.yaml"]


@pytest.fixture
def start_pod(options, make_server, tmp_path, monkeypatch):
    """Start what a pod's container runs, for a server of one trial."""
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    server = make_server(config={"program": "train.py"}, n_trials=1)
    environ = {"WANDB_BASE_URL": server.url, "WANDB_API_KEY": "k" * 40}
    started = []

    def start_pod(status=None):
        server.status = status
        job = manifests(plan(options, tmp_path), "sweep-1")["job.yaml"]
        (container,) = job["spec"]["template"]["spec"]["containers"]
        command = [*container["command"], *container["args"]]
        started.append(subprocess.Popen(command, cwd=tmp_path, env={**os.environ, **environ}))
        return server, started[-1], job["spec"]["podFailurePolicy"]["rules"]

    yield start_pod
    for process in started:
        process.kill()
        process.wait()


def test_a_pod_that_is_told_to_end_has_not_done_its_part_and_is_no_failure(
    start_pod, write_program, wait_for, tmp_path
):
    write_program(PROGRAM)
    server, pod, rules = start_pod()
    wait_for((tmp_path / "started").exists, timeout_s=40)

    pod.terminate()

    code = pod.wait(40)
    assert [outcome["reason"] for outcome in server.outcomes] == ["preempted"]
    assert code != 0
    assert {"action": "Ignore", "onExitCodes": {"operator": "In", "values": [code]}} in rules


@pytest.mark.parametrize("status", [None, 400], ids=["the sweep is over", "the agent gives up"])
def test_a_pod_that_ends_by_itself_has_the_exit_code_of_its_agent(start_pod, write_program, status):
    write_program("")
    _, pod, _ = start_pod(status)

    assert pod.wait(40) == (0 if status is None else 1)


def test_a_pod_without_gpus_asks_for_none(options, tmp_path):
    job = manifests(plan(options, tmp_path), "sweep-1")["job.yaml"]

    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert "nvidia.com/gpu" not in container["resources"]["limits"]


def test_manifests_are_written_and_how_to_apply_them_is_told(options, tmp_path):
    environ = {"WANDB_BASE_URL": "https://sweeps.example"}

    made = launch(
        options, on="k8s", n_agents=3, environ=environ, settings={}, folder=tmp_path / "launches"
    )

    written = {path.name for path in made.folder.iterdir()}
    assert written == {"job.yaml", "budget.yaml", "kustomization.yaml", "launch.json"}
    assert yaml.safe_load((made.folder / "job.yaml").read_text())["kind"] == "Job"
    assert made.kept["told"] == f"kubectl apply --kustomize {made.folder}"


@pytest.mark.parametrize("sweep", ["sw1", "My_Sweep.1", "s" * 70, "s" * 35 + "-" * 30 + "s"])
def test_jobs_of_two_people_have_names_of_their_own_that_kubernetes_takes(options, tmp_path, sweep):
    environ = {"WANDB_BASE_URL": "https://sweeps.example"}
    options = replace(options, sweep=f"alice/toy/{sweep}")

    jobs = [
        launch(
            options, on="k8s", n_agents=1, environ=environ, settings={}, folder=tmp_path / person
        )
        for person in ("alice", "bob")
    ]

    names = [
        yaml.safe_load((job.folder / "job.yaml").read_text())["metadata"]["name"] for job in jobs
    ]
    assert names == [job.kept["job"] for job in jobs]
    assert len(set(names)) == 2
    assert all(re.fullmatch(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?", name) for name in names)
    assert max(map(len, names)) <= 52


def test_a_server_at_a_loopback_address_is_refused_for_a_cluster(options, tmp_path):
    with pytest.raises(LaunchError, match=r"pods cannot reach http://127\.0\.0\.1:8080"):
        launch(options, on="k8s", n_agents=1, environ=ENVIRON, settings={}, folder=tmp_path)

    assert list(Path(tmp_path).iterdir()) == []


def test_a_killed_keeper_does_not_make_its_agent_look_alive(
    start, write_program, tmp_path, wait_for
):
    write_program(PROGRAM)
    _, made = start(1)
    wait_for((tmp_path / "started").exists)
    (agent,) = made.kept["agents"]

    os.killpg(agent["pid"], signal.SIGKILL)

    wait_for(lambda: made.status()[0].state == "lost")
