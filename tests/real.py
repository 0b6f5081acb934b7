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

import pytest
import trustme

__all__ = ["CLIENT", "LiveService", "RealClient", "certified", "started"]

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
        deadline = time.monotonic() + 60
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


def certified(folder: Path) -> tuple[tuple[str, ...], dict[str, str]]:
    """Make an authority and a certificate in a folder.

    Returns the options with which a service serves HTTPS, and the variables by which a client
    trusts it: the first is for wandb-core, the second for what the client asks from Python.
    """
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1", "localhost")
    key, cert, ca = (folder / name for name in ("key.pem", "cert.pem", "ca.pem"))
    issued.private_key_pem.write_to_path(key)
    cert.write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))
    authority.cert_pem.write_to_path(ca)
    return (
        (f"--tls-cert={cert}", f"--tls-key={key}"),
        {"SSL_CERT_FILE": str(ca), "REQUESTS_CA_BUNDLE": str(ca)},
    )


class RealClient:
    """Runs programs that use the unmodified wandb client, signed in to one service."""

    def __init__(self, folder: Path, live: LiveService) -> None:
        self.folder = folder / "work"
        for name in ("work", "runs"):
            (folder / name).mkdir()
        self.url, self.key = live.url, live.key
        others = (
            "SWEEPD_",
            "WANDB_",
            "COVERAGE_",
        )  # it runs none of our code, but slower if traced
        kept = {k: v for k, v in os.environ.items() if not k.startswith(others)}
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
        self, *command: str, is_good: bool = True, timeout_s: float = 100, **environment: str
    ) -> str:
        """Run a command to its end; return what it printed, both streams together.

        One that hangs fails, with the stacks of its threads and those of its wandb-core.
        """
        process = subprocess.Popen(
            command,
            cwd=self.folder,
            env={**self.environment, **environment, "PYTHONFAULTHANDLER": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            output, _ = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            pytest.fail(f"not ended after {timeout_s:g} s\n{_stacks(process)}")
        assert (process.returncode == 0) == is_good, f"exit {process.returncode}\n{output}"
        return output

    def python(self, program: str, *, timeout_s: float = 100, **environment: str) -> Any:
        """Run a program; return what it printed last, read as JSON."""
        output = self.run(str(CLIENT), "-c", program, timeout_s=timeout_s, **environment)
        return json.loads(output.strip().splitlines()[-1])

    def wandb(
        self, *arguments: str, is_good: bool = True, timeout_s: float = 100, **environment: str
    ) -> str:
        """Run the `wandb` command."""
        command = (str(CLIENT), "-m", "wandb", *arguments)
        environment = {"WANDB_SILENT": "false", **environment}
        return self.run(*command, is_good=is_good, timeout_s=timeout_s, **environment)


def _stacks(process: "subprocess.Popen[str]") -> str:
    """End a program that hangs; return what it printed and where it and its children stood."""
    children = [
        int(pid)
        for thread in Path(f"/proc/{process.pid}/task").iterdir()
        for pid in (thread / "children").read_text().split()
    ]
    for pid in children:
        os.kill(pid, signal.SIGQUIT)  # the Go runtime says where each goroutine stands
    process.send_signal(signal.SIGABRT)  # and Python's fault handler where each thread does
    try:
        return process.communicate(timeout=10)[0]
    except subprocess.TimeoutExpired:
        process.kill()
        for pid in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return process.communicate()[0]
