"""Agents that are started on a cluster: by Slurm, Ray and Kubernetes."""

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace

import kubernetes_validate
import pytest
import yaml

from sweepd.errors import InvalidInput, LaunchError
from sweepd_agent import Options
from sweepd_agent.launchers import Plan
from sweepd_agent.launchers.k8s import manifests
from sweepd_agent.launchers.ray import AgentActor
from sweepd_agent.launchers.record import launch, launches_of

PROGRAM = "import pathlib, time\npathlib.Path('started').touch()\ntime.sleep(600)\n"
SWEEP = "alice/toy/sw1"


@pytest.fixture
def options(tmp_path):
    return Options(SWEEP, gpus="none", slots=1, folder=str(tmp_path))


def found(tmp_path):
    return launches_of(SWEEP, folder=tmp_path / "launches")


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


def test_an_agent_asks_for_the_gpus_that_a_trial_takes(options, tmp_path, slurm):
    several = replace(options, gpus="all", slots=None, gpus_per_trial=4)

    script = (on_slurm(several, tmp_path).folder / "job.sh").read_text()
    job = manifests(plan(several, tmp_path), "sweep-1")["job.yaml"]

    assert "#SBATCH --gpus-per-task=4\n" in script
    assert "--gpus-per-trial=4" in script
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == 4


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


# The first Kubernetes that has all of a Job that is used, and the newest whose schemas are known.
@pytest.mark.parametrize("version", ["1.29", kubernetes_validate.latest_version()])
@pytest.mark.parametrize(
    ("gpus", "given"),
    [("none", {}), ("all", {"gpus": "4", "cpu": "500m", "memory": "64Gi", "secret": "mine"})],
    ids=["as it is", "with every setting"],
)
def test_kubernetes_takes_the_manifests(options, tmp_path, version, gpus, given):
    files = manifests(plan(replace(options, gpus=gpus), tmp_path, **given), "sweep-1")

    for name in ("job.yaml", "budget.yaml"):
        written = yaml.safe_load(yaml.safe_dump(files[name]))
        kubernetes_validate.validate(written, version, strict=True)


@pytest.mark.parametrize(("n_agents", "left"), [(1, 0), (2, 1), (8, 4)])
def test_nodes_can_be_drained_though_a_job_cannot_be_scaled(options, tmp_path, n_agents, left):
    asked = replace(plan(options, tmp_path), n_agents=n_agents)

    spec = manifests(asked, "sweep-1")["budget.yaml"]["spec"]

    assert spec["minAvailable"] == left
    assert "maxUnavailable" not in spec  # for a Job it lets no pod be evicted, ever


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
    environ = {"WANDB_BASE_URL": "http://127.0.0.1:8080"}
    with pytest.raises(LaunchError, match=r"pods cannot reach http://127\.0\.0\.1:8080"):
        launch(options, on="k8s", n_agents=1, environ=environ, settings={}, folder=tmp_path)

    assert list(Path(tmp_path).iterdir()) == []
