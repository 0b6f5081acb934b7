"""Options and kinds of values that several commands share."""

import math
import os
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from sweepd.errors import InvalidInput

_F = TypeVar("_F", bound=Callable[..., Any])

__all__ = [
    "Seconds",
    "again",
    "allow_unknown",
    "as_json",
    "check_mode",
    "check_place",
    "data_folder",
    "gpus_per_trial",
    "server_choice",
    "trials_per_gpu",
]


class Seconds(click.FloatRange):
    """A finite number of seconds, up to a day."""

    name = "seconds"

    def __init__(self, least: float = 0.0) -> None:
        super().__init__(least, 86_400.0)

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return the number; refuse NaN, which is in no range and passes every comparison."""
        number: float = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"{value} is not a number of seconds", param, ctx)
        return number


def again(command: str) -> str:
    """Return a command to print, with the --server and the --data that this one was given."""
    context = click.get_current_context(silent=True)
    if context is None:
        return command
    given = [
        f"--{name} {shlex.quote(str(context.params[name]))}"
        for name in ("server", "data")
        if context.get_parameter_source(name) == ParameterSource.COMMANDLINE
    ]
    return " ".join([command, *given])


def check_mode() -> None:
    """Check that the environment lets runs reach a server.

    Raises:
        InvalidInput: if it does not.
    """
    mode = os.environ.get("WANDB_MODE", "")
    if mode in {"offline", "disabled", "dryrun"}:
        raise InvalidInput(
            f"WANDB_MODE={mode} keeps runs away from the server, and a sweep needs them there; "
            "unset it"
        )


def check_place(path: Path) -> None:
    """Check, before any work is done, that a file or folder can be made at `path`.

    Raises:
        InvalidInput: if it cannot.
    """
    here = path.absolute()
    while not here.exists() and here != here.parent:
        here = here.parent
    if here == path.absolute():
        if not os.access(here, os.W_OK):
            raise InvalidInput(f"{path} cannot be written to")
    elif not here.is_dir() or not os.access(here, os.W_OK):
        raise InvalidInput(f"cannot make {path}: {here} is not a folder that can be written to")


def _read_per_gpu(ctx: click.Context, param: click.Parameter, text: str | None) -> int | str | None:
    from sweepd_agent.options import parse_per_gpu

    try:
        return None if text is None else parse_per_gpu(text)
    except InvalidInput as error:
        words = str(error).removeprefix("--per-gpu ")
        raise click.BadParameter(words, ctx, param) from error


def _default_data() -> Path:
    from sweepd.settings import Settings

    return Settings().data


as_json: Callable[[_F], _F] = click.option("--json", "as_json", is_flag=True, help="Print JSON.")

allow_unknown: Callable[[_F], _F] = click.option(
    "--allow-unknown", is_flag=True, help="Unknown keys are warnings, as on W&B's servers."
)

trials_per_gpu: Callable[[_F], _F] = click.option(
    "--per-gpu",
    metavar="auto|K",
    callback=_read_per_gpu,
    help="Trials at once on one GPU, or on the CPU; auto finds out how many pay.",
)

gpus_per_trial: Callable[[_F], _F] = click.option(
    "--gpus-per-trial",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="GPUs of each trial, as for torchrun; no other trial uses them.",
)

server_choice: Callable[[_F], _F] = click.option(
    "--server",
    metavar="cloud|local|URL",
    help="The W&B server; else WANDB_BASE_URL, else the service on this machine.",
)

data_folder: Callable[[_F], _F] = click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    default=_default_data,
    show_default="the service's default folder",
    help="Data folder of the service on this machine.",
)
