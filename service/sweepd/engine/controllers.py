"""W&B's local controller: a client that searches by itself and writes what it wants into its sweep.

It and the service each keep a JSON text on the sweep. In the controller's stand runs to schedule,
`{"schedule": [{"id", "data": {"args"}}], "earlystop": [run]}`; in the scheduler's, which run each
of them became, `{"scheduled": [{"id", "runid"}]}`. A schedule without args ends the search.
"""

import json
from collections.abc import Mapping
from typing import Any

from sqlalchemy import select, update

from sweepd.engine import enqueued, events
from sweepd.engine.texts import read_object, strict_json
from sweepd.engine.trials import BY_RULE
from sweepd.errors import ProtocolError
from sweepd.states import RunState, SweepState, is_terminal
from sweepd.store import Tx
from sweepd.store import tables as t

__all__ = ["obey"]

_LIVE = (RunState.PENDING, RunState.RUNNING, RunState.PREEMPTING)
_MAX_AT_ONCE = 1_000
#: Entries that the scheduler's text keeps: the controller asks for its latest ones only.
_MAX_KEPT = 1_000
_STOP = f"{BY_RULE}: told by the sweep's controller"


def obey(tx: Tx, *, sweep: Any, text: str, actor: str) -> dict[str, Any]:
    """Enqueue and stop what a controller asks for; harmless when repeated.

    Args:
        tx: the transaction.
        sweep: the sweep's row.
        text: the controller's JSON.
        actor: whose controller it is.

    Returns:
        The columns of the sweep that change with it.

    Raises:
        ProtocolError: if the text is not such JSON.
        InvalidInput: if the args of a schedule are no config.
    """
    wanted = read_object(text, name="controller")
    scheduled = _scheduled(sweep.scheduler)
    known = {entry.get("id") for entry in scheduled}
    values: dict[str, Any] = {"controller": strict_json(wanted)}
    takes_more = not is_terminal(SweepState(sweep.state)) and sweep.stop_reason is None
    for entry in _entries(wanted, "schedule"):
        name, args = _schedule(entry)
        if name in known or not takes_more:
            continue
        if args is None:
            values["is_exhausted"] = 1
            continue
        _, run = enqueued.add(tx, sweep_id=sweep.id, values=enqueued.values_of(args), actor=actor)
        known.add(name)
        scheduled.append({"id": name, "runid": run})
    values["scheduler"] = strict_json({"scheduled": scheduled[-_MAX_KEPT:]})
    _stop(tx, sweep, [run for run in _entries(wanted, "earlystop") if isinstance(run, str)], actor)
    return values


def _scheduled(text: str | None) -> list[dict[str, Any]]:
    """Return what the scheduler's text holds; one that a client wrote may be anything."""
    try:
        found = json.loads(text or "{}")
    except ValueError:
        return []
    entries = found.get("scheduled") if isinstance(found, dict) else None
    return [one for one in entries if isinstance(one, dict)] if isinstance(entries, list) else []


def _entries(wanted: Mapping[str, Any], key: str) -> list[Any]:
    entries = wanted.get(key) or []
    if not isinstance(entries, list) or len(entries) > _MAX_AT_ONCE:
        raise ProtocolError(f"controller.{key}: must be a list of at most {_MAX_AT_ONCE} entries")
    return entries


def _schedule(entry: Any) -> tuple[str, Mapping[str, Any] | None]:
    """Return the id and the args of one schedule, None for no args."""
    data = entry.get("data") if isinstance(entry, Mapping) else None
    name = entry.get("id") if isinstance(entry, Mapping) else None
    args = data.get("args") if isinstance(data, Mapping) else None
    is_good = isinstance(name, str) and isinstance(data, Mapping)
    if not is_good or not isinstance(args, Mapping | None):
        raise ProtocolError('controller.schedule: an entry is {"id": …, "data": {"args": {…}}}')
    assert isinstance(name, str)
    return name, args


def _stop(tx: Tx, sweep: Any, names: list[str], actor: str) -> None:
    """Ask the named runs of the sweep to stop, those that have not ended and were not asked yet."""
    if not names:
        return
    of_sweep = (t.run.c.sweep_id == sweep.id) & t.run.c.name.in_(names)
    live = t.run.c.state.in_(_LIVE) & t.run.c.stop_requested.is_(None)
    for run_id in tx.conn.scalars(select(t.run.c.id).where(of_sweep, live)).all():
        if enqueued.drop(tx, run_id, why=_STOP, actor=actor):
            continue
        tx.conn.execute(update(t.run).where(t.run.c.id == run_id).values(stop_requested=_STOP))
        events.record(
            tx,
            actor=actor,
            kind="run.stop_requested",
            project_id=sweep.project_id,
            sweep_id=sweep.id,
            run_id=run_id,
            data={"why": _STOP},
        )
