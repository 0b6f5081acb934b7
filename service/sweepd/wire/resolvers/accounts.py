"""Who asks, what the server can do, users and their keys."""

from collections.abc import Mapping, Sequence
from typing import Any

from sweepd import __version__
from sweepd.engine import accounts, keys, service_keys, teams
from sweepd.engine.views import Account
from sweepd.errors import Forbidden, InvalidInput
from sweepd.store import Tx
from sweepd.wire.context import Info, Resolvers
from sweepd.wire.ids import read_id, wire_id
from sweepd.wire.resolvers.common import Named, constant

__all__ = ["FIELDS", "user_of"]

#: Announced features; what is not named here is off. SWEEPD_V1 are our own operations.
_FEATURES = (
    "SWEEPD_V1",
    "MARK_RUN_FILES_UPLOADED",
    "STRUCTURED_CONSOLE_LOGS",
    "SWEEPS_LOCAL_SCHEDULER",
    "SWEEPS_QUERY_FILTERING",
    "FILESTREAM_GZIP",
    "CLIENT_IDS",
    "LARGE_FILENAMES",
    "USE_ARTIFACT_WITH_ENTITY_AND_PROJECT_INFORMATION",
    "TOTAL_COUNT_IN_FILE_CONNECTION",
    "ARTIFACT_COLLECTIONS_FILTERING_SORTING",
    "ARTIFACT_V2_DOWNLOAD_HANDLER_SUPPORTS_ARTIFACT_ID",
    "ARTIFACT_TAGS",
    "PROJECT_ARTIFACT_COLLECTION_MEMBERSHIP",
    "ARTIFACT_MEMBERSHIP_IN_LINK_ARTIFACT_RESPONSE",
    "ARTIFACT_COLLECTION_MEMBERSHIP_FILES",
    "ARTIFACT_COLLECTION_MEMBERSHIP_FILE_DOWNLOAD_HANDLER",
)

#: The client warns when it is newer than `max_cli_version`, and refuses below the other.
_CLIENT_VERSIONS = {"max_cli_version": "0.999.0", "min_cli_version": "0.29.0"}


def user_of(source: Any, info: Info) -> Account | Named | None:
    """Return the user that a run, project or sweep belongs to."""
    account = info.context.account
    if source.user_name is None:
        return None
    return account if source.user_name == account.name else Named(source.user_name)


def _viewer(root: None, info: Info) -> Account:
    return info.context.account


def _server_info(root: None, info: Info) -> Mapping[str, Any]:
    return {
        "cliVersionInfo": _CLIENT_VERSIONS,
        "latestLocalVersionInfo": {
            "outOfDate": False,
            "latestVersionString": __version__,
            "versionOnThisInstanceString": __version__,
        },
        "features": [{"name": name, "isEnabled": True} for name in _FEATURES],
    }


async def _users(root: None, info: Info, query: str | None = None) -> Any:
    """Find users by a part of their name or address: who is no admin finds only themselves."""
    context = info.context
    everybody: Sequence[Account] = [context.account]
    if context.account.is_admin:
        everybody = await context.read(accounts.list_users)
    part = (query or "").lower()
    found = [user for user in everybody if part in user.name.lower() or part in user.email.lower()]
    return {"edges": [{"node": user} for user in found]}


async def _generate_key(root: None, info: Info, input: Mapping[str, Any]) -> Mapping[str, Any]:
    """Make a key for the caller. Its `name` is the key itself: it is shown this once."""
    context = info.context
    record, key = await context.write(
        service_keys.add_own_key,
        actor=context.account,
        description=input.get("description") or "",
    )
    node = {"id": wire_id("ApiKey", record.id), "name": key, "description": record.description}
    return {"apiKey": node}


async def _delete_key(root: None, info: Info, input: Mapping[str, Any]) -> Mapping[str, Any]:
    context = info.context
    key_id = read_id("ApiKey", input["id"])
    gone = await context.write(keys.revoke_key, actor=context.account, key_id=key_id)
    return {"success": gone}


async def _create_user(root: None, info: Info, input: Mapping[str, Any]) -> Mapping[str, Any]:
    context = info.context
    user = await context.write(
        _add_by_email,
        actor=context.account,
        email=input["email"],
        is_admin=bool(input.get("admin")),
    )
    return {"user": user}


def _add_by_email(tx: Tx, *, actor: Account, email: str, is_admin: bool) -> Account:
    """Add a user, called by what stands before the @, without a key."""
    if not actor.is_admin:
        raise Forbidden("users are added by administrators of the service: `sweep user add NAME`")
    name, at, host = email.partition("@")
    if not (name and at and host):
        raise InvalidInput(f"email: must be an address such as ana@example.org, not {email!r:.100}")
    return accounts.create_user(tx, name=name, email=email, is_admin=is_admin, by=actor.name)


def _user_id(user: Account | Named, info: Info) -> str:
    return wire_id("User", user.name)


def _known(name: str) -> Any:
    """Return a resolver for what only an `Account` knows; null for a mere name."""

    def resolve(user: Account | Named, info: Info) -> Any:
        return getattr(user, name, None)

    return resolve


def _name(user: Account | Named, info: Info) -> str:
    return user.name


def _account_type(user: Account | Named, info: Info) -> str:
    return "SERVICE" if isinstance(user, Account) and user.is_service else "USER"


def _may_look_into(user: Account | Named, info: Info) -> bool:
    """Return whether the caller may see more of a user than their name."""
    account = info.context.account
    return isinstance(user, Account) and (user.id == account.id or account.is_admin)


def _teams(user: Account | Named, info: Info) -> Mapping[str, Any]:
    """List where a user is at home: their own entity, and their teams to who may know."""
    names = []
    if not isinstance(user, Account) or user.own_id is not None:
        names = [user.name]
    if isinstance(user, Account) and _may_look_into(user, info):
        names += info.context.peek(teams.team_names, user_id=user.id)
    return {"edges": [{"node": Named(name)} for name in names]}


async def _api_keys(user: Account | Named, info: Info) -> Any:
    """List a user's own keys by their id; nobody but an admin sees another's."""
    if not isinstance(user, Account) or not _may_look_into(user, info):
        return None
    found = await info.context.read(keys.keys_of, account=user)
    return {
        "edges": [
            {
                "node": {
                    "id": wire_id("ApiKey", key.id),
                    "name": key.id,
                    "description": key.description,
                }
            }
            for key in found
        ]
    }


FIELDS: Resolvers = {
    "Query": {"viewer": _viewer, "serverInfo": _server_info, "users": _users},
    "Mutation": {
        "generateApiKey": _generate_key,
        "deleteApiKey": _delete_key,
        "createUser": _create_user,
    },
    "User": {
        "id": _user_id,
        "username": _name,
        "email": _known("email"),
        "admin": _known("is_admin"),
        "entity": _known("entity"),
        "flags": constant("{}"),
        "accountType": _account_type,
        "deletedAt": constant(None),
        "photoUrl": constant(None),
        "apiKeys": _api_keys,
        "teams": _teams,
        "organizations": constant(()),
    },
}
