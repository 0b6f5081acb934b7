"""Users: persons and service accounts, by name and by key."""

import re
from typing import Any

from sqlalchemy import and_, bindparam, delete, func, or_, select, update

from sweepd.engine import events
from sweepd.engine.keys import add_key, digest, is_live
from sweepd.engine.views import Account, Role
from sweepd.errors import AlreadyExists, Conflict, InvalidInput, NotFound
from sweepd.store import Prepared, Tx
from sweepd.store import tables as t

__all__ = [
    "SELECT",
    "account_by_id",
    "account_by_key",
    "account_by_name",
    "account_of",
    "add_user",
    "check_free",
    "create_user",
    "ensure_first_user",
    "list_users",
    "person_for",
    "remove_user",
    "retire_entity",
    "set_admin",
]

_EMAIL = re.compile(r"[^\s@\x00-\x1f\x7f-\x9f]{1,64}@[^\s@\x00-\x1f\x7f-\x9f]{1,190}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
#: The service's own addresses, which pages of an entity of such a name would hide behind.
_RESERVED = frozenset(
    {
        "artifactsv2",
        "authorize",
        "favicon.ico",
        "files",
        "graphql",
        "healthz",
        "login",
        "logout",
        "metrics",
        "readyz",
        "service",
        "settings",
        "storage",
    }
)


#: What an account is read with, in the order that `account_of` takes; `user` may be joined to.
#: Where it works unless told otherwise is a team that it chose, unless it may only read there.
SELECT = (
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
        t.membership,
        (t.membership.c.user_id == t.user.c.id)
        & (t.membership.c.is_default == 1)
        & (t.membership.c.role != Role.VIEWER),
    )
    .join(t.entity, t.entity.c.id == func.coalesce(t.membership.c.entity_id, t.user.c.entity_id))
)


def account_of(row: Any, *, key_id: str | None = None) -> Account:
    """Return a row of `SELECT` as an account that came with a key, if it did."""
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


_BY_KEY = Prepared(
    SELECT.add_columns(t.api_key.c.id)
    .join(t.api_key, t.api_key.c.user_id == t.user.c.id)
    .where(t.api_key.c.digest == bindparam("digest"), is_live(bindparam("now")))
)


def account_by_key(tx: Tx, *, key: str) -> Account | None:
    """Return whose key this is; None if it is nobody's, has expired or was revoked."""
    row = _BY_KEY.row(tx, digest=digest(key), now=tx.now)
    return account_of(row[:-1], key_id=row[-1]) if row is not None else None


_PERSON = Prepared(
    select(t.user.c.id, t.user.c.name).where(
        or_(
            t.user.c.name == bindparam("name"),
            and_(bindparam("name") == "", t.user.c.email == bindparam("email")),
        ),
        t.user.c.kind == "person",
        t.user.c.id.in_(
            select(t.membership.c.user_id).where(
                t.membership.c.entity_id.in_(
                    select(t.membership.c.entity_id).where(
                        t.membership.c.user_id == bindparam("service_id")
                    )
                )
            )
        ),
    )
)


def person_for(tx: Tx, *, account: Account, name: str, email: str = "") -> tuple[int, str] | None:
    """Return id and name of the person that a service account says it works for.

    None if there is no such person in one of its teams, or it is no service account: nobody else
    speaks for others.

    Args:
        tx: the transaction.
        account: that asks.
        name: the person's; "" leaves it to their address.
        email: their address, if nobody else there has the same.
    """
    if not account.is_service or not (name or email):
        return None
    found = _PERSON.rows(tx, name=name, email=email, service_id=account.id)
    return (found[0][0], found[0][1]) if len(found) == 1 else None


def account_by_id(tx: Tx, user_id: int, *, key_id: str | None = None) -> Account | None:
    """Return the user of that storage id, None if there is none."""
    row = tx.conn.execute(SELECT.where(t.user.c.id == user_id)).one_or_none()
    return account_of(row, key_id=key_id) if row is not None else None


def account_by_name(tx: Tx, *, name: str) -> Account:
    """Return the user of that name.

    Raises:
        NotFound: if there is none.
    """
    row = tx.conn.execute(SELECT.where(t.user.c.name == name)).one_or_none()
    if row is None:
        raise NotFound(f"there is no user {name!r}")
    return account_of(row)


def list_users(tx: Tx) -> list[Account]:
    """Return all users by name."""
    return [account_of(row) for row in tx.conn.execute(SELECT.order_by(t.user.c.name))]


def ensure_first_user(tx: Tx, *, name: str, key: str | None = None) -> tuple[Account, str] | None:
    """Make an administrator if there is no user at all; return them and their key, else None."""
    if tx.conn.scalar(select(func.count()).select_from(t.user)):
        return None
    return add_user(tx, name=name, key=key, is_admin=True)


def add_user(
    tx: Tx,
    *,
    name: str,
    key: str | None = None,
    is_admin: bool = False,
    email: str | None = None,
    by: str = events.SERVICE,
) -> tuple[Account, str]:
    """Add a person with a key, made here unless one is given; return both.

    Raises:
        InvalidInput, AlreadyExists: as `create_user` and `keys.add_key`.
    """
    account = create_user(tx, name=name, is_admin=is_admin, email=email, by=by)
    _, key = add_key(tx, account=account, key=key, description="first key")
    return account, key


def create_user(
    tx: Tx,
    *,
    name: str,
    is_admin: bool = False,
    email: str | None = None,
    team_id: int | None = None,
    by: str = events.SERVICE,
) -> Account:
    """Add a user without a key.

    Args:
        tx: the transaction.
        name: theirs, and of the entity that a person gets.
        is_admin: whether they administer the service.
        email: address; made up if left out.
        team_id: makes a service account of that team, which has no entity of its own.
        by: who does it.

    Raises:
        InvalidInput: if the name or the address cannot be one.
        AlreadyExists: if the name is taken.
    """
    check_free(tx, name=name, kind="user")
    if email and not _EMAIL.fullmatch(email):
        raise InvalidInput(f"email: must be an address such as ana@example.org, not {email!r:.100}")
    entity_id = tx.insert(t.entity, name=name) if team_id is None else team_id
    user_id = tx.insert(
        t.user,
        name=name,
        email=email or f"{name}@localhost",
        is_admin=int(is_admin),
        entity_id=entity_id,
        kind="person" if team_id is None else "service",
        created_at=tx.now,
    )
    events.record(tx, actor=by, kind="user.added", data={"name": name})
    account = account_by_id(tx, user_id)
    assert account is not None, "it was added above"
    return account


def check_free(tx: Tx, *, name: str, kind: str) -> None:
    """Check that a name can be given to a new user or team; both share their names with entities.

    Raises:
        InvalidInput: if it cannot be a name.
        AlreadyExists: if it is taken, in whatever case of letters.
    """
    if not _NAME.fullmatch(name):
        raise InvalidInput(
            f"a {kind} name has 1 to 64 letters, digits, ., - or _ and starts with a letter or "
            f"a digit, not {name!r:.100}"
        )
    if name.lower() in _RESERVED:
        raise InvalidInput(f"{name!r} is an address of the service and cannot be a {kind} name")
    for table, what in ((t.user, "user"), (t.entity, "team or entity")):
        query = select(table.c.name).where(func.lower(table.c.name) == name.lower())
        taken = tx.conn.scalar(query.limit(1))
        if taken is not None:
            raise AlreadyExists(f"there is a {what} {taken!r} already")


def remove_user(tx: Tx, *, name: str, by: str = events.SERVICE) -> str | None:
    """Remove a user with their keys and sessions; return what their entity is called now.

    Their projects stay, for administrators, under a name that nobody can take: a later user of the
    same name finds nothing of theirs. Without projects, the entity goes too.

    Raises:
        NotFound: if there is no such user.
        Conflict: if they are the last administrator, of the service or of a team.
    """
    account = account_by_name(tx, name=name)
    _keep_an_admin(tx, account)
    alone = _administered_alone(tx, account)
    if alone:
        teams = ", ".join(map(repr, alone))
        raise Conflict(
            f"{name!r} is the last administrator of {teams}: name another one there, or remove the "
            "team, first"
        )
    kept = retire_entity(tx, entity_id=account.own_id) if account.own_id is not None else None
    tx.conn.execute(delete(t.user).where(t.user.c.id == account.id))
    events.record(tx, actor=by, kind="user.removed", data={"name": name, "kept_as": kept})
    return kept


def set_admin(tx: Tx, *, name: str, is_admin: bool, by: str = events.SERVICE) -> Account:
    """Make a user an administrator of the service, or one no more.

    Raises:
        NotFound: if there is no such user.
        Conflict: if they are the last administrator.
        InvalidInput: for a service account, which works for its team alone.
    """
    account = account_by_name(tx, name=name)
    if account.is_service:
        raise InvalidInput(f"{name!r} is a service account, which works for its team alone")
    if account.is_admin and not is_admin:
        _keep_an_admin(tx, account)
    tx.conn.execute(update(t.user).where(t.user.c.id == account.id).values(is_admin=int(is_admin)))
    data = {"name": name, "is_admin": is_admin}
    events.record(tx, actor=by, kind="user.changed", data=data)
    return account_by_name(tx, name=name)


def _keep_an_admin(tx: Tx, account: Account) -> None:
    admins = tx.conn.scalar(select(func.count()).where(t.user.c.is_admin == 1))
    if account.is_admin and admins == 1:
        raise Conflict(f"{account.name!r} is the last administrator and must stay one")


def _administered_alone(tx: Tx, account: Account) -> list[str]:
    """Return the teams that have this account as their only administrator."""
    mine, others = t.membership.alias("mine"), t.membership.alias("others")
    other = (
        select(others.c.user_id)
        .where(
            others.c.entity_id == mine.c.entity_id,
            others.c.role == Role.ADMIN,
            others.c.user_id != account.id,
        )
        .exists()
    )
    query = (
        select(t.entity.c.name)
        .join(mine, mine.c.entity_id == t.entity.c.id)
        .where(mine.c.user_id == account.id, mine.c.role == Role.ADMIN, ~other)
        .order_by(t.entity.c.name)
    )
    return list(tx.conn.scalars(query))


def retire_entity(tx: Tx, *, entity_id: int) -> str | None:
    """Take an entity's name from it if it has projects, else delete it; return its new name."""
    has_projects = select(t.project.c.id).where(t.project.c.entity_id == entity_id).limit(1)
    if tx.conn.scalar(has_projects) is None:
        tx.conn.execute(delete(t.entity).where(t.entity.c.id == entity_id))
        return None
    old = tx.conn.scalar(select(t.entity.c.name).where(t.entity.c.id == entity_id))
    new = f"{old}-removed-{tx.new_id(8)}"  # taken from now on, like every entity's name
    tx.conn.execute(update(t.entity).where(t.entity.c.id == entity_id).values(name=new))
    closed = update(t.project).where(t.project.c.entity_id == entity_id).values(access="entity")
    tx.conn.execute(closed)
    return new
