"""`sweep retry`: failed trials once more."""

from pathlib import Path

import click

from sweepd.cli.connect import open_target
from sweepd.cli.console import echo_json, say
from sweepd.cli.options import again, as_json, data_folder, server_choice
from sweepd.errors import InvalidInput

__all__ = ["retry"]

_RETRY = """
mutation($sweep: ID, $run: ID) {
  sweepdRetry(input: {sweepId: $sweep, runId: $run}) {
    sweep { name state project { name entityName } }
    runs
  }
}"""


@click.command()
@click.argument("target", metavar="SWEEP|RUN")
@server_choice
@data_folder
@as_json
def retry(*, target: str, server: str | None, data: Path, as_json: bool) -> None:
    """Put the failed trials of a sweep back, or one run.

    They keep their run ids and configs, have all their retries again, and count no second time
    towards run_cap. A sweep that had ended by itself goes on for them. Of a sweep, trials that were
    killed by a person are left alone; name such a run to retry it.
    """
    from sweepd.cli.control import find_either

    with open_target(target, server, data) as (api, reference):
        if not api.is_ours:
            raise InvalidInput(f"{api.server.url} cannot retry trials: create another sweep")
        found, kind = find_either(api, reference)
        answer = api.execute(_RETRY, **{kind: found["id"]})["sweepdRetry"]
    home = answer["sweep"]["project"]
    path = f"{home['entityName']}/{home['name']}"
    runs = [f"{path}/{run}" for run in answer["runs"]]
    sweep = f"{path}/{answer['sweep']['name']}"
    if as_json:
        echo_json({"sweep": sweep, "state": answer["sweep"]["state"], "runs": runs})
        return
    for run in runs:
        say(f"{run}: waits for an agent")
    say(f"`{again(f'sweep agent {sweep}')}` runs what waits, unless agents are at work")
