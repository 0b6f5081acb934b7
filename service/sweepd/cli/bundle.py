"""`sweep bundle`: trials for a machine that is cut off, and what it made of them."""

import os
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sweepd.cli.console import echo_json, say
from sweepd.cli.options import as_json, data_folder, server_choice
from sweepd.errors import InvalidInput, Unauthorized

if TYPE_CHECKING:
    from sweepd.cli.server import Server

__all__ = ["bundle"]

_UNITS = {"m": 60.0, "h": 3_600.0, "d": 86_400.0}


class _Duration(click.ParamType[float]):
    """A length of time: a number and m, h or d."""

    name = "duration"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return the length in seconds."""
        if isinstance(value, float):
            return value
        found = re.fullmatch(r"(\d+(?:\.\d+)?)([mhd])", value)
        if found is None:
            self.fail(f"{value!r} is no length of time; use 90m, 12h or 7d", param, ctx)
        return float(found[1]) * _UNITS[found[2]]


@click.group()
def bundle() -> None:
    """Give trials to a machine that is cut off, and merge them.

    `make` leases them in advance, `sweep agent --offline BUNDLE` runs them there with no service
    at all, `merge` brings the results home. BUNDLE is a folder.
    """


@bundle.command()
@click.argument("sweep")
@click.option("-n", "n", type=click.IntRange(1, 1_000), required=True, help="Trials.")
@click.option(
    "--for",
    "for_s",
    type=_Duration(),
    default="7d",
    show_default=True,
    help="Then what has not come back goes to others: 90m, 12h, 7d.",
)
@click.option(
    "--wait",
    "wait_s",
    type=click.FloatRange(0.0, 3_600.0),
    default=60.0,
    show_default=True,
    help="Seconds to wait for the search; then space-filling points will do.",
)
@click.option(
    "--out",
    "-o",
    type=click.Path(path_type=Path, file_okay=False),
    help="The folder to make; else bundle-SWEEP-….",
)
@server_choice
@data_folder
@as_json
def make(
    *,
    sweep: str,
    n: int,
    for_s: float,
    wait_s: float,
    out: Path | None,
    server: str | None,
    data: Path,
    as_json: bool,
) -> None:
    """Lease trials of SWEEP in advance.

    They count as handed out, and as running for the search. Carry the folder to the other machine,
    with the program, and back.
    """
    from sweepd.cli.api import parse_target
    from sweepd.cli.options import check_place
    from sweepd.cli.server import find_server
    from sweepd_agent.make_bundle import make_bundle
    from sweepd_agent.server import Server

    target = parse_target(sweep)
    found = find_server(server or target.base_url, data)
    click.echo(f"using {found}", err=True)
    check_place(out or Path())
    made = make_bundle(
        target, Server(found.url, found.api_key), n=n, for_s=for_s, wait_s=wait_s, folder=out
    )
    n_given = len(made.commands)
    if as_json:
        echo_json({"bundle": str(made.folder), "trials": n_given, "until": made.until})
        return
    until = time.strftime("%Y-%m-%d %H:%M %Z", time.localtime(made.until))
    fewer = f", of {n} asked for: the sweep has no more" if n_given < n else ""
    say(f"{made.folder}: {n_given} trial{'' if n_given == 1 else 's'} until {until}{fewer}")
    say(f"to run them:   sweep agent --offline {made.folder}")
    say(f"to merge them: sweep bundle merge {made.folder}")


@bundle.command()
@click.argument("bundle", type=click.Path(path_type=Path, exists=True))
@click.option(
    "--give-back",
    is_flag=True,
    help="Let others have what was not run; not while a run cannot be sent.",
)
@server_choice
@data_folder
@as_json
def merge(*, bundle: Path, give_back: bool, server: str | None, data: Path, as_json: bool) -> int:
    """Send what was run of BUNDLE to the service it came from.

    That is the configured service, the one on this machine, or one that netrc has a key for; name
    any other with --server. Harmless when repeated: it goes on where it was stopped. A trial that
    another attempt has by now, since the bundle came back too late, keeps the later attempt's
    results.
    """
    from sweepd.cli.server import find_server
    from sweepd_agent.bundle import Bundle
    from sweepd_agent.merge_bundle import merge_bundle
    from sweepd_agent.server import Server

    made = Bundle.read(bundle)
    found = find_server(server, data) if server else _known_server(made.server, data)
    click.echo(f"using {found}", err=True)
    merged = merge_bundle(
        made,
        Server(found.url, found.api_key),
        gives_back=give_back,
        report=(lambda _: None) if as_json else say,
    )
    if give_back and merged.failed:
        click.echo("nothing was given back: merge again what could not be sent", err=True)
    counts = {
        "merged": len(merged.merged),
        "late": len(merged.late),
        "deleted": len(merged.gone),
        "not_run": len(merged.left),
        "failed": len(merged.failed),
    }
    if as_json:
        echo_json({**counts, "problems": dict(merged.failed)})
    else:
        words = [f"{n} {name.replace('_', ' ')}" for name, n in counts.items() if n]
        say(", ".join(words))
    return 1 if merged.failed else 0


def _known_server(url: str, data: Path) -> "Server":
    """Return the server that a bundle names, if the user has named it elsewhere, and its key.

    A bundle has been on another machine: its word alone must not send a key anywhere.

    Raises:
        InvalidInput: if nothing else names that server.
    """
    from sweepd.cli.server import Server, configured_url, find_server, running_service
    from sweepd_agent.server import resolve_server

    configured, local = configured_url(), running_service(data)
    if configured is not None and _is_same(url, configured):
        return find_server(None, data)
    if local is not None and _is_same(url, local.url):
        return find_server(local.url, data)
    only_netrc = {"NETRC": os.environ.get("NETRC", ""), "WANDB_CONFIG_DIR": os.devnull}
    try:
        found = resolve_server(url, None, environ=only_netrc, folder=Path(os.devnull))
    except Unauthorized:
        raise InvalidInput(
            f"the bundle names the service {url}, which is neither the configured one nor the one "
            f"on this machine, nor in netrc; if it is yours, name it: --server {url}"
        ) from None
    return Server(found.url, found.api_key, "other")


def _is_same(url: str, other: str) -> bool:
    one, two = (text.rstrip("/").replace("://localhost", "://127.0.0.1") for text in (url, other))
    return one == two
