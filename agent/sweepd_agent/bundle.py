"""A bundle on the disk: trials that a sweep gave away in advance, and what became of them.

Its folder holds `bundle.json`, which is never changed; `journal.jsonl`, a line for each thing that
happened, on the disk before anything goes on; `runs/RUN/TRY/`, where `wandb` writes a try of a run;
and the output of the trials.
"""

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from sweepd.errors import AlreadyExists, Conflict, InvalidInput, Reason
from sweepd_agent.api import Command, Outcome, Sweep, read_command

__all__ = ["Bundle", "Ended", "Journal"]

_FORMAT = 1
_FILE, _JOURNAL, _LOCK = "bundle.json", "journal.jsonl", "lock"
#: What values of another shape raise.
_UNREADABLE = (AttributeError, LookupError, TypeError, ValueError)


@dataclass(frozen=True)
class Bundle:
    """What was given away; `commands` are as the server wrote them, `until` is a Unix time."""

    folder: Path
    id: str
    server: str
    sweep: Sweep
    retries: int
    until: float
    commands: tuple[Mapping[str, Any], ...]

    @classmethod
    def read(cls, path: Path) -> "Bundle":
        """Return the bundle of a folder, or of the `bundle.json` in it.

        Raises:
            InvalidInput: if there is none, or one of another format.
        """
        folder = path.parent if path.name == _FILE else path
        try:
            found = json.loads((folder / _FILE).read_text(encoding="utf-8"))
            if found["format"] != _FORMAT:
                raise InvalidInput(
                    f"{folder} is a bundle of format {found['format']}; this sweepd reads {_FORMAT}"
                )
            sweep = Sweep(**{**found["sweep"], "command": _tuple(found["sweep"]["command"])})
            made = cls(
                folder.absolute(),
                id=found["id"],
                server=found["server"],
                sweep=sweep,
                retries=int(found["retries"]),
                until=float(found["until"]),
                commands=tuple(found["commands"]),
            )
            made.trials()
        except OSError as error:
            raise InvalidInput(f"{path} is no bundle: {error.strerror}") from error
        except _UNREADABLE as error:
            if isinstance(error, InvalidInput):
                raise
            raise InvalidInput(f"{folder / _FILE} cannot be read: {error!r}") from error
        return made

    def write(self) -> None:
        """Make the folder. The leases in it are for the one who merges it: nobody else reads it.

        A bundle that the disk does not take leaves no part of its file.

        Raises:
            AlreadyExists: if there is a bundle.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        values = {**asdict(self), "format": _FORMAT}
        del values["sweep"]["is_over"]  # nobody can know where it is used
        del values["folder"]
        try:
            fd = os.open(self.folder / _FILE, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            raise AlreadyExists(f"there is a bundle in {self.folder}") from None
        try:
            with open(fd, "w", encoding="utf-8") as file:
                json.dump(values, file, indent=1)
                file.flush()
                os.fsync(file.fileno())
        except BaseException:
            (self.folder / _FILE).unlink(missing_ok=True)
            raise

    def trials(self) -> list[Command]:
        """Return the trials in the order in which they were given away."""
        return [read_command(row) for row in self.commands]

    def run_folder(self, run: str, number: int) -> Path:
        """Return where `wandb` writes a try of a run."""
        return self.folder / "runs" / run / str(number)

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Keep others from working on the bundle.

        Raises:
            Conflict: if somebody does.
        """
        with (self.folder / _LOCK).open("ab") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Conflict(f"something else works on {self.folder} now") from None
            yield


@dataclass(frozen=True)
class Ended:
    """How a try of a run ended, where, and how long it took."""

    number: int
    outcome: Outcome
    host: str
    device: str
    seconds: float


class Journal:
    """What became of a bundle's trials; one process and one thread at a time.

    Raises:
        InvalidInput: if there is a whole line that is none of a journal's.
    """

    def __init__(self, bundle: Bundle) -> None:
        self._path = bundle.folder / _JOURNAL
        self._retries = bundle.retries
        self._begun: dict[str, int] = {}
        self._ended: dict[str, list[Ended]] = {}
        #: What merging has done with a run, in a word.
        self.merged: dict[str, str] = {}
        for number, row in self._read():
            try:
                self._take(row)
            except _UNREADABLE as error:
                raise InvalidInput(
                    f"{self._path}, line {number}, is none of a bundle's journal: {error!r}"
                ) from error

    def begin(self, run: str) -> int:
        """Note that a run is tried, for the first time or again; return the number of the try."""
        number = self._begun.get(run, 0) + 1
        self._append({"event": "begun", "run": run, "try": number})
        return number

    def end(self, run: str, ended: Ended) -> None:
        """Note how a try ended."""
        values = {key: value for key, value in asdict(ended).items() if key != "outcome"}
        self._append({"event": "ended", "run": run, **values, **asdict(ended.outcome)})

    def merge(self, run: str, how: str) -> None:
        """Note what merging has done with a run."""
        self._append({"event": "merged", "run": run, "how": how})

    def result(self, run: str) -> Ended | None:
        """Return how a run ended; None if it is still to be run.

        One that the agent took down with itself runs again; one that crashed does as often as it
        would have with the service, and one that ran out of memory beside others does once. After
        that it counts as if it had been alone, or the service would have it tried once more.
        """
        tries = self._ended.get(run, [])
        if not tries or tries[-1].outcome.reason == Reason.PREEMPTED:
            return None
        last, outcome = tries[-1], tries[-1].outcome
        if outcome.is_crowded:
            n_crowded = sum(one.outcome.is_crowded for one in tries)
            counts = replace(last, outcome=replace(outcome, is_crowded=False))
            return counts if n_crowded > 1 else None
        n_crashed = sum(one.outcome.reason == Reason.CRASHED for one in tries)
        is_final = outcome.reason != Reason.CRASHED or n_crashed > self._retries
        return last if is_final else None

    def _read(self) -> Sequence[tuple[int, Any]]:
        """Return what is in the lines, by their numbers."""
        try:
            text = self._path.read_bytes()
        except FileNotFoundError:
            return []
        rows = []
        for number, line in enumerate(text.split(b"\n"), 1):
            with contextlib.suppress(ValueError):  # written while the power went
                rows.append((number, json.loads(line.decode())))
        return rows

    def _append(self, row: Mapping[str, Any]) -> None:
        with self._path.open("ab+") as file:
            end = file.seek(0, os.SEEK_END)
            file.seek(max(0, end - 1))
            is_torn = end > 0 and file.read(1) != b"\n"
            line = json.dumps({**row, "at": time.time()}).encode() + b"\n"
            file.write(b"\n" + line if is_torn else line)
            file.flush()
            os.fsync(file.fileno())
        self._take(row)

    def _take(self, row: Mapping[str, Any]) -> None:
        run = row["run"]
        if row["event"] == "begun":
            self._begun[run] = int(row["try"])
        elif row["event"] == "merged":
            self.merged[run] = row["how"]
        else:
            reason = Reason(row["reason"])
            words = row["exit_code"], row["signal"], row["message"]
            is_crowded = bool(row.get("is_crowded", False))  # older journals have none
            outcome = Outcome(reason, *words, is_crowded=is_crowded)
            number, seconds = int(row["number"]), float(row["seconds"])
            ended = Ended(number, outcome, row["host"], row["device"], seconds)
            self._ended.setdefault(run, []).append(ended)


def _tuple(values: Sequence[str] | None) -> tuple[str, ...] | None:
    return None if values is None else tuple(values)
