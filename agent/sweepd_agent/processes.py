"""Processes: how the warm parent starts them, and how none of them outlives it."""

import contextlib
import ctypes
import hashlib
import os
import secrets
import signal
import socket
import sys
import tempfile
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import IO

__all__ = [
    "END",
    "Strays",
    "adopt_orphans",
    "descendants",
    "die_with_parent",
    "end_children",
    "fork",
    "fork_linked",
    "identity",
    "kill_group",
    "kill_run",
    "mark",
    "new_identity",
    "signal_child",
    "spawn",
    "unnamed_file",
]

#: Tells a warm parent to end. SIGTERM would not do: who ends an agent may send that to each of its
#: processes, as systemd does, and the trials are to save themselves first. This one nobody else
#: sends and no library handles, and it ends a process that has no handler for it yet.
END: int = getattr(signal, "SIGRTMIN", signal.SIGUSR1)

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_MFD_CLOEXEC = 1
_START = "SWEEPD_START"
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
            for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, END):
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


def unnamed_file(name: str) -> IO[bytes]:
    """Return a file that no folder has: in memory, or where the system has no such, on disk.

    Args:
        name: what the processes that map it can be told by, if it is in memory.

    Raises:
        OSError: if there is room for none.
    """
    make = getattr(_libc, "memfd_create", None)
    file = make(name.encode(), _MFD_CLOEXEC) if make else -1
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


def new_identity() -> dict[str, str]:
    """Return what a trial's environment needs, for its processes to be told from any other.

    The ids of its sweep and its run would not do: another agent of this machine may have the same
    run, after its lease has lapsed or of another server.
    """
    return {_START: secrets.token_hex(16)}


def identity(env: Mapping[str, str]) -> bytes:
    """Return the entry of a trial's environment that tells its processes from any other."""
    return f"{_START}={env.get(_START, '')}".encode(errors="surrogatepass")


def mark(own: bytes) -> str:
    """Return the name of the file that a forked trial keeps mapped, by what `identity` returns.

    What is forked and executes nothing has the mapping; the environment that others see of it is
    still the warm parent's.
    """
    return f"sweepd-{hashlib.sha256(own).hexdigest()[:32]}"


class Strays:
    """What ended trials have left among the children of this process, which adopts orphans."""

    def __init__(self) -> None:
        self._own: frozenset[int] = frozenset()
        self._ended: set[bytes] = set()

    def note_own(self) -> None:
        """Spare for ever what runs now: what is imported may have started it."""
        self._own = frozenset(descendants(os.getpid()))

    def note_end(self, leader: int, env: Mapping[str, str]) -> None:
        """Note the end of a trial, just as its process is reaped; kill what is in its session."""
        self._ended.add(identity(env))
        for pid in _children(os.getpid()) - self._own:
            if _session(pid) == leader:
                _kill_tree(pid)

    def kill(self, living: AbstractSet[int], *, others: AbstractSet[int]) -> None:
        """Kill what is certain to be of no trial that lives.

        That is what shows whose it was, and what is older than every trial. What is left is looked
        at again when this is called the next time: at the next end of a child, adopted or not.

        Args:
            living: processes of the trials that have not ended.
            others: further children that are to be spared.
        """
        strays = _children(os.getpid()) - living - others - self._own
        if not strays:
            self._ended.clear()
        oldest = min((_began(pid) or 0 for pid in living), default=sys.maxsize)
        for pid in strays:
            began = _began(pid)
            if (began is not None and began < oldest) or self._is_of_ended(pid):
                _kill_tree(pid)

    def _is_of_ended(self, pid: int) -> bool:
        environment, maps = _environment(pid), _maps(pid)
        return any(_is_of(own, environment, maps) for own in self._ended)


def kill_run(leader: int, own: bytes) -> None:
    """Kill what is left of a trial that nobody watches any more.

    Args:
        leader: the trial's process.
        own: what `identity` returns.
    """
    kill_group(leader, signal.SIGKILL)
    killed: set[int] = set()
    while found := _processes_of(leader, own) - killed:  # they may start others meanwhile
        for pid in found:
            _kill(pid, signal.SIGKILL)
        killed |= found


def end_children(*, gently: AbstractSet[int]) -> None:
    """Kill every child, adopted ones too; those in `gently` are warm parents, and get END."""
    for pid in _children(os.getpid()):
        _kill(pid, END if pid in gently else signal.SIGKILL)


def descendants(pid: int) -> set[int]:
    """Return the processes that a process has started, theirs too, as far as these live."""
    children = _children(pid)
    return children.union(*(descendants(child) for child in children))


def _kill(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def _kill_tree(pid: int) -> None:
    for each in (pid, *descendants(pid)):
        _kill(each, signal.SIGKILL)


def _processes_of(leader: int, own: bytes) -> set[int]:
    return {
        pid
        for pid in _numbers(Path("/proc"))
        if _session(pid) == leader or _is_of(own, _environment(pid), _maps(pid))
    }


def _is_of(own: bytes, environment: AbstractSet[bytes], maps: bytes) -> bool:
    """Return whether a process is a trial's: by what it has executed with, or forked, mapped."""
    return own in environment or f"/memfd:{mark(own)}".encode() in maps


def _children(pid: int) -> set[int]:
    tasks = Path(f"/proc/{pid}/task")
    texts = [_read(tasks / str(task) / "children") for task in _numbers(tasks)]
    return {int(part) for text in texts for part in text.split()}


def _environment(pid: int) -> frozenset[bytes]:
    return frozenset(_read(Path(f"/proc/{pid}/environ")).split(b"\0"))


def _maps(pid: int) -> bytes:
    return _read(Path(f"/proc/{pid}/maps"))


def _session(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except OSError:
        return None


def _began(pid: int) -> int | None:
    """Return when a process was started, in the kernel's ticks."""
    fields = _read(Path(f"/proc/{pid}/stat")).rpartition(b")")[2].split()
    return int(fields[19]) if fields else None


def _numbers(folder: Path) -> list[int]:
    """Return those of the names in a folder that are numbers; none if it has gone meanwhile."""
    try:
        return [int(name) for name in os.listdir(folder) if name.isdecimal()]
    except OSError:
        return []


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
