"""Agents as subprocesses that a test may kill."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from live import PATIENCE, Service

__all__ = ["agent", "family"]


@contextmanager
def agent(
    service: Service,
    sweep: str,
    folder: Path,
    *,
    slots: int = 1,
    url: str | None = None,
    before: Sequence[str] = (),
    **more: str,
) -> Iterator["subprocess.Popen[bytes]"]:
    """Run an agent of a sweep in a folder, by way of `url` if it is to reach the service there.

    `before` is put before its command, which has to end up as the same process.
    """
    options = ["--gpus", "none", "--slots", str(slots)]
    with (folder / f"agent-{os.urandom(3).hex()}.log").open("wb") as log:
        process = subprocess.Popen(
            [*before, sys.executable, "-m", "sweepd_agent", sweep, *options],
            env=service.environment(**({"WANDB_BASE_URL": url} if url else {}), **more),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(30 * PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def family(pid: int) -> list[int]:
    """Return a process and all that descend from it; one that ends meanwhile has no children."""
    found = [pid]
    for one in found:
        with suppress(FileNotFoundError, ProcessLookupError):
            for children in Path(f"/proc/{one}/task").glob("*/children"):
                found += [int(child) for child in children.read_text().split()]
    return found
