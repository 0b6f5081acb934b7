"""Processes: how the warm parent starts them, and how none of them outlives it."""

import contextlib
import ctypes
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import IO

__all__ = [
    "adopt_orphans",
    "die_with_parent",
    "end_children",
    "fork",
    "fork_linked",
    "kill_group",
    "kill_run",
    "kill_strays",
    "signal_child",
    "spawn",
    "unnamed_file",
]

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_MFD_CLOEXEC = 1
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None
_LAUNCH = str(Path(__file__).with_name("launch.py"))


def fork() -> int:
    """Fork with every signal held back; the child has none of our handlers, and dies with us."""
    parent = os.getpid()
    old = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        pid = os.fork()
        if pid == 0:
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT):
                signal.signal(number, signal.SIG_DFL)
            die_with_parent(parent, signal.SIGKILL)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, old)
    return pid


def fork_linked() -> tuple[int, socket.socket]:
    """Fork as `fork` does; return what it does, and this side's end of a socket between the two."""
    ours, theirs = socket.socketpair()
    try:
        pid = fork()
    except OSError:
        ours.close()
        theirs.close()
        raise
    mine, other = (ours, theirs) if pid else (theirs, ours)
    other.close()
    return pid, mine


def spawn(
    command: Sequence[str], *, env: Mapping[str, str], folder: str, output: int
) -> tuple[int, socket.socket]:
    """Start a command in a process that has nothing of this one but that it dies with it.

    Returns:
        Its process id, and a socket that closes as the command starts; what keeps it from starting
        comes through it first, as one message.

    Raises:
        OSError: if the system has no room for it, or its arguments are too long (E2BIG).
        ValueError: if no process can have such arguments or such an environment.
    """
    ours, theirs = socket.socketpair()
    try:
        os.set_inheritable(theirs.fileno(), True)
        launch = [sys.executable, "-I", _LAUNCH, str(os.getpid()), str(theirs.fileno())]
        pid = os.posix_spawn(
            sys.executable,
            [*launch, folder, *command],
            env,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_DUP2, output, 1),
                (os.POSIX_SPAWN_DUP2, output, 2),
            ],
        )
    except (OSError, ValueError):
        ours.close()
        raise
    finally:
        theirs.close()
    return pid, ours


def unnamed_file() -> IO[bytes]:
    """Return a file that no folder has: in memory, or where the system has no such, on disk.

    Raises:
        OSError: if there is room for none.
    """
    make = getattr(_libc, "memfd_create", None)
    file = make(b"sweepd", _MFD_CLOEXEC) if make else -1
    return open(file, "w+b") if file >= 0 else tempfile.TemporaryFile()


def die_with_parent(parent: int, number: int) -> None:
    """Ask for signal `number` when process `parent` ends; end at once if it has ended already."""
    if _libc is not None:
        _libc.prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(128 + signal.SIGKILL)


def adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent ends: none is lost sight of."""
    if _libc is not None:
        _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def kill_group(leader: int, number: int) -> None:
    """Send a signal to what is left of a process group."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, number)


def signal_child(pid: int, number: int) -> None:
    """Send a signal to a living child and its group, as far as they are ours to signal.

    It may not have made the group yet, or be another user's, as what `sudo` starts.
    """
    try:
        os.killpg(pid, number)
    except (ProcessLookupError, PermissionError):
        _kill(pid, number)


def kill_strays(run: str, spared: AbstractSet[int]) -> None:
    """Kill adopted children that carry the id of a run in their environment."""
    for pid in _children() - spared:
        if f"WANDB_RUN_ID={run}".encode() in _environment(pid):
            _kill(pid, signal.SIGKILL)


def kill_run(leader: int, environment: AbstractSet[bytes]) -> None:
    """Kill what is left of a trial that nobody watches any more: its group, and all of its own.

    Args:
        leader: the trial's process.
        environment: entries that tell the trial's processes from any other.
    """
    kill_group(leader, signal.SIGKILL)
    for path in Path("/proc").glob("[0-9]*"):
        if environment <= _environment(int(path.name)):
            _kill(int(path.name), signal.SIGKILL)


def end_children(*, gently: AbstractSet[int]) -> None:
    """Kill every child, adopted ones too; those in `gently` get SIGTERM."""
    for pid in _children():
        _kill(pid, signal.SIGTERM if pid in gently else signal.SIGKILL)


def _kill(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def _children() -> set[int]:
    try:
        text = Path(f"/proc/self/task/{os.getpid()}/children").read_text()
    except OSError:
        return set()
    return {int(part) for part in text.split()}


def _environment(pid: int) -> frozenset[bytes]:
    try:
        return frozenset(Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"))
    except OSError:
        return frozenset()
