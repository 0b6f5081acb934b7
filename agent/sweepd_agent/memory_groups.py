"""Which processes the kernel has killed for memory: its counts by control group, v1 and v2."""

from collections.abc import Mapping
from pathlib import Path

__all__ = ["KillWatch"]

_PROC = Path("/proc")
_V1_FILE, _V2_FILE = "memory.oom_control", "memory.events"


class KillWatch:
    """Counts the kills for memory since it was made, in this process's group and a trial's.

    A container, a Slurm job or a service of systemd holds agent and trials in one group; a command
    may also move its trial to a group of its own, such as `systemd-run --scope` does.
    """

    def __init__(self, proc: Path = _PROC) -> None:
        self._proc = proc
        self._before: dict[Path, int] = {}
        self._chains: set[tuple[Path, ...]] = set()
        self._note("self")

    def follow(self, pid: int) -> None:
        """Count in the group, too, that a process is in now; nothing if it has ended."""
        self._note(str(pid))

    def kills(self) -> int:
        """Return how many processes were killed for memory meanwhile, as far as anyone can tell."""
        return max(map(self._increase, self._chains), default=0)

    def _note(self, process: str) -> None:
        chain = _count_files(self._proc, process)
        if chain:
            self._chains.add(chain)
        for file in chain:
            if file not in self._before and (count := _count(file)) is not None:
                self._before[file] = count

    def _increase(self, chain: tuple[Path, ...]) -> int:
        """Return the increase in the nearest group that still exists: one above counts it too."""
        for file in chain:
            count = _count(file)
            if count is not None and file in self._before:
                return count - self._before[file]
        return 0


def _count_files(proc: Path, process: str) -> tuple[Path, ...]:
    """Return the files that count kills in a process's group and, in v2, in those above it."""
    try:
        groups = (proc / process / "cgroup").read_text().splitlines()
        mounts = (proc / "self" / "mountinfo").read_text().splitlines()
    except OSError:
        return ()
    v1 = v2 = None
    for line in groups:
        _, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(","):
            v1 = path
        elif not controllers:
            v2 = path
    if v1 is not None and (mount := _mount(mounts, "cgroup")):  # it counts no other group's
        return (_folders(*mount, v1)[0] / _V1_FILE,)
    if v2 is not None and (mount := _mount(mounts, "cgroup2")):
        return tuple(folder / _V2_FILE for folder in _folders(*mount, v2))
    return ()


def _mount(mounts: list[str], kind: str) -> tuple[str, Path] | None:
    """Return which group is mounted, and where, of the hierarchy that counts memory."""
    for line in mounts:
        before, _, after = line.partition(" - ")
        facts, source = before.split(), after.split()
        if source[:1] == [kind] and (kind == "cgroup2" or "memory" in source[-1].split(",")):
            return facts[3], Path(facts[4])
    return None


def _folders(root: str, mount: Path, path: str) -> list[Path]:
    """Return the folders of a group and of those above it, the nearest first."""
    names = Path(path).parts
    outer = Path(root).parts
    if names[: len(outer)] == outer:
        names = names[len(outer) :]
    if ".." in names:  # outside of what a container sees
        names = ()
    names = tuple(name for name in names if name != "/")
    return [mount.joinpath(*names[:n]) for n in range(len(names), -1, -1)]


def _count(file: Path) -> int | None:
    """Return how many processes of a group were killed; None if nothing says so."""
    try:
        lines = file.read_text().splitlines()
    except OSError:
        return None
    counts: Mapping[str, str] = dict(line.split() for line in lines if line.count(" ") == 1)
    return int(counts["oom_kill"]) if "oom_kill" in counts else None
