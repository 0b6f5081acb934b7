"""`sweep launch --on docker` against a real engine and the service on this machine."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from engine import Engine

sys.path.insert(0, str(Path(__file__).parents[1]))

from live import Service, wait_for

TOY = Path(__file__).parent / "toy"

pytestmark = pytest.mark.timeout(600)


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    service = Service(tmp_path / "data")
    service.start()
    try:
        yield service
    finally:
        service.stop()


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
