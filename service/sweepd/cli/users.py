"""`sweep user`: the accounts of the service on this machine; works while the service runs."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sweepd.cli.console import echo_json, print_table
from sweepd.cli.options import as_json, data_folder
from sweepd.errors import NotFound

if TYPE_CHECKING:
    from sweepd.store import Store

__all__ = ["user"]


@contextmanager
def _store(data: Path) -> Iterator["Store"]:
    if not (data / "sweepd.db").is_file():
        raise NotFound(
            f"there is no service's data in {data}; `sweep serve` makes it at its first start, "
            "--data names another folder"
        )
    from sweepd.store import Store

    store = Store.open(data, exclusive=False)
    try:
        yield store
    finally:
        store.close()


@click.group()
def user() -> None:
    """Add, list and remove the users of the service on this machine."""


@user.command("add")
@click.argument("name")
@click.option("--api-key", help="A key of at least 40 letters, digits, - or _; made if left out.")
@click.option("--admin", is_flag=True, help="May read and write everybody's projects.")
@data_folder
def add(name: str, api_key: str | None, admin: bool, data: Path) -> None:
    """Add the user NAME and print their key: it is shown this once."""
    with _store(data) as store:
        from sweepd.engine import accounts

        account, key = store.write_sync(accounts.add_user, name=name, key=api_key, is_admin=admin)
    click.echo(f"added {account.name}", err=True)
    click.echo(key)


@user.command("list")
@data_folder
@as_json
def list_(data: Path, as_json: bool) -> None:
    """List the users."""
    with _store(data) as store:
        from sweepd.engine import accounts

        found = store.read_sync(accounts.list_users)
    rows = [{"name": a.name, "email": a.email, "admin": a.is_admin} for a in found]
    if as_json:
        echo_json(rows)
    else:
        print_table(["name", "email", "admin"], [[r["name"], r["email"], r["admin"]] for r in rows])


@user.command("remove")
@click.argument("name")
@data_folder
def remove(name: str, data: Path) -> None:
    """Remove the user NAME and their keys; their runs and sweeps stay."""
    with _store(data) as store:
        from sweepd.engine import accounts

        kept = store.write_sync(accounts.remove_user, name=name)
    click.echo(f"removed {name}", err=True)
    if kept is not None:
        click.echo(f"their projects are under {kept} now, for administrators", err=True)
