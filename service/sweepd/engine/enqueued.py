"""Runs that a client puts into a sweep: they wait, in their order, until an agent takes them.

W&B's scheduler and controller search this way, and a person does who has an idea of their own.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Row, bindparam, func, insert, literal, select, update

from sweepd.engine import events, trials
from sweepd.engine.edits import definition_at
from sweepd.engine.leases import BY_NUMBER
from sweepd.engine.sweepviews import definition_of
from sweepd.engine.texts import clean, clean_all
from sweepd.engine.trials import Lease
from sweepd.errors import Conflict, InvalidInput, Reason
from sweepd.schedule import TrialState
from sweepd.spec import Config, Definition, Space, canonical
from sweepd.states import RunState, SweepState, is_terminal
from sweepd.store import Prepared, Tx
from sweepd.store import tables as t

__all__ = [
    "BY_ITSELF",
    "Entry",
    "Queue",
    "add",
    "begin",
    "drop",
    "drop_all",
    "entry_of",
    "first",
    "first_fit",
    "is_waiting",
    "values_of",
]

#: The agent of an attempt that a process began by itself: it called `wandb.init(id=…)`.
BY_ITSELF = "no agent"

_MAX_WAITING = 10_000
_IS_WAITING = (t.trial.c.state == TrialState.QUEUED) & (t.trial.c.attempt == 0)
_FIRST = Prepared(
    select(t.trial.c.run_id, t.trial.c.config, t.trial.c.version)
    .where(t.trial.c.sweep_id == bindparam("sweep"), _IS_WAITING)
    .order_by(BY_NUMBER)
    .limit(1)
)
_NAME = Prepared(select(t.run.c.name).where(t.run.c.id == bindparam("run")))
_CREATED = Prepared(
    update(t.trial)
    .where(t.trial.c.id == bindparam("trial"))
    .values(created_event=bindparam("event"))
)


@dataclass(frozen=True)
class Entry:
    """A config as its trial is written: flat, in W&B's shape, and the text it is the same by."""

    config: Config
    nested: dict[str, Any]
    key: str


def values_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a config in W&B's form, `{name: {"value": v}}`; bare ones are taken too.

    Raises:
        InvalidInput: if a name is empty or W&B's own, or a value is NaN or infinite.
    """
    values: dict[str, Any] = {}
    for name, item in config.items():
        if not name or name == "_wandb":
            raise InvalidInput(f"config: {name!r} cannot be a parameter's name")
        is_wrapped = isinstance(item, Mapping) and "value" in item and item.keys() <= _WRAPPED
        values[clean(name)] = clean_all(item["value"] if is_wrapped else item)
    try:
        json.dumps(values, allow_nan=False)
    except ValueError:
        raise InvalidInput("config: a parameter cannot be NaN or infinite") from None
    return values


_WRAPPED = {"value", "desc"}


def entry_of(definition: Definition, values: Mapping[str, Any]) -> Entry:
    """Return these values (nested) as a trial of the definition has them.

    Raises:
        InvalidInput: if they say two things of a name, so that they cannot be nested.
    """
    config, space = _flat(definition, values), definition.space
    for name in space.flatten(config):
        if name in config and len(space[name].path) > 1:
            raise InvalidInput(f"config: {name} is given both flat and nested")
    return Entry(config, _nested(space, config), _key(definition, config))


class Queue:
    """The end of a sweep's queue: looked at once, then given runs one after the other.

    Args:
        tx: the transaction.
        sweep_id: the sweep.
        n: how many runs are to be added.
        actor: whose they are.

    Attributes:
        n_waiting: how many will wait then.

    Raises:
        Conflict: if the sweep has ended or takes no more, or ten thousand runs would wait.
    """

    def __init__(self, tx: Tx, *, sweep_id: int, n: int, actor: str) -> None:
        self._tx, self._actor = tx, actor
        self._sweep = sweep = _sweep(tx, sweep_id)
        if is_terminal(SweepState(sweep.state)) or sweep.stop_reason is not None:
            why = sweep.stop_reason or sweep.state.lower()
            raise Conflict(f"sweep {sweep.name} takes no more runs: {why}")
        waiting = select(func.count()).where(t.trial.c.sweep_id == sweep_id, _IS_WAITING)
        n_before = tx.conn.scalar(waiting) or 0
        if n_before + n > _MAX_WAITING:
            more = f" and takes no {n} more" if n_before < _MAX_WAITING else ""
            raise Conflict(f"sweep {sweep.name} has {n_before} runs that wait for agents{more}")
        self.n_waiting = n_before + n

    @property
    def n_beyond_cap(self) -> int:
        """Return how many of the runs that will wait `run_cap` leaves out; 0 if none."""
        sweep = self._sweep
        if sweep.run_cap is None:
            return 0
        return max(0, int(sweep.n_issued + self.n_waiting - sweep.run_cap))

    @property
    def definition(self) -> Definition:
        """Return the sweep's definition."""
        return definition_of(self._sweep.definition)

    def add(self, entry: Entry, *, display_name: str | None = None) -> tuple[int, str]:
        """Make a pending run; return the trial's id and the run's."""
        tx = self._tx
        trial_id, run_id = trials.add(
            tx,
            sweep=self._sweep,
            config=entry.config,
            nested=entry.nested,
            key=entry.key,
            origin="enqueued",
            display_name=clean(display_name) if display_name else None,
        )
        event = _record(tx, self._sweep, run_id, "trial.enqueued", self._actor)
        _CREATED.run(tx, trial=trial_id, event=event)
        found = _NAME.row(tx, run=run_id)
        assert found is not None, "it was made just now"
        return trial_id, str(found[0])


def add(
    tx: Tx,
    *,
    sweep_id: int,
    values: Mapping[str, Any],
    actor: str,
    display_name: str | None = None,
) -> tuple[int, str]:
    """Make a pending run of these values (nested); agents take such runs first come, first served.

    It counts towards `run_cap` once it is taken, not before.

    Returns:
        The trial's id and the run's.

    Raises:
        Conflict: as `Queue`.
        InvalidInput: as `entry_of`.
    """
    queue = Queue(tx, sweep_id=sweep_id, n=1, actor=actor)
    return queue.add(entry_of(queue.definition, values), display_name=display_name)


def first(tx: Tx, sweep_id: int) -> int | None:
    """Return the run (storage id) that has waited longest, None if none waits."""
    found = _FIRST.row(tx, sweep=sweep_id)
    return None if found is None else int(found[0])


def first_fit(tx: Tx, sweep: Any) -> int | None:
    """Return the run as `first` does, but end those before it whose config cannot be handed out.

    An older service took such configs; they would hold up what waits behind them.
    """
    while (found := _FIRST.row(tx, sweep=sweep.id)) is not None:
        run_id, config, version = found
        try:
            _nested(definition_at(tx, sweep, version).space, json.loads(config))
        except InvalidInput as error:
            drop(tx, run_id, why=f"it cannot be run: {error}", actor=events.SERVICE)
        else:
            return int(run_id)
    return None


def is_waiting(tx: Tx, run_id: int) -> bool:
    """Return whether a run was enqueued and nobody has taken it."""
    return _waiting(tx, t.trial.c.run_id == run_id) is not None


def begin(tx: Tx, run_id: int) -> Lease | None:
    """Give a waiting run to the process that has begun it without an agent; None for others.

    Raises:
        Conflict: the sweep has handed out all the trials that its run_cap allows.
    """
    found = _waiting(tx, t.trial.c.run_id == run_id)
    if found is None:
        return None
    is_it = t.sweep.c.id == found.sweep_id
    sweep = tx.conn.execute(select(t.sweep).where(is_it)).one()
    if sweep.run_cap is not None and sweep.n_issued >= sweep.run_cap:
        raise Conflict(f"sweep {sweep.name} has begun the {sweep.run_cap} runs of its run_cap")
    return trials.issue(tx, sweep_id=found.sweep_id, run_id=run_id, agent_id=BY_ITSELF)


def drop(tx: Tx, run_id: int, *, why: str, actor: str) -> bool:
    """End a run that nobody has taken as killed; return whether it was one."""
    return _drop(tx, t.trial.c.run_id == run_id, why=why, actor=actor) > 0


def drop_all(tx: Tx, sweep_id: int, *, why: str) -> None:
    """End every run of a sweep that nobody has taken."""
    _drop(tx, t.trial.c.sweep_id == sweep_id, why=why, actor=events.SERVICE)


def _drop(tx: Tx, where: ColumnElement[bool], *, why: str, actor: str) -> int:
    """End the runs that nobody has taken, of those that pass; return how many they were.

    They may be thousands, and everybody else waits: a statement for all of them, not one for each.
    """
    waiting = (where, _IS_WAITING)
    data = {"reason": Reason.KILLED, "message": why, "n_values": 0}
    told = select(
        literal(tx.now),
        literal(actor),
        literal("trial.ended"),
        t.sweep.c.project_id,
        t.trial.c.sweep_id,
        t.trial.c.run_id,
        literal(json.dumps(data, ensure_ascii=False)),
    )
    told = told.join(t.sweep, t.sweep.c.id == t.trial.c.sweep_id).where(*waiting)
    columns = ("at", "actor", "kind", "project_id", "sweep_id", "run_id", "data")
    tx.conn.execute(insert(t.event).from_select(columns, told.order_by(BY_NUMBER)))
    tx.conn.execute(
        update(t.run)
        .where(t.run.c.id.in_(select(t.trial.c.run_id).where(*waiting)))
        .values(state=RunState.KILLED, stop_requested=why, ended_at=tx.now)
    )
    newest = select(func.max(t.event.c.id)).where(t.event.c.run_id == t.trial.c.run_id)
    dropped = tx.conn.execute(
        update(t.trial)
        .where(*waiting)
        .values(
            state=TrialState.ENDED,
            reason=Reason.KILLED,
            message=why,
            ended_at=tx.now,
            ended_event=newest.scalar_subquery(),
        )
    )
    return dropped.rowcount


def _sweep(tx: Tx, sweep_id: int) -> Row[Any]:
    found: Row[Any] = tx.conn.execute(select(t.sweep).where(t.sweep.c.id == sweep_id)).one()
    return found


def _query() -> Any:
    return select(t.trial.c.id, t.trial.c.run_id, t.trial.c.sweep_id)


def _waiting(tx: Tx, where: Any) -> Row[Any] | None:
    found: Row[Any] | None = tx.conn.execute(_query().where(where, _IS_WAITING)).one_or_none()
    return found


def _flat(definition: Definition, values: Mapping[str, Any]) -> Config:
    """Return the values under the space's flat names if it knows all of them, else as they are."""
    space = definition.space
    config = space.flatten(values)
    return space.existing(config) if space.nest(config) == values else dict(values)


def _nested(space: Space, config: Config) -> dict[str, Any]:
    try:
        return space.nest(config)
    except InvalidInput as error:
        raise InvalidInput(f"config: {error}") from None


def _key(definition: Definition, config: Config) -> str:
    is_known = all(name in definition.space for name in config)
    return definition.space.key(config) if is_known else canonical(config)


def _record(tx: Tx, sweep: Any, run_id: int, kind: str, actor: str, **data: Any) -> int:
    return events.record(
        tx,
        actor=actor,
        kind=kind,
        project_id=sweep.project_id,
        sweep_id=sweep.id,
        run_id=run_id,
        data=data,
    )
