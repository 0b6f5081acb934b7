"""API keys: made, listed, ended. A key is stored as a hash; its id is a prefix of it."""

import hashlib
import math
import re
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, bindparam, func, insert, or_, select, update

from sweepd.engine import events
from sweepd.engine.texts import clean
from sweepd.engine.views import Account
from sweepd.errors import AlreadyExists, InvalidInput, NotFound
from sweepd.store import Prepared, Tx
from sweepd.store import tables as t

__all__ = [
    "ApiKey",
    "KeyUses",
    "add_key",
    "check_key_form",
    "digest",
    "end_key",
    "is_live",
    "keys_of",
    "last_uses",
    "list_keys",
    "note_uses",
    "revoke_key",
    "why_refused",
]

_ID_LENGTH = 12  # of a key that is made here: <id><secret>
_SECRET_LENGTH = 40
_MIN_SECRET = 20  # characters of an adopted key that its id must not show
_MAX_DESCRIPTION = 200

_JWT = re.compile(r"[\w-]+\.[\w-]+\.[\w-]+")


@dataclass(frozen=True)
class ApiKey:
    """What is known of a key; its id is a prefix of it. Times are unix seconds."""

    id: str
    user_id: int
    user: str
    description: str
    created_at: float
    expires_at: float | None = None
    revoked_at: float | None = None
    last_used_at: float | None = None  # to about a minute

    def is_over(self, now: float) -> bool:
        """Return whether it signs nobody in any more."""
        is_past = self.expires_at is not None and self.expires_at <= now
        return is_past or self.revoked_at is not None


def check_key_form(key: str) -> None:
    """Check a key by the client's own rule, so that what is accepted here can be used there.

    Raises:
        InvalidInput: in words, without the key.
    """
    if not key:
        raise InvalidInput("an API key must not be empty")
    if _JWT.fullmatch(key):
        return
    prefix, dash, rest = key.partition("-")
    secret = rest if dash else prefix
    if not re.fullmatch(r"[\w-]*", secret):
        raise InvalidInput("an API key may hold only letters, digits, - and _")
    if len(secret) < 40:
        raise InvalidInput(f"an API key must have at least 40 characters, this has {len(secret)}")


def digest(secret: str) -> str:
    """Return the hash that a secret is stored as."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def is_live(now: Any) -> ColumnElement[bool]:
    """Return the clause, over keys, of those that sign somebody in."""
    key = t.api_key.c
    return key.revoked_at.is_(None) & or_(key.expires_at.is_(None), key.expires_at > now)


def add_key(
    tx: Tx,
    *,
    account: Account,
    key: str | None = None,
    description: str = "",
    expires_at: float | None = None,
) -> tuple[ApiKey, str]:
    """Give an account another key, made here unless one is given; return its record and the key.

    Args:
        tx: the transaction.
        account: whose key it will be.
        key: of a form that the client accepts.
        description: what it is for.
        expires_at: unix seconds; None for never.

    Raises:
        InvalidInput: if the key is not of such a form, the description too long, or the end past.
        AlreadyExists: if the key is somebody's.
    """
    if key is None:
        key = tx.new_token(_ID_LENGTH + _SECRET_LENGTH)
    check_key_form(key)
    description = clean(description)
    if len(description) > _MAX_DESCRIPTION:
        raise InvalidInput(f"a key's description has at most {_MAX_DESCRIPTION} characters")
    if expires_at is not None and not tx.now < expires_at < math.inf:
        raise InvalidInput("a key must expire in the future")
    hashed = digest(key)
    if tx.conn.scalar(select(t.api_key.c.id).where(t.api_key.c.digest == hashed)) is not None:
        raise AlreadyExists("this API key is in use already, or was and has been revoked")
    record = ApiKey(
        id=_free_id(tx, key),
        user_id=account.id,
        user=account.name,
        description=description,
        created_at=tx.now,
        expires_at=expires_at,
    )
    columns = ("id", "user_id", "description", "created_at", "expires_at")
    row = {name: getattr(record, name) for name in columns}
    tx.conn.execute(insert(t.api_key), {**row, "digest": hashed})
    _record(tx, account.name, "key.added", record.id, account.name)
    return record, key


def keys_of(tx: Tx, *, account: Account, with_ended: bool = False) -> list[ApiKey]:
    """Return an account's keys, the oldest first; those that are over only if asked for."""
    mine = t.api_key.c.user_id == account.id
    return _read(tx, mine if with_ended else mine & is_live(tx.now))


def list_keys(tx: Tx, *, user: str | None = None) -> list[ApiKey]:
    """Return every key there ever was, or a user's, by user and age; for administrators."""
    return _read(tx, *([t.user.c.name == user] if user is not None else []))


def last_uses(tx: Tx) -> dict[int, float]:
    """Return when users last used a key, by their ids, of those who did; for administrators."""
    query = (
        select(t.api_key.c.user_id, func.max(t.api_key.c.last_used_at))
        .where(t.api_key.c.last_used_at.is_not(None))
        .group_by(t.api_key.c.user_id)
    )
    return {user_id: at for user_id, at in tx.conn.execute(query)}


def revoke_key(tx: Tx, *, key_id: str, actor: Account | None) -> bool:
    """End a key for good; return whether it was live.

    Browsers that were signed in with it are signed out.

    Args:
        tx: the transaction.
        key_id: as listed.
        actor: who may end their own keys, and as an administrator everybody's; None stands for who
            holds the data folder.

    Raises:
        NotFound: if there is no such key that the actor may end.
    """
    where = t.api_key.c.id == key_id
    if actor is not None and not actor.is_admin:
        where &= t.api_key.c.user_id == actor.id
    found = _read(tx, where)
    if not found:
        raise NotFound(f"there is no key {key_id!r}")
    return end_key(tx, key=found[0], by=actor.name if actor is not None else events.SERVICE)


def end_key(tx: Tx, *, key: ApiKey, by: str) -> bool:
    """End a key for good, whoever asks; return whether it was live."""
    if key.revoked_at is not None:
        return False
    is_it = t.api_key.c.id == key.id
    tx.conn.execute(update(t.api_key).where(is_it).values(revoked_at=tx.now))
    _record(tx, by, "key.revoked", key.id, key.user)
    return not key.is_over(tx.now)


_BY_DIGEST = Prepared(
    select(t.api_key.c.revoked_at, t.api_key.c.expires_at).where(
        t.api_key.c.digest == bindparam("digest")
    )
)


def why_refused(tx: Tx, *, key: str) -> str:
    """Return in words, without the key, why it signs nobody in."""
    found = _BY_DIGEST.row(tx, digest=digest(key))
    if found is None:
        return "this service does not know that API key"
    revoked_at, _ = found
    return "that API key has been revoked" if revoked_at is not None else "that API key has expired"


class KeyUses:
    """When keys were last used, kept in memory until they are written: a use costs no write."""

    def __init__(self) -> None:
        self._at: dict[str, float] = {}

    def note(self, key_id: str, *, at: float) -> None:
        """Remember that a key was used."""
        self._at[key_id] = at

    def take(self) -> dict[str, float]:
        """Return what was remembered since the last time, by the keys' ids, and forget it."""
        taken, self._at = self._at, {}
        return taken

    def put_back(self, taken: dict[str, float]) -> None:
        """Remember again what could not be written; what came meanwhile is later."""
        self._at = taken | self._at


def note_uses(tx: Tx, *, uses: dict[str, float]) -> None:
    """Write when keys were last used, by their ids; what is there already stays if it is later."""
    key = t.api_key.c
    change = (
        update(t.api_key)
        .where(
            key.id == bindparam("key_id"),
            or_(key.last_used_at.is_(None), key.last_used_at < bindparam("at")),
        )
        .values(last_used_at=bindparam("at"))
    )
    if uses:
        tx.conn.execute(change, [{"key_id": key_id, "at": at} for key_id, at in uses.items()])


def _read(tx: Tx, *where: ColumnElement[bool]) -> list[ApiKey]:
    names = [name for name in ApiKey.__dataclass_fields__ if name != "user"]
    query = (
        select(*(t.api_key.c[name] for name in names), t.user.c.name.label("user"))
        .join(t.user, t.user.c.id == t.api_key.c.user_id)
        .where(*where)
        .order_by(t.user.c.name, t.api_key.c.created_at, t.api_key.c.id)
    )
    return [ApiKey(**row) for row in tx.conn.execute(query).mappings()]


def _free_id(tx: Tx, key: str) -> str:
    """Return the shortest free prefix of a key, of twelve characters or more, to call it by."""
    for length in range(_ID_LENGTH, len(key) - _MIN_SECRET + 1):
        key_id = key[:length]
        if tx.conn.scalar(select(t.api_key.c.id).where(t.api_key.c.id == key_id)) is None:
            return key_id
    raise AlreadyExists("this API key is too much like another one; choose a random one")


def _record(tx: Tx, by: str, kind: str, key_id: str, user: str) -> None:
    events.record(tx, actor=by, kind=kind, data={"key": key_id, "user": user})
