"""`sweep team`: the teams of the service on this machine; works while the service runs."""

from pathlib import Path

import click

from sweepd.cli.console import echo_json, print_table
from sweepd.cli.folder import keeper, open_folder
from sweepd.cli.options import as_json, data_folder

__all__ = ["team"]

_ROLES = click.Choice(["viewer", "member", "admin"])


@click.group()
def team() -> None:
    """Keep the teams of the service on this machine."""


@team.command("create")
@click.argument("name")
@click.option("--admin", metavar="USER", required=True, help="Its first administrator.")
@data_folder
def create(name: str, admin: str, data: Path) -> None:
    """Make the team NAME, whose projects its members share."""
    with open_folder(data) as store:
        from sweepd.engine import teams

        store.write_sync(teams.create_team, actor=keeper(), name=name, admin=admin)
    click.echo(f"made team {name}; {admin} administers it", err=True)


@team.command("list")
@data_folder
@as_json
def list_(data: Path, as_json: bool) -> None:
    """List the teams."""
    with open_folder(data) as store:
        from sweepd.engine import teams

        found = store.read_sync(teams.list_teams, actor=keeper(), everybody=True)
    rows = [
        {"name": one.name, "members": one.n_members, "projects": one.n_projects} for one in found
    ]
    if as_json:
        echo_json(rows)
    else:
        print_table(["name", "members", "projects"], [[*row.values()] for row in rows])


@team.command("members")
@click.argument("name")
@data_folder
@as_json
def members(name: str, data: Path, as_json: bool) -> None:
    """List who is in the team NAME, and in which role."""
    with open_folder(data) as store:
        from sweepd.engine import teams
        from sweepd.engine.access import Need

        found = store.read_sync(teams.list_members, actor=keeper(), team=name, need=Need.READ)
    rows = [
        {"user": one.name, "role": one.role, "service": one.is_service, "default": one.is_default}
        for one in found
    ]
    if as_json:
        echo_json(rows)
    else:
        print_table(["user", "role", "service", "works here"], [[*row.values()] for row in rows])


@team.command("add")
@click.argument("name")
@click.argument("user")
@click.option("--role", type=_ROLES, default="member", show_default=True, help="What they may do.")
@data_folder
def add(name: str, user: str, role: str, data: Path) -> None:
    """Make USER a member of the team NAME, or change their role in it.

    A viewer reads; a member logs, starts and changes too; an admin also says who is in the team and
    who may read its projects.
    """
    with open_folder(data) as store:
        from sweepd.engine import teams

        wanted = teams.read_role(role)
        store.write_sync(teams.set_role, actor=keeper(), team=name, user=user, role=wanted)
    click.echo(f"{user} is {role} of {name}", err=True)


@team.command("kick")
@click.argument("name")
@click.argument("user")
@data_folder
def kick(name: str, user: str, data: Path) -> None:
    """Take USER out of the team NAME; a service account of the team is removed."""
    with open_folder(data) as store:
        from sweepd.engine import accounts, teams

        account = store.read_sync(accounts.account_by_name, name=user)
        was_in = store.write_sync(
            teams.remove_member, actor=keeper(), team=name, user_id=account.id
        )
    click.echo(f"{user} {'left' if was_in else 'was not in'} {name}", err=True)


@team.command("service")
@click.argument("name")
@click.argument("account")
@click.option("--description", default="", help="What its key is for.")
@data_folder
def service(name: str, account: str, description: str, data: Path) -> None:
    """Add the service account ACCOUNT to the team NAME and print its key: it is shown this once.

    Its key logs for the team; its runs are by whom WANDB_USERNAME names, if that is a member.
    """
    with open_folder(data) as store:
        from sweepd.engine import keys, teams

        made = store.write_sync(teams.add_service_account, actor=keeper(), team=name, name=account)
        _, key = store.write_sync(keys.add_key, account=made, description=description)
    click.echo(f"added {made.name} to {name}", err=True)
    click.echo(key)


@team.command("remove")
@click.argument("name")
@data_folder
def remove(name: str, data: Path) -> None:
    """Remove the team NAME and its service accounts; its projects stay, for administrators."""
    with open_folder(data) as store:
        from sweepd.engine import teams

        kept = store.write_sync(teams.remove_team, actor=keeper(), name=name)
    click.echo(f"removed {name}", err=True)
    if kept is not None:
        click.echo(f"its projects are under {kept} now, for administrators", err=True)
