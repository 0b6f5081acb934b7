"""`sweep ls`, `status`, `watch`, `pause`, `resume`, `stop`, `cancel`, `finish` and `rm`."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sweepd.cli.connect import connect, open_target
from sweepd.cli.console import (
    echo_json,
    format_duration,
    format_number,
    plain_json,
    print_table,
    say,
)
from sweepd.cli.options import Seconds, as_json, data_folder, server_choice
from sweepd.errors import InvalidInput, NotFound

if TYPE_CHECKING:
    from sweepd.cli.api import Api
    from sweepd_agent.options import SweepPath

__all__ = [
    "ENDED",
    "cancel",
    "find_either",
    "finish",
    "in_words",
    "ls",
    "pause",
    "resume",
    "rm",
    "status",
    "stop",
    "summarise",
    "watch",
]

#: States, on any W&B server, in which a sweep hands out nothing more.
ENDED = frozenset({"FINISHED", "STOPPED", "CANCELED", "FAILED", "CRASHED"})

_BUDGETS = {
    "runs": "runs",
    "hours": "hours",
    "gpu_hours": "GPU hours",
    "plateau": "finished trials without a better one",
}


def summarise(sweep: Mapping[str, Any]) -> dict[str, Any]:
    """Return a sweep's progress as flat JSON: what `--json` prints."""
    status = sweep.get("sweepdStatus") or {}
    agents = sweep.get("sweepdAgents")
    project = sweep["project"]
    return {
        "sweep": f"{project['entityName']}/{project['name']}/{sweep['name']}",
        "state": sweep["state"].upper(),
        "method": sweep.get("method"),
        "issued": status.get("issued"),
        "running": status.get("running"),
        "finished": status.get("finished"),
        "failed": status.get("failed"),
        "queued": status.get("queued"),
        "bundled": status.get("bundled"),
        "expected": status.get("expected"),
        "agents": status.get("agents"),
        "hosts_seen": len({a["host"] for a in agents}) if agents is not None else None,
        "metric": status.get("metric"),
        "goal": status.get("goal"),
        "best": status.get("bestValue"),
        "best_run": status.get("bestRunName"),
        "front": [one["runName"] for one in status.get("front") or []] or None,
        "stop_reason": status.get("stopReason"),
        "notice": status.get("notice"),
        "seconds_left": status.get("secondsLeft"),
        "budget": {
            one["name"]: {"used": one["used"], "limit": one["limit"]}
            for one in status.get("budget") or ()
        },
        "url": status.get("url"),
    }


def in_words(facts: Mapping[str, Any]) -> str:
    """Return one line on a sweep's progress."""
    n_finished, n = facts["finished"] or 0, facts["expected"]
    trials = f"{n_finished} of {n} trials" if n is not None else f"{n_finished} trials"
    parts = [f"{facts['state'].lower()}: {trials} finished"]
    if facts["running"]:
        parts.append(f"{facts['running']} running")
    if facts["failed"]:
        parts.append(f"{facts['failed']} failed")
    if facts["queued"]:
        parts.append(f"{facts['queued']} waiting for an agent")
    if facts["bundled"]:
        parts.append(f"{facts['bundled']} in bundles")
    if facts["best"] is not None:
        parts.append(f"best {facts['metric'] or 'value'} {format_number(facts['best'])}")
    if facts["front"]:
        parts.append(f"{len(facts['front'])} on the front")
    if facts["seconds_left"]:
        parts.append(f"about {format_duration(facts['seconds_left'])} left")
    return ", ".join(parts)


@click.command()
@click.option("--project", help="Only this project's sweeps.")
@click.option("--entity", help="Only this entity's sweeps.")
@server_choice
@data_folder
@as_json
def ls(
    *, project: str | None, entity: str | None, server: str | None, data: Path, as_json: bool
) -> None:
    """List the sweeps, newest first."""
    with connect(server, data) as api:
        rows = [summarise(sweep) for sweep in api.list_sweeps(entity, project)]
    if as_json:
        echo_json(rows)
    elif not rows:
        where = "/".join(part for part in (entity, project) if part)
        say(
            f"no sweeps in {where}"
            if where
            else "no sweeps yet; make one with `sweep create DEFINITION`"
        )
    else:
        columns = ["sweep", "state", "method", "finished", "running", "failed", "metric", "best"]
        print_table(columns, [[row[column] for column in columns] for row in rows])


@click.command()
@click.argument("sweep")
@click.option("--importance", is_flag=True, help="Also say which parameters matter.")
@click.option("--metric", help="For this metric that runs logged; else the sweep's.")
@click.option(
    "--goal",
    type=click.Choice(["minimize", "maximize"]),
    help="What of it is better; else the sweep's own goal.",
)
@server_choice
@data_folder
@as_json
def status(
    *,
    sweep: str,
    importance: bool,
    metric: str | None,
    goal: str | None,
    server: str | None,
    data: Path,
    as_json: bool,
) -> None:
    """Say how SWEEP is doing.

    A parameter's importance is its share in what sets the best runs apart (PED-ANOVA), its trend
    the rank correlation with the metric, each with an interval; it takes 20 finished runs.
    """
    from sweepd.cli.importance import read_importance, show_importance

    with open_target(sweep, server, data) as (api, reference):
        found = api.find_sweep(reference)
        facts = summarise(found)
        if importance or metric or goal:
            facts["importance"] = read_importance(api, found, metric, goal)
    if as_json:
        echo_json(facts)
        return
    say(f"{click.style(facts['sweep'], bold=True)} is {in_words(facts)}")
    for name, spent in facts["budget"].items():
        used, limit = format_number(round(spent["used"], 2)), format_number(spent["limit"])
        say(f"  budget: {used} of {limit} {_BUDGETS[name]}")
    for name in ("stop_reason", "notice", "url"):
        if facts[name]:
            say(f"  {facts[name]}")
    if "importance" in facts:
        show_importance(facts["importance"])


@click.command()
@click.argument("sweep")
@click.option(
    "--interval", type=Seconds(0.2), default=1.0, show_default=True, help="Seconds between looks."
)
@server_choice
@data_folder
@as_json
def watch(*, sweep: str, interval: float, server: str | None, data: Path, as_json: bool) -> None:
    """Follow SWEEP until it ends; with --json, one object a line."""
    import time

    with open_target(sweep, server, data) as (api, reference):
        last = None
        while True:
            facts = summarise(api.find_sweep(reference))
            seen = plain_json(facts) if as_json else in_words(facts)
            if seen != last:
                (echo_json if as_json else say)(seen)
                last = seen
            if facts["state"] in ENDED and not facts["running"]:
                break
            time.sleep(interval)
        if not as_json and facts["stop_reason"]:
            say(facts["stop_reason"])


def _state_command(name: str, state: str, told: str, text: str) -> click.Command:
    @click.command(name, help=text)
    @click.argument("sweep")
    @server_choice
    @data_folder
    @as_json
    def command(*, sweep: str, server: str | None, data: Path, as_json: bool) -> None:
        with open_target(sweep, server, data) as (api, reference):
            api.set_sweep_state(api.find_sweep(reference), state)
            facts = summarise(api.find_sweep(reference))
        if as_json:
            echo_json(facts)
        else:
            say(f"{facts['sweep']}: {told}")

    return command


pause = _state_command(
    "pause", "PAUSED", "paused; running trials go on", "Start no new trials until SWEEP is resumed."
)
resume = _state_command("resume", "RUNNING", "running again", "Go on with a paused SWEEP.")
stop = _state_command(
    "stop",
    "FINISHED",
    "stopped; running trials finish",
    "End SWEEP; trials that are running finish.",
)
cancel = _state_command(
    "cancel",
    "CANCELED",
    "canceled; running trials are told to stop",
    "End SWEEP now; trials that are running are stopped.",
)


@click.command()
@click.argument("run")
@server_choice
@data_folder
@as_json
def finish(*, run: str, server: str | None, data: Path, as_json: bool) -> None:
    """Mark RUN as finished, whose process can no longer say so itself.

    For a run that is stuck as running or crashed although it was done: its machine went away before
    its last words arrived. It counts as ended when it was last heard of.
    """
    from sweepd.cli.api import path_of

    with open_target(run, server, data) as (api, reference):
        found = api.find_run(reference)
        if found is None:
            raise NotFound(f"there is no run {path_of(reference)} on {api.server.url}")
        api.finish_run(found)
        path = path_of(found)
    if as_json:
        echo_json({"run": path, "state": "finished"})
    else:
        say(f"{path}: finished")


@click.command()
@click.argument("target", metavar="SWEEP|RUN|PROJECT")
@click.option("--project", "is_project", is_flag=True, help="It is a project: ENTITY/PROJECT.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@server_choice
@data_folder
@as_json
def rm(
    *, target: str, is_project: bool, yes: bool, server: str | None, data: Path, as_json: bool
) -> None:
    """Delete a sweep with its runs, one run, or a whole project.

    Rows and files go with them, and their space is free again. A project's sweeps, artifacts and
    files go with it, and its name can be used anew; of a team's, only its admins can do that.
    Agents leave when their sweep is gone; a trial that runs may finish, but is not kept.
    """
    from sweepd.cli.api import path_of

    if is_project:
        path, kind = _remove_project(target, server, data, yes=yes), "project"
        echo_json({"deleted": path, "kind": kind}) if as_json else say(f"deleted the {kind} {path}")
        return
    with open_target(target, server, data) as (api, reference):
        found, kind = find_either(api, reference)
        path = path_of(found)
        if not yes:
            _ask(f"delete the {kind} {path}{_size(found)}?")
        (api.delete_sweep if kind == "sweep" else api.delete_run)(found)
    if as_json:
        echo_json({"deleted": path, "kind": kind})
    else:
        say(f"deleted the {kind} {path}")


def _remove_project(target: str, server: str | None, data: Path, *, yes: bool) -> str:
    """Delete a project once its owner is sure; return its path."""
    from sweepd.cli.api import parse_project

    entity, name, base_url = parse_project(target)
    with connect(server or base_url, data) as api:
        project = api.find_project(entity, name)
        path = f"{project['entityName']}/{project['name']}"
        if not yes:
            _ask(f"delete the project {path} with {_holdings(project['sweepdSize'])}?")
        api.delete_project(project)
    return path


def _holdings(size: Mapping[str, Any]) -> str:
    """Return what a project holds, such as `its 3 runs, 1 sweep and 1.5 MB of files`."""
    names = (("runs", "run"), ("sweeps", "sweep"), ("artifacts", "artifact version"))
    counts = [
        f"{size[key]:,} {word}{'' if size[key] == 1 else 's'}" for key, word in names if size[key]
    ]
    counts += [f"{size['bytes'] / 1e6:,.1f} MB of files"] if size["bytes"] else []
    if not counts:
        return "nothing in it"
    return "its " + " and ".join(filter(None, (", ".join(counts[:-1]), counts[-1])))


def find_either(
    api: "Api", reference: "SweepPath", *, unknown: str = "no sweep and no run"
) -> tuple[dict[str, Any], str]:
    """Return the sweep or else the run that a reference names, and which of the two it is.

    Raises:
        NotFound: if there is neither: there is `unknown` of that name.
    """
    from sweepd.cli.api import path_of

    try:
        return api.find_sweep(reference), "sweep"
    except NotFound:
        run = api.find_run(reference) if reference.project else None
        if run is None:
            raise NotFound(
                f"there is {unknown} {path_of(reference)} on {api.server.url}; "
                "name a run as entity/project/run"
            ) from None
        return run, "run"


def _size(found: Mapping[str, Any]) -> str:
    issued = (found.get("sweepdStatus") or {}).get("issued")
    return f" with its {issued} run{'s' if issued > 1 else ''}" if issued else ""


def _ask(question: str) -> None:
    """Leave if the answer is not yes.

    Raises:
        InvalidInput: if there is nobody to ask.
    """
    try:
        is_sure = click.confirm(question, err=True)
    except click.Abort:
        click.echo(err=True)
        raise InvalidInput("no answer, so nothing is deleted; --yes does not ask") from None
    if not is_sure:
        click.echo("nothing is deleted", err=True)
        raise click.exceptions.Exit(1)
