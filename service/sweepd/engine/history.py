"""Reading a run's rows back: whole, sampled, as charts, as a console."""

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import select

from sweepd.engine.charts import Series, series
from sweepd.engine.console import log_lines
from sweepd.engine.row_reads import StoredRow, evenly, lines_of, pick, read_rows, steps_of
from sweepd.engine.stream_bodies import EVENTS, HISTORY
from sweepd.engine.views import RunView
from sweepd.errors import ProtocolError
from sweepd.store import Tx
from sweepd.store import tables as t

__all__ = [
    "Series",
    "event_keys",
    "events",
    "history_keys",
    "keys_by_kind",
    "log_lines",
    "rows",
    "sampled",
    "series",
    "tail",
]

_MAX_SCAN = 20_000  # rows up to which the extremes of all keys are looked for
_STREAMS = {"history": HISTORY, "events": EVENTS}
_KINDS = {
    "number": "scalar",
    "histogram": "histogram",
    "image-file": "image",
    "images/separated": "image",
    "images": "image",
    "table-file": "table",
    "table": "table",
    "string": "text",
}


def rows(
    tx: Tx,
    *,
    run_id: int,
    min_step: int | None = None,
    max_step: int | None = None,
    samples: int | None = None,
) -> list[str]:
    """Return history rows as strict JSON text, by step: `min_step` inclusive, `max_step` not.

    With more rows than `samples`, they are sampled evenly; the first and the last are kept, and, of
    up to 20,000 rows, those with the lowest and highest values.
    """
    high = max_step - 1 if max_step is not None else None
    if samples is None:
        found = read_rows(tx, run_id=run_id, min_step=min_step, max_step=high)
        return [row.body for row in found]
    steps = steps_of(tx, run_id=run_id, min_step=min_step, max_step=high)
    if len(steps) > _MAX_SCAN:
        steps = [steps[index] for index in evenly(len(steps), samples)]
        return [row.body for row in read_rows(tx, run_id=run_id, steps=steps)]
    stored = list(read_rows(tx, run_id=run_id, min_step=min_step, max_step=high))
    return [row.body for row in _sample(stored, samples)]


def sampled(
    tx: Tx,
    *,
    run_id: int,
    keys: Sequence[str],
    min_step: int | None = None,
    max_step: int | None = None,
    samples: int | None = None,
) -> list[dict[str, Any]]:
    """Return rows that have every one of `keys`, with only those; both steps inclusive.

    With more rows than `samples`, they are sampled evenly; the first and the last are kept, and
    those with the lowest and highest value of each key. NaN and infinities are texts.
    """
    found = []
    for row in read_rows(tx, run_id=run_id, keys=keys, min_step=min_step, max_step=max_step):
        values = {**json.loads(row.body), "_step": row.step}
        picked = {key: pick(values, key) for key in keys}
        if all(has for has, _ in picked.values()):
            found.append({key: value for key, (_, value) in picked.items()})
    if samples is None or len(found) <= samples or not keys:
        return found if keys else []
    return [found[index] for index in _indices(found, samples)]


def events(tx: Tx, *, run_id: int, samples: int | None = None) -> list[str]:
    """Return rows of system metrics as strict JSON text, in order, evenly sampled."""
    where = (t.stream_line.c.run_id == run_id, t.stream_line.c.stream == EVENTS)
    by_line = t.stream_line.c.line
    if samples is None:
        return list(tx.conn.scalars(select(t.stream_line.c.body).where(*where).order_by(by_line)))
    lines = tx.conn.scalars(select(by_line).where(*where).order_by(by_line)).all()
    chosen = [lines[index] for index in evenly(len(lines), samples)]
    return lines_of(tx, run_id=run_id, stream=EVENTS, lines=chosen)


def history_keys(run: RunView) -> dict[str, Any] | None:
    """Return W&B's historyKeys object; None while the run has no history."""
    if run.history_keys is None:
        return None
    found: dict[str, Any] = json.loads(run.history_keys)
    return found


def keys_by_kind(run: RunView) -> dict[str, list[str]]:
    """Return the logged keys, sorted, by kind: scalar, histogram, image, table, text, other.

    A key's kind is the type that it was logged with most often. `_step` and its like are left out.
    """
    kinds: dict[str, list[str]] = {}
    for key, entry in sorted(((history_keys(run) or {}).get("keys") or {}).items()):
        if key.startswith("_"):
            continue
        commonest = max(entry["typeCounts"], key=lambda row: row["count"])["type"]
        kinds.setdefault(_KINDS.get(commonest, "other"), []).append(key)
    return kinds


def event_keys(tx: Tx, *, run_id: int) -> list[str]:
    """Return the numeric keys of a run's system metrics, sorted, as 20 rows over its life show."""
    found: set[str] = set()
    for body in events(tx, run_id=run_id, samples=20):
        for key, value in json.loads(body).items():
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            if is_number and not key.startswith("_"):
                found.add(key)
    return sorted(found)


def tail(tx: Tx, *, run_id: int, stream: str) -> str:
    """Return a JSON array with the last row of `history` or `events` as text; "[]" without any.

    Raises:
        ProtocolError: for another stream.
    """
    if stream not in _STREAMS:
        raise ProtocolError(f"tail: stream must be history or events, not {stream!r}")
    query = (
        select(t.stream_line.c.body)
        .where(t.stream_line.c.run_id == run_id, t.stream_line.c.stream == _STREAMS[stream])
        .order_by(t.stream_line.c.line.desc())
        .limit(1)
    )
    return json.dumps(list(tx.conn.scalars(query)))


def _sample(stored: Sequence[StoredRow], samples: int) -> list[StoredRow]:
    if len(stored) <= samples:
        return list(stored)
    values = [json.loads(row.body) for row in stored]
    return [stored[index] for index in _indices(values, samples)]


def _indices(values: Sequence[dict[str, Any]], samples: int) -> list[int]:
    """Return `samples` indices: the first and last, the extremes of keys, the others evenly.

    Extremes take at most half of the places.
    """
    kept = set(evenly(len(values), min(samples, 2)))
    for index in _extremes(values):
        if len(kept) >= samples // 2:
            break
        kept.add(index)
    others = [index for index in range(len(values)) if index not in kept]
    kept.update(others[index] for index in evenly(len(others), samples - len(kept)))
    return sorted(kept)


def _extremes(values: Sequence[dict[str, Any]]) -> list[int]:
    """Return the indices of each key's lowest and highest value, keys in alphabetical order."""
    low: dict[str, tuple[float, int]] = {}
    high: dict[str, tuple[float, int]] = {}
    for index, row in enumerate(values):
        for key, value in row.items():
            if key.startswith("_") or type(value) not in (int, float):
                continue
            if key not in low or value < low[key][0]:
                low[key] = (value, index)
            if key not in high or value > high[key][0]:
                high[key] = (value, index)
    return [index for key in sorted(low) for index in (low[key][1], high[key][1])]
