"""Whom a signed link was made for: it ends with their key, and with their right to what it opens.

A link is signed for somebody: a user, and the key that they came with. Their name for it stands in
the link itself, so what is looked up at each use is what is true by then.
"""

from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, FromClause, bindparam, select

from sweepd.engine import access, accounts
from sweepd.engine.access import Need
from sweepd.engine.keys import is_live
from sweepd.engine.views import Account
from sweepd.errors import Forbidden
from sweepd.store import Prepared, Tx
from sweepd.store import artifact_tables as a
from sweepd.store import tables as t

__all__ = ["Target", "check_holder", "holder_of"]

_ENDED = "this link has ended with the key, or the rights, of whom it was made for"


class Target(StrEnum):
    """What a link's number is the id of."""

    RUN = "run"
    ARTIFACT = "artifact"
    UPLOAD = "upload"  # of a draft's file
    MANIFEST = "manifest"  # of a draft


def holder_of(account: Account) -> str:
    """Return what a link calls the account that it is made for."""
    return f"{account.id}.{account.key_id or ''}"


_ACCOUNT = Prepared(accounts.SELECT.where(t.user.c.id == bindparam("user_id")))
_KEY = Prepared(
    select(t.api_key.c.id).where(
        t.api_key.c.id == bindparam("key_id"),
        t.api_key.c.user_id == bindparam("user_id"),
        is_live(bindparam("now")),
    )
)


def _walls(tables: FromClause, key: ColumnElement[Any]) -> Prepared:
    """Return what finds whose project a thing is in, and who else may read there."""
    where = key == bindparam("number")
    return Prepared(
        select(t.project.c.entity_id, t.project.c.access).select_from(tables).where(where)
    )


_SEQUENCE = a.artifact.join(
    a.artifact_collection, a.artifact_collection.c.id == a.artifact.c.sequence_id
).join(t.project, t.project.c.id == a.artifact_collection.c.project_id)
_PROJECTS = {
    Target.RUN: _walls(t.run.join(t.project, t.project.c.id == t.run.c.project_id), t.run.c.id),
    Target.ARTIFACT: _walls(_SEQUENCE, a.artifact.c.id),  # wherever it is linked to, too
    Target.UPLOAD: _walls(
        _SEQUENCE.join(a.artifact_upload, a.artifact_upload.c.artifact_id == a.artifact.c.id),
        a.artifact_upload.c.id,
    ),
    Target.MANIFEST: _walls(
        _SEQUENCE.join(a.artifact_manifest, a.artifact_manifest.c.artifact_id == a.artifact.c.id),
        a.artifact_manifest.c.id,
    ),
}


def check_holder(tx: Tx, *, holder: str, target: Target, number: int, need: Need) -> None:
    """Check that whom a link was made for may still do what it is for. A few prepared lookups.

    Args:
        tx: the transaction.
        holder: as the link says; its signature has been checked.
        target: what it leads to.
        number: its id; what is not there, or no more, is left to who looks for it.
        need: to read or to write.

    Raises:
        Forbidden: if their key has ended, they are gone, or may not do it any more.
    """
    account = _account(tx, holder)
    if account is None:
        raise Forbidden(_ENDED)
    found = _PROJECTS[target].row(tx, number=number)
    if found is None:
        return
    entity_id, wall = found
    has = access.level(tx, actor=account, entity_id=entity_id, access=wall)
    if has is None or has < need:
        raise Forbidden(_ENDED)


def _account(tx: Tx, holder: str) -> Account | None:
    """Return whom a link was made for, if they and their key are still there."""
    user, _, key_id = holder.partition(".")
    if not (user.isascii() and user.isdecimal()):  # of a link that says nothing of a holder
        return None
    user_id = int(user)
    if key_id and _KEY.row(tx, key_id=key_id, user_id=user_id, now=tx.now) is None:
        return None
    row = _ACCOUNT.row(tx, user_id=user_id)
    return accounts.account_of(row) if row is not None else None
