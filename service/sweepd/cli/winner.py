"""`sweep best` and `sweep export`: the winner by a stated rule, and its verified model."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sweepd.cli.console import echo_json, format_number, print_table, say
from sweepd.cli.options import again, as_json, check_place, data_folder, server_choice
from sweepd.errors import ExportError, InvalidInput, NotFound

if TYPE_CHECKING:
    from sweepd.results import Confirmed, ExportReport, Front, Selection

__all__ = [
    "best",
    "export",
    "print_best",
    "print_confirmed",
    "print_export",
    "print_front",
    "sign_in",
]


def sign_in(
    target: str,
    server: str | None,
    data: Path,
    *,
    takes_runs: bool = False,
    unknown: str = "no sweep and no run",
) -> tuple[str, str]:
    """Point `wandb.Api()` at the server that is meant; return TARGET's whole path and its kind.

    Raises:
        NotFound: if it is neither; where runs are taken it says that there is
            `unknown` of that name, and how runs are named.
    """
    from sweepd.cli.api import Api, parse_target, path_of
    from sweepd.cli.control import find_either
    from sweepd.cli.server import find_server

    reference = parse_target(target)
    found = find_server(server or reference.base_url, data)
    os.environ.update(found.environment)
    os.environ.setdefault("WANDB_SILENT", "true")
    api = Api(found)
    try:
        thing, kind = find_either(api, reference, unknown=unknown)
        return path_of(thing), kind
    except NotFound:
        if not takes_runs:
            api.find_sweep(reference)  # says that there is no sweep, and no word of runs
        raise
    finally:
        api.close()


def print_best(selection: "Selection", *, limit: int) -> None:
    """Print the leading runs of a sweep and the rule that ranked them."""
    names = selection.parameters
    rows = [
        [place, run.display_name, run.name, run.value, *map(run.config.get, names)]
        for place, run in enumerate(selection.ranking[:limit], 1)
    ]
    print_table(["#", "run", "id", selection.metric, *names], rows)
    say(selection.rule_in_words, is_dim=True)
    _print_next(run.path for run in selection.ranking[:2])
    if selection.confirmed_in_words:
        say(selection.confirmed_in_words)
    for name, value in selection.best.test_metrics.items():
        say(f"{name} of the best: {click.style(format_number(value), bold=True)}")


def print_confirmed(selection: "Selection") -> None:
    """Print what the leaders came to with fresh seeds, and what that says of the best."""
    confirmation = selection.confirmation
    leaders = confirmation.leaders
    rows = [
        [
            one.leader.display_name,
            one.leader.name,
            one.mean if one.values else None,
            one.interval and " to ".join(format_number(end) for end in one.interval),
            len(one.values),
            _tied(one.is_tied, is_best=place == 0) if confirmation.is_settled else "",
            one.leader.value,
            one.fall if one.values else None,
            one.n_without or None,
        ]
        for place, one in enumerate(leaders)
    ]
    columns = ["run", "id", f"mean {selection.metric}", "90 % interval", "n", "", "its own", "fall"]
    is_clean = not any(one.n_without for one in leaders)
    cut = -1 if is_clean else None
    print_table([*columns, "without a value"][:cut], [row[:cut] for row in rows])
    if not confirmation.is_settled:
        return
    single = selection.by_value[0]
    fell = next((one for one in leaders if one.leader.path == single.path and one.values), None)
    if fell is not None:
        mean, fall = format_number(fell.mean), format_number(fell.fall)
        say(
            f"the best single value, {format_number(single.value)} of {single.display_name}, is "
            f"worth {mean} with {_seeds(fell)}: a fall of {fall}"
        )
    if leaders and leaders[0].values and leaders[0].interval is None:
        say("an interval needs two seeds or more: `sweep confirm SWEEP --again`", is_dim=True)
    if confirmation.is_seed_idle:
        say(
            "each leader's runs all came to the same value, whatever the seed: does the program "
            "read it from its config? `--again --seed-key NAME` names another parameter"
        )


def _seeds(one: "Confirmed") -> str:
    return f"{one.seeds_in_words} fresh seeds" if one.n_without else "fresh seeds"


def _tied(is_tied: bool | None, *, is_best: bool) -> str:
    return "best" if is_best else {True: "tied", False: "", None: "?"}[is_tied]


def print_front(front: "Front") -> None:
    """Print the runs that no other one beats, and what was compared."""
    names = front.parameters
    rows = [
        [
            one.run.display_name,
            one.run.name,
            *one.values.values(),
            *map(one.run.config.get, names),
        ]
        for one in front.runs
    ]
    print_table(["run", "id", *front.goals, *names], rows)
    say(front.rule_in_words, is_dim=True)
    _print_next(one.run.path for one in front.runs[:2])


def _print_next(paths: Iterable[str]) -> None:
    """Print commands that take runs, by their whole paths."""
    found = list(paths)
    if len(found) > 1:
        both = " ".join(found)
        say(f"compare them with: {again(f'sweep compare {both}')}", is_dim=True)
    if found:
        say(f"export one with: {again(f'sweep export {found[0]}')}", is_dim=True)


def print_export(report: "ExportReport") -> None:
    """Print where the model is and how it was proven."""
    say(f"model    {click.style(str(report.path), bold=True)}")
    for line in report.lines():
        say(f"  {line}")
    if report.smaller:
        print_table(*report.table())


@click.command()
@click.argument("sweep")
@click.option(
    "--by", metavar="best|last|mean:K", help="The rule; else the definition's, else best."
)
@click.option("--limit", type=click.IntRange(1), default=5, show_default=True)
@server_choice
@data_folder
@as_json
def best(
    *, sweep: str, by: str | None, limit: int, server: str | None, data: Path, as_json: bool
) -> None:
    """Rank SWEEP's finished runs by a stated rule and print the best.

    With several metrics it prints the whole front: the runs that no other one beats.
    """
    path, kind = sign_in(sweep, server, data)
    if kind == "run":
        raise InvalidInput(f"{path} is a run; the best is one of a sweep: name that")
    from sweepd.results import Front, best_of

    found = best_of(path, by=by)
    if as_json:
        echo_json(found.as_json(limit=None if isinstance(found, Front) else limit))
    elif isinstance(found, Front):
        print_front(found)
    else:
        print_best(found, limit=limit)


@click.command()
@click.argument("target", metavar="SWEEP|RUN")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("model.onnx"),
    show_default=True,
)
@click.option("--by", metavar="best|last|mean:K", help="How to choose among a sweep's runs.")
@click.option(
    "--model",
    metavar="MODULE:FUNCTION",
    help="Rebuilds the model from its run's config; else the shared trainer's.",
)
@click.option(
    "--precision",
    "precisions",
    type=click.Choice(["fp32", "fp16", "int8"]),
    multiple=True,
    default=["fp32"],
    show_default="fp32",
    help="Also write a smaller file; give it once for each.",
)
@click.option(
    "--min-agreement",
    metavar="SHARE",
    type=click.FloatRange(0, 1),
    default=0.99,
    show_default=True,
    help="Share of answers that a smaller file must have in common with fp32.",
)
@click.option(
    "--opset",
    type=click.IntRange(18, 25),
    default=20,
    show_default=True,
    help="Version of ONNX's operators.",
)
@click.option("--no-upload", is_flag=True, help="Keep the files here; add and register nothing.")
@server_choice
@data_folder
@as_json
def export(
    *,
    target: str,
    out: Path,
    by: str | None,
    model: str | None,
    precisions: tuple[str, ...],
    min_agreement: float,
    opset: int,
    no_upload: bool,
    server: str | None,
    data: Path,
    as_json: bool,
) -> None:
    """Export SWEEP's best run, or RUN, as one verified ONNX file.

    The file holds weights, normalisation and where it comes from. It is compared with PyTorch on
    real held-out data before it gets its name. Smaller files, model.fp16.onnx and model.int8.onnx
    beside model.onnx, are kept if they answer as it does.
    """
    check_place(out)
    path, kind = sign_in(target, server, data, takes_runs=True)
    if kind == "run" and by:
        raise InvalidInput(f"{path} is a run: --by chooses among the runs of a sweep")
    from sweepd.results import export as export_model
    from sweepd.results import select

    source = select(path, by=by) if kind == "sweep" else path
    report = export_model(
        source,
        out=out,
        model=model,
        upload=not no_upload,
        precisions=precisions,
        min_agreement=min_agreement,
        opset=opset,
    )
    if as_json:
        echo_json(report.as_json())
    else:
        print_export(report)
    if report.refused:
        raise ExportError("; ".join(report.refused.values()))
