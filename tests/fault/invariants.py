"""The invariants of RELIABILITY.md, checked on the data folder of a service that is stopped or not.

I1 every suggestion has one trial, I2 at most one live lease per trial, I3 a grid ends with each
point once, I4 run_cap, I5 no acknowledged row is lost (what was, the test knows), I6 states that go
together, I7 the events tell what the tables say, I8 the best is that of the stored history, I10
nothing refers to bytes that are not there; and the database itself is sound.
"""

import json
import sqlite3
from collections.abc import Collection, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

__all__ = ["check_folder"]

_HISTORY = 0
_ENDED = frozenset({"finished", "failed", "crashed", "killed", "preempted"})


def check_folder(
    folder: Path, *, acknowledged: Mapping[str, Collection[Any]] | None = None
) -> None:
    """Raise AssertionError, naming the invariant, if one does not hold.

    Args:
        folder: the service's data.
        acknowledged: for each run's id, the values of `n` in rows that were answered with 200.
    """
    place = f"file:{folder / 'sweepd.db'}?mode=ro"
    with closing(sqlite3.connect(place, uri=True)) as database:
        database.row_factory = sqlite3.Row
        database.execute("BEGIN")  # all of one moment
        assert database.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
        assert database.execute("PRAGMA foreign_key_check").fetchall() == []
        for sweep in database.execute("SELECT * FROM sweep").fetchall():
            _check_sweep(database, sweep)
        for run, numbers in (acknowledged or {}).items():
            missing = set(numbers) - _stored(database, run)
            assert not missing, f"I5: run {run} lost the rows {sorted(missing)[:5]}"
        for table in ("run_file", "blob"):
            column = "key" if table == "blob" else "blob"
            for (key,) in database.execute(f"SELECT {column} FROM {table}"):
                path = folder / "blobs" / key[:2] / key
                assert path.is_file(), f"I10: {table} refers to {key}, which is not there"


def _check_sweep(database: sqlite3.Connection, sweep: sqlite3.Row) -> None:
    trials = database.execute(
        "SELECT trial.*, run.state AS run_state FROM trial JOIN run ON run.id = trial.run_id "
        "WHERE trial.sweep_id = ? ORDER BY number",
        [sweep["id"]],
    ).fetchall()
    given = [trial for trial in trials if trial["attempt"] > 0]
    own = [trial for trial in given if trial["origin"] != "enqueued"]
    keys = {trial["config_key"] for trial in own}
    assert len(keys) == len(own), f"I1: sweep {sweep['name']} gave a configuration twice"
    assert sweep["n_issued"] >= len(given), "I4: more trials than were counted"
    cap = sweep["run_cap"]
    assert cap is None or sweep["n_issued"] <= cap, f"I4: {sweep['n_issued']} of {cap} trials"
    told = _told(database, sweep["id"])
    for trial in trials:
        live = _live(database, trial["id"])
        assert live == (trial["state"] == "leased"), f"I2: trial {trial['number']} has {live}"
        if trial["state"] == "ended":
            assert trial["reason"], f"I3: nothing says how trial {trial['number']} ended"
            assert trial["run_state"] in _ENDED, f"I6: {trial['run_state']} after the end"
        now = (trial["state"], trial["attempt"])
        assert told[trial["run_id"]] == now, f"I7: {told[trial['run_id']]} is told, {now} is stored"
        _check_best(database, trial)
    if sweep["state"] in ("FINISHED", "CANCELED"):
        assert all(trial["state"] != "queued" for trial in trials), (
            "I9: a trial waits after the end"
        )


def _check_best(database: sqlite3.Connection, trial: sqlite3.Row) -> None:
    values = [
        row["value"]
        for row in database.execute("SELECT value FROM curve WHERE run_id = ?", [trial["run_id"]])
    ]
    if values:
        is_extremum = trial["best"] in (min(values), max(values))
        assert is_extremum, f"I8: trial {trial['number']} has {trial['best']} for its best"


def _live(database: sqlite3.Connection, trial_id: int) -> int:
    query = "SELECT count(*) FROM attempt WHERE trial_id = ? AND ended_at IS NULL"
    (count,) = database.execute(query, [trial_id]).fetchone()
    return int(count)


def _told(database: sqlite3.Connection, sweep_id: int) -> dict[int, tuple[str, int]]:
    """Fold a sweep's events into the state and the attempt of each trial, by its run."""
    told: dict[int, tuple[str, int]] = {}
    rows = database.execute(
        "SELECT run_id, kind, data FROM event WHERE sweep_id = ? AND kind LIKE 'trial.%' "
        "ORDER BY id",
        [sweep_id],
    )
    states = {"issued": "leased", "revived": "leased", "requeued": "queued", "ended": "ended"}
    for run_id, kind, text in rows:
        attempt = told.get(run_id, ("queued", 0))[1]
        verb = kind.removeprefix("trial.")
        if verb == "issued":
            attempt = json.loads(text)["attempt"]
        if verb == "enqueued":
            told[run_id] = ("queued", 0)
        elif verb in states:
            told[run_id] = (states[verb], attempt)
    return told


def _stored(database: sqlite3.Connection, run: str) -> set[Any]:
    """Return `n` of every history row of a run, those of superseded attempts too."""
    rows = database.execute(
        "SELECT body FROM stream_line JOIN run ON run.id = stream_line.run_id "
        "WHERE run.name = ? AND stream % 10 = ?",
        [run, _HISTORY],
    )
    return {json.loads(body).get("n") for (body,) in rows}
