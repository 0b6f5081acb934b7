"""A sweep's definition, changed while the sweep goes on."""

import json
from typing import Any

from sqlalchemy import delete, insert, select

from sweepd.engine import promotions
from sweepd.engine.sweepviews import definition_of
from sweepd.errors import Conflict
from sweepd.spec import Definition, must_stay
from sweepd.states import SweepState, is_terminal
from sweepd.store import Tx
from sweepd.store import sweep_tables as s
from sweepd.store import tables as t

__all__ = ["add_initial", "cannot_change", "definition_at", "draw_seed", "edited"]

#: What does not touch the search: it may change at any time, and the search does not start anew.
_LOOSE = ("run_cap", "name", "description", "project", "entity", "settings", "apiVersion", "kind")
_LOOSE_OWN = ("budget", "retries", "quarantine", "timeout")


def edited(tx: Tx, sweep: Any, text: str, new: Definition) -> dict[str, Any]:
    """Return the columns that a new definition changes; the search goes on by it from now on.

    Once trials were handed out, what they ran and how they were judged must stay: `program`,
    `command`, the metric's name and goal, `sweepd.objective`, and who searches. Trials whose
    configs the new space does not have are kept, and teach the search nothing more.

    Raises:
        Conflict: if the sweep has ended or is ending, or the edit changes what must stay.
    """
    old = definition_of(sweep.definition)
    why = cannot_change(sweep, old, new)
    if why is not None:
        raise Conflict(why)
    if old.raw == new.raw:
        return {}
    values: dict[str, Any] = {
        "definition": text,
        "run_cap": new.cap,
        "version": sweep.version + 1,
    }
    for column in ("name", "description"):
        value = getattr(new, column)
        if value is not None and value != getattr(old, column):
            values["display_name" if column == "name" else column] = value
    tx.conn.execute(
        insert(s.old_definition),
        {
            "sweep_id": sweep.id,
            "version": sweep.version,
            "definition": sweep.definition,
            "replaced_at": tx.now,
        },
    )
    promotions.withdraw_if_removed(tx, sweep.id, old=old, new=new)
    if _search_part(old) != _search_part(new):
        values |= _search_anew(tx, sweep, old, new)
    return values


def cannot_change(sweep: Any, old: Definition, new: Definition) -> str | None:
    """Return why a sweep's definition cannot become another, in words; None if it can."""
    if is_terminal(SweepState(sweep.state)):
        return f"sweep {sweep.name} has ended: its definition cannot be changed"
    if sweep.stop_reason is not None:
        return f"sweep {sweep.name} is ending: {sweep.stop_reason}"
    what = must_stay(old, new) if sweep.n_issued else []
    if not what:
        return None
    return (
        f"sweep {sweep.name} has handed out {sweep.n_issued} trials, so that this edit cannot "
        f"change {', '.join(what)}; create another sweep for that"
    )


def definition_at(tx: Tx, sweep: Any, version: int) -> Definition:
    """Return a sweep's definition as it was at a version, the present one included."""
    if version == sweep.version:
        return definition_of(sweep.definition)
    text = tx.conn.scalar(
        select(s.old_definition.c.definition).where(
            s.old_definition.c.sweep_id == sweep.id, s.old_definition.c.version == version
        )
    )
    return definition_of(text or sweep.definition)


def add_initial(tx: Tx, sweep_id: int, definition: Definition, *, basis: int) -> None:
    """Prepare the configs that are tried first, none twice; one that was handed out is skipped."""
    space = definition.space
    rows = {
        space.key(config): {
            "sweep_id": sweep_id,
            "config": json.dumps(config, ensure_ascii=False),
            "config_key": space.key(config),
            "origin": "initial",
            "basis_event": basis,
        }
        for config in definition.own.initial
    }
    if rows:
        tx.conn.execute(insert(t.suggestion), list(rows.values()))


def draw_seed(tx: Tx, definition: Definition) -> int:
    """Return the definition's seed, one drawn at random if it names none."""
    seed = definition.own.seed
    return tx.random.getrandbits(31) if seed is None else seed % 2**63


def _search_part(definition: Definition) -> dict[str, Any]:
    kept = {name: value for name, value in definition.raw.items() if name not in _LOOSE}
    own = kept.pop("sweepd", None) or {}
    return {**kept, "sweepd": {key: value for key, value in own.items() if key not in _LOOSE_OWN}}


def _search_anew(tx: Tx, sweep: Any, old: Definition, new: Definition) -> dict[str, Any]:
    """Drop what the old search has prepared and remembers; return the columns for the new one."""
    tx.conn.execute(delete(t.suggestion).where(t.suggestion.c.sweep_id == sweep.id))
    add_initial(tx, sweep.id, new, basis=0)
    seed = sweep.seed if new.own.seed in (None, old.own.seed) else draw_seed(tx, new)
    is_counted = "grid" in (old.method, new.method)  # whose points are other ones now
    return {
        "method": new.method,
        "seed": seed,
        "memo": None,
        "is_exhausted": 0,
        "basis_event": 0,
        "next_index": 0 if is_counted else sweep.next_index,
        "search_failures": 0,
        "search_again_at": None,
    }
