"""A control group with a limit on memory, of cgroup v1 or v2, for a command to be put into."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from live import wait_for

__all__ = ["memory_group"]

_ROOT = Path("/sys/fs/cgroup")


@contextmanager
def memory_group(limit_bytes: int) -> Iterator[list[str]]:
    """Make a group and give what to put before a command to run it there; remove it at the end.

    Skips the test where this machine makes no such groups.
    """
    group = _make(limit_bytes)
    try:
        yield ["sh", "-c", f'echo $$ > {group / "cgroup.procs"} && exec "$@"', "sh"]
    finally:
        wait_for("the end of all in the group", lambda: _is_removed(group))


def _is_removed(group: Path) -> bool:
    """Kill what is left in a group; return whether it could be removed."""
    for left in (group / "cgroup.procs").read_text().split():
        with suppress(ProcessLookupError):
            os.kill(int(left), signal.SIGKILL)
    with suppress(OSError):
        group.rmdir()
    return not group.exists()


def _make(limit_bytes: int) -> Path:
    is_v2 = (_ROOT / "cgroup.controllers").exists()
    group = (_ROOT if is_v2 else _ROOT / "memory") / f"sweepd-test-{os.getpid()}"
    try:
        if is_v2:
            (_ROOT / "cgroup.subtree_control").write_text("+memory")
        group.mkdir()
        name = "memory.max" if is_v2 else "memory.limit_in_bytes"
        (group / name).write_text(str(limit_bytes))
    except OSError as error:
        with suppress(OSError):
            group.rmdir()
        pytest.skip(f"no control group with a memory limit can be made here: {error}")
    with suppress(OSError):  # where there is swap it would be slow, and no kill
        (group / "memory.swap.max").write_text("0")
    return group
