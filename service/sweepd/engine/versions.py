"""The versions of a sweep's definition, and what an edit would do before it is made."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select

from sweepd.engine.access import Need
from sweepd.engine.edits import cannot_change, definition_at
from sweepd.engine.sweepviews import definition_of, sweep_for
from sweepd.engine.views import Account
from sweepd.errors import DefinitionError
from sweepd.spec import Definition, changes_of, read_definition
from sweepd.store import Tx
from sweepd.store import sweep_tables as s
from sweepd.store import tables as t

__all__ = ["EditPreview", "VersionView", "handed_out", "list_versions", "preview_edit", "texts_of"]


@dataclass(frozen=True)
class VersionView:
    """One version of a definition: since when, by whom, and how many trials came from it."""

    version: int
    definition: str  # YAML
    created_at: float
    actor: str
    n_trials: int


@dataclass(frozen=True)
class EditPreview:
    """What an edit would do.

    Attributes:
        problems: why it cannot be made; empty if it can.
        warnings: what is odd about the new definition.
        changes: what it changes, a line each.
        n_kept: trials so far that the search still learns from.
        n_lost: trials so far whose configs the new space does not have.
    """

    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()
    n_kept: int = 0
    n_lost: int = 0


def list_versions(tx: Tx, *, actor: Account, sweep_id: int, need: Need) -> list[VersionView]:
    """Return every version of a sweep's definition, the first one first.

    Raises:
        NotFound, Forbidden: as for the sweep.
    """
    sweep = _sweep(tx, actor, sweep_id, need)
    old = _old(tx, sweep_id)
    counts = {
        version: count
        for version, count in tx.conn.execute(
            select(t.trial.c.version, func.count())
            .where(t.trial.c.sweep_id == sweep_id)
            .group_by(t.trial.c.version)
        )
    }
    actors = _actors(tx, sweep_id)
    since = {row.version + 1: row.replaced_at for row in old}
    return [
        VersionView(
            version=version,
            definition=text,
            created_at=since.get(version, sweep.created_at),
            actor=actors.get(version, ""),
            n_trials=counts.get(version, 0),
        )
        for version, text in texts_of(tx, sweep)
    ]


def handed_out(tx: Tx, *, actor: Account, sweep_id: int, need: Need) -> dict[str, dict[str, Any]]:
    """Return the config that each trial was given, nested, by its run's id.

    It is of the definition's version then, and without what the program has written since.

    Raises:
        NotFound, Forbidden: as for the sweep.
    """
    sweep = _sweep(tx, actor, sweep_id, need)
    rows = tx.conn.execute(
        select(t.run.c.name, t.trial.c.config, t.trial.c.version)
        .join(t.trial, t.trial.c.run_id == t.run.c.id)
        .where(t.trial.c.sweep_id == sweep_id)
        .order_by(t.trial.c.number)
    ).all()
    spaces = {row.version: definition_at(tx, sweep, row.version).space for row in rows}
    return {row.name: spaces[row.version].nest(json.loads(row.config)) for row in rows}


def texts_of(tx: Tx, sweep: Any) -> list[tuple[int, str]]:
    """Return every version of a sweep's definition with its number, the first one first."""
    old = [(row.version, row.definition) for row in _old(tx, sweep.id)]
    return [*old, (sweep.version, sweep.definition)]


def preview_edit(
    tx: Tx, *, actor: Account, sweep_id: int, definition: str, need: Need
) -> EditPreview:
    """Return what a new definition would change, and why it may not; nothing is written.

    Raises:
        NotFound, Forbidden: as for the sweep.
    """
    sweep = _sweep(tx, actor, sweep_id, need)
    try:
        parsed = read_definition(definition)
    except DefinitionError as error:
        return EditPreview(problems=tuple(map(str, error.violations)))
    old, new = definition_of(sweep.definition), parsed.definition
    why = cannot_change(sweep, old, new)
    configs = tx.conn.scalars(select(t.trial.c.config).where(t.trial.c.sweep_id == sweep_id))
    fits = [new.space.contains(new.space.existing(json.loads(text))) for text in configs]
    return EditPreview(
        problems=(why,) if why else (),
        warnings=(*_of_the_end(sweep, new), *map(str, parsed.warnings)),
        changes=tuple(changes_of(old, new)),
        n_kept=sum(fits),
        n_lost=len(fits) - sum(fits),
    )


def _of_the_end(sweep: Any, new: Definition) -> Iterator[str]:
    """Yield what is to be said when an edit leaves nothing to hand out."""
    if new.cap is not None and new.cap <= sweep.n_issued:
        yield (
            f"{sweep.n_issued} trials have been handed out, so that run_cap {new.cap} ends the "
            "sweep once they have ended; it is not taken up again"
        )


def _old(tx: Tx, sweep_id: int) -> Sequence[Any]:
    of_sweep = s.old_definition.c.sweep_id == sweep_id
    query = select(s.old_definition).where(of_sweep).order_by(s.old_definition.c.version)
    return tx.conn.execute(query).all()


def _sweep(tx: Tx, actor: Account, sweep_id: int, need: Need) -> Any:
    is_it = t.sweep.c.id == sweep_id
    return sweep_for(tx, is_it, actor=actor, need=need, label=f"with id {sweep_id}")


def _actors(tx: Tx, sweep_id: int) -> dict[int, str]:
    """Return who made each version, as far as the events tell."""
    made = t.event.c.kind.in_(("sweep.created", "sweep.edited"))
    found = {}
    for event in tx.conn.execute(
        select(t.event.c.kind, t.event.c.actor, t.event.c.data).where(
            t.event.c.sweep_id == sweep_id, made
        )
    ):
        version = 1 if event.kind == "sweep.created" else json.loads(event.data).get("version")
        if version is not None:
            found[version] = event.actor
    return found
