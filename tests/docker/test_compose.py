"""The compose file on a real engine: three agents sweep over the compose network."""

import json
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from engine import Engine

ROOT = Path(__file__).parents[2]
TOY = Path(__file__).parent / "toy"
KEY = "composetest0" + "k" * 40
PORT = "18080"

pytestmark = pytest.mark.timeout(900)


def wait_for(what: str, condition: Callable[[], bool], *, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen within {seconds} s"
        time.sleep(0.5)


class Project:
    """The compose project of this repository, with the toy program mounted."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.env = {
            "WANDB_API_KEY": KEY,
            "AGENT_TARGET": "slim",
            "PROGRAM_DIR": str(TOY),
            "SWEEPD_PORT": PORT,
            "SWEEPD_PUBLIC_URL": f"http://127.0.0.1:{PORT}",
        }

    def compose(self, *arguments: str) -> str:
        return self.engine.compose(
            f"--project-directory={ROOT}",
            f"--file={ROOT / 'docker-compose.yml'}",
            *arguments,
            env=self.env,
        )

    def sweep(self, *arguments: str) -> str:
        """Run `sweep …` in a one-off agent container on the compose network."""
        return self.compose("run", "--rm", "--no-deps", "-T", "agent", *arguments)

    def killed(self) -> list[str]:
        """Return the names of stopped containers that had to be killed: 128 + SIGKILL."""
        label = "label=com.docker.compose.project=sweepd-test"
        rows = self.engine.docker(
            "ps", "--all", f"--filter={label}", "--filter=exited=137", "--format={{.Names}}"
        )
        return rows.split()

    def status(self, sweep: str) -> dict[str, object]:
        text = self.sweep("status", sweep, "--json")
        return json.loads(text[text.index("{") : text.rindex("}") + 1])

    def is_healthy(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{PORT}/healthz", timeout=2) as answer:
                return answer.status == 200
        except OSError:
            return False


@pytest.fixture
def project(images: Engine) -> Iterator[Project]:
    project = Project(images)
    try:
        yield project
    finally:
        project.compose("down", "--volumes", "--timeout=5")


def test_three_agents_finish_a_sweep_over_the_compose_network_and_a_restart(
    project: Project,
) -> None:
    project.compose("up", "-d", "--no-build", "service")
    wait_for("the service's health", project.is_healthy, seconds=60)
    created = project.sweep("create", "sweep.yaml", "--json")
    sweep = json.loads(created[created.index("{") : created.rindex("}") + 1])["sweep"]

    project.env["SWEEP"] = sweep
    project.compose("up", "-d", "--no-build", "--scale", "agent=3")
    wait_for(
        "the first finished trial",
        lambda: int(str(project.status(sweep)["finished"])) >= 1,
        seconds=120,
    )
    project.compose("restart", "service")
    wait_for("the service's return", project.is_healthy, seconds=60)
    wait_for(
        "the sweep's end",
        lambda: project.status(sweep)["state"] == "FINISHED",
        seconds=180,
    )

    status = project.status(sweep)
    assert status["finished"] == 12
    assert status["failed"] == 0
    assert status["hosts_seen"] == 3
    project.compose("stop", "--timeout=8")
    assert project.killed() == []


def test_the_service_runs_as_a_plain_user(images: Engine) -> None:
    who = images.docker("run", "--rm", "--entrypoint=id", "sweepd-service", "-u").strip()

    assert who.endswith("10001")


def test_an_empty_key_is_refused_in_words(images: Engine) -> None:
    done = subprocess.run(
        ["docker", "run", "--rm", "-e", "WANDB_API_KEY=", "sweepd-service"],
        env={**images.env, "PATH": "/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/bin"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 2
    assert "WANDB_API_KEY" in done.stderr
    assert "Traceback" not in done.stderr
