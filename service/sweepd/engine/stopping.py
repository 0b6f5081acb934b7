"""Early termination: decided when a value arrives, told to the process by its run's stop flag."""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import overload

from sqlalchemy import select, update

from sweepd.engine import trials
from sweepd.engine.trials import BY_RULE, Lease
from sweepd.names import STOP_RULES
from sweepd.registry import Registry
from sweepd.search import StopRule
from sweepd.spec import Definition, EarlyTerminate, sign
from sweepd.store import Tx
from sweepd.store import tables as t

__all__ = ["stop_if_told"]


def stop_if_told(tx: Tx, lease: Lease, *, definition: Definition) -> bool:
    """Flag a run to stop if the definition's rule says so; return whether it does."""
    if definition.early_terminate is None or definition.searcher == "controller":
        return False
    rule = _rule(definition.early_terminate)
    factor = sign(definition.goal)
    mine = select(t.curve.c.value).where(t.curve.c.run_id == lease.run_id)
    curve = [factor * value for value in tx.conn.scalars(mine.order_by(t.curve.c.number))]
    decision = rule.should_stop(curve, _others(tx, lease, factor))
    if decision is None:
        return False
    threshold, value = factor * decision.threshold, factor * decision.value
    why = (
        f"{BY_RULE}: after {decision.band} values {definition.metric_name} is {value:g}, "
        f"and {threshold:g} is needed to go on"
    )
    tx.conn.execute(update(t.run).where(t.run.c.id == lease.run_id).values(stop_requested=why))
    trials.record(
        tx,
        lease,
        "trial.stop_requested",
        BY_RULE,
        rule=definition.early_terminate.type,
        band=decision.band,
        threshold=threshold,
        value=value,
    )
    return True


@lru_cache(maxsize=64)
def _load(kind: str) -> type[StopRule]:
    loaded: type[StopRule] = Registry("stop rule", STOP_RULES).load(kind)
    return loaded


def _rule(block: EarlyTerminate) -> StopRule:
    return _load(block.type)(**block.model_dump(exclude={"type"}))


def _others(tx: Tx, lease: Lease, factor: float) -> list["_Curve"]:
    """Return the curves of all other runs of the sweep, read only where they are looked at."""
    columns = _Columns(tx, lease.sweep_id, factor)
    rows = tx.conn.execute(
        select(t.trial.c.run_id, t.trial.c.n_values).where(
            t.trial.c.sweep_id == lease.sweep_id,
            t.trial.c.run_id != lease.run_id,
            t.trial.c.n_values > 0,
        )
    )
    return [_Curve(columns, row.run_id, row.n_values) for row in rows]


class _Columns:
    """Value number i of every run of a sweep, read for all at once when i is first asked for."""

    def __init__(self, tx: Tx, sweep_id: int, factor: float) -> None:
        self._tx, self._sweep_id, self._factor = tx, sweep_id, factor
        self._read: dict[int, dict[int, float]] = {}

    def __getitem__(self, number: int) -> dict[int, float]:
        if number not in self._read:
            rows = self._tx.conn.execute(
                select(t.curve.c.run_id, t.curve.c.value)
                .join(t.trial, t.trial.c.run_id == t.curve.c.run_id)
                .where(t.trial.c.sweep_id == self._sweep_id, t.curve.c.number == number)
            )
            self._read[number] = {row.run_id: self._factor * row.value for row in rows}
        return self._read[number]


class _Curve(Sequence[float]):
    """One run's signed values, read on demand: hyperband looks at one of each run's thousands."""

    def __init__(self, columns: _Columns, run_id: int, length: int) -> None:
        self._columns, self._run_id, self._length = columns, run_id, length

    def __len__(self) -> int:
        return self._length

    @overload
    def __getitem__(self, index: int) -> float: ...
    @overload
    def __getitem__(self, index: slice) -> list[float]: ...
    def __getitem__(self, index: int | slice) -> float | list[float]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(self._length))]
        if not -self._length <= index < self._length:
            raise IndexError(index)
        return self._columns[index % self._length][self._run_id]

    def __iter__(self) -> Iterator[float]:
        return (self[i] for i in range(self._length))
