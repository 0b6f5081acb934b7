"""`sweep doctor`: looks at everything that usually goes wrong, and says what to do."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sweepd.cli.console import echo_json, say
from sweepd.cli.options import as_json, data_folder

if TYPE_CHECKING:
    from sweepd.checkup import Finding

__all__ = ["doctor"]

_MARKS = {"fine": ("ok", "green"), "warning": ("!!", "yellow"), "problem": ("XX", "red")}


@click.command()
@data_folder
@as_json
def doctor(data: Path, as_json: bool) -> int:
    """Say what is wrong and what to do about it.

    Looks at the data folder, the service, this machine and the client's settings. Nothing is
    changed; it works beside a running service. Exit code 1: there is a problem. Warnings alone
    are 0.
    """
    found = []
    for finding in _look(data):
        found.append(finding)
        if not as_json:
            _show(finding)
    n_problems = sum(finding.level == "problem" for finding in found)
    if as_json:
        rows = [
            {"check": f.name, "level": str(f.level), "found": f.words, "advice": f.advice or None}
            for f in found
        ]
        echo_json(rows)
    else:
        n_warnings = sum(finding.level == "warning" for finding in found)
        told = f"{_counted(n_problems, 'problem')}, {_counted(n_warnings, 'warning')}"
        say(f"{len(found)} looked at: {told}", is_dim=True)
    return 1 if n_problems else 0


def _counted(n: int, what: str) -> str:
    return f"{n} {what}" if n == 1 else f"{n} {what}s"


def _look(data: Path) -> Iterator["Finding"]:
    from sweepd.checkup import check_client, check_folder, check_machine, check_service
    from sweepd.settings import Settings

    settings = Settings(data=data)
    yield from check_folder(data)
    yield from check_service(data, host=settings.host or "0.0.0.0", port=settings.port)
    yield from check_client(os.environ, Path.cwd())
    yield from check_machine(os.environ)


def _show(finding: "Finding") -> None:
    mark, color = _MARKS[finding.level]
    say(f"{click.style(mark, fg=color)}  {finding.name}: {finding.words}")
    if finding.advice:
        say(f"      → {finding.advice}", is_dim=True)
