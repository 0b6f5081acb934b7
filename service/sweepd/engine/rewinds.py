"""Runs that go back to an earlier step, and runs that begin where another one was.

Nothing is lost by it: what a rewound run had logged after the step moves to streams of its own,
where no reader of the run looks. The lines of a run's own processes count from 0; what stands there
from before them, of a parent or of before a rewind, has negative lines.
"""

import json
from collections.abc import Mapping
from itertools import islice
from typing import Any

from sqlalchemy import ColumnElement, func, select, update

from sweepd.engine import curves, events, exports, projects, trials
from sweepd.engine.access import Need
from sweepd.engine.endings import sweep_row
from sweepd.engine.key_stats import KeyStats
from sweepd.engine.leases import Speaker, is_late
from sweepd.engine.row_reads import read_rows
from sweepd.engine.run_views import find_run, load_run
from sweepd.engine.stream_bodies import CONSOLE, EVENTS, HISTORY
from sweepd.engine.sweepviews import definition_of
from sweepd.engine.texts import MAX_INT, strict_json
from sweepd.engine.views import Account, RunView
from sweepd.errors import InvalidInput, LeaseLost, NotFound
from sweepd.store import Tx
from sweepd.store import tables as t
from sweepd.store.bulk import Line, write_lines

__all__ = ["branch_point", "fork", "rewind"]

_LAYER = 100  # stream numbers between a run's rows and those of before its first, second, … rewind
_BATCH = 1_000  # rows copied in one statement
_MERGED = ("min", "max", "mean", "first", "last", "best")  # of define_metric(summary=…)


def rewind(
    tx: Tx,
    *,
    actor: Account,
    entity: str | None,
    project: str | None,
    name: str,
    metric: str,
    value: float,
    speaker: Speaker | None = None,
) -> RunView:
    """Take a run back to a step; rows after it are kept, but no reader sees them any more.

    System metrics go back to the same moment, the console begins anew, the summary says what it
    said then. The run's state stays: its process opens it by the upsert that follows.

    Raises:
        NotFound, Forbidden: as `runs.get_run`.
        InvalidInput: if the metric is not `_step`, or the value no step.
        LeaseLost: if it is an attempt that asks, and a later one has replaced it.
    """
    step = _read_step(metric, value)
    where = projects.get_project(tx, actor=actor, entity=entity, name=project, need=Need.WRITE)
    run = find_run(tx, where.id, name)
    if run is None:
        raise NotFound(f"there is no run {where.entity}/{where.name}/{name}")
    if speaker is not None and is_late(tx, speaker, run_id=run.id):
        raise LeaseLost(f"run {name}: a later attempt follows attempt {speaker.attempt}")
    of_run = t.stream_line.c.run_id == run.id
    top = tx.conn.scalar(select(func.max(t.stream_line.c.stream)).where(of_run)) or 0
    layer = (top // _LAYER + 1) * _LAYER
    n_rows = _move(tx, run.id, HISTORY, layer, t.stream_line.c.step > step)
    _move(tx, run.id, CONSOLE, layer)
    changed = _history_columns(tx, run.id, old_summary=run.summary)
    reached_at = json.loads(changed["summary"]).get("_timestamp")
    _rewind_events(tx, run.id, layer, reached_at)
    changed |= {"history_lines": _n_lines(tx, run.id), "event_lines": 0}
    changed |= {"log_lines": 0, "log_size": 0, "log_head": None}
    tx.conn.execute(update(t.run).where(t.run.c.id == run.id).values(changed))
    exports.rewritten(tx, run_id=run.id)
    lease = trials.lease_of_run(tx, run.id)
    if lease is not None:
        definition = definition_of(sweep_row(tx, lease.sweep_id).definition)
        curves.cut(tx, lease, after_step=step, definition=definition)
    events.record(
        tx,
        actor=actor.name,
        kind="run.rewound",
        project_id=run.project_id,
        sweep_id=run.sweep_id,
        run_id=run.id,
        data={"step": step, "rows": n_rows},
    )
    again = load_run(tx, run.id)
    assert again is not None, "it was there just now"
    return again


def branch_point(config: Mapping[str, Any] | None, *, name: str) -> tuple[str, int] | None:
    """Return the run and the step that a new run of this name begins at, None for most runs.

    Raises:
        InvalidInput: if the step is none.
    """
    own = (config or {}).get("_wandb")
    value = own.get("value") if isinstance(own, dict) else None
    point = value.get("branch_point") if isinstance(value, dict) else None
    if not isinstance(point, dict) or not isinstance(point.get("run_id"), str):
        return None
    if point["run_id"] == name:  # a run that was rewound
        return None
    return point["run_id"], _read_step("_step", point.get("step"))


def fork(tx: Tx, *, run_id: int, project_id: int, parent: str, step: int) -> None:
    """Give a new run the history of its parent up to a step, that included.

    Raises:
        NotFound: if the project has no such run.
    """
    found = find_run(tx, project_id, parent)
    if found is None:
        raise NotFound(f"there is no run {parent} in this project to fork from")
    rows = read_rows(tx, run_id=found.id, max_step=step)
    while some := list(islice(rows, _BATCH)):
        # One line a step, below 0 and rising with the step.
        write_lines(
            tx,
            [Line(run_id, HISTORY, row.step - step - 1, 1, row.step, row.body) for row in some],
        )
    changed = _history_columns(tx, run_id, old_summary=found.summary)
    tx.conn.execute(update(t.run).where(t.run.c.id == run_id).values(changed))


def _read_step(metric: str, value: object) -> int:
    if metric != "_step":
        raise InvalidInput(f"a run goes back by `_step` only, not by {metric[:100]!r}")
    if (
        not isinstance(value, int | float)
        or isinstance(value, bool)
        or not 0 <= value < MAX_INT / 2
    ):
        raise InvalidInput(f"a step must be a whole number from 0, not {value!r:.100}")
    return int(value)


def _move(tx: Tx, run_id: int, stream: int, layer: int, *which: ColumnElement[bool]) -> int:
    """Move lines of a stream to a layer; return how many."""
    c = t.stream_line.c
    moved = update(t.stream_line).where(c.run_id == run_id, c.stream == stream, *which)
    return tx.conn.execute(moved.values(stream=layer + stream)).rowcount


def _rewind_events(tx: Tx, run_id: int, layer: int, reached_at: object) -> None:
    """Keep the system metrics up to a moment, at lines below 0; the rest moves to a layer."""
    c = t.stream_line.c
    at = func.json_extract(c.body, "$._timestamp")
    if isinstance(reached_at, int | float):
        _move(tx, run_id, EVENTS, layer, at > reached_at)
    else:
        _move(tx, run_id, EVENTS, layer)
    of_run = (c.run_id == run_id, c.stream == EVENTS)
    n_lines = (tx.conn.scalar(select(func.max(c.line)).where(*of_run)) or 0) + 1
    # By way of a stream that is empty, since a line may not stand where another still does.
    by_way = _LAYER - 1
    tx.conn.execute(
        update(t.stream_line).where(*of_run).values(stream=by_way, line=c.line - n_lines)
    )
    tx.conn.execute(
        update(t.stream_line).where(c.run_id == run_id, c.stream == by_way).values(stream=EVENTS)
    )


def _n_lines(tx: Tx, run_id: int) -> int:
    c = t.stream_line.c
    last = select(func.max(c.line)).where(c.run_id == run_id, c.stream == HISTORY)
    found = tx.conn.scalar(last)
    return max(0, found + 1) if found is not None else 0


def _history_columns(tx: Tx, run_id: int, *, old_summary: str) -> dict[str, Any]:
    """Return the columns of a run that follow from the rows which its readers see."""
    stats, summary = KeyStats(), _Summary(json.loads(old_summary))
    for row in read_rows(tx, run_id=run_id):
        values = json.loads(row.body)
        stats.add(values, step=row.step)
        summary.add(values)
    has_rows = stats.last_step is not None
    return {
        "history_keys": stats.to_json() if has_rows else None,
        "last_step": stats.last_step,
        "summary": summary.to_json(),
    }


class _Summary:
    """What a run's summary was after some rows, going by how a later one sums up each key."""

    def __init__(self, later: Mapping[str, Any]) -> None:
        self._kinds = {
            key: [kind for kind in _MERGED if kind in value]
            for key, value in later.items()
            if isinstance(value, dict) and "_type" not in value and value.keys() <= set(_MERGED)
        }
        self._last: dict[str, Any] = {}
        self._first: dict[str, float] = {}
        self._low: dict[str, float] = {}
        self._high: dict[str, float] = {}
        self._total: dict[str, float] = {}
        self._count: dict[str, int] = {}

    def add(self, values: Mapping[str, Any]) -> None:
        """Take one row, in the order of the steps."""
        self._last.update(values)
        for key in self._kinds.keys() & values.keys():
            value = values[key]
            if type(value) not in (int, float):
                continue
            self._first.setdefault(key, value)
            self._low[key] = min(value, self._low.get(key, value))
            self._high[key] = max(value, self._high.get(key, value))
            self._total[key] = self._total.get(key, 0.0) + value
            self._count[key] = self._count.get(key, 0) + 1

    def to_json(self) -> str:
        """Return the summary; `best` is left to the process, which knows its goal."""
        found = dict(self._last)
        for key in self._kinds.keys() & self._count.keys():
            of_kind = {
                "min": self._low[key],
                "max": self._high[key],
                "mean": self._total[key] / self._count[key],
                "first": self._first[key],
                "last": self._last[key],
            }
            found[key] = {kind: of_kind[kind] for kind in self._kinds[key] if kind in of_kind}
        runtime = found.get("_runtime")
        if isinstance(runtime, int | float):
            found["_wandb"] = {"runtime": int(runtime)}
        return strict_json(found)
