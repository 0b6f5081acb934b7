"""`sweep access`: who may read a project."""

from pathlib import Path

import click

from sweepd.cli.console import echo_json, say
from sweepd.cli.options import as_json, data_folder, server_choice
from sweepd.errors import InvalidInput, NotFound

__all__ = ["access"]

#: What the command says of who may read, and what the protocol calls it.
_NAMES = {"entity": "PRIVATE", "everybody": "USER_READ"}
_CHANGE = """mutation($id: String!, $access: String!) {
  upsertModel(input: {id: $id, access: $access}) { project { access } } }"""
_READ = """query($name: String!, $entity: String!) {
  project(name: $name, entityName: $entity) { id access } }"""


@click.command()
@click.argument("project", metavar="ENTITY/PROJECT")
@click.argument("who", type=click.Choice(list(_NAMES)), required=False)
@server_choice
@data_folder
@as_json
def access(*, project: str, who: str | None, server: str | None, data: Path, as_json: bool) -> None:
    """Say or change who may read a project.

    That is its entity's members, or everybody with a key. Who may write is up to the entity alone.
    A change takes its owner, or an admin of the team.
    """
    from sweepd.cli.api import Api
    from sweepd.cli.server import find_server

    entity, slash, name = project.partition("/")
    if not (entity and slash and name) or "/" in name:
        raise InvalidInput(f"a project is named ENTITY/PROJECT, not {project!r}")
    api = Api(find_server(server, data))
    try:
        found = api.execute(_READ, name=name, entity=entity)["project"]
        if found is None:
            raise NotFound(f"there is no project {project}")
        now = found["access"]
        if who is not None:
            changed = api.execute(_CHANGE, id=found["id"], access=_NAMES[who])
            now = changed["upsertModel"]["project"]["access"]
    finally:
        api.close()
    readers = next((word for word, told in _NAMES.items() if told == now), now)
    if as_json:
        echo_json({"project": project, "readers": readers})
    else:
        say(f"{project}: read by {'everybody with a key' if readers == 'everybody' else entity}")
