"""What torchrun prints of a trial whose processes, the ranks, have failed: which of them, and how.

torchrun ends with a traceback of its own, `ChildFailedError`, and a report of every rank's end. The
first that is seen to fail need not be the cause: one that waits for a rank that is gone fails, too.
"""

import re
import signal
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["RankFailure", "read_failure"]

_RAISED = re.compile(r"^torch\.distributed\.elastic\.\S*ChildFailedError:")
_TRACEBACK = "Traceback (most recent call last):"
_ROOT = "Root Cause (first observed failure):"
_RANK, _STATUS = re.compile(r"^\s+rank\s+: (\d+)"), re.compile(r"^\s+exitcode\s+: (-?\d+)")
_OF_TORCHRUN = re.compile(r"^[A-Z]\d{4} [\d:.]+ \d+ .*torch/distributed/|^\*{20,}$")
_OF_RANK = re.compile(r"^\[(?:rank|default)(\d+)\]: ?")  # by torch's own hook, or by --tee
_PEER_IS_GONE = re.compile(
    r"Connection (?:closed|reset) by peer|Broken pipe|remote (?:process exited|worker crashing)"
    r"|remote server shutdown|ncclRemoteError|communicator was aborted"
)
_KILLS = "forcefully exiting via"  # torchrun does it, some time after SIGTERM


@dataclass(frozen=True)
class RankFailure:
    """The rank that is the cause: its exit code, or minus its signal, and what it printed.

    `output` also has the lines of which nobody can tell whose they are.
    """

    rank: int
    status: int
    output: str


def read_failure(output: str) -> RankFailure | None:
    """Return the failure that ended a trial of several ranks; None if torchrun tells of none."""
    lines = output.splitlines()
    raised = [i for i, line in enumerate(lines) if _RAISED.match(line)]
    if not raised:
        return None
    ends = _read_report(lines[raised[-1] :])
    if not ends:
        return None
    starts = [i for i in range(raised[-1]) if lines[i] == _TRACEBACK]
    shared, own = _by_rank(lines[: starts[-1] if starts else raised[-1]])
    rank, status = _find_cause(ends, own, kills=_KILLS in output)
    return RankFailure(rank, status, "\n".join([*shared, *own.get(rank, [])]))


def _read_report(lines: Sequence[str]) -> list[tuple[int, int]]:
    """Return ranks and how they ended, the first failure's first."""
    ends: list[tuple[int, int]] = []
    rank, is_root = None, False
    for line in lines:
        is_root = is_root or line == _ROOT
        if match := _RANK.match(line):
            rank = int(match[1])
        elif rank is not None and (match := _STATUS.match(line)):
            ends.insert(0 if is_root else len(ends), (rank, int(match[1])))
            rank = None
    return ends


def _by_rank(lines: Sequence[str]) -> tuple[list[str], dict[int, list[str]]]:
    """Return the lines that say of no rank, and each rank's own; torchrun's are left out."""
    shared: list[str] = []
    own: dict[int, list[str]] = {}
    for line in lines:
        if match := _OF_RANK.match(line):
            own.setdefault(int(match[1]), []).append(line[match.end() :])
        elif not _OF_TORCHRUN.match(line):
            shared.append(line)
    return shared, own


def _find_cause(
    ends: Sequence[tuple[int, int]], own: dict[int, list[str]], *, kills: bool
) -> tuple[int, int]:
    """Return the rank that failed by itself, and how; the first if each says that another did.

    Args:
        ends: ranks and how they ended, the first failure's first.
        own: what each has printed.
        kills: whether torchrun itself has killed ranks.
    """
    by_torchrun = {-signal.SIGTERM, *([-signal.SIGKILL] if kills else [])}
    for number, (rank, status) in enumerate(ends):
        was_told = number > 0 and status in by_torchrun
        if not was_told and not any(_PEER_IS_GONE.search(line) for line in own.get(rank, [])):
            return rank, status
    return ends[0]
