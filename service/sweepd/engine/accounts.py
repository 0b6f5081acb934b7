"""Users, their keys, and how browsers sign in. Secrets are stored as hashes and never logged."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Table, bindparam, delete, func, insert, select

from sweepd.engine import events
from sweepd.engine.views import Account
from sweepd.errors import AlreadyExists, Conflict, InvalidInput, NotFound
from sweepd.store import Prepared, Tx
from sweepd.store import tables as t

__all__ = [
    "ApiKey",
    "account_by_key",
    "account_by_session",
    "add_key",
    "add_user",
    "check_key_form",
    "close_session",
    "create_login_link",
    "ensure_first_user",
    "keys_of",
    "list_users",
    "open_session",
    "redeem_login_link",
    "remove_key",
    "remove_user",
]

KEY_ID_LENGTH = 12  # of a key that is made here: <id><secret>
_SECRET_LENGTH = 40
_MIN_SECRET = 20  # characters of an adopted key that its id must not show
LOGIN_LINK_S = 600.0
SESSION_S = 30 * 86400.0
SESSION_COOKIE = "sweepd_session"  # of a signed-in browser; read by `wire` and `dash`

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_JWT = re.compile(r"[\w-]+\.[\w-]+\.[\w-]+")


@dataclass(frozen=True)
class ApiKey:
    """What is known of a key: its id is a prefix of it."""

    id: str
    description: str
    created_at: float


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


def ensure_first_user(tx: Tx, *, name: str, key: str | None = None) -> tuple[Account, str] | None:
    """Make an administrator if there is no user at all; return them and their key, else None."""
    if tx.conn.scalar(select(func.count()).select_from(t.user)):
        return None
    return add_user(tx, name=name, key=key, is_admin=True)


def add_user(
    tx: Tx, *, name: str, key: str | None = None, is_admin: bool = False
) -> tuple[Account, str]:
    """Add a user with a key, made here unless one is given; return both.

    Raises:
        InvalidInput: if the name or the key cannot be one.
        AlreadyExists: if the name is taken, or the key is somebody's.
    """
    if not _NAME.fullmatch(name):
        raise InvalidInput(
            f"a user name has 1 to 64 letters, digits, ., - or _ and starts with a letter or "
            f"a digit, not {name!r}"
        )
    if tx.conn.scalar(select(t.user.c.id).where(t.user.c.name == name)) is not None:
        raise AlreadyExists(f"there is a user {name!r} already")
    entity_id = tx.conn.scalar(select(t.entity.c.id).where(t.entity.c.name == name))
    if entity_id is None:
        entity_id = tx.insert(t.entity, name=name)
    email = f"{name}@localhost"
    user_id = tx.insert(
        t.user,
        name=name,
        email=email,
        is_admin=int(is_admin),
        entity_id=entity_id,
        created_at=tx.now,
    )
    account = Account(user_id, name, email, is_admin, entity_id, name, own_id=entity_id)
    _, key = add_key(tx, account=account, key=key, description="first key")
    events.record(tx, actor=events.SERVICE, kind="user.added", data={"name": name})
    return account, key


def list_users(tx: Tx) -> list[Account]:
    """Return all users by name."""
    return [_account(row) for row in tx.conn.execute(_ACCOUNTS.order_by(t.user.c.name))]


def remove_user(tx: Tx, *, name: str) -> None:
    """Remove a user with their keys and sessions; their projects stay, for administrators.

    Raises:
        NotFound: if there is no such user.
        Conflict: if they are the last administrator.
    """
    row = tx.conn.execute(_ACCOUNTS.where(t.user.c.name == name)).one_or_none()
    if row is None:
        raise NotFound(f"there is no user {name!r}")
    admins = tx.conn.scalar(select(func.count()).where(t.user.c.is_admin == 1))
    if row.is_admin and admins == 1:
        raise Conflict(f"{name!r} is the last administrator and cannot be removed")
    tx.conn.execute(delete(t.user).where(t.user.c.id == row.id))
    events.record(tx, actor=events.SERVICE, kind="user.removed", data={"name": name})


def account_by_key(tx: Tx, *, key: str) -> Account | None:
    """Return whose key this is, None if nobody's. Asked at every request: one prepared lookup."""
    row = _BY_KEY.row(tx, digest=_digest(key))
    return _account(row) if row is not None else None


def add_key(
    tx: Tx, *, account: Account, key: str | None = None, description: str = ""
) -> tuple[ApiKey, str]:
    """Give an account another key, made here unless one is given; return its record and the key.

    Raises:
        InvalidInput: if the key is not of a form that the client accepts.
        AlreadyExists: if the key is somebody's.
    """
    if key is None:
        key = tx.new_token(KEY_ID_LENGTH + _SECRET_LENGTH)
    check_key_form(key)
    digest = _digest(key)
    if tx.conn.scalar(select(t.api_key.c.id).where(t.api_key.c.digest == digest)) is not None:
        raise AlreadyExists("this API key is in use already")
    record = ApiKey(_free_key_id(tx, key), description, tx.now)
    tx.conn.execute(
        insert(t.api_key),
        {
            "id": record.id,
            "user_id": account.id,
            "digest": digest,
            "description": description,
            "created_at": tx.now,
        },
    )
    return record, key


def keys_of(tx: Tx, *, account: Account) -> list[ApiKey]:
    """Return an account's keys, the oldest first."""
    rows = tx.conn.execute(
        select(t.api_key.c.id, t.api_key.c.description, t.api_key.c.created_at)
        .where(t.api_key.c.user_id == account.id)
        .order_by(t.api_key.c.created_at, t.api_key.c.id)
    )
    return [ApiKey(*row) for row in rows]


def remove_key(tx: Tx, *, account: Account, key_id: str) -> bool:
    """Remove one of an account's keys; return whether there was one."""
    mine = (t.api_key.c.user_id == account.id) & (t.api_key.c.id == key_id)
    return tx.conn.execute(delete(t.api_key).where(mine)).rowcount > 0


def create_login_link(tx: Tx, *, account: Account) -> str:
    """Return a token that signs a browser in as this account, once, within ten minutes."""
    tx.conn.execute(delete(t.login_link).where(t.login_link.c.expires_at <= tx.now))
    return _issue(tx, t.login_link, account, LOGIN_LINK_S)


def redeem_login_link(tx: Tx, *, token: str) -> Account | None:
    """Return whose link this is and end it; None if it was used, is too old, or never was."""
    link = t.login_link.c.digest == _digest(token)
    row = tx.conn.execute(select(t.login_link).where(link)).one_or_none()
    if row is None:
        return None
    tx.conn.execute(delete(t.login_link).where(link))
    return _account_by_id(tx, row.user_id) if row.expires_at > tx.now else None


def open_session(tx: Tx, *, account: Account) -> str:
    """Return a token that a signed-in browser shows, good for thirty days of use or silence."""
    tx.conn.execute(delete(t.session).where(t.session.c.expires_at <= tx.now))
    return _issue(tx, t.session, account, SESSION_S)


def account_by_session(tx: Tx, *, token: str) -> Account | None:
    """Return who is signed in with this session, None if it is unknown or too old."""
    is_it = t.session.c.digest == _digest(token)
    row = tx.conn.execute(select(t.session).where(is_it)).one_or_none()
    return _account_by_id(tx, row.user_id) if row is not None and row.expires_at > tx.now else None


def close_session(tx: Tx, *, token: str) -> None:
    """Sign a browser out; harmless when repeated."""
    tx.conn.execute(delete(t.session).where(t.session.c.digest == _digest(token)))


_ACCOUNTS = (
    select(
        t.user.c.id,
        t.user.c.name,
        t.user.c.email,
        t.user.c.is_admin,
        t.entity.c.id.label("home_id"),
        t.entity.c.name.label("home"),
        t.user.c.entity_id.label("own_id"),
        t.user.c.kind,
    )
    .select_from(t.user)
    .outerjoin(
        t.membership, (t.membership.c.user_id == t.user.c.id) & (t.membership.c.is_default == 1)
    )
    .join(t.entity, t.entity.c.id == func.coalesce(t.membership.c.entity_id, t.user.c.entity_id))
)


_BY_KEY = Prepared(
    _ACCOUNTS.join(t.api_key, t.api_key.c.user_id == t.user.c.id).where(
        t.api_key.c.digest == bindparam("digest")
    )
)


def _account(row: Sequence[Any], key_id: str | None = None) -> Account:
    user_id, name, email, is_admin, home_id, home, own_id, kind = row
    is_service = kind == "service"
    return Account(
        user_id,
        name,
        email,
        bool(is_admin),
        home_id,
        home,
        own_id=None if is_service else own_id,
        is_service=is_service,
        key_id=key_id,
    )


def _account_by_id(tx: Tx, user_id: int) -> Account | None:
    row = tx.conn.execute(_ACCOUNTS.where(t.user.c.id == user_id)).one_or_none()
    return _account(row) if row is not None else None


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _free_key_id(tx: Tx, key: str) -> str:
    """Return the shortest free prefix of a key, of twelve characters or more, to call it by."""
    for length in range(KEY_ID_LENGTH, len(key) - _MIN_SECRET + 1):
        key_id = key[:length]
        if tx.conn.scalar(select(t.api_key.c.id).where(t.api_key.c.id == key_id)) is None:
            return key_id
    raise AlreadyExists("this API key is too much like another one; choose a random one")


def _issue(tx: Tx, table: Table, account: Account, lifetime_s: float) -> str:
    token = tx.new_token()
    tx.conn.execute(
        insert(table),
        {"digest": _digest(token), "user_id": account.id, "expires_at": tx.now + lifetime_s},
    )
    return token
