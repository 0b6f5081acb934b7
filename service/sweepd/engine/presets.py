"""Presets of custom charts: a name, and a specification for tables that are logged with it."""

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.dialects.sqlite import insert

from sweepd.engine import access, projects
from sweepd.engine.access import Need
from sweepd.engine.texts import clean
from sweepd.engine.views import Account
from sweepd.errors import InvalidInput
from sweepd.store import Tx
from sweepd.store import tables as t
from sweepd.store.chart_tables import chart_preset as table

__all__ = ["PresetView", "presets_of", "save_preset"]

_MAX_SPEC = 1 << 20  # characters
_MAX_TITLE = 1_000
_MAX_NAMES = 1_000


@dataclass(frozen=True)
class PresetView:
    """A preset; `id` is "entity/name", by which charts refer to it, `spec` JSON text."""

    id: str
    display_name: str
    spec: str


def save_preset(
    tx: Tx,
    *,
    actor: Account,
    entity: str | None,
    name: str,
    display_name: str,
    spec: str,
    is_public: bool = False,
) -> PresetView:
    """Keep a preset of an entity; one of the same name is replaced.

    Raises:
        NotFound: if there is no such entity that the actor may see.
        Forbidden: if they may not write to it.
        InvalidInput: for a name that cannot stand in an address, or words beyond all measure.
    """
    entity_id, entity_name = projects.resolve_entity(
        tx, actor=actor, entity=entity, need=Need.WRITE
    )
    name = projects.check_name(name, kind="chart's name")
    if len(spec) > _MAX_SPEC or len(display_name) > _MAX_TITLE:
        raise InvalidInput(
            f"a chart has at most {_MAX_SPEC} characters and a title of {_MAX_TITLE}, "
            f"not {len(spec)} and {len(display_name)}"
        )
    kept = PresetView(f"{entity_name}/{name}", clean(display_name), clean(spec))
    values = {
        "display_name": kept.display_name,
        "is_public": int(is_public),
        "spec": kept.spec,
        "user_id": actor.id,
        "updated_at": tx.now,
    }
    keep = insert(table).values(entity_id=entity_id, name=name, **values)
    tx.conn.execute(keep.on_conflict_do_update(index_elements=["entity_id", "name"], set_=values))
    return kept


def presets_of(tx: Tx, *, actor: Account, ids: Collection[str]) -> dict[str, PresetView]:
    """Return presets by id: those of the ids that exist and that the actor may see."""
    found = {}
    for preset_id in list(ids)[:_MAX_NAMES]:
        entity, slash, name = preset_id.partition("/")
        row = tx.conn.execute(
            select(table.c.entity_id, table.c.display_name, table.c.spec, table.c.is_public)
            .join(t.entity, t.entity.c.id == table.c.entity_id)
            .where(t.entity.c.name == clean(entity), table.c.name == clean(name))
        ).one_or_none()
        if not slash or row is None:
            continue
        if row.is_public or access.level(tx, actor=actor, entity_id=row.entity_id) is not None:
            found[preset_id] = PresetView(preset_id, row.display_name, row.spec)
    return found
