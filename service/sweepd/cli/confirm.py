"""`sweep confirm`: the leaders again with fresh seeds, and what they are worth."""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sweepd.cli.console import echo_json, note, say
from sweepd.cli.options import again, as_json, data_folder, server_choice
from sweepd.cli.winner import print_confirmed, sign_in
from sweepd.errors import InvalidInput, ServerUnreachable, SweepdError

if TYPE_CHECKING:
    from sweepd.cli.api import Api
    from sweepd.results import Plan, Selection

__all__ = ["confirm"]

_POLL_S = (3.0, 30.0)  # between two looks at what has ended, the first and the longest
_GIVEN = click.core.ParameterSource.COMMANDLINE
_HANDED_OUT = "query($s: String!) { sweepdSweep(name: $s) { sweepdHandedOut } }"


@click.command()
@click.argument("sweep")
@click.option("--top", type=click.IntRange(1, 100), default=3, show_default=True, help="Leaders.")
@click.option(
    "--seeds", type=click.IntRange(1, 100), default=3, show_default=True, help="Runs of each."
)
@click.option("--seed-key", metavar="NAME", help="The parameter that is the seed; else seed.")
@click.option("--again", is_flag=True, help="More seeds, although there are confirmations.")
@click.option("--wait", is_flag=True, help="Wait for the runs, then print what they came to.")
@server_choice
@data_folder
@as_json
def confirm(
    *,
    sweep: str,
    top: int,
    seeds: int,
    seed_key: str | None,
    again: bool,
    wait: bool,
    server: str | None,
    data: Path,
    as_json: bool,
) -> None:
    """Run SWEEP's leaders again with fresh seeds, and compare them.

    The best of many runs may be the luckiest. The first call registers the runs, as a sweep of its
    own that SWEEP's search learns nothing from; agents run them. Later calls print for each leader
    the mean with its 90 % interval, what is tied with the best, and how far the mean fell from the
    leader's own value. From then on `sweep best` goes by the mean.
    """
    path, kind = sign_in(sweep, server, data)
    if kind == "run":
        raise InvalidInput(f"{path} is a run; the leaders are of a sweep: name that")
    from sweepd.results import select

    found = select(path)
    made: list[str] = []
    if not again and found.confirmation.sweeps:
        _say_what_is_idle()
    else:
        made = _begin(
            found, top, seeds, seed_key, server or _base_of(sweep), data, is_quiet=as_json
        )
        found = select(path)
    if wait:
        found = _wait(path, found)
    if as_json:
        told = {"metric": found.metric, "goal": found.goal, "rule": found.rule, "created": made}
        echo_json({"sweep": path, **told, **found.confirmation.as_json()})
        return
    if not made or wait:
        _report(found)


def _say_what_is_idle() -> None:
    """Tell of options that only registering runs would go by, where none are registered."""
    source = click.get_current_context().get_parameter_source
    given = [name for name in ("top", "seeds", "seed_key") if source(name) is _GIVEN]
    if given:
        options = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        note(f"there are confirmations already: {options} would count with --again, for more runs")


def _base_of(sweep: str) -> str | None:
    from sweepd.cli.api import parse_target

    return parse_target(sweep).base_url


def _begin(
    selection: "Selection",
    top: int,
    n_seeds: int,
    seed_key: str | None,
    server: str | None,
    data: Path,
    *,
    is_quiet: bool,
) -> list[str]:
    """Register the runs; return the sweeps that they are of, and tell them."""
    from sweepd.cli.connect import connect
    from sweepd.cli.define import register
    from sweepd.results import plan_confirmation
    from sweepd.spec import read_definition

    with connect(server, data) as api:
        plan = plan_confirmation(
            selection,
            top=top,
            n_seeds=n_seeds,
            seed_key=seed_key,
            is_ours=api.is_ours,
            handed_out=_handed_out(api, selection.sweep) if api.is_ours else None,
        )
        entity, project, _ = selection.sweep.split("/")
        made: list[str] = []
        for definition in plan.definitions:
            text = json.dumps(definition)
            parsed = read_definition(text, source="the confirmation", allow_unknown=True)
            try:
                made.append(register(parsed, api.server, project=project, entity=entity))
            except SweepdError:
                if made:
                    note(f"registered of {len(plan.definitions)} sweeps: {', '.join(made)}")
                    note(f"{again(f'sweep confirm {selection.sweep} --again')} registers all anew")
                raise
    if not is_quiet:
        _tell(plan, made, selection)
    return made


def _handed_out(api: "Api", sweep: str) -> dict[str, dict[str, Any]]:
    """Return what our service says that the sweep's trials were given, by run id."""
    found = api.execute(_HANDED_OUT, s=sweep.rpartition("/")[2])["sweepdSweep"]
    given: dict[str, dict[str, Any]] = json.loads(found["sweepdHandedOut"])
    return given


def _tell(plan: "Plan", made: Sequence[str], selection: "Selection") -> None:
    seeds = ", ".join(map(str, plan.seeds))
    leaders = ", ".join(run.display_name for run in plan.leaders)
    n_runs = len(plan.leaders) * len(plan.seeds)
    say(
        f"{n_runs} {'run waits' if n_runs == 1 else 'runs wait'} for agents: "
        f"{leaders}, each with {plan.seed_key} {seeds}"
    )
    for path in made:
        say(f"  agents  {again(f'sweep agent {path}')}")
    say(f"`{again(f'sweep confirm {selection.sweep}')}` tells what they come to", is_dim=True)


def _wait(path: str, found: "Selection") -> "Selection":
    """Wait until the runs have ended, however often the server is away; return the ranking then."""
    from sweepd.results import n_waiting_for, select

    agents = ", ".join(again(f"sweep agent {name}") for name in found.confirmation.sweeps)
    n, told, pause_s = found.confirmation.n_waiting, None, _POLL_S[0]
    while n:
        if told != n:
            told, pause_s = n, _POLL_S[0]
            note(f"waiting for {n} run{'s' if n > 1 else ''} ({agents}) …")
        time.sleep(pause_s)
        pause_s = min(1.5 * pause_s, _POLL_S[1])
        try:
            n = n_waiting_for(path)
        except ServerUnreachable as error:
            note(f"{error}; it is asked again")
    return found if told is None else select(path)


def _report(found: "Selection") -> None:
    confirmation = found.confirmation
    if confirmation.leaders:
        print_confirmed(found)
    if confirmation.n_strangers:
        n, noun = confirmation.n_strangers, "run" if confirmation.n_strangers == 1 else "runs"
        say(
            f"{n} finished {noun} of the confirmation have the configuration of no leader: the "
            "leader's run is gone or not ranked, or the program writes other values into its config"
        )
    if confirmation.n_waiting:
        say(f"{confirmation.n_waiting} runs have not ended; agents of these run them:")
        for path in confirmation.sweeps:
            say(f"  {again(f'sweep agent {path}')}")
    elif confirmation.leaders and not confirmation.is_settled:
        say(str(confirmation.open_in_words))
    elif not confirmation.leaders and not confirmation.n_strangers:
        say("no run of the confirmation has ended, and none will: --again registers others")
