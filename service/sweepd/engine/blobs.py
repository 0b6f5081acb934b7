"""Which bytes a project keeps: equal ones once, each for as long as a row needs it.

How the rows go together with the files on the disk is told in `sweepd.store.blobs`.
"""

import json
from collections.abc import Collection
from functools import cache
from typing import Any

from sqlalchemy import Column, Select, delete, exists, func, insert, select

from sweepd.store import Tx, Written
from sweepd.store import tables as t

__all__ = ["adopt", "find", "live_among", "release"]


def adopt(tx: Tx, *, project_id: int, written: Written) -> str:
    """Return the key under which the project keeps what was written.

    It is that of equal bytes which the project has already, or else the written blob's own.
    """
    is_same = (t.blob.c.project_id == project_id, t.blob.c.sha256 == written.sha256)
    kept = tx.conn.scalar(select(t.blob.c.key).where(*is_same))
    if kept is not None:
        return str(kept)
    tx.conn.execute(
        insert(t.blob).values(
            key=written.key,
            project_id=project_id,
            size=written.size,
            md5=written.md5,
            sha256=written.sha256,
            created_at=tx.now,
        )
    )
    return written.key


def find(tx: Tx, *, project_id: int, md5: str) -> Written | None:
    """Return a blob of a project by the MD5 (base64) of its bytes; None if it keeps none such."""
    c = t.blob.c
    query = select(c.key, c.size, c.md5, c.sha256).where(c.project_id == project_id, c.md5 == md5)
    row = tx.conn.execute(query.where(c.sha256.is_not(None)).limit(1)).one_or_none()
    return Written(*row) if row is not None else None


def release(tx: Tx, *, keys: Collection[str]) -> list[str]:
    """Forget those of `keys` that no row needs; return them, sorted.

    Their bytes may be deleted once this is committed.
    """
    if not keys:
        return []
    forget = delete(t.blob).where(
        t.blob.c.key.in_(_members(keys)),
        *(~exists().where(column == t.blob.c.key) for column in _references()),
    )
    return sorted(tx.conn.scalars(forget.returning(t.blob.c.key)))


def live_among(tx: Tx, *, keys: Collection[str]) -> set[str]:
    """Return those of `keys` that are known."""
    return set(tx.conn.scalars(select(t.blob.c.key).where(t.blob.c.key.in_(_members(keys)))))


def _members(keys: Collection[str]) -> Select[tuple[str]]:
    members = func.json_each(json.dumps(list(keys))).table_valued("value")
    return select(members.c.value)


@cache
def _references() -> tuple[Column[Any], ...]:
    """Return every column that refers to a blob, in whatever table."""
    return tuple(
        key.parent
        for table in t.metadata.sorted_tables
        for key in table.foreign_keys
        if key.column is t.blob.c.key
    )
