"""Reading a run's rows back: whole, sampled, as charts, as a console."""

import json
from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypedDict

from sqlalchemy import func, select

from sweepd.engine.allowance import Allowance
from sweepd.engine.charts import Series, series
from sweepd.engine.console import log_lines
from sweepd.engine.row_reads import (
    StoredRow,
    count_steps,
    lines_at,
    pick,
    read_rows,
    steps_at,
)
from sweepd.engine.sampling import Extremes, chosen, evenly
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
    "video-file": "video",
    "videos": "video",
    "audio-file": "audio",
    "audio": "audio",
    "html-file": "html",
    "html": "html",
    "plotly-file": "figure",
    "bokeh-file": "figure",
    "molecule-file": "molecule",
    "molecule": "molecule",
    "object3D-file": "object3d",
    "object3D": "object3d",
    "graph-file": "graph",
    "string": "text",
}


class _Where(TypedDict):
    run_id: int
    min_step: int | None
    max_step: int | None  # inclusive


def rows(
    tx: Tx,
    *,
    run_id: int,
    min_step: int | None = None,
    max_step: int | None = None,
    samples: int | None = None,
    allowance: Allowance | None = None,
) -> list[str]:
    """Return history rows as strict JSON text, by step: `min_step` inclusive, `max_step` not.

    With more rows than `samples`, they are sampled evenly; the first and the last are kept, and, of
    up to 20,000 rows, those with the lowest and highest values.

    Raises:
        ProtocolError: if they take more than the allowance.
    """
    high = max_step - 1 if max_step is not None else None
    where: _Where = {"run_id": run_id, "min_step": min_step, "max_step": high}
    found = read_rows(tx, **where)
    if samples is not None and (n := count_steps(tx, **where)) > samples:
        extremes = Extremes()
        if n <= _MAX_SCAN:
            for index, row in enumerate(found):
                extremes.add(json.loads(row.body), index)
        steps = steps_at(tx, chosen(n, samples, extremes.indices()), **where)
        found = read_rows(tx, run_id=run_id, steps=steps)
    return _taken((row.body for row in found), allowance or Allowance())


def sampled(
    tx: Tx,
    *,
    run_id: int,
    keys: Sequence[str],
    min_step: int | None = None,
    max_step: int | None = None,
    samples: int | None = None,
    allowance: Allowance | None = None,
) -> list[dict[str, Any]]:
    """Return rows that have every one of `keys`, with only those; both steps inclusive.

    With more rows than `samples`, they are sampled evenly; the first and the last are kept, and
    those with the lowest and highest value of each key. NaN and infinities are texts. Memory grows
    with what is returned, and by eight bytes for each row of the run.

    Raises:
        ProtocolError: if they take more than the allowance.
    """
    if not keys:
        return []
    left = allowance or Allowance()
    where: _Where = {"run_id": run_id, "min_step": min_step, "max_step": max_step}
    if samples is not None and count_steps(tx, **where) > samples:
        steps, extremes = array("q"), Extremes()
        for row, picked in _picked(tx, keys=keys, **where):
            extremes.add(picked, len(steps))
            steps.append(row.step)
        wanted = [steps[index] for index in chosen(len(steps), samples, extremes.indices())]
        rows = _picked(tx, keys=keys, run_id=run_id, steps=wanted)
    else:
        rows = _picked(tx, keys=keys, **where)
    found = []
    for row, picked in rows:
        left.take(row.body)
        found.append(picked)
    return found


def events(
    tx: Tx, *, run_id: int, samples: int | None = None, allowance: Allowance | None = None
) -> list[str]:
    """Return rows of system metrics as strict JSON text, in order, evenly sampled.

    Raises:
        ProtocolError: if they take more than the allowance.
    """
    left = allowance or Allowance()
    c = t.stream_line.c
    where = (c.run_id == run_id, c.stream == EVENTS)
    n = tx.conn.scalar(select(func.count()).where(*where)) or 0
    if samples is None or n <= samples:
        query = select(c.body).where(*where).order_by(c.line)
        return _taken(tx.conn.scalars(query), left)
    return _taken(lines_at(tx, evenly(n, samples), run_id=run_id, stream=EVENTS), left)


def _picked(
    tx: Tx, *, run_id: int, keys: Sequence[str], **where: Any
) -> Iterator[tuple[StoredRow, dict[str, Any]]]:
    """Yield the rows that have all of `keys`, with the values of those."""
    wanted = set(keys)
    for row in read_rows(tx, run_id=run_id, keys=keys, **where):
        values = json.loads(row.body)
        values["_step"] = row.step
        if wanted <= values.keys():
            yield row, {key: values[key] for key in keys}
            continue
        found = {key: pick(values, key) for key in keys}
        if all(has for has, _ in found.values()):
            yield row, {key: value for key, (_, value) in found.items()}


def _taken(bodies: Iterable[str], left: Allowance) -> list[str]:
    """Return the texts, each of which takes its room."""
    found = []
    for body in bodies:
        left.take(body)
        found.append(body)
    return found


def history_keys(run: RunView) -> dict[str, Any] | None:
    """Return W&B's historyKeys object; None while the run has no history."""
    if run.history_keys is None:
        return None
    found: dict[str, Any] = json.loads(run.history_keys)
    return found


def keys_by_kind(run: RunView) -> dict[str, list[str]]:
    """Return the logged keys, sorted, by kind: scalar, histogram, text, a kind of media, other.

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
