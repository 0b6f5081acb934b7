"""`python -m sweepd_agent SWEEP`: the agent as a process of its own."""

import argparse
import json
import sys
from collections.abc import Sequence

from sweepd.errors import InvalidInput, SweepdError
from sweepd_agent.events import AgentEvent
from sweepd_agent.options import Options, parse_per_gpu
from sweepd_agent.supervisor import run_agent

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run an agent as the command line says, one line an event; return the exit code."""
    values = vars(_parser().parse_args(arguments))
    as_json = values.pop("json")

    def show(event: AgentEvent) -> None:
        line = json.dumps(event.as_json()) if as_json else event.text
        print(line, flush=True)

    try:
        return run_agent(Options(**values), report=show)
    except SweepdError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m sweepd_agent",
        description="Run trials of a sweep, one process each, on every GPU of this machine.",
    )
    add = parser.add_argument
    add(
        "sweep", nargs="?", default="", help="its id, ENTITY/PROJECT/ID, or the address of its page"
    )
    add("--entity", help="where the sweep is, if its name does not say")
    add("--project", help="where the sweep is, if its name does not say")
    add("--base-url", help="the server; `cloud` is W&B's (default: WANDB_BASE_URL, settings)")
    add("--gpus", default="all", help="all, none, or their numbers: 0,1 (default: all)")
    add(
        "--per-gpu",
        type=_per_gpu,
        metavar="auto|K",
        help="trials at once on each GPU, or on the CPU; auto finds out how many pay",
    )
    add("--gpus-per-trial", type=int, default=1, help="GPUs of each trial (default: 1)")
    add("--slots", type=int, help="trials at once in all, dealt out over the GPUs")
    add("--memory-fraction", type=float, help="of a GPU's memory, for each of its slots")
    add("--count", type=int, help="trials to run in all, over every slot")
    add("--name", help="this machine's name on the server")
    add("--folder", help="where the program is found and run (default: the working folder)")
    add(
        "--term-timeout",
        dest="term_timeout_s",
        type=float,
        default=30.0,
        metavar="SECONDS",
        help="from SIGTERM to SIGKILL when the agent is ended (default: 30)",
    )
    add(
        "--trial-timeout",
        dest="trial_timeout_s",
        type=float,
        metavar="SECONDS",
        help="end a trial that runs for longer (default: never)",
    )
    add("--prefetch", action="store_true", help="fetch the next trial while one runs")
    add("--pack", help="trials that one process trains together: a number, or auto")
    add("--offline", metavar="BUNDLE", help="run the trials of a bundle, with no server at all")
    add("--json", action="store_true", help="print each event as a JSON object")
    return parser


def _per_gpu(text: str) -> int | str:
    try:
        return parse_per_gpu(text)
    except InvalidInput as error:
        raise argparse.ArgumentTypeError(str(error).removeprefix("--per-gpu ")) from None


if __name__ == "__main__":
    sys.exit(main())
