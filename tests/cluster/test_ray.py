"""`sweep launch --on ray` on a real Ray of three nodes, one of which dies."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "fault"))
sys.path.insert(0, str(Path(__file__).parent))

import toy_grid
from environments import environment
from live import ROOT, Service, run, wait_for
from needs import need
from rays import TOOLS, Cluster, own_network

pytestmark = pytest.mark.timeout(900)

N_POINTS = 8
#: Begins the toy: each start is written down, the run and what it saw of its node.
NOTED = """
import json, os, pathlib, uuid
start = [os.environ["WANDB_RUN_ID"], os.environ["NODE"], os.environ["CUDA_VISIBLE_DEVICES"]]
pathlib.Path({starts!r}, uuid.uuid4().hex + ".json").write_text(json.dumps(start))
"""


@pytest.fixture(scope="module")
def python() -> Path:
    """Return the interpreter of an environment with Ray, which ours does without."""
    need(*TOOLS, what="a Ray cluster cannot be started")
    needed = (ROOT / "pyproject.toml").read_text()
    return environment("ray", "--editable", f"{ROOT}[ray]", like=needed)


@pytest.fixture(scope="module")
def cluster(python: Path) -> Iterator[Cluster]:
    with own_network():
        cluster = Cluster(python)
        try:
            cluster.start()
            yield cluster
        finally:
            cluster.stop()


@pytest.fixture
def service(cluster: Cluster, tmp_path: Path) -> Iterator[Service]:
    service = Service(tmp_path / "data", SWEEPD_TIME_SCALE="0.1")
    service.start()
    try:
        yield service
    finally:
        service.stop()


class Launched:
    """A grid of toys, and what there is to be known of its agents on Ray."""

    def __init__(self, service: Service, cluster: Cluster, folder: Path, *, pause: float) -> None:
        self._service = service
        self.folder, self._starts = folder / "work", folder / "starts"
        self._starts.mkdir()
        self.sweep = toy_grid.begin(service, self.folder, n_points=N_POINTS, pause=pause)
        program = self.folder / "toy.py"
        program.write_text(NOTED.format(starts=str(self._starts)) + program.read_text())
        state = {"XDG_STATE_HOME": str(folder / "state"), "RAY_ADDRESS": cluster.address}
        self._environ, self._python = service.environment(**state), cluster.python
        self("--on=ray", "--agents=2", "--slots=1")

    def __call__(self, *arguments: str) -> str:
        """Run `sweep launch` by uv, where Ray is installed, and return what it printed."""
        command = ["uv", "run", "--no-project", self._python, "-m", "sweepd.cli", "launch"]
        command += [self.sweep, *arguments]
        return run(command, env=self._environ, cwd=self.folder, timeout=200)

    def is_over(self) -> bool:
        """Return whether all trials are done."""
        return bool(self._service.status(self.sweep)["state"] == "FINISHED")

    def agents(self) -> list[tuple[str, int | None]]:
        """Return each agent's state and exit code."""
        found = json.loads(self("--status", "--json"))
        return [(agent["state"], agent["exit_code"]) for agent in found]

    def starts(self) -> list[tuple[str, str, str]]:
        """Return the run, the node and the GPU of every start of a trial so far, in order."""
        notes = sorted(self._starts.glob("*.json"), key=lambda path: path.stat().st_mtime_ns)
        return [tuple(json.loads(note.read_text())) for note in notes]

    def n_nodes(self) -> int:
        """Return on how many nodes trials have been started."""
        return len({node for _, node, _ in self.starts()})


def test_sweep_on_ray_ends_complete_and_exact_though_a_node_dies(
    cluster: Cluster, service: Service, tmp_path: Path
) -> None:
    launched = Launched(service, cluster, tmp_path, pause=2)
    wait_for("agents on two nodes", lambda: launched.n_nodes() == 2, seconds=120)
    run_lost, node_lost, _ = [one for one in launched.starts() if one[1] != "head"][-1]

    cluster.kill_node(node_lost)
    wait_for("the sweep's end", launched.is_over, seconds=300)
    wait_for("the agents' exit", lambda: launched.agents() == [("ended", 0)] * 2, seconds=120)

    toy_grid.check(service, launched.sweep, n_points=N_POINTS)
    starts = launched.starts()
    assert len([one for one in starts if one[0] == run_lost]) == 2
    assert {gpu for _, _, gpu in starts} == {"0"}
    assert {node for _, node, _ in starts} == {"head", "n2", "n3"}
    assert launched("--logs").count("the agent leaves") == 2
    assert cluster.free_gpus() == 2


def test_agents_on_ray_are_stopped_in_order_and_their_trials_wait(
    cluster: Cluster, service: Service, tmp_path: Path
) -> None:
    launched = Launched(service, cluster, tmp_path, pause=100)
    wait_for("two trials", lambda: len(launched.starts()) == 2, seconds=120)

    launched("--stop")

    assert launched.agents() == [("ended", 0)] * 2
    status = service.status(launched.sweep)
    assert (status["running"], status["failed"]) == (0, 0)
    assert cluster.free_gpus() == 2
