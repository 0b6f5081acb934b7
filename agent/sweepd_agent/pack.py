"""Packs: trials that one process trains together, each as a run of its own.

Agent and program speak by files in a folder that SWEEPD_PACK names; docs/trainer.md has them. Only
trials that agree in everything but what `sweepd.names.PACKABLE` names are packed.
"""

import contextlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sweepd.errors import Reason
from sweepd.names import PACKABLE
from sweepd_agent.api import Command, Outcome
from sweepd_agent.devices import Slot
from sweepd_agent.doubling import UNREADABLE, Doubling, Measured, read_measured
from sweepd_agent.options import parse_pack
from sweepd_agent.trial import Workplace, prepare

__all__ = ["Pack", "PackSizes", "kind_of"]

#: What differs between the environments of a pack's trials.
_OWN = (
    "WANDB_RUN_ID",
    "WANDB_SWEEP_PARAM_PATH",
    "WANDB_X_EXTRA_HTTP_HEADERS",
    "SWEEPD_CONFIG",
)
_LARGEST = 64
_GAINS = "train {} times as many rows a second"
_MESSAGE_LENGTH = 500


def kind_of(command: Command) -> str:
    """Return what trials have in common that can be packed."""
    fixed = {key: value for key, value in command.args.items() if key not in PACKABLE}
    return json.dumps([command.program, fixed], sort_keys=True)


class Pack:
    """Trials of one process.

    Args:
        folder: of this pack alone; it is made, and removed by `close`.
        commands: the trials, of one kind.
    """

    def __init__(self, folder: Path, commands: Sequence[Command]) -> None:
        self._folder = folder
        self._first = commands[0].run  # the one that a program runs which knows of no packs
        self._left = {command.run: command for command in commands}
        self._asked: dict[str, Reason] = {}
        self._offset = 0
        self.kind = kind_of(commands[0])
        self.size = len(commands)
        self.has_begun = False  # the program knows of packs, and trains this one
        self.refusal: str | None = None
        self.measured: tuple[int, Measured] | None = None  # of so many trials together
        self.problem: str | None = None  # what the program wrote that cannot be read

    @property
    def left(self) -> list[Command]:
        """Return the trials that have not ended."""
        return list(self._left.values())

    def make_job(self, place: Workplace, slot: Slot) -> dict[str, Any]:
        """Write what the program is to read, and return what the warm parent needs to start it.

        Raises:
            LaunchError: if the program cannot be run.
        """
        jobs = [prepare(place, command, slot) for command in self._left.values()]
        trials = [
            {
                "run": job["env"]["WANDB_RUN_ID"],
                "environment": {name: job["env"][name] for name in _OWN if name in job["env"]},
            }
            for job in jobs
        ]
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(parents=True)
        self._events.touch()
        path = self._folder / "pack.json"
        path.write_text(json.dumps({"trials": trials}), encoding="utf-8")
        jobs[0]["env"]["SWEEPD_PACK"] = str(self._folder.resolve())
        return jobs[0]

    def stop(self, run: str, reason: Reason) -> bool:
        """Ask one trial to end, the others go on; return whether it was not asked before."""
        if run not in self._left or run in self._asked:
            return False
        self._asked[run] = reason
        with contextlib.suppress(OSError):  # it cannot be told: it is killed, with its pack
            (self._folder / f"stop-{run}").touch()
        return True

    @property
    def is_all_asked(self) -> bool:
        """Return whether each trial that has not ended was asked to."""
        return self._asked.keys() >= self._left.keys()

    @property
    def waits_for_end(self) -> bool:
        """Return whether a trial that was asked to end has not."""
        return bool(self._asked.keys() & self._left.keys())

    def read(self, *, asked: Reason | None = None) -> list[tuple[Command, Outcome]]:
        """Return the trials that have ended since the last time, and how.

        Args:
            asked: why all of them were told to end, or None if they were not.
        """
        ended: list[tuple[Command, Outcome]] = []
        for line in self._new_lines():
            try:
                event = json.loads(line)
                kind, command = event["event"], self._left.get(event.get("run", ""))
                if kind == "refused":
                    self.refusal = _one_line(event["message"])
                elif kind == "measured":
                    self.measured = int(event["trials"]), read_measured(event)
                elif kind == "began" and command is not None:
                    self.has_begun = True
                elif kind == "ended" and command is not None:
                    why = self._asked.get(command.run) or asked
                    outcome = _outcome(_exit_code(event), event["message"], asked=why)
                    del self._left[command.run]
                    ended.append((command, outcome))
            except UNREADABLE as error:
                self.problem = f"{line[:200]!r}: {error!r}"
        return ended

    def rest(self, whole: Outcome) -> list[tuple[Command, Outcome]]:
        """Return how the trials ended of which the program said nothing before its own end.

        One of them may have brought the process down, nobody can tell which: each is tried again,
        by itself. A pack of one is a trial like any other.

        Args:
            whole: how the process ended.
        """
        if self.size == 1:
            return [(command, whole) for command in self.left]
        outcome = whole
        if whole.reason not in {Reason.PREEMPTED, Reason.KILLED, Reason.TIMED_OUT}:
            said = whole.message or str(whole.reason)
            words = f"its pack of {self.size} ended ({said}): it is tried again by itself"
            outcome = Outcome(Reason.PREEMPTED, whole.exit_code, whole.signal, words)
        return [
            (command, Outcome(self._asked[run]) if run in self._asked else outcome)
            for run, command in self._left.items()
        ]

    def why_unpacked(self, whole: Outcome) -> str | None:
        """Return why the program trains no packs, None if it was ended before that could be seen.

        Args:
            whole: how its process ended; none of the trials has begun by then.
        """
        if self.refusal or whole.reason in {Reason.PREEMPTED, Reason.KILLED}:
            return self.refusal
        if whole.reason == Reason.FINISHED:
            return "the program does not know of packs"
        return whole.message or str(whole.reason)

    def unpacked(self, whole: Outcome) -> tuple[list[tuple[Command, Outcome]], list[Command]]:
        """Return how trials ended that the program did not pack, and those that are to run yet.

        It has run the first, as any program would, unless it refused in so many words.

        Args:
            whole: how its process ended.
        """
        ended, left = list[tuple[Command, Outcome]](), list[Command]()
        for run, command in self._left.items():
            was_run = not self.refusal and run == self._first
            if run in self._asked and not (was_run and whole.reason == Reason.FINISHED):
                ended.append((command, Outcome(self._asked[run])))
            elif was_run:
                ended.append((command, whole))
            else:
                left.append(command)
        return ended, left

    def close(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def _events(self) -> Path:
        return self._folder / "events.jsonl"

    def _new_lines(self) -> list[str]:
        try:
            with self._events.open("rb") as file:
                file.seek(self._offset)
                whole = file.read().rpartition(b"\n")[0]
        except OSError:  # the program made away with it, or the disk does not answer now
            return []
        self._offset += len(whole) + 1 if whole else 0
        text = whole.decode(errors="replace")
        return text.split("\n") if text else []  # a line of JSON may hold other ends of lines, raw


def _outcome(exit_code: int, message: str | None, *, asked: Reason | None) -> Outcome:
    if exit_code == 0:
        return Outcome(Reason.FINISHED, 0)
    if asked is not None:
        return Outcome(asked, exit_code)
    words = _one_line(message) if message else f"exit code {exit_code}"
    return Outcome(Reason.ERROR, exit_code, message=words)


def _exit_code(event: dict[str, Any]) -> int:
    code = int(event["exit_code"])
    if not 0 <= code <= 255:
        raise ValueError(f"exit_code must be from 0 to 255, not {code}")
    return code


def _one_line(message: Any) -> str:
    """Return a program's words as they can be printed, sent and stored."""
    text = "".join(char if char.isprintable() else " " for char in str(message))
    return " ".join(text.split())[:_MESSAGE_LENGTH]


@dataclass
class _Size:
    of: Doubling
    is_refused: bool = False


class PackSizes:
    """How many trials a slot packs: as asked, or doubled for as long as that pays and fits.

    Args:
        asked: trials in a pack; None finds it out, for each kind.
        memory_share: of the GPU's memory that the slot may use.
    """

    def __init__(self, asked: int | None, *, memory_share: float = 1.0) -> None:
        self._asked, self._share = asked, memory_share
        self._sizes: dict[str, _Size] = {}

    @classmethod
    def of(cls, asked: str | None, place: Workplace, slot: Slot) -> "PackSizes | None":
        """Return how a slot packs trials; None if it runs them one by one."""
        if asked is None or not place.is_ours or place.sweep.command is not None:
            return None
        return cls(parse_pack(asked), memory_share=slot.memory_fraction or 1.0)

    def size(self, kind: str) -> int:
        """Return how many trials of a kind to pack next."""
        return self._of(kind).of.now

    def note(self, kind: str, n_trials: int, measured: Measured) -> str | None:
        """Take a pack's measurement; return why packs grow no more, once that is known."""
        size = self._of(kind).of
        rate, total = measured.rows_per_s, measured.total_bytes
        if self._asked is not None or size.is_settled or n_trials != size.now or rate is None:
            return None
        why = size.note(
            rate,
            gains=_GAINS,
            needed_bytes=measured.peak_bytes,
            room_bytes=self._share * total if total else None,
        )
        return None if why is None else f"packs of {size.now}: {why}"

    def refuse(self, kind: str) -> None:
        """Note that the program does not pack trials of a kind."""
        self._of(kind).is_refused = True

    def is_refused(self, kind: str) -> bool:
        """Return whether the program does not pack trials of a kind."""
        return self._of(kind).is_refused

    def note_failure(self, kind: str, n_trials: int, *, was_memory: bool) -> None:
        """Pack fewer of a kind after a pack that failed: half of them, or one."""
        if n_trials == 1:
            return  # a trial of its own, which failed by itself
        self._of(kind).of.shrink(n_trials // 2 if was_memory else 1)

    def _of(self, kind: str) -> _Size:
        if kind not in self._sizes:
            known = [size.of.now for size in self._sizes.values()]
            self._sizes[kind] = _Size(Doubling(min(known, default=self._asked or 1), _LARGEST))
        return self._sizes[kind]
