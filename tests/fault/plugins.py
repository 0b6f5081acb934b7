"""Search methods that misbehave, as plug-ins of a service, and the processes that run them."""

import contextlib
import os
import signal
from pathlib import Path

from live import Service

__all__ = ["install_method", "kill_workers"]


def install_method(site: Path, name: str, code: str) -> None:
    """Lay out a package that adds a search method by its entry point.

    Args:
        site: the folder, which is made.
        name: of the method; its class in `code` is the same, capitalised.
        code: of the module.
    """
    site.mkdir()
    module = f"{name}_search"
    (site / f"{module}.py").write_text(code)
    facts = site / f"{module}-1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
    entry = f"[sweepd.method]\n{name} = {module}:{name.capitalize()}\n"
    (facts / "entry_points.txt").write_text(entry)


def kill_workers(service: Service) -> None:
    """Send SIGKILL to the processes that the service computes in."""
    for children in Path(f"/proc/{service.pid}/task").glob("*/children"):
        for pid in children.read_text().split():
            with contextlib.suppress(ProcessLookupError, FileNotFoundError):  # it has just ended
                if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    os.kill(int(pid), signal.SIGKILL)
