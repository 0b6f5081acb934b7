"""`sweep key`: the API keys of the service on this machine; works while the service runs."""

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sweepd.cli.console import echo_json, print_table
from sweepd.cli.folder import open_folder
from sweepd.cli.options import as_json, data_folder

if TYPE_CHECKING:
    from sweepd.engine.keys import ApiKey

__all__ = ["key"]

_DAY_S = 86_400.0


@click.group()
def key() -> None:
    """Keep the API keys of the service on this machine."""


@key.command("add")
@click.argument("user")
@click.option("--description", default="", help="What it is for.")
@click.option("--days", type=click.FloatRange(0, 36_500, min_open=True), help="Ends after so many.")
@click.option("--api-key", help="A key of at least 40 letters, digits, - or _; made if left out.")
@data_folder
def add(user: str, description: str, days: float | None, api_key: str | None, data: Path) -> None:
    """Give USER another key and print it: it is shown this once."""
    with open_folder(data) as store:
        from sweepd.engine import accounts, keys

        record, made = store.write_sync(
            keys.add_key,
            account=store.read_sync(accounts.account_by_name, name=user),
            key=api_key,
            description=description,
            expires_at=time.time() + days * _DAY_S if days is not None else None,
        )
    click.echo(f"added key {record.id} of {user}", err=True)
    click.echo(made)


@key.command("list")
@click.argument("user", required=False)
@data_folder
@as_json
def list_(user: str | None, data: Path, as_json: bool) -> None:
    """List every key, or those of USER: whose, what for, last use, and whether it still works."""
    with open_folder(data) as store:
        from sweepd.engine import keys

        found = store.read_sync(keys.list_keys, user=user)
    rows = [_row(one) for one in found]
    if as_json:
        echo_json(rows)
    else:
        heads = ["key", "user", "description", "made", "last used", "expires", "state"]
        print_table(heads, [[*row.values()] for row in rows])


def _row(one: "ApiKey") -> dict[str, Any]:
    state = "live"
    if one.is_over(time.time()):
        state = "revoked" if one.revoked_at is not None else "expired"
    return {
        "id": one.id,
        "user": one.user,
        "description": one.description,
        "created_at": _time(one.created_at),
        "last_used_at": _time(one.last_used_at),
        "expires_at": _time(one.expires_at),
        "state": state,
    }


def _time(at: float | None) -> str | None:
    if at is None:
        return None
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="minutes").replace("+00:00", "Z")


@key.command("revoke")
@click.argument("key_id", metavar="KEY")
@data_folder
def revoke(key_id: str, data: Path) -> None:
    """End the key whose id is KEY, and the browsers that are signed in with it, at once."""
    with open_folder(data) as store:
        from sweepd.engine import keys

        was_live = store.write_sync(keys.revoke_key, key_id=key_id, actor=None)
    click.echo(f"{'revoked' if was_live else 'was over already:'} {key_id}", err=True)
