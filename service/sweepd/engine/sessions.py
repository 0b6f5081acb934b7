"""How browsers sign in: one-time links and sessions. Tokens are stored as hashes, never logged.

A session ends with the key that opened it: with it, so does what was opened by a link that the key
asked for.
"""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Table, bindparam, delete, insert, or_, select

from sweepd.engine import accounts, events
from sweepd.engine.keys import digest, is_live
from sweepd.engine.views import Account
from sweepd.store import Prepared, Tx
from sweepd.store import tables as t

__all__ = [
    "SESSION_COOKIE",
    "SESSION_S",
    "Session",
    "account_by_session",
    "close_session",
    "create_login_link",
    "end_session",
    "link_owner",
    "open_session",
    "redeem_login_link",
    "sessions_of",
]

LOGIN_LINK_S = 600.0
SESSION_S = 30 * 86400.0
SESSION_COOKIE = "sweepd_session"  # of a signed-in browser; read by `wire` and `dash`

_ID_LENGTH = 16  # characters of a session's hash that it is called by
_MAX_BROWSER = 200


@dataclass(frozen=True)
class Session:
    """A signed-in browser: `browser` is what it calls itself, `id` the beginning of a hash."""

    id: str
    browser: str
    created_at: float
    expires_at: float
    is_this: bool


def create_login_link(tx: Tx, *, account: Account) -> str:
    """Return a token that signs a browser in as this account, once, within ten minutes."""
    tx.conn.execute(delete(t.login_link).where(t.login_link.c.expires_at <= tx.now))
    return _issue(tx, t.login_link, account, LOGIN_LINK_S)


def link_owner(tx: Tx, *, token: str) -> Account | None:
    """Return whom a one-time link signs in, and leave it; None if it was used, is old, or is not.

    Nor does one whose key has ended meanwhile.
    """
    row = tx.conn.execute(select(t.login_link).where(_is_live(t.login_link, token, tx.now))).first()
    return accounts.account_by_id(tx, row.user_id, key_id=row.key_id) if row is not None else None


def redeem_login_link(tx: Tx, *, token: str) -> Account | None:
    """Return whom a one-time link signs in, and end it; None as `link_owner`."""
    account = link_owner(tx, token=token)
    tx.conn.execute(delete(t.login_link).where(t.login_link.c.digest == digest(token)))
    return account


def open_session(tx: Tx, *, account: Account, browser: str = "") -> str:
    """Return a token that a signed-in browser shows, good for thirty days.

    Args:
        tx: the transaction.
        account: who signs in; its key's end is the session's.
        browser: what the browser calls itself.
    """
    tx.conn.execute(delete(t.session).where(t.session.c.expires_at <= tx.now))
    shown = browser[:_MAX_BROWSER].encode("utf-8", "replace").decode()
    return _issue(tx, t.session, account, SESSION_S, created_at=tx.now, browser=shown)


_SESSION = Prepared(
    accounts.SELECT.add_columns(t.session.c.key_id)
    .join(t.session, t.session.c.user_id == t.user.c.id)
    .outerjoin(t.api_key, t.api_key.c.id == t.session.c.key_id)
    .where(
        t.session.c.digest == bindparam("digest"),
        t.session.c.expires_at > bindparam("now"),
        or_(t.session.c.key_id.is_(None), is_live(bindparam("now"))),
    )
)


def account_by_session(tx: Tx, *, token: str) -> Account | None:
    """Return who is signed in with this session, None if it is unknown, too old or ended."""
    row = _SESSION.row(tx, digest=digest(token), now=tx.now)
    return accounts.account_of(row[:-1], key_id=row[-1]) if row is not None else None


def sessions_of(tx: Tx, *, account: Account, token: str = "") -> list[Session]:
    """Return the browsers that are signed in as an account, the newest first.

    Args:
        tx: the transaction.
        account: whose.
        token: of the session that asks, to tell it from the others.
    """
    c, this = t.session.c, digest(token)
    query = (
        select(c.digest, c.browser, c.created_at, c.expires_at)
        .outerjoin(t.api_key, t.api_key.c.id == c.key_id)
        .where(c.user_id == account.id, c.expires_at > tx.now)
        .where(or_(c.key_id.is_(None), is_live(tx.now)))
        .order_by(c.created_at.desc(), c.digest)
    )
    return [
        Session(hashed[:_ID_LENGTH], browser, created_at, expires_at, is_this=hashed == this)
        for hashed, browser, created_at, expires_at in tx.conn.execute(query)
    ]


def close_session(tx: Tx, *, token: str) -> None:
    """Sign a browser out; harmless when repeated."""
    tx.conn.execute(delete(t.session).where(t.session.c.digest == digest(token)))
    tx.announce()  # its live pages end


def end_session(tx: Tx, *, account: Account, session_id: str) -> bool:
    """Sign one of an account's browsers out from another; return whether it was signed in."""
    mine = (t.session.c.user_id == account.id) & t.session.c.digest.startswith(
        session_id, autoescape=True
    )
    if len(session_id) != _ID_LENGTH:
        return False
    n_ended = tx.conn.execute(delete(t.session).where(mine)).rowcount
    events.record(tx, actor=account.name, kind="session.ended")
    return n_ended > 0


def _is_live(table: Table, token: str, now: float) -> ColumnElement[bool]:
    """Return the clause of a row that is not over, nor is the key that it came by."""
    ended = select(t.api_key.c.id).where(~is_live(now))
    return (
        (table.c.digest == digest(token))
        & (table.c.expires_at > now)
        & or_(table.c.key_id.is_(None), table.c.key_id.not_in(ended))
    )


def _issue(tx: Tx, table: Table, account: Account, lifetime_s: float, **values: Any) -> str:
    token = tx.new_token()
    row = {
        "digest": digest(token),
        "user_id": account.id,
        "expires_at": tx.now + lifetime_s,
        "key_id": account.key_id,
    }
    tx.conn.execute(insert(table), {**row, **values})
    return token
