"""Service accounts of a team and their keys: kept by the team's administrators."""

from collections.abc import Mapping, Sequence

from sweepd.engine import accounts, keys, teams
from sweepd.engine.access import Need
from sweepd.engine.keys import ApiKey
from sweepd.engine.views import Account
from sweepd.errors import Forbidden, NotFound
from sweepd.store import Tx
from sweepd.store import tables as t

__all__ = ["add_own_key", "add_service_key", "revoke_service_key", "service_keys"]


def add_own_key(
    tx: Tx, *, actor: Account, description: str = "", expires_at: float | None = None
) -> tuple[ApiKey, str]:
    """Give the actor another key; return its record and the key.

    A machine makes none: whoever got hold of one of its keys could go on after that one ended.

    Raises:
        Forbidden: if the actor is a service account.
        InvalidInput: as `keys.add_key`.
    """
    if actor.is_service:
        raise Forbidden(
            "keys of a service account are made by administrators of its team, on the team's page"
        )
    return keys.add_key(tx, account=actor, description=description, expires_at=expires_at)


def service_keys(tx: Tx, *, actor: Account, team: str) -> Mapping[str, Sequence[ApiKey]]:
    """Return a team's own service accounts, by name, with their live keys.

    Raises:
        NotFound, Forbidden: as `teams.get_team`, for who administers the team.
    """
    found = teams.get_team(tx, actor=actor, name=team, need=Need.ADMIN)
    query = accounts.SELECT.where(t.user.c.entity_id == found.id, t.user.c.kind == "service")
    services = [accounts.account_of(row) for row in tx.conn.execute(query.order_by(t.user.c.name))]
    return {account.name: keys.keys_of(tx, account=account) for account in services}


def add_service_key(
    tx: Tx,
    *,
    actor: Account,
    team: str,
    user: str,
    description: str = "",
    expires_at: float | None = None,
) -> tuple[ApiKey, str]:
    """Give a team's service account another key; return its record and the key.

    Raises:
        NotFound: if there is no such team, or the team has no such service account.
        Forbidden: if the actor does not administer the team.
        InvalidInput: as `keys.add_key`.
    """
    account = _own(tx, actor, team, user)
    return keys.add_key(tx, account=account, description=description, expires_at=expires_at)


def revoke_service_key(tx: Tx, *, actor: Account, team: str, user: str, key_id: str) -> bool:
    """End a key of a team's service account for good; return whether it was live.

    Raises:
        NotFound: as `add_service_key`, and if the account has no such key.
        Forbidden: if the actor does not administer the team.
    """
    account = _own(tx, actor, team, user)
    found = [key for key in keys.keys_of(tx, account=account, with_ended=True) if key.id == key_id]
    if not found:
        raise NotFound(f"{user!r} has no key {key_id!r}")
    return keys.end_key(tx, key=found[0], by=actor.name)


def _own(tx: Tx, actor: Account, team: str, user: str) -> Account:
    """Return a service account of the team's own; one of another team is that team's affair."""
    found = teams.get_team(tx, actor=actor, name=team, need=Need.ADMIN)
    where = (t.user.c.name == user, t.user.c.kind == "service", t.user.c.entity_id == found.id)
    row = tx.conn.execute(accounts.SELECT.where(*where)).one_or_none()
    if row is None:
        raise NotFound(f"team {team!r} has no service account {user!r}")
    return accounts.account_of(row)
