"""What a run came to in each of a sweep's `metrics`, by the definition's rule.

A sweep of several metrics keeps no curves: the values are read out of the run's rows when its trial
ends. While it runs they are not known.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select, update

from sweepd.engine import curves
from sweepd.engine.row_reads import read_rows
from sweepd.engine.trials import Lease
from sweepd.spec import Definition, Metric, reduce_curve, signed
from sweepd.store import Tx
from sweepd.store import tables as t

__all__ = ["Outturn", "objectives_of", "read_objectives", "take", "target_reached"]

#: Only so many of a run's last steps count: reading more would keep others waiting.
_MAX_STEPS = 100_000


@dataclass(frozen=True)
class Outturn:
    """What a run came to.

    Attributes:
        values: one for each metric, signed, lower is better; None if any of them is missing.
        missing: the metrics without a finite value.
        bad: the first metric whose last value is NaN or infinite.
    """

    values: tuple[float, ...] | None
    missing: tuple[str, ...] = ()
    bad: str | None = None


def take(tx: Tx, lease: Lease, *, definition: Definition) -> Outturn:
    """Read what a trial's run came to, and keep it with the trial."""
    found = read_objectives(tx, run_id=lease.run_id, definition=definition)
    text = None if found.values is None else json.dumps(found.values)
    trial = t.trial.c.id == lease.trial_id
    tx.conn.execute(update(t.trial).where(trial).values(objectives=text))
    return found


def read_objectives(
    tx: Tx, *, run_id: int, definition: Definition, with_rows: bool = True
) -> Outturn:
    """Return what a run came to, by its rows; by its summary in what it logged nowhere else.

    Args:
        tx: the transaction.
        run_id: the run.
        definition: of the sweep.
        with_rows: whether its rows are read.
    """
    run = tx.conn.execute(
        select(t.run.c.summary, t.run.c.last_step).where(t.run.c.id == run_id)
    ).one()
    names = [metric.name for metric in definition.metrics]
    logged: dict[str, list[float]] = {name: [] for name in names}
    if with_rows:
        first = None if run.last_step is None else max(0, run.last_step - _MAX_STEPS)
        for row in read_rows(tx, run_id=run_id, keys=names, min_step=first):
            values = json.loads(row.body)
            for name in names:
                value = curves.read_number(values.get(name))
                if value is not None:
                    logged[name].append(value)
    for metric in definition.metrics:
        name = metric.name
        if not logged[name]:
            value = curves.summary_value(run.summary, name, goal=metric.goal)
            logged[name] = [] if value is None else [value]
    return _outturn(definition.metrics, logged, rule=definition.own.objective)


def _outturn(metrics: Sequence[Metric], logged: dict[str, list[float]], *, rule: str) -> Outturn:
    values, missing, bad = list[float](), list[str](), None
    for metric in metrics:
        of_metric = logged[metric.name]
        if of_metric and not math.isfinite(of_metric[-1]):
            bad = bad or metric.name
        value = reduce_curve(of_metric, rule=rule, goal=metric.goal)
        if value is None:
            missing.append(metric.name)
        else:
            values.append(signed(value, metric.goal))
    is_whole = not missing and bad is None
    return Outturn(tuple(values) if is_whole else None, tuple(missing), bad)


def objectives_of(text: str | None) -> tuple[float, ...]:
    """Return the objectives that a trial's column holds; none if it holds nothing."""
    return tuple(json.loads(text)) if text is not None else ()


def target_reached(definition: Definition, values: Sequence[float]) -> str | None:
    """Return in words that one run has reached the target of every metric that names one."""
    pairs = list(zip(definition.metrics, values, strict=True))
    aims = [(m, m.target, signed(value, m.goal)) for m, value in pairs if m.target is not None]
    if not aims or any(signed(value, m.goal) > signed(aim, m.goal) for m, aim, value in aims):
        return None
    return ", ".join(f"{m.name} = {value:g} (target {aim:g})" for m, aim, value in aims)
