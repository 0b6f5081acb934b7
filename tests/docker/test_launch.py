"""`sweep launch --on docker` against a real engine and the service on this machine."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from engine import Engine

sys.path.insert(0, str(Path(__file__).parents[1]))

from live import Service, wait_for

TOY = Path(__file__).parent / "toy"

pytestmark = pytest.mark.timeout(600)


def test_containers_finish_a_sweep_though_one_is_killed(
    images: Engine, service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    for name, value in images.env.items():
        monkeypatch.setenv(name, value)
    sweep = json.loads(service.sweep("create", "sweep.yaml", "--json", cwd=TOY))["sweep"]
    options = ("--on=docker", "--agents=2", "--gpus=none", "--slots=1")
    image = ("--set", "image=sweepd-agent:slim")

    def agents() -> list[dict[str, object]]:
        found: list[dict[str, object]] = json.loads(
            service.sweep("launch", sweep, "--status", "--json", cwd=TOY)
        )
        return found

    service.sweep("launch", sweep, *options, *image, cwd=TOY)
    try:
        wait_for(
            "the first finished trial",
            lambda: service.status(sweep)["finished"],
            seconds=120,
        )
        images.docker("kill", str(agents()[0]["agent"]))
        wait_for(
            "the sweep's end",
            lambda: service.status(sweep)["state"] == "FINISHED",
            seconds=180,
        )
        wait_for("the other's exit", lambda: agents()[1]["state"] == "ended", seconds=60)
        said = service.sweep("launch", sweep, "--logs", cwd=TOY)
        service.sweep("launch", sweep, "--stop", cwd=TOY)
    finally:
        images.docker("rm", "--force", *(str(one["agent"]) for one in agents()))

    status = service.status(sweep)
    assert (status["finished"], status["failed"]) == (12, 0)
    assert "the agent leaves" in said


RUNS = """query($user: String!) { project(name: "uncategorized", entityName: $user) {
  runs(first: 9) { edges { node { name state history(samples: 100000) } } } } }"""
#: A shell that is the container's first process, and passes no signal on.
WRAPPED = ("--entrypoint=sh", "sweepd-agent:slim", "-c", 'sweep "$@"; exit $?', "sh")


@pytest.mark.parametrize(
    ("image", "grace_s", "code"),
    [
        pytest.param(("sweepd-agent:slim",), 30, "0", id="told to end"),
        pytest.param(WRAPPED, 5, "137", id="killed, as a shell is told in its place"),
    ],
)
def test_a_container_that_is_stopped_leaves_its_trial_to_the_next(
    images: Engine, service: Service, image: tuple[str, ...], grace_s: int, code: str
) -> None:
    sweep = json.loads(service.sweep("create", "patient.yaml", "--json", cwd=TOY))["sweep"]
    # As anybody would start it, without --init: the agent is the container's first process.
    start = ["run", "--detach", "--network=host", f"--volume={TOY}:/program:ro"]
    start += ["--workdir=/program", "--env=WANDB_DIR=/tmp", f"--env=WANDB_API_KEY={service.key}"]
    start += [f"--env=WANDB_BASE_URL={service.url}", *image]
    start += ["agent", sweep, "--gpus=none", "--slots=1"]
    started = []

    def runs() -> list[dict[str, Any]]:
        found = service.graphql(RUNS, user=service.user)["project"]["runs"]["edges"]
        return [edge["node"] for edge in found]

    try:
        started.append(images.docker(*start).strip())
        wait_for("the first rows", lambda: runs() and runs()[0]["history"], seconds=120)
        images.docker("stop", f"--time={grace_s}", started[0])
        exit_code = images.docker("inspect", "--format={{.State.ExitCode}}", started[0]).strip()
        stopped = service.status(sweep)
        (before,) = runs()
        started.append(images.docker(*start).strip())
        wait_for(
            "the sweep's end", lambda: service.status(sweep)["state"] == "FINISHED", seconds=240
        )
        images.docker("wait", started[1])
    finally:
        images.docker("rm", "--force", *started)

    assert exit_code == code
    if code == "0":  # it has said so itself; of what was killed the service learns in time
        assert (stopped["running"], stopped["queued"], stopped["failed"]) == (0, 1, 0)
    (after,) = runs()
    assert (after["name"], after["state"]) == (before["name"], "finished")
    steps = [json.loads(row)["_step"] for row in after["history"]]
    assert steps == list(range(len(before["history"]) + 3))
    assert service.status(sweep)["issued"] == 1
