"""`sweep agent`: runs trials of a sweep on this machine."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sweepd.cli.console import echo_json, say
from sweepd.cli.options import (
    Seconds,
    as_json,
    check_mode,
    data_folder,
    gpus_per_trial,
    server_choice,
    trials_per_gpu,
)

if TYPE_CHECKING:
    from sweepd_agent import AgentEvent

__all__ = ["agent"]


@click.command()
@click.argument("sweep", required=False)
@click.option("--gpus", default="all", show_default=True, help="all, none, or their numbers: 0,1.")
@trials_per_gpu
@gpus_per_trial
@click.option("--slots", type=click.IntRange(1), help="Trials at once in all.")
@click.option(
    "--memory-fraction",
    type=click.FloatRange(0.0, 1.0, min_open=True),
    help="Of a GPU's memory for each of its slots; else shared out evenly.",
)
@click.option("--count", type=click.IntRange(1), help="Leave after this many trials.")
@click.option("--name", help="This machine's name on the server; else its host name.")
@click.option(
    "--term-timeout",
    type=Seconds(),
    default=30.0,
    show_default=True,
    help="Seconds that trials have between SIGTERM and SIGKILL when the agent is ended.",
)
@click.option(
    "--trial-timeout",
    type=Seconds(0.1),
    help="End a trial that runs for longer than so many seconds; it counts as timed out.",
)
@click.option(
    "--prefetch",
    is_flag=True,
    help="Fetch the next trial and get it ready while one runs; the search knows a result less.",
)
@click.option(
    "--pack",
    metavar="auto|N",
    help="Train so many like trials together in one process; auto finds out how many pay.",
)
@click.option(
    "--offline",
    metavar="BUNDLE",
    type=click.Path(exists=True),
    help="Run the trials of a bundle, with no service at all; in place of SWEEP.",
)
@server_choice
@data_folder
@as_json
def agent(
    *,
    sweep: str | None,
    gpus: str,
    per_gpu: int | str | None,
    gpus_per_trial: int,
    slots: int | None,
    memory_fraction: float | None,
    count: int | None,
    name: str | None,
    term_timeout: float,
    trial_timeout: float | None,
    prefetch: bool,
    pack: str | None,
    offline: str | None,
    server: str | None,
    data: Path,
    as_json: bool,
) -> int:
    """Run trials of SWEEP on this machine until it ends.

    Every trial is a process of its own, pinned to its GPU. SIGTERM or Ctrl-C once ends the agent
    and its trials with a chance to save; twice ends them now.
    """
    from sweepd.cli.api import parse_target, path_of
    from sweepd.cli.server import find_server
    from sweepd_agent import Options, run_agent

    if (sweep is None) == (offline is None):
        raise click.UsageError("give SWEEP, or --offline BUNDLE")
    options = Options(
        offline=offline,
        prefetch=prefetch,
        pack=pack,
        gpus=gpus,
        per_gpu=per_gpu,
        gpus_per_trial=gpus_per_trial,
        slots=slots,
        memory_fraction=memory_fraction,
        count=count,
        name=name,
        term_timeout_s=term_timeout,
        trial_timeout_s=trial_timeout,
    )
    if sweep is not None:
        check_mode()
        target = parse_target(sweep)
        found = find_server(server or target.base_url, data)
        click.echo(f"using {found}", err=True)
        options = replace(options, sweep=path_of(target), base_url=found.url, api_key=found.api_key)

    def show(event: "AgentEvent") -> None:
        if as_json:
            echo_json(event.as_json())
        else:
            say(event.text)

    return run_agent(options, report=show)
