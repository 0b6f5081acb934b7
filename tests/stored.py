"""What the tables say, read by SQL of its own beside the store that is tested."""

import json
import sqlite3
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from sweepd.schedule import TrialState

__all__ = ["Stored", "Sweep", "Tables", "Trial"]

_SWEEPS = "SELECT id, state, n_issued, stop_reason FROM sweep"
_TRIALS = """SELECT id, sweep_id, run_id, config, state, attempt, reason, best
  FROM trial ORDER BY number"""
_LIVE = "SELECT trial_id, count(*) FROM attempt WHERE ended_at IS NULL GROUP BY trial_id"
_EVENTS = "SELECT run_id, kind, data FROM event WHERE kind LIKE 'trial.%' ORDER BY id"
#: Those of superseded attempts and rewound ones, too.
_ROWS = """SELECT run.name, json_extract(body, '$.n') FROM stream_line
  JOIN run ON run.id = stream_line.run_id WHERE body LIKE '{"%'"""


class Sweep(NamedTuple):
    """A row of the sweeps."""

    id: int
    state: str
    n_issued: int
    stop_reason: str | None


class Trial(NamedTuple):
    """A row of the trials; `config` is JSON."""

    id: int
    sweep_id: int
    run_id: int
    config: str
    state: str
    attempt: int
    reason: str | None
    best: float | None


class Stored:
    """All that is looked at, of one moment.

    Attributes:
        sweeps: by their id.
        trials: those of each sweep, by its id, in the order of their numbers.
        live: how many leases of a trial are live, by its id; those with none are left out.
        told: the state, the attempt and the reason of each trial as the events tell it, by its run.
        rows: `n` of each history row of a run, by its name.
        blobs: the keys of the files.
    """

    def __init__(self, database: sqlite3.Connection) -> None:
        sweeps = map(Sweep._make, database.execute(_SWEEPS))
        self.sweeps = {sweep.id: sweep for sweep in sweeps}
        self.trials: dict[int, list[Trial]] = defaultdict(list)
        for trial in map(Trial._make, database.execute(_TRIALS)):
            self.trials[trial.sweep_id].append(trial)
        self.live: dict[int, int] = dict(database.execute(_LIVE))
        self.told = _fold(database.execute(_EVENTS))
        self.rows: dict[str, set[int]] = defaultdict(set)
        for run, number in database.execute(_ROWS):
            self.rows[run].add(number)
        self.blobs = [key for (key,) in database.execute("SELECT blob FROM run_file")]


class Tables:
    """Reads the database of a data folder."""

    def __init__(self, folder: Path) -> None:
        self._database = sqlite3.connect(f"file:{folder / 'sweepd.db'}?mode=ro", uri=True)
        self._version: int | None = None

    def look(self) -> Stored | None:
        """Return what is stored now; None if nothing was written since the last look."""
        (version,) = self._database.execute("PRAGMA data_version").fetchone()
        if version == self._version:
            return None
        self._version = version
        return Stored(self._database)

    def close(self) -> None:
        """Let go of the database; a closing store is alone with it then."""
        self._database.close()


def _fold(events: Iterable[tuple[int, str, str]]) -> dict[int, tuple[str, int, str | None]]:
    told: dict[int, tuple[Any, int, str | None]] = {}
    for run_id, kind, text in events:
        data = json.loads(text)
        _, attempt, _reason = told.get(run_id, (TrialState.QUEUED, 0, None))
        match kind:
            case "trial.issued":
                told[run_id] = (TrialState.LEASED, data["attempt"], None)
            case "trial.revived":
                told[run_id] = (TrialState.LEASED, attempt, None)
            case "trial.requeued":
                told[run_id] = (TrialState.QUEUED, attempt, None)
            case "trial.ended":
                told[run_id] = (TrialState.ENDED, attempt, data["reason"])
            case "trial.enqueued":
                told[run_id] = (TrialState.QUEUED, 0, None)
    return told
