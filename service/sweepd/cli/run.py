"""`sweep run`: everything, in one terminal."""

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sweepd.cli.console import echo_json, format_duration, say
from sweepd.cli.options import (
    again,
    allow_unknown,
    as_json,
    check_mode,
    check_place,
    data_folder,
    server_choice,
)
from sweepd.errors import InvalidInput, SweepdError

if TYPE_CHECKING:
    from sweepd.cli.api import Api
    from sweepd.spec import Definition

__all__ = ["run"]

#: The shared training program, by the name that definitions give it; it ships in the wheel.
_TRAINER = Path("trainer/train.py")


@click.command()
@click.argument("definition")
@click.option(
    "--agents",
    type=click.IntRange(1, 256),
    help="Trials at once; else one per GPU, or one per core up to 4.",
)
@click.option("--gpus", help="all, none, or their numbers: 0,1.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("out"),
    show_default=True,
    help="Folder for model.onnx; a folder of the sweep's id is made in it.",
)
@click.option(
    "--model",
    metavar="MODULE:FUNCTION",
    help="Rebuilds the model of a program of your own; else the shared trainer's.",
)
@click.option("--project", help="The project it goes to.")
@click.option("--entity", help="The entity it goes to.")
@allow_unknown
@server_choice
@data_folder
@as_json
def run(
    *,
    definition: str,
    agents: int | None,
    gpus: str | None,
    out: Path,
    model: str | None,
    project: str | None,
    entity: str | None,
    allow_unknown: bool,
    server: str | None,
    data: Path,
    as_json: bool,
) -> int:
    """Run DEFINITION from start to model.onnx in one terminal.

    Starts the service unless a server is configured, registers the sweep, runs agents, prints the
    five best runs, and exports the best one's model. Of a program of your own that saves no
    checkpoint.pt with its runs there is nothing to export: it says so, and that is no failure.

    Ctrl-C once ends the sweep, lets running trials finish and still reports; twice ends these too.
    """
    from sweepd.cli.api import Api
    from sweepd.cli.define import find_definition, load_definition, register
    from sweepd.cli.drive import Plan, drive, leave_on_signals
    from sweepd.cli.embedded import service_for

    path = find_definition(definition)
    parsed = load_definition(path, allow_unknown=allow_unknown)
    _check(parsed.definition, path, out=out, model=model, gpus=gpus, agents=agents)
    with leave_on_signals(), service_for(server, data) as service:
        started = " (started for this command)" if service.is_started else ""
        click.echo(f"using {service.server}{started}", err=True)
        api = Api(service.server)
        try:
            api.check()
            sweep = register(parsed, service.server, project=project, entity=entity)
            _announce(api, sweep)
            plan = Plan(sweep, agents, gpus, _workdir(path, parsed.definition, data))
            facts, code = drive(api, service, plan)
            goal = _Goal(out, model, _own_folder(path, parsed.definition), as_json)
            report = _report(api, facts, parsed.definition, goal)
        finally:
            api.close()
    if service.is_started and not as_json:
        say(f"the results stay: `{again('sweep serve')}` shows them again", is_dim=True)
    return code or report


def _check(
    definition: "Definition",
    path: Path,
    *,
    out: Path,
    model: str | None,
    gpus: str | None,
    agents: int | None,
) -> None:
    """Refuse what cannot work before anything is started or created."""
    from sweepd_agent.devices import make_slots
    from sweepd_agent.trial import missing_program

    if definition.program is None and definition.command is None:
        raise InvalidInput(
            "the definition names no program, so there is nothing to run; add program: FILE.py"
        )
    folder = _own_folder(path, definition)
    missing = missing_program(definition.program, _words(definition), folder)
    if missing is not None and not _is_sample(definition.program):
        raise InvalidInput(f"no trial can be started: {missing}")
    check_mode()
    check_place(out)
    if model is not None:
        from sweepd.results import check_hook

        check_hook(model, folder)
    make_slots(gpus or "all", per_gpu=None, slots=agents, environ=os.environ)


def _workdir(path: Path, definition: "Definition", data: Path) -> Path:
    """Return the folder that the definition's program is found from.

    A sample's program ships inside the wheel: without a clone it is laid out beside the data.
    """
    folder = _home_of(path, definition)
    if folder is not None or not _is_sample(definition.program):
        return folder or Path.cwd()
    folder = data.absolute() / "samples"
    copy = folder / _TRAINER
    copy.parent.mkdir(parents=True, exist_ok=True)
    copy.write_bytes(_packaged().read_bytes())
    return folder


def _own_folder(path: Path, definition: "Definition") -> Path:
    """Return the folder of the user's own code: the program's, or this one for one that ships."""
    return _home_of(path, definition) or Path.cwd()


def _home_of(path: Path, definition: "Definition") -> Path | None:
    """Return the folder from which a program is found: this one, or one around its definition."""
    from sweepd_agent.trial import missing_program

    program, command = definition.program, _words(definition)
    beside = path.resolve().parent
    around = (Path.cwd(), beside, beside.parent)
    is_missed = missing_program(program, command, around[0]) is not None
    for folder in around:
        is_file = bool(program) and (folder / str(program)).exists()
        if is_file or (is_missed and missing_program(program, command, folder) is None):
            return folder
    return None


def _words(definition: "Definition") -> list[str] | None:
    return [str(word) for word in definition.command or ()] or None


def _is_sample(program: str | None) -> bool:
    return program is not None and Path(program) == _TRAINER and _packaged().is_file()


def _packaged() -> Path:
    return Path(__file__).parents[2] / "sweepd_trainer" / _TRAINER.name


def _announce(api: "Api", sweep: str) -> None:
    entity, project, name = sweep.split("/")
    address = f"{api.server.page_url}/{entity}/{project}/sweeps/{name}"
    click.echo(f"sweep {sweep}\n  page     {address}", err=True)
    if api.is_ours:
        click.echo(f"  sign in  {api.create_login_link()} (works once)", err=True)


@dataclass(frozen=True)
class _Goal:
    """What the user wants of the sweep once it has ended."""

    out: Path
    model: str | None
    folder: Path  # where the model's function is found
    as_json: bool


def _report(api: "Api", facts: Mapping[str, Any], definition: "Definition", goal: _Goal) -> int:
    """Print how the sweep ended, its best runs, and export the best; return an exit code."""
    if facts["stop_reason"]:
        click.echo(f"the sweep ended: {facts['stop_reason']}", err=True)
    if facts["notice"] and not (facts["stop_reason"] or "").endswith(_cause(facts["notice"])):
        click.echo(f"notice: {facts['notice']}", err=True)
    told: dict[str, Any] = {"sweep": facts, "selection": None, "export": None}
    code = 0
    try:
        if not facts["finished"]:
            code = 1
            click.echo("no trial finished, so there is no best run to export", err=True)
        elif definition.metrics:
            _find_front(told, goal)
        elif definition.metric is None:
            click.echo("the definition has no metric, so there is no best run to export", err=True)
        else:
            _find_and_export(api, told, definition.program, goal)
    except SweepdError as error:  # said here, so that what was found is still printed
        click.echo(f"error: {error}", err=True)
        if told["selection"] is not None:
            kept = again(f"sweep export {facts['sweep']} --model MODULE:FUNCTION")
            click.echo(f"the sweep and its runs are kept; to try again: {kept}", err=True)
        code = error.exit_code
    if goal.as_json:
        echo_json(told)
    return code


def _cause(notice: str) -> str:
    """Return what a notice says of a run, without the run."""
    return notice.partition(": ")[2] or notice


def _find_front(told: dict[str, Any], goal: _Goal) -> None:
    """Print the runs that no other one beats; which of them to export is for a person to say."""
    from sweepd.cli.winner import print_front
    from sweepd.results import Front, best_of

    front = best_of(told["sweep"]["sweep"])
    assert isinstance(front, Front)
    told["selection"] = front.as_json()
    if not goal.as_json:
        print_front(front)
    click.echo(f"export one of them with: {again('sweep export RUN')}", err=True)


def _find_and_export(api: "Api", told: dict[str, Any], program: str | None, goal: _Goal) -> None:
    from sweepd.cli.api import parse_target
    from sweepd.cli.winner import print_best, print_export
    from sweepd.results import export, select

    began = time.monotonic()
    sweep = told["sweep"]["sweep"]
    selection = select(sweep)
    told["selection"] = selection.as_json()
    if not goal.as_json:
        print_best(selection, limit=5)
    is_own = program is None or Path(program) != _TRAINER
    if is_own and not api.has_file(parse_target(selection.best.path), "checkpoint.pt"):
        click.echo(
            "the best run saved no checkpoint.pt, so there is no model to export; a program that "
            f"saves one goes on with: {again(f'sweep export {sweep} --model MODULE:FUNCTION')}",
            err=True,
        )
        return
    out = goal.out / sweep.rsplit("/", 1)[-1] / "model.onnx"
    report = export(selection, out=out, model=goal.model, folder=goal.folder)
    told["export"] = report.as_json()
    if not goal.as_json:
        print_export(report)
        say(f"exported in {format_duration(time.monotonic() - began)}", is_dim=True)
