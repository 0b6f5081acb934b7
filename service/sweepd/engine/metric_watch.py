"""The metric that a definition names, and what a program logs instead of it."""

import json
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from sqlalchemy import select

from sweepd.engine import notices
from sweepd.engine.curves import Logged, read_number
from sweepd.engine.trials import Lease
from sweepd.store import Tx
from sweepd.store import tables as t

__all__ = ["TOPIC", "miss", "what_was_logged"]

TOPIC = "metric"  # of the notice
_PATIENCE = 3  # rows of the first trials without the metric, until it is said


def miss(tx: Tx, lease: Lease, rows: Sequence[Logged], *, metric: str) -> None:
    """Say on the sweep that a trial has logged rows without the metric; once one has it, never.

    That is while the first trial runs, before a misspelt name has cost a whole sweep.
    """
    if lease.n_values:
        return
    has_it = (t.trial.c.sweep_id == lease.sweep_id) & (t.trial.c.n_values > 0)
    if tx.conn.execute(select(t.trial.c.id).where(has_it).limit(1)).first() is not None:
        return
    last: dict[str, Any] = {}
    for row in rows:
        last.update(row.values)
    lines = tx.conn.scalar(select(t.run.c.history_lines).where(t.run.c.id == lease.run_id)) or 0
    if not is_wrong(last, metric) and max(lines, 1 + max(row.line for row in rows)) < _PATIENCE:
        return
    words = what_was_logged(tx, lease, metric, last)
    notices.post(tx, lease.sweep_id, topic=TOPIC, text=f"run {lease.run}, so far: {words}")


def is_wrong(logged: Mapping[str, Any], metric: str) -> bool:
    """Return whether the metric is logged, as something that is no number."""
    return metric in logged and read_number(logged[metric]) is None


def what_was_logged(tx: Tx, lease: Lease, metric: str, last: Mapping[str, Any]) -> str:
    """Return the sentence on a metric that was never logged as a number.

    It says what it was logged as, or names the keys that were logged, the most alike first.

    Args:
        tx: the transaction.
        lease: the trial.
        metric: the metric's name.
        last: values of its latest rows, where they are at hand.
    """
    run = tx.conn.execute(
        select(t.run.c.history_keys, t.run.c.summary).where(t.run.c.id == lease.run_id)
    ).one()
    summary = json.loads(run.summary or "{}")
    known = json.loads(run.history_keys or "{}").get("keys") or {}
    outermost = {**summary, **last}
    inside = set(_names_inside(outermost))
    for logged in (last, summary):
        if is_wrong(logged, metric):
            value = logged[metric]
            kind = _KINDS.get(type(value), "something else")
            shown = json.dumps(value, default=str)[:60]
            return f"the metric {metric!r} was logged as {kind} ({shown}), which is no number"
    if metric in inside:
        return f"the metric {metric!r} was logged {_inside(metric, metric)}"
    plain = {name for name, value in outermost.items() if not _is_mapping(value)}
    names = sorted(name for name in {*known, *plain, *inside} if not name.startswith("_"))
    near = get_close_matches(metric, names, n=3, cutoff=0.5)
    shown = ", ".join(near + [name for name in names if name not in near][: 5 - len(near)])
    if not shown:
        return f"the metric {metric!r} was never logged, nor was anything else"
    where = f", {_inside(near[0], metric)}" if near and near[0] in inside else ""
    hint = f"; nearest: {near[0]!r}{where}" if near else ""
    return f"the metric {metric!r} was never logged{hint}; logged were: {shown}"


def _names_inside(values: Mapping[str, Any], above: str = "") -> Iterator[str]:
    """Yield the names, with dots, of what is in mappings that are values."""
    for name, value in values.items():
        if _is_mapping(value):
            yield from _names_inside(value, f"{above}{name}.")
        elif above:
            yield f"{above}{name}"


def _is_mapping(value: Any) -> bool:
    return isinstance(value, dict) and "_type" not in value  # which media have


def _inside(name: str, metric: str) -> str:
    """Return where a value of a mapping is, by its name with dots, and what mends it."""
    outer, _, _ = name.rpartition(".")
    return f"inside {outer!r}, and a sweep reads only the top level: run.log({{{metric!r}: …}})"


_KINDS: Mapping[type, str] = {
    str: "text",
    bool: "a truth value",
    type(None): "nothing",
    list: "a list",
    dict: "a mapping",
}
