"""`sweep compare`: runs side by side."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sweepd.cli.console import echo_json, format_duration, print_table, say
from sweepd.cli.options import as_json, data_folder, server_choice
from sweepd.cli.winner import sign_in
from sweepd.errors import InvalidInput

if TYPE_CHECKING:
    from sweepd.results import Comparison

__all__ = ["compare"]


@click.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN RUN...")
@click.option(
    "--all", "is_whole", is_flag=True, help="Every key of the configs, not only those that differ."
)
@server_choice
@data_folder
@as_json
def compare(
    *, runs: Sequence[str], is_whole: bool, server: str | None, data: Path, as_json: bool
) -> None:
    """Lay runs side by side: where they differ and what came of it.

    RUN is entity/project/id or a page's address; the runs may be of different projects. Best and
    last values are of the metric of the run's sweep.
    """
    paths = _paths(runs, server, data)
    from sweepd.results import compare as compare_runs

    found = compare_runs(paths)
    if as_json:
        echo_json(found.as_json())
    else:
        _print(found, is_whole=is_whole)


def _paths(runs: Sequence[str], server: str | None, data: Path) -> list[str]:
    from sweepd.cli.api import parse_target

    bases = {base for text in runs if (base := parse_target(text).base_url)}
    if len(bases) > 1 and server is None:
        raise InvalidInput(f"the runs are on {len(bases)} servers; compare those of one")
    server = server or next(iter(bases), None)
    found = []
    for text in runs:
        path, kind = sign_in(text, server, data, takes_runs=True, unknown="no run")
        if kind == "sweep":
            raise InvalidInput(f"{path} is a sweep; name runs to compare, `sweep best` lists some")
        found.append(path)
    return found


def _print(found: "Comparison", *, is_whole: bool) -> None:
    names = [run.display_name for run in found.runs]
    is_clear = len(set(names)) == len(names)
    columns = names if is_clear else [run.path for run in found.runs]
    rows = found.rows(is_whole=is_whole)
    print_table(
        ["", "", *columns],
        [[row.group, row.name, *(_shown(row.name, cell) for cell in row.cells)] for row in rows],
    )
    if not any(row.group == "config" for row in rows):
        say("their configs are the same", is_dim=True)
    for run in found.runs:
        say(f"{run.display_name}: {run.path}", is_dim=True)


def _shown(name: str, cell: Any) -> Any:
    if name == "duration_s":
        return format_duration(cell)
    return str(cell)[:12] if name == "git_commit" and cell else cell
