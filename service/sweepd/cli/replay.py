"""`sweep replay`: a stored sweep's suggestions, worked out again and compared."""

import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sweepd.cli.connect import open_target
from sweepd.cli.console import echo_json, print_table, say
from sweepd.cli.options import as_json, data_folder, server_choice
from sweepd.errors import InvalidInput

if TYPE_CHECKING:
    from sweepd.engine.replay import Check, ReplayLog

__all__ = ["replay"]

_LOG = "query($name: String!) { sweepdSweep(name: $name) { sweepdReplayLog } }"
_MOST_SHOWN = 50


@click.command()
@click.argument("sweep")
@server_choice
@data_folder
@as_json
def replay(*, sweep: str, server: str | None, data: Path, as_json: bool) -> int:
    """Work out every suggestion of SWEEP again, and compare.

    Seed and event log give the same suggestions, whichever agents asked and however often the
    service was started anew: this proves it on a stored sweep. The log is fetched and the work done
    here, in about the time that the search itself has taken. The states of the trials are compared
    with their events too. Exit code 1 if anything differs.
    """
    from sweepd.engine import replay as engine

    with open_target(sweep, server, data) as (api, reference):
        if not api.is_ours:
            raise InvalidInput(f"{api.server.url} keeps no event log: replay is of our own service")
        found = api.execute(_LOG, name=reference.name).get("sweepdSweep")
    if found is None:
        raise InvalidInput(f"there is no sweep {reference.name!r} at {api.server.url}")
    log = engine.ReplayLog.read(found["sweepdReplayLog"])
    checks: list[Check] = []
    length = 2 * len(log.trials)
    with click.progressbar(length=length, label="replaying", file=sys.stderr) as progress:
        for check in engine.replay(log):
            checks.append(check)
            progress.update(1)
    differing = [check for check in checks if check.verdict == "differs"]
    if as_json:
        echo_json(_as_json(log, checks, engine.versions()))
    else:
        _print(log, checks, differing, engine.versions())
    return 1 if differing else 0


def _as_json(log: "ReplayLog", checks: Sequence["Check"], here: dict[str, str]) -> dict[str, Any]:
    return {
        "sweep": log.sweep,
        "trials": len(log.trials),
        "suggestions": Counter(c.verdict for c in checks if c.what == "suggestion"),
        "states": Counter(c.verdict for c in checks if c.what == "state"),
        "checks": [vars(check) for check in checks if check.verdict != "same"],
        "versions": {"here": here, "service": dict(log.versions)},
    }


def _print(
    log: "ReplayLog", checks: Sequence["Check"], differing: Sequence["Check"], here: dict[str, str]
) -> None:
    if differing:
        rows = [
            [check.number, check.what, check.origin, _text(check.stored), _text(check.found)]
            for check in differing[:_MOST_SHOWN]
        ]
        print_table(["trial", "what", "origin", "stored", "worked out now"], rows)
        if len(differing) > _MOST_SHOWN:
            say(f"and {len(differing) - _MOST_SHOWN} more (--json shows them all)", is_dim=True)
    unknown = [check for check in checks if check.verdict == "unknown"]
    for why, count in Counter(check.why for check in unknown).items():
        say(f"{count} could not be compared: {why}", is_dim=True)
    n_same = sum(check.verdict == "same" and check.what == "suggestion" for check in checks)
    words = f"{n_same} of {len(log.trials)} suggestions are the same"
    say(words if not differing else f"{words}; {len(differing)} comparisons differ")
    other = [
        f"{name} {here[name]} (there {v})" for name, v in log.versions.items() if here[name] != v
    ]
    if differing and other:
        say(f"other versions here than at the service: {', '.join(other)}", is_dim=True)


def _text(value: Any) -> str:
    return "-" if value is None else json.dumps(value, ensure_ascii=False)[:120]
