"""The public API's filters on sweeps, in the language of those on runs."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import ColumnElement, select

from sweepd.engine.filters import Columns, compile_over
from sweepd.store import tables as t

__all__ = ["compile_sweep_filters"]

_COLUMNS = Columns(
    texts={
        "name": t.sweep.c.name,
        "display_name": t.sweep.c.display_name,
        "displayName": t.sweep.c.display_name,
        "description": t.sweep.c.description,
        "state": t.sweep.c.state,
        "method": t.sweep.c.method,
        "username": t.user.c.name,
        "user": t.user.c.name,
    },
    numbers={
        "run_count": t.sweep.c.n_issued,
        "runCount": t.sweep.c.n_issued,
        "run_cap": t.sweep.c.run_cap,
    },
    times={
        "created_at": t.sweep.c.created_at,
        "createdAt": t.sweep.c.created_at,
        "updated_at": t.sweep.c.updated_at,
        "updatedAt": t.sweep.c.updated_at,
    },
)


def compile_sweep_filters(filters: Mapping[str, Any]) -> ColumnElement[bool]:
    """Return the clause over `sweep` that a sweep must fulfil.

    `name` is the short id of addresses; `state` is as the API says it, RUNNING, say.

    Raises:
        ProtocolError: naming the unknown operator or field, or the value that does not fit.
    """
    passing = (
        select(t.sweep.c.id)
        .select_from(t.sweep.outerjoin(t.user, t.user.c.id == t.sweep.c.user_id))
        .where(compile_over(filters, _COLUMNS))
        .correlate(None)
    )
    return t.sweep.c.id.in_(passing)
