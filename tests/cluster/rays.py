"""A Ray of three nodes on this machine, each with a GPU that is only a word.

A node has process ids of its own, so that killing its first process kills all of it, as when the
machine is lost; and files of its own where Ray keeps its session, so that nodes share nothing that
machines would not. All is in a network without a way out: Ray listens on every address.
"""

import ctypes
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from live import run, wait_for

__all__ = ["TOOLS", "Cluster", "own_network"]

TOOLS = ("unshare", "ip", "mount", "uv")

_CLONE_NEWNET = 0x40000000
_PORT = 6379
_MEMORY_BYTES = 80 * 1024 * 1024
#: Ray has workers give way to all else, which on a busy machine means that they stand still; and
#: beneath `uv run` it would run them by uv.
_ENVIRON = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_worker_niceness": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
}


@contextmanager
def own_network() -> Iterator[None]:
    """Put this thread, and the processes that it starts, into a network of its own."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open("/proc/thread-self/ns/net") as before:
        if libc.unshare(_CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "this machine makes no network namespaces")
        try:
            subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
            yield
        finally:
            libc.setns(before.fileno(), _CLONE_NEWNET)


class Cluster:
    """Nodes that end with it.

    Args:
        python: of an environment with Ray and sweepd.
    """

    def __init__(self, python: Path) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="sweepd-ray-"))
        self.address = f"127.0.0.1:{_PORT}"
        self.nodes: dict[str, subprocess.Popen[bytes]] = {}
        self.python = python
        self._commands: dict[str, list[str]] = {}

    def start(self) -> None:
        """Start the head, then two more nodes at once, and wait for them."""
        head = ("--head", f"--port={_PORT}", "--include-dashboard=false")
        self._start("head", 1, *head, f"--temp-dir={self.folder}/session")
        self._wait("head")
        for number, name in enumerate(("n2", "n3"), 2):
            self._start(name, number, f"--address={self.address}")
        for name in ("n2", "n3"):
            self._wait(name)

    def kill_node(self, name: str) -> None:
        """Kill all that a node runs, as if the machine were gone."""
        node = self.nodes.pop(name)
        node.kill()
        node.wait()

    def free_gpus(self) -> float:
        """Return how many GPUs no actor holds, on the nodes that are there."""
        ask = f"import ray; ray.init({self.address!r}, logging_level='ERROR', log_to_driver=False);"
        ask += "print(ray.available_resources().get('GPU', 0.0))"
        environ = {**os.environ, **_ENVIRON}
        return float(run([self.python, "-c", ask], env=environ, cwd=self.folder))

    def stop(self) -> None:
        """End every node, and remove the folder."""
        for name in list(self.nodes):
            self.kill_node(name)
        shutil.rmtree(self.folder)

    def _start(self, name: str, number: int, *options: str) -> None:
        session, own = self.folder / "session", self.folder / name
        session.mkdir(exist_ok=True)
        own.mkdir()
        ray = [str(self.python.parent / "ray"), "start", "--block", *options]
        ray += ["--num-cpus=2", "--num-gpus=1", f"--object-store-memory={_MEMORY_BYTES}"]
        ray += [f"--node-ip-address=127.0.0.{number}"]
        # The head's files are where the commands of this machine look for them.
        there = "" if name == "head" else f"mount --bind {own} {session} && "
        isolate = ["unshare", "--pid", "--fork", "--kill-child", "--mount"]
        self._commands[name] = [*isolate, "sh", "-c", f'{there}exec "$@"', "sh", *ray]
        self._spawn(name)

    def _spawn(self, name: str) -> None:
        with (self.folder / f"{name}.log").open("wb") as log:
            self.nodes[name] = subprocess.Popen(
                self._commands[name],
                env={**os.environ, **_ENVIRON, "NODE": name},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def _wait(self, name: str) -> None:
        log, n_starts = self.folder / f"{name}.log", 1

        def has_started() -> bool:
            nonlocal n_starts
            if self.nodes[name].poll() is not None:
                # Ray waits 30 s for its own daemon, which is not enough on a busy machine.
                is_late = "timed out during startup" in log.read_text()
                assert is_late and n_starts < 4, log.read_text()[-3000:]  # noqa: PT018
                n_starts += 1
                self._spawn(name)
            return "Ray runtime started" in log.read_text()

        wait_for(f"the start of {name}", has_started, seconds=200)
