"""A service in a process of its own, and the unmodified wandb client that talks to it.

`SWEEPD_CLIENT` names the python of an environment with another version of the client.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["CLIENT", "LiveService", "RealClient", "started"]

#: The interpreter whose `wandb` the tests use.
CLIENT = Path(os.environ.get("SWEEPD_CLIENT", sys.executable))


@dataclass(frozen=True)
class LiveService:
    """A service in a process of its own, as a user starts it."""

    url: str
    key: str
    data: Path
    process: "subprocess.Popen[bytes]"


@contextlib.contextmanager
def started(data: Path, *options: str) -> Iterator[LiveService]:
    """Start `sweep serve` on a free port; end it at the end."""
    log = data.with_suffix(".log")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("SWEEPD_", "WANDB_"))}
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "sweepd.cli", "serve", "--port=0", f"--data={data}", *options],
            stdout=output,
            stderr=output,
            env={**environment, "HOME": str(data.parent)},
        )
    try:
        deadline = time.monotonic() + 30
        while not (data / "server.json").exists():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.02)
        url = json.loads((data / "server.json").read_text())["url"]
        key = json.loads((data / "credentials.json").read_text())["api_key"]
        yield LiveService(url, key, data, process)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.wait(10)


class RealClient:
    """Runs programs that use the unmodified wandb client, signed in to one service."""

    def __init__(self, folder: Path, live: LiveService) -> None:
        self.folder = folder / "work"
        for name in ("work", "runs"):
            (folder / name).mkdir()
        self.url, self.key = live.url, live.key
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("SWEEPD_", "WANDB_"))}
        self.environment = {
            **kept,
            "HOME": str(folder),
            "PATH": f"{CLIENT.parent}:{os.environ['PATH']}",
            "WANDB_BASE_URL": live.url,
            "WANDB_API_KEY": live.key,
            "WANDB_DIR": str(folder / "runs"),
            "WANDB_CONFIG_DIR": str(folder / "config"),
            "WANDB_CACHE_DIR": str(folder / "cache"),
            "WANDB_DATA_DIR": str(folder / "staging"),
            "WANDB_ERROR_REPORTING": "false",
            "WANDB_X_FILE_STREAM_TRANSMIT_INTERVAL": "1",
            "WANDB_SILENT": "true",
        }

    def run(
        self, *command: str, is_good: bool = True, timeout_s: float = 60, **environment: str
    ) -> str:
        """Run a command to its end; return what it printed, both streams together."""
        done = subprocess.run(
            command,
            cwd=self.folder,
            env={**self.environment, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        assert (done.returncode == 0) == is_good, f"exit {done.returncode}\n{done.stdout}"
        return done.stdout

    def python(self, program: str, *, timeout_s: float = 60, **environment: str) -> Any:
        """Run a program; return what it printed last, read as JSON."""
        output = self.run(str(CLIENT), "-c", program, timeout_s=timeout_s, **environment)
        return json.loads(output.strip().splitlines()[-1])

    def wandb(self, *arguments: str, is_good: bool = True, **environment: str) -> str:
        """Run the `wandb` command."""
        environment = {"WANDB_SILENT": "false", **environment}
        return self.run(str(CLIENT), "-m", "wandb", *arguments, is_good=is_good, **environment)
