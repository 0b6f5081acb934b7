"""Who asks, what the server can do, entities."""

from collections.abc import Mapping, Sequence
from typing import Any

from sweepd import __version__
from sweepd.engine import accounts, projects
from sweepd.engine.access import Need
from sweepd.engine.views import Account
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
    """Find users by name or address: an admin finds anybody, others only themselves."""
    context = info.context
    everybody: Sequence[Account] = [context.account]
    if context.account.is_admin:
        everybody = await context.read(accounts.list_users)
    found = [user for user in everybody if query in (None, user.name, user.email)]
    return {"edges": [{"node": user} for user in found]}


async def _generate_key(root: None, info: Info, input: Mapping[str, Any]) -> Mapping[str, Any]:
    """Make a key for the caller. Its `name` is the key itself: it is shown this once."""
    context = info.context
    record, key = await context.write(
        accounts.add_key, account=context.account, description=input.get("description") or ""
    )
    node = {"id": wire_id("ApiKey", record.id), "name": key, "description": record.description}
    return {"apiKey": node}


async def _delete_key(root: None, info: Info, input: Mapping[str, Any]) -> Mapping[str, Any]:
    context = info.context
    key_id = read_id("ApiKey", input["id"])
    gone = await context.write(accounts.remove_key, account=context.account, key_id=key_id)
    return {"success": gone}


async def _entity(root: None, info: Info, name: str) -> Named | None:
    context = info.context
    found = await context.read_or_none(
        projects.resolve_entity, actor=context.account, need=Need.READ, entity=name
    )
    return Named(found[1]) if found is not None else None


def _entity_user(entity: Named, info: Info) -> Any:
    account = info.context.account
    return account if account.entity == entity.name else Named(entity.name)


async def _entity_project(entity: Named, info: Info, name: str | None = None) -> Any:
    context = info.context
    return await context.read_or_none(
        projects.get_project, actor=context.account, need=Need.READ, entity=entity.name, name=name
    )


def _user_id(user: Account | Named, info: Info) -> str:
    return wire_id("User", user.name)


def _known(name: str) -> Any:
    """Return a resolver for what only an `Account` knows; null for a mere name."""

    def resolve(user: Account | Named, info: Info) -> Any:
        return getattr(user, name, None)

    return resolve


def _name(user: Account | Named, info: Info) -> str:
    return user.name


def _teams(user: Account | Named, info: Info) -> Mapping[str, Any]:
    name = user.entity if isinstance(user, Account) else user.name
    return {"edges": [{"node": Named(name)}]}


async def _api_keys(user: Account | Named, info: Info) -> Any:
    """List the caller's own keys by their id; nobody sees another's."""
    context = info.context
    if not isinstance(user, Account) or user.id != context.account.id:
        return None
    keys = await context.read(accounts.keys_of, account=user)
    return {
        "edges": [
            {
                "node": {
                    "id": wire_id("ApiKey", key.id),
                    "name": key.id,
                    "description": key.description,
                }
            }
            for key in keys
        ]
    }


FIELDS: Resolvers = {
    "Query": {
        "viewer": _viewer,
        "serverInfo": _server_info,
        "users": _users,
        "entity": _entity,
        "organization": constant(None),
    },
    "Mutation": {"generateApiKey": _generate_key, "deleteApiKey": _delete_key},
    "User": {
        "id": _user_id,
        "username": _name,
        "email": _known("email"),
        "admin": _known("is_admin"),
        "entity": _known("entity"),
        "flags": constant("{}"),
        "accountType": constant("MEMBER"),
        "deletedAt": constant(None),
        "photoUrl": constant(None),
        "apiKeys": _api_keys,
        "teams": _teams,
        "organizations": constant(()),
    },
    "Entity": {
        "id": lambda entity, info: wire_id("Entity", entity.name),
        "available": constant(False),
        "readOnly": constant(False),
        "readOnlyAdmin": constant(False),
        "isTeam": constant(False),
        "entityType": constant("user"),
        "privateOnly": constant(True),
        "storageBytes": constant(None),
        "codeSavingEnabled": constant(False),
        "defaultAccess": constant("PRIVATE"),
        "isPaid": constant(False),
        "limits": constant(None),
        "photoUrl": constant(None),
        "members": constant(()),
        "organization": constant(None),
        "user": _entity_user,
        "xxhashDigestsEnabled": constant(False),
        "project": _entity_project,
    },
}
