"""`sweep lint`, `sweep preview` and `sweep create`: everything about a definition."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sweepd.cli.console import echo_json, print_table, say
from sweepd.cli.options import again, allow_unknown, as_json, data_folder, server_choice
from sweepd.errors import InvalidInput

if TYPE_CHECKING:
    from sweepd.cli.server import Server
    from sweepd.engine.preview import Preview
    from sweepd.spec import Definition, Parsed

__all__ = ["create", "find_definition", "lint", "load_definition", "preview", "register"]

#: In a table, a parameter that does not exist in a configuration.
_NOT_THERE = "–"
_SAMPLES = (
    Path(__file__).parents[1] / "definitions",  # in the wheel
    Path(__file__).parents[3] / "sweeps",  # in a clone
)


def find_definition(name: str) -> Path:
    """Return the file that DEFINITION means: a path, or the name of a sample that ships with us.

    Raises:
        InvalidInput: if there is neither.
    """
    path = Path(name)
    try:
        if path.is_dir():
            raise InvalidInput(f"{name} is a folder; name the definition in it")
        if path.exists():
            return path
    except OSError as error:  # too long a name, or a folder that may not be looked into
        raise InvalidInput(f"cannot read {name}: {error.strerror}") from None
    for folder in _SAMPLES:
        sample = folder / f"{name.removesuffix('.yaml')}.yaml"
        if path.parent == Path() and sample.is_file():
            return sample
    known = sorted({p.stem for folder in _SAMPLES for p in folder.glob("*.yaml")})
    raise InvalidInput(
        f"there is no definition {name!r}: it is neither a file nor a sample; "
        f"samples: {', '.join(known)}"
    )


def load_definition(path: Path, *, allow_unknown: bool = False) -> "Parsed":
    """Read and check the definition in a file, and print its warnings.

    Raises:
        DefinitionError: with every problem of the file.
        InvalidInput: if the file cannot be read.
    """
    from sweepd.spec import read_definition

    try:
        with path.open("rb") as file:
            content = file.read(16_000_000)
    except OSError as error:
        raise InvalidInput(f"cannot read {path}: {error.strerror}") from error
    parsed = read_definition(content, source=str(path), allow_unknown=allow_unknown)
    for warning in parsed.warnings:
        click.echo(f"warning: {path}: {warning}", err=True)
    return parsed


_definition = click.argument("definition")


@click.command()
@_definition
@allow_unknown
def lint(*, definition: str, allow_unknown: bool) -> None:
    """Check DEFINITION and print every problem of it.

    Each comes with its line and with what is allowed there. Nothing is sent anywhere.
    """
    path = find_definition(definition)
    parsed = load_definition(path, allow_unknown=allow_unknown)
    if parsed.definition.uses_own_keys:
        click.echo(f"note: {path}: only sweepd honours the block sweepd:", err=True)
    if parsed.definition.uses_own_method:
        method = parsed.definition.method
        words = f"only sweepd knows method {method}; W&B's own server takes custom in its place"
        click.echo(f"note: {path}: {words}", err=True)
    elif parsed.definition.metrics and parsed.definition.method != "custom":
        words = "W&B's own server takes metrics with method custom alone"
        click.echo(f"note: {path}: {words}", err=True)
    say(f"{path}: ok")


@click.command()
@_definition
@click.option("-n", "count", type=click.IntRange(1, 10_000), default=10, show_default=True)
@allow_unknown
@as_json
def preview(*, definition: str, count: int, allow_unknown: bool, as_json: bool) -> None:
    """Show what DEFINITION would try first, and the size of its grid."""
    from sweepd.engine.preview import preview as engine_preview

    path = find_definition(definition)
    parsed = load_definition(path, allow_unknown=allow_unknown)
    shown = engine_preview(parsed.definition, n=count)
    if as_json:
        echo_json({"configs": list(shown.configs), "grid_size": shown.grid_size})
    else:
        _print_preview(parsed.definition, shown)


def _print_preview(definition: "Definition", shown: "Preview") -> None:
    space = definition.space
    columns = [parameter.name for parameter in space.searched]
    rows = [
        [n, *(config.get(c, _NOT_THERE) for c in columns)]
        for n, config in enumerate(shown.configs, 1)
    ]
    print_table(["#", *columns], rows)
    fixed = [
        f"{p.name}={p.distribution.ppf(0.5)}"
        for p in space.parameters
        if p not in space.searched and not p.when
    ]
    if fixed:
        say(f"always {', '.join(fixed)}", is_dim=True)
    if shown.grid_size is not None:
        say(f"{len(rows)} of the grid's {shown.grid_size} points", is_dim=True)
    elif shown.is_everything:
        say("the space has no more configurations than these", is_dim=True)
    if shown.is_learning and len(rows) > shown.n_initial:
        say("each later suggestion depends on the results before it", is_dim=True)


def register(
    parsed: "Parsed", server: "Server", *, project: str | None = None, entity: str | None = None
) -> str:
    """Register a definition through `wandb.sweep` and return `entity/project/id`.

    Raises:
        ProtocolError: if the server refuses it, in its words.
    """
    import io
    from contextlib import redirect_stdout

    os.environ.update(server.environment)
    os.environ.setdefault("WANDB_SILENT", "true")
    import wandb

    definition: dict[str, Any] = dict(parsed.definition.raw)
    project = project or os.environ.get("WANDB_PROJECT") or parsed.definition.project
    entity = entity or os.environ.get("WANDB_ENTITY") or parsed.definition.entity
    with redirect_stdout(io.StringIO()):  # it prints what we print better
        name = wandb.sweep(definition, project=project, entity=entity)
    # wandb.sweep leaves the names that the server chose in the environment.
    return "/".join((os.environ["WANDB_ENTITY"], os.environ["WANDB_PROJECT"], name))


@click.command()
@_definition
@click.option(
    "--project", help="The project it goes to; else WANDB_PROJECT, else the definition's."
)
@click.option("--entity", help="The entity it goes to; else WANDB_ENTITY, else the definition's.")
@allow_unknown
@server_choice
@data_folder
@as_json
def create(
    *,
    definition: str,
    project: str | None,
    entity: str | None,
    allow_unknown: bool,
    server: str | None,
    data: Path,
    as_json: bool,
) -> None:
    """Register DEFINITION as a new sweep.

    Prints its address and how to start agents.
    """
    from sweepd.cli.api import Api
    from sweepd.cli.server import find_server

    parsed = load_definition(find_definition(definition), allow_unknown=allow_unknown)
    found = find_server(server, data)
    click.echo(f"using {found}", err=True)
    api = Api(found)
    try:
        api.check()
    finally:
        api.close()
    path = register(parsed, found, project=project, entity=entity)
    entity, project, name = path.split("/")
    address = f"{found.page_url}/{entity}/{project}/sweeps/{name}"
    if as_json:
        echo_json({"sweep": path, "url": address})
        return
    say(f"created {click.style(path, bold=True)}")
    say(f"  page    {address}")
    say(f"  agents  {again(f'sweep agent {path}')}")
