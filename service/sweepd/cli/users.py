"""`sweep user`: the accounts of the service on this machine; works while the service runs."""

from pathlib import Path

import click

from sweepd.cli.console import echo_json, print_table
from sweepd.cli.folder import open_folder
from sweepd.cli.options import as_json, data_folder

__all__ = ["user"]


@click.group()
def user() -> None:
    """Keep the users of the service on this machine."""


@user.command("add")
@click.argument("name")
@click.option("--api-key", help="A key of at least 40 letters, digits, - or _; made if left out.")
@click.option("--admin", is_flag=True, help="May read and write everybody's projects.")
@data_folder
def add(name: str, api_key: str | None, admin: bool, data: Path) -> None:
    """Add the user NAME and print their key: it is shown this once."""
    with open_folder(data) as store:
        from sweepd.engine import accounts

        account, key = store.write_sync(accounts.add_user, name=name, key=api_key, is_admin=admin)
    click.echo(f"added {account.name}", err=True)
    click.echo(key)


@user.command("list")
@data_folder
@as_json
def list_(data: Path, as_json: bool) -> None:
    """List the users."""
    with open_folder(data) as store:
        from sweepd.engine import accounts

        found = store.read_sync(accounts.list_users)
    rows = [
        {
            "name": one.name,
            "email": one.email,
            "admin": one.is_admin,
            "service": one.is_service,
            "entity": one.entity,
        }
        for one in found
    ]
    if as_json:
        echo_json(rows)
    else:
        print_table(
            ["name", "email", "admin", "service", "works in"], [[*row.values()] for row in rows]
        )


@user.command("set")
@click.argument("name")
@click.option("--default-team", metavar="TEAM", help="Where they work unless told otherwise.")
@click.option("--own-default", is_flag=True, help="Let them work in their own entity again.")
@click.option("--admin/--no-admin", default=None, help="May read and write everybody's projects.")
@data_folder
def set_(
    name: str, default_team: str | None, own_default: bool, admin: bool | None, data: Path
) -> None:
    """Change the user NAME."""
    if default_team is None and not own_default and admin is None:
        raise click.UsageError("say what to change: --default-team, --own-default or --admin")
    with open_folder(data) as store:
        from sweepd.engine import accounts, teams

        account = store.read_sync(accounts.account_by_name, name=name)
        if default_team is not None or own_default:
            store.write_sync(teams.set_default, account=account, team=default_team)
        if admin is not None:
            store.write_sync(accounts.set_admin, name=name, is_admin=admin)
    click.echo(f"changed {name}", err=True)


@user.command("remove")
@click.argument("name")
@data_folder
def remove(name: str, data: Path) -> None:
    """Remove the user NAME and their keys; their runs and sweeps stay."""
    with open_folder(data) as store:
        from sweepd.engine import accounts

        kept = store.write_sync(accounts.remove_user, name=name)
    click.echo(f"removed {name}", err=True)
    if kept is not None:
        click.echo(f"their projects are under {kept} now, for administrators", err=True)
