"""The real service and the real client as subprocesses, for the tests of the slower tiers."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

ROOT = Path(__file__).parents[1]
SWEEP = (sys.executable, "-m", "sweepd.cli")
_STATUS = """query($name: String!) { sweepdSweep(name: $name) { state
  sweepdStatus { issued running finished failed queued } } }"""
#: By this, deadlines are longer: where a machine has other work all takes long, and only a hang is
#: to be found.
PATIENCE = float(os.environ.get("SWEEPD_PATIENCE", "1"))
MNIST = ROOT.parent / "shared" / "data"


def wait_for(what: str, condition: Callable[[], Any], *, seconds: float = 30) -> Any:
    """Return the condition's first true answer; look often, and fail in words at the deadline."""
    deadline, pause = time.monotonic() + seconds * PATIENCE, 0.02
    while not (found := condition()):
        assert time.monotonic() < deadline, f"{what} did not happen within {seconds * PATIENCE} s"
        time.sleep(pause)
        pause = min(1.2 * pause, 0.1)
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Process(Protocol):
    """What a service runs in: the part of `subprocess.Popen` that is used."""

    @property
    def pid(self) -> int:
        """Return its id."""

    def poll(self) -> int | None:
        """Return the exit code, None while it runs."""

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit code once it has ended."""

    def send_signal(self, number: int, /) -> None:
        """Send a signal to it alone."""


def execute(arguments: Sequence[str], env: Mapping[str, str], log: Path) -> Process:
    """Run `sweep` with these arguments in a session of its own; append what it prints to `log`."""
    with log.open("ab") as file:
        return subprocess.Popen(
            [*SWEEP, *arguments],
            env=dict(env),
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


class Service:
    """`sweep serve` on a port and a data folder that stay the same over restarts.

    Attributes:
        begin: how its process is started; where tests start many, there is a quicker way.
    """

    begin: Callable[[Sequence[str], Mapping[str, str], Path], Process] = staticmethod(execute)

    def __init__(self, data: Path, **settings: str) -> None:
        self.data = data
        self._settings = settings
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.home = data.parent / "home"
        self.home.mkdir(parents=True, exist_ok=True)
        self._process: Process | None = None

    def start(self) -> None:
        arguments = ["serve", "--port", str(self.port), "--data", str(self.data)]
        log = self.data.parent / "service.log"
        self._process = self.begin(arguments, self._environment(self._settings), log)
        wait_for("the service's health", self._is_up, seconds=60)

    def kill(self) -> None:
        """SIGKILL, as when the power goes."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(10 * PATIENCE)

    def signal(self, number: int) -> Process:
        """Send a signal to the service alone; return its process."""
        assert self._process is not None
        self._process.send_signal(number)
        return self._process

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def fails_to_start(self) -> str:
        """Start it where it cannot; return all that it said before it ended."""
        done = subprocess.run(
            [*SWEEP, "serve", "--port", str(self.port), "--data", str(self.data)],
            env=self._environment(self._settings),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode != 0, done.stdout
        return done.stdout

    def stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(15 * PATIENCE)
            except subprocess.TimeoutExpired:
                self.kill()
                raise

    @property
    def key(self) -> str:
        return str(json.loads((self.data / "credentials.json").read_text())["api_key"])

    @property
    def user(self) -> str:
        return str(json.loads((self.data / "credentials.json").read_text())["user"])

    def environment(self, **more: str) -> dict[str, str]:
        """What a client needs to reach this service, in a home of its own."""
        return self._environment({"WANDB_BASE_URL": self.url, "WANDB_API_KEY": self.key, **more})

    def _environment(self, more: Mapping[str, str]) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("WANDB_", "SWEEPD_"))}
        return {
            **kept,
            "HOME": str(self.home),
            "NETRC": str(self.home / ".netrc"),
            "WANDB_ERROR_REPORTING": "false",
            "OMP_NUM_THREADS": "1",
            **more,
        }

    def graphql(self, document: str, **variables: Any) -> dict[str, Any]:
        import base64

        token = base64.b64encode(f"api:{self.key}".encode()).decode()
        request = urllib.request.Request(
            f"{self.url}/graphql",
            data=json.dumps({"query": document, "variables": variables}).encode(),
            headers={"Content-Type": "application/json", "Authorization": f"Basic {token}"},
        )
        with urllib.request.urlopen(request, timeout=30 * PATIENCE) as answer:
            data: dict[str, Any] = json.load(answer)["data"]
        return data

    def sweep(self, *arguments: str, cwd: Path, timeout: float = 120) -> str:
        """Run `sweep …` against this service and return what it printed."""
        return run(
            [*SWEEP, *arguments],
            env=self.environment(),
            cwd=cwd,
            timeout=timeout,
        )

    def status(self, sweep: str) -> dict[str, Any]:
        """Return a sweep's `state`, and how many trials are `issued`, `running` and so on.

        It costs one request: a test may look often.
        """
        found = self.graphql(_STATUS, name=sweep.rsplit("/", 1)[-1])["sweepdSweep"]
        return {"state": found["state"], **found["sweepdStatus"]}

    def _is_up(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self.data.parent / "service.log").read_text()[-3000:]
        try:
            with urllib.request.urlopen(f"{self.url}/healthz", timeout=2 * PATIENCE) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False


def run(
    command: Sequence[str | Path], *, env: Mapping[str, str], cwd: Path, timeout: float = 120
) -> str:
    done = subprocess.run(
        [str(part) for part in command],
        env=dict(env),
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout * PATIENCE,
        check=False,
    )
    assert done.returncode == 0, (
        f"{' '.join(map(str, command))} exited {done.returncode}:\n{done.stdout}\n{done.stderr}"
    )
    return done.stdout


def plain_client(folder: Path) -> Path:
    """Make an environment that holds the client from PyPI and nothing of ours; return its bin."""
    uv = shutil.which("uv")
    assert uv is not None, "uv is needed to make the client's environment"
    import wandb

    environment = folder / "venv"
    quiet = {**os.environ, "VIRTUAL_ENV": str(environment)}
    run([uv, "venv", "--quiet", "--python", sys.executable, environment], env=quiet, cwd=folder)
    run(
        [uv, "pip", "install", "--quiet", f"wandb=={wandb.__version__}"],
        env=quiet,
        cwd=folder,
        timeout=300,
    )
    return environment / "bin"
