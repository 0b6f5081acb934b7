"""`sweep launch`: starts agents somewhere, says how they are, and ends them."""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sweepd.cli.console import echo_json, say
from sweepd.cli.options import (
    Seconds,
    again,
    as_json,
    check_mode,
    data_folder,
    gpus_per_trial,
    server_choice,
    trials_per_gpu,
)
from sweepd.errors import Conflict, InvalidInput, NotFound, ServerUnreachable
from sweepd.names import LAUNCHERS

if TYPE_CHECKING:
    from sweepd.cli.server import Server
    from sweepd_agent.launchers.record import Launch
    from sweepd_agent.options import Options, SweepPath

__all__ = ["launch"]


@click.command()
@click.argument("sweep")
@click.option(
    "--on",
    type=click.Choice(sorted(LAUNCHERS)),
    default="local",
    show_default=True,
    help="The engine that runs the agents.",
)
@click.option("--agents", type=click.IntRange(1, 10_000), default=1, show_default=True)
@click.option(
    "--gpus",
    default="all",
    show_default=True,
    help="all, none, or 0,1; agents on one machine get each their own of them.",
)
@trials_per_gpu
@gpus_per_trial
@click.option("--slots", type=click.IntRange(1), help="Trials at once in all, of each agent.")
@click.option("--count", type=click.IntRange(1), help="Each agent leaves after so many trials.")
@click.option("--trial-timeout", type=Seconds(0.1), help="End a trial that runs for longer.")
@click.option(
    "--set", "given", multiple=True, metavar="NAME=VALUE", help="A setting of the engine; repeat."
)
@click.option("--status", "what", flag_value="status", help="Say how SWEEP's agents are instead.")
@click.option("--logs", "what", flag_value="logs", help="Print what they have said instead.")
@click.option("--stop", "what", flag_value="stop", help="End them instead; trials run again.")
@server_choice
@data_folder
@as_json
def launch(
    *,
    sweep: str,
    on: str,
    agents: int,
    gpus: str,
    per_gpu: int | str | None,
    gpus_per_trial: int,
    slots: int | None,
    count: int | None,
    trial_timeout: float | None,
    given: Sequence[str],
    what: str | None,
    server: str | None,
    data: Path,
    as_json: bool,
) -> None:
    """Start agents of SWEEP on an engine, and leave them to it.

    They go on when the terminal is closed. --status, --logs and --stop speak of all agents of
    SWEEP that you launched from this machine, on whatever engine.
    """
    from sweepd.cli.api import parse_target, path_of
    from sweepd.cli.server import find_server
    from sweepd_agent.launchers.record import launch as start
    from sweepd_agent.launchers.record import launches_of
    from sweepd_agent.options import Options, check_auto

    target = parse_target(sweep)
    if what is not None:
        _tell(what, launches_of(path_of(target)), sweep=path_of(target), as_json=as_json)
        return
    check_mode()
    options = Options(
        gpus=gpus,
        per_gpu=per_gpu,
        gpus_per_trial=gpus_per_trial,
        slots=slots,
        count=count,
        trial_timeout_s=trial_timeout,
    )
    check_auto(options)
    found = find_server(server or target.base_url, data)
    click.echo(f"using {found}", err=True)
    path, is_known = _whole_path(target, found)
    options = replace(options, sweep=path)
    if on == "local" and is_known:
        _check_here(options, found)
    made = start(
        options,
        on=on,
        n_agents=agents,
        environ=found.environment,
        settings=_settings(given),
    )
    if as_json:
        echo_json({"launch": made.name, "on": on, "agents": agents, "folder": str(made.folder)})
        return
    told = made.kept.get("told")
    say(f"{made.name}: {agents} agent{'s' if agents > 1 else ''} on {on}")
    say(f"to start them: {told}" if told else f"how they are: sweep launch {sweep} --status")


def _whole_path(target: "SweepPath", server: "Server") -> tuple[str, bool]:
    """Return the path of a sweep, after a look whether it is there, and whether that is known.

    Where the server does not answer here it may answer the agents, so that is said and no more.

    Raises:
        NotFound: if the server has no such sweep.
        Conflict: if it has ended.
    """
    from sweepd.cli.api import Api, path_of
    from sweepd.cli.control import ENDED, summarise

    api = Api(server)
    try:
        found = api.find_sweep(target)
        facts = summarise(found)
        if facts["state"] in ENDED:
            why = f": {facts['stop_reason']}" if facts["stop_reason"] else ""
            is_failed = api.is_ours and facts["state"] == "FAILED"
            hint = f"; {again('sweep retry ' + facts['sweep'])} takes failed trials up"
            raise Conflict(
                f"{facts['sweep']} has ended ({facts['state'].lower()}{why}), so that agents would "
                f"have nothing to do{hint if is_failed else ''}"
            )
        return path_of(found), True
    except ServerUnreachable as error:
        click.echo(f"whether there is such a sweep is not known here: {error}", err=True)
        return path_of(target), False
    finally:
        api.close()


def _check_here(options: "Options", server: "Server") -> None:
    """Refuse to start agents in a folder in which none could start a trial."""
    from sweepd_agent import check_workplace

    check_workplace(replace(options, base_url=server.url, api_key=server.api_key))


def _settings(given: Sequence[str]) -> dict[str, str]:
    settings = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not (name and equals):
            raise InvalidInput(f"--set takes NAME=VALUE, not {text!r}")
        settings[name] = value
    return settings


def _tell(what: str, made: "Sequence[Launch]", *, sweep: str, as_json: bool) -> None:
    if not made:
        raise NotFound(f"you have launched no agents of {sweep} from this machine")
    if what == "stop":
        for one in made:
            one.stop()
    found = [(one, status) for one in made for status in one.status()]
    if what == "logs":
        for one, status in found:
            say(f"== {one.name}, {status.name}")
            click.echo(one.logs(status.name).rstrip())
        return
    if as_json:
        echo_json([_as_json(one, status) for one, status in found])
        return
    for one, status in found:
        code = "" if status.exit_code is None else f", exit code {status.exit_code}"
        ago = _ago(time.time() - one.began_at)
        say(f"{one.name}, {status.name}: {status.state}{code}; launched {ago} ago on {one.on}")


def _as_json(one: "Launch", status: Any) -> dict[str, Any]:
    return {
        "launch": one.name,
        "on": one.on,
        "agent": status.name,
        "state": status.state,
        "exit_code": status.exit_code,
        "began_at": one.began_at,
    }


def _ago(seconds: float) -> str:
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
