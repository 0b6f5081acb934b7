"""`sweep report`: a sweep as one HTML file."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from sweepd.cli.console import say
from sweepd.cli.options import check_place, data_folder, server_choice
from sweepd.cli.winner import sign_in
from sweepd.errors import InvalidInput

__all__ = ["report"]


@click.command()
@click.argument("sweep")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("report.html"),
    show_default=True,
)
@click.option("--by", metavar="best|last|mean:K", help="How runs are ranked, as in sweep best.")
@server_choice
@data_folder
def report(*, sweep: str, out: Path, by: str | None, server: str | None, data: Path) -> None:
    """Write SWEEP up as one HTML file that opens offline.

    What was searched, how it went, and what came of it, with plots and no script. A sweep may be
    reported while it runs.
    """
    check_place(out)
    path, kind = sign_in(sweep, server, data)
    if kind == "run":
        raise InvalidInput(f"{path} is a run; a report is of a sweep: name that")
    from sweepd.results import write_report

    importance = _importance(sweep, server, data)
    made = write_report(path, out=out, now=datetime.now(UTC), by=by, importance=importance)
    say(f"report   {click.style(str(made.path), bold=True)}")
    say(f"  of {made.sweep}, {made.n_runs} runs, {made.size_bytes:,} bytes")


def _importance(sweep: str, server: str | None, data: Path) -> dict[str, Any] | None:
    """Return what our service says of the parameters; None elsewhere."""
    from sweepd.cli.connect import open_target
    from sweepd.cli.importance import read_importance

    with open_target(sweep, server, data) as (api, reference):
        if not api.is_ours:
            return None
        found = api.find_sweep(reference)
        several = found["sweepdStatus"]["metrics"]
        return read_importance(api, found, several[0]["name"] if several else None)
