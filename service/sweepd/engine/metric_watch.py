"""The metrics that a definition names, and what a program logs instead of them."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from sqlalchemy import bindparam, func, select

from sweepd.engine import notices
from sweepd.engine.curves import Logged, read_number, value_in
from sweepd.engine.texts import strict_json
from sweepd.engine.trials import Ending, Lease
from sweepd.errors import Reason
from sweepd.schedule import TrialState
from sweepd.spec import Definition
from sweepd.store import Prepared, Tx
from sweepd.store import tables as t

__all__ = ["TOPIC", "miss", "miss_any", "note_summary", "say_missing", "what_was_logged"]

TOPIC = "metric"  # of the notice; of several metrics each has its own, with its name
_PATIENCE = 3  # rows of the first trials without the metric, until it is said


def miss(tx: Tx, lease: Lease, rows: Sequence[Logged], *, metric: str) -> None:
    """Say on the sweep that a trial has logged rows without the metric; once one has it, never.

    That is while the first trial runs, before a misspelt name has cost a whole sweep.
    """
    if lease.n_values:
        return
    has_it = (t.trial.c.n_values > 0) | (t.trial.c.reason == Reason.FINISHED)
    has_it &= t.trial.c.sweep_id == lease.sweep_id
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


_FINISHED = Prepared(
    select(t.trial.c.id)
    .where(
        t.trial.c.sweep_id == bindparam("sweep"),
        t.trial.c.state == TrialState.ENDED,
        t.trial.c.reason == Reason.FINISHED,
    )
    .limit(1)
)
_RUN = Prepared(
    select(t.run.c.history_keys, t.run.c.history_lines, t.run.c.summary).where(
        t.run.c.id == bindparam("run")
    )
)
_MOST_OTHERS = 50  # runs that are looked at for a metric that this one lacks
_KEYS_OF_OTHERS = Prepared(
    select(t.run.c.history_keys)
    .where(
        t.run.c.sweep_id == bindparam("sweep"),
        t.run.c.id != bindparam("run"),
        func.instr(t.run.c.history_keys, bindparam("name")) > 0,
    )
    .limit(_MOST_OTHERS)
)


def miss_any(
    tx: Tx, lease: Lease, rows: Sequence[Logged], *, definition: Definition, has_notices: bool
) -> None:
    """Do for each of several metrics what `miss` does for one, and withdraw what comes.

    No curve tells what came: the keys of the runs do. Once a trial has finished, all are right.

    Args:
        tx: the transaction; it has brought the run's keys in line with the rows.
        lease: the trial.
        rows: of its run, new ones.
        definition: of the sweep.
        has_notices: whether anything is said of the sweep.
    """
    names = [metric.name for metric in definition.metrics]
    came = [name for name in names if any(map(_has(name), rows))]
    if has_notices and came:
        n_rows = {name: sum(map(_has(name), rows)) for name in came}
        _withdraw_new(tx, lease, n_rows, definition=definition)
    absent = [name for name in names if name not in came]
    if not absent or _FINISHED.row(tx, sweep=lease.sweep_id) is not None:
        return
    run = _RUN.one(tx, run=lease.run_id)
    keys, summary = _keys_in(run.history_keys), json.loads(run.summary or "{}")
    last: dict[str, Any] = {}
    for row in rows:
        last.update(row.values)
    inside = set(_names_inside({**summary, **last}))
    is_early = max(run.history_lines, 1 + max(row.line for row in rows)) < _PATIENCE
    said = notices.said(tx, lease.sweep_id) if has_notices else {}
    for name in absent:
        is_here = _n_logged(keys, name) and name not in inside
        if is_here or value_in(summary, name) is not None:
            continue
        if is_early and not is_wrong(last, name):
            continue
        topic, begin = _topic(definition, name), f"run {lease.run}, so far: "
        old = said.get(topic)
        is_news = not _is_elsewhere(tx, lease, name) if old is None else old.startswith(begin)
        if is_news:  # runs side by side do not say the same by turns
            words = what_was_logged(tx, lease, name, last)
            notices.post(tx, lease.sweep_id, topic=topic, text=begin + words)


def say_missing(tx: Tx, lease: Lease, ending: Ending, *, definition: Definition) -> None:
    """Say on the sweep which metrics a trial has ended without."""
    for i, name in enumerate(ending.missing):
        words = what_was_logged(tx, lease, name, {}) if i else ending.message
        topic, text = _topic(definition, name), f"run {lease.run}: {words}"
        notices.post(tx, lease.sweep_id, topic=topic, text=text)


def note_summary(tx: Tx, lease: Lease, *, definition: Definition) -> None:
    """Withdraw what is said of metrics that a trial which has finished has in its summary alone."""
    in_no_row = {metric.name: 0 for metric in definition.objectives}
    _withdraw_new(tx, lease, in_no_row, definition=definition)


def _withdraw_new(
    tx: Tx, lease: Lease, n_rows: Mapping[str, int], *, definition: Definition
) -> None:
    """Withdraw what is said of metrics that a trial has now, and had not before its latest rows.

    What a trial lacked at its end stands until another one comes to log it, whichever run beside.

    Args:
        tx: the transaction.
        lease: the trial.
        n_rows: metric -> how many of the rows have it.
        definition: of the sweep.
    """
    said = notices.said(tx, lease.sweep_id)
    names = [name for name in n_rows if _topic(definition, name) in said]
    if not names:
        return
    keys = _keys_in(_RUN.one(tx, run=lease.run_id).history_keys)
    for name in names:
        is_unsure = "." in name  # it may count what is inside a mapping
        if is_unsure or _n_logged(keys, name) <= n_rows[name]:
            notices.withdraw(tx, lease.sweep_id, topic=_topic(definition, name))


def _topic(definition: Definition, name: str) -> str:
    return f"{TOPIC} {name}" if definition.metrics else TOPIC


def _has(name: str) -> Callable[[Logged], bool]:
    return lambda row: read_number(row.values.get(name)) is not None


def _is_elsewhere(tx: Tx, lease: Lease, name: str) -> bool:
    """Return whether another run of the sweep has logged a metric."""
    key = strict_json(name)
    others = _KEYS_OF_OTHERS.rows(tx, sweep=lease.sweep_id, run=lease.run_id, name=key)
    return any(_n_logged(_keys_in(text), name) for (text,) in others)


def _keys_in(text: str | None) -> Mapping[str, Any]:
    """Return the entries of a run's `history_keys`, by key."""
    return json.loads(text or "{}").get("keys") or {}


def _n_logged(keys: Mapping[str, Any], name: str) -> int:
    """Return how often a key was logged as a number, NaN and infinities included."""
    counts = keys.get(name, {}).get("typeCounts", ())
    return sum(count["count"] for count in counts if count["type"] == "number")


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
    known = _keys_in(run.history_keys)
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
