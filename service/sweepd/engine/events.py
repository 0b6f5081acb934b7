"""The event table: every state change, appended in the transaction that makes it."""

import json
from collections.abc import Mapping
from typing import Any

from sqlalchemy import bindparam, insert

from sweepd.store import Prepared, Tx
from sweepd.store import tables as t

__all__ = ["SERVICE", "record"]

_COLUMNS = ("at", "actor", "kind", "project_id", "sweep_id", "run_id", "data")

_ADD = Prepared(insert(t.event).values({name: bindparam(name) for name in _COLUMNS}))
SERVICE = "sweepd"  # the actor of what the service does by itself


def record(
    tx: Tx,
    *,
    actor: str,
    kind: str,
    project_id: int | None = None,
    sweep_id: int | None = None,
    run_id: int | None = None,
    data: Mapping[str, Any] | None = None,
) -> int:
    """Append an event; return its id.

    Args:
        tx: the transaction that makes the change.
        actor: a user's name, an agent's id, or `SERVICE`.
        kind: what happened, as `noun.verb`, such as `trial.issued`.
        project_id: the project that it happened in.
        sweep_id: the sweep that it happened to.
        run_id: the run that it happened to.
        data: JSON-able details.
    """
    return _ADD.add(
        tx,
        at=tx.now,
        actor=actor,
        kind=kind,
        project_id=project_id,
        sweep_id=sweep_id,
        run_id=run_id,
        data=json.dumps(dict(data or {}), ensure_ascii=False),
    )
