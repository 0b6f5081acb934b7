"""Early termination: decided when a value arrives, told to the process by its run's stop flag."""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, overload

from sqlalchemy import ColumnElement, select, update

from sweepd.engine import trials
from sweepd.engine.curves import CurveEnd
from sweepd.engine.trials import BY_RULE, Lease
from sweepd.errors import Reason
from sweepd.names import STOP_RULES
from sweepd.registry import Registry
from sweepd.search import Decision, Outcome, Progress, StopRule
from sweepd.search.asha import Asha
from sweepd.spec import Definition, sign
from sweepd.store import Tx
from sweepd.store import tables as t

__all__ = ["rules_of", "stop_if_told"]

_ENDS: dict[Outcome, Reason] = {
    "stopped": Reason.STOPPED_EARLY,
    "finished": Reason.FINISHED,
    "diverged": Reason.DIVERGED,
}


def stop_if_told(tx: Tx, lease: Lease, curve: CurveEnd, *, definition: Definition) -> bool:
    """Flag a run to stop if one of the definition's rules says so; return whether one does.

    The first rule that says so counts: `early_terminate`, then those of `sweepd.stop` in order.
    """
    if definition.searcher == "controller":
        return False
    factor = sign(definition.goal)
    run = Progress(
        curve=_Curve(tx, lease.run_id, curve.n_values, factor),
        n_bad=curve.n_bad,
        rung=lease.rung,
        n_new=curve.n_new,
    )
    peers = _Peers(tx, lease, factor)
    for kind, rule in rules_of(definition):
        decision = rule.should_stop(run, peers)
        if isinstance(rule, Asha):
            _note_rung(tx, lease, rule.rung_of(curve.n_values))
        if decision is not None:
            _flag(tx, lease, kind, decision, definition=definition)
            return True
    return False


def rules_of(definition: Definition) -> Iterator[tuple[str, StopRule]]:
    """Yield the name of each of the definition's stop rules with the rule, in their order."""
    block = definition.early_terminate
    if block is not None:
        yield block.type, _load(block.type)(**block.model_dump(exclude={"type"}))
    for own in definition.own.stop:
        yield own.rule, _load(own.rule)(**own.arguments(definition.goal))


def _flag(tx: Tx, lease: Lease, kind: str, decision: Decision, *, definition: Definition) -> None:
    """Ask the run to stop; its trial will end as the decision says."""
    factor = sign(definition.goal)
    threshold = None if decision.threshold is None else factor * decision.threshold
    value = None if decision.value is None else factor * decision.value
    numbers = {"threshold": threshold, "value": value}
    words = decision.why.format(
        metric=definition.metric_name,
        band=decision.band,
        **{name: None if number is None else f"{number:g}" for name, number in numbers.items()},
    )
    why = f"{BY_RULE}: {words}"
    tx.conn.execute(update(t.run).where(t.run.c.id == lease.run_id).values(stop_requested=why))
    is_paused = int(decision.is_paused)
    _set_trial(tx, lease, stopped_as=_ENDS[decision.outcome], is_paused=is_paused)
    trials.record(
        tx,
        lease,
        "trial.stop_requested",
        BY_RULE,
        rule=kind,
        band=decision.band,
        **numbers,
        outcome=None if decision.outcome == "stopped" else decision.outcome,
        is_paused=decision.is_paused or None,
    )


def _note_rung(tx: Tx, lease: Lease, rung: int) -> None:
    if rung > lease.rung:
        _set_trial(tx, lease, rung=rung)


def _set_trial(tx: Tx, lease: Lease, **values: Any) -> None:
    tx.conn.execute(update(t.trial).where(t.trial.c.id == lease.trial_id).values(**values))


@lru_cache(maxsize=64)
def _load(kind: str) -> type[StopRule]:
    loaded: type[StopRule] = Registry("stop rule", STOP_RULES).load(kind)
    return loaded


class _Peers:
    """The signed curves of all other runs of a sweep, read column by column, each at most once."""

    def __init__(self, tx: Tx, lease: Lease, factor: float) -> None:
        self._tx, self._lease, self._factor = tx, lease, factor
        self._read: dict[tuple[str, int], list[float]] = {}

    def at(self, number: int) -> list[float]:
        """Return value `number` (0, 1, …) of each run that has logged so many."""
        return self._column("value", number)

    def means(self, number: int) -> list[float]:
        """Return the mean of values 0 to `number` of each run that has logged so many."""
        return [total / (number + 1) for total in self._column("total", number)]

    def _column(self, name: str, number: int) -> list[float]:
        if (name, number) not in self._read:
            others: list[ColumnElement[bool]] = [
                t.trial.c.sweep_id == self._lease.sweep_id,
                t.trial.c.run_id != self._lease.run_id,
                t.curve.c.number == number,
            ]
            rows = self._tx.conn.scalars(
                select(t.curve.c[name])
                .join(t.trial, t.trial.c.run_id == t.curve.c.run_id)
                .where(*others)
            )
            self._read[name, number] = [self._factor * value for value in rows]
        return self._read[name, number]


class _Curve(Sequence[float]):
    """One run's signed values, none read before they are looked at: one, or all of them."""

    def __init__(self, tx: Tx, run_id: int, length: int, factor: float) -> None:
        self._tx, self._run_id, self._length, self._factor = tx, run_id, length, factor
        self._all: list[float] | None = None

    def __len__(self) -> int:
        return self._length

    @overload
    def __getitem__(self, index: int) -> float: ...
    @overload
    def __getitem__(self, index: slice) -> list[float]: ...
    def __getitem__(self, index: int | slice) -> float | list[float]:
        if isinstance(index, slice) or self._all is not None:
            return self._values()[index]
        if not -self._length <= index < self._length:
            raise IndexError(index)
        one = (t.curve.c.run_id == self._run_id) & (t.curve.c.number == index % self._length)
        value: float | None = self._tx.conn.scalar(select(t.curve.c.value).where(one))
        assert value is not None, "curves have no gaps"
        return self._factor * value

    def __iter__(self) -> Iterator[float]:
        return iter(self._values())

    def _values(self) -> list[float]:
        if self._all is None:
            mine = select(t.curve.c.value).where(t.curve.c.run_id == self._run_id)
            rows = self._tx.conn.scalars(mine.order_by(t.curve.c.number))
            self._all = [self._factor * value for value in rows]
        return self._all
