"""What one trial brings and takes on a GPU that trials share: read from its file, asked of NVML."""

import contextlib
import json
import os
import time
from pathlib import Path

from sweepd.errors import Reason
from sweepd_agent.api import Command, Outcome
from sweepd_agent.devices import Slot
from sweepd_agent.doubling import UNREADABLE, Measured, read_measured
from sweepd_agent.gpu_memory import GpuMemory
from sweepd_agent.processes import descendants
from sweepd_agent.sharing import Sharing, Taken

__all__ = ["MEASURED", "Meter"]

#: Names the file that a program may write what it has measured to; docs/program.md has it.
MEASURED = "SWEEPD_MEASURED"
_LOOK_S = 0.5  # between two looks at a trial's memory
_LONGEST = 1 << 16
_FAILED = frozenset({Reason.ERROR, Reason.CRASHED, Reason.TIMED_OUT})


class Meter:
    """Measures one trial; for its slot's thread. It begins as it is made.

    Args:
        sharing: what it is measured for.
        slot, command: which trial, where.
        memory: of the GPU; None if nothing is known of it.
        file: that `MEASURED` names for the trial.

    Attributes:
        look_at: when to look at its memory next, by `time.monotonic`.
        problem: what the program wrote that cannot be read.
    """

    def __init__(
        self, sharing: Sharing, slot: Slot, command: Command, memory: GpuMemory | None, file: Path
    ) -> None:
        self._sharing, self._slot, self._command = sharing, slot, command
        self._memory, self._file = memory, file
        self._began = self._ended = time.monotonic()
        self._stay = sharing.begin(slot, now=self._began)
        self._own_bytes: int | None = None
        self._part_bytes: int | None = None
        self._others_bytes: int | None = None
        self.look_at = self._began + _LOOK_S if memory is not None else float("inf")
        self.problem: str | None = None

    def look(self, pid: int | None) -> None:
        """Note what the trial has of the GPU's memory now, with all that it has started.

        What no process of this agent has is in others' hands, or the driver's own. Where the
        trial's processes are not seen there, as in a container, its even part of all that is taken
        stands for it: that is no less, on average.
        """
        self.look_at = time.monotonic() + _LOOK_S
        if self._memory is None or self._sharing.is_settled(self._slot):
            self.look_at = float("inf")
            return
        if pid is None:
            return
        own = self._memory.bytes_of({pid, *descendants(pid)})
        used = self._memory.used_bytes()
        if own is not None:
            self._own_bytes = max(own, self._own_bytes or 0)
            ours = self._memory.bytes_of(descendants(os.getpid())) or own
            others = max(0, (used or 0) - ours)
            known = self._others_bytes
            self._others_bytes = others if known is None else min(others, known)
        if used is not None:
            part = used // max(1, self._sharing.n_at_work(self._slot))
            self._part_bytes = max(part, self._part_bytes or 0)

    def end(self) -> None:
        """Note that the trial's process has ended."""
        self._ended = time.monotonic()
        self._sharing.end(self._stay, now=self._ended)

    def discard(self) -> None:
        """Take nothing from it: its program has not run, or was ended with the agent."""
        with contextlib.suppress(OSError):
            self._file.unlink(missing_ok=True)
        self._sharing.note(self._stay, Taken())

    def judge(self, outcome: Outcome, *, asked: Reason | None) -> bool:
        """Tell what the trial took; return whether it ran out of memory since others ran beside it.

        Args:
            outcome: how it ended.
            asked: why it had been told to end, or None if it had not.
        """
        said = self._read()
        is_oom = outcome.reason == Reason.OUT_OF_MEMORY
        is_shared = is_oom and self._sharing.note_out_of_memory(self._stay, self._command.run)
        peaks = [peak for peak in (self._own_bytes, said.peak_bytes) if peak is not None]
        total = self._memory.total_bytes() if self._memory is not None else None
        is_whole = outcome.reason == Reason.FINISHED and asked is None and self._is_new
        taken = Taken(
            said.rows_per_s,
            self._ended - self._began if is_whole else None,
            # What fits nowhere needs no room.
            max(peaks, default=self._part_bytes) if not is_oom else None,
            total or said.total_bytes,
            self._others_bytes or 0,
            has_failed=outcome.reason in _FAILED,
        )
        self._sharing.note(self._stay, taken)
        return is_shared

    @property
    def _is_new(self) -> bool:
        """Return whether it takes its whole course: one that goes on does not."""
        lease = self._command.lease
        return self._command.type == "run" and (lease is None or lease[0] == 1)

    def _read(self) -> Measured:
        """Return what the program has told, and remove its file."""
        try:
            if not self._file.is_file():
                return Measured()
            with self._file.open("rb") as file:
                text = file.read(_LONGEST)
            self._file.unlink()
            return read_measured(json.loads(text))
        except (OSError, *UNREADABLE) as error:
            self.problem = repr(error)[:200]
            return Measured()
