"""The `sweep` command. Thin: parse, call, print; a command's module is imported when it is used."""

import os
import sys
import traceback
from collections.abc import Mapping
from importlib import import_module

import click

from sweepd import __version__
from sweepd.errors import SweepdError

__all__ = ["main", "sweep"]

#: These modules are cheap: `sweep --help` imports them all, and commands import what they need.
_COMMANDS: Mapping[str, str] = {
    "run": "run:run",
    "serve": "serve:serve",
    "create": "define:create",
    "lint": "define:lint",
    "preview": "define:preview",
    "agent": "agent:agent",
    "bundle": "bundle:bundle",
    "launch": "launch:launch",
    "ls": "control:ls",
    "status": "control:status",
    "watch": "control:watch",
    "pause": "control:pause",
    "resume": "control:resume",
    "stop": "control:stop",
    "cancel": "control:cancel",
    "retry": "retry:retry",
    "enqueue": "byhand:enqueue",
    "edit": "byhand:edit",
    "finish": "control:finish",
    "rm": "control:rm",
    "replay": "replay:replay",
    "best": "winner:best",
    "export": "winner:export",
    "compare": "compare:compare",
    "confirm": "confirm:confirm",
    "report": "report:report",
    "access": "visibility:access",
    "user": "users:user",
    "team": "teams:team",
    "key": "keys:key",
    "doctor": "doctor:doctor",
}


class _Lazy(click.Group):
    """A group whose commands are imported only when one is asked for, in the order of the table."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return every command's name, main ones first."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return the named command, or None if there is none."""
        if cmd_name not in _COMMANDS:
            return None
        module, _, attribute = _COMMANDS[cmd_name].partition(":")
        command = getattr(import_module(f"sweepd.cli.{module}"), attribute)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, and of a misspelt one name the nearest: click knows none of ours."""
        name = args[0]
        if name not in _COMMANDS and not name.startswith("-"):
            from sweepd.spec.words import nearest

            ctx.fail(f"No such command {name!r}{nearest(name, _COMMANDS)}")
        return super().resolve_command(ctx, args)


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="sweep")
def sweep() -> None:
    """Hyperparameter search for W&B Sweeps: on W&B's servers, or on your own with no account.

    Exit codes: 0 done, 1 failed, 2 wrong input, 75 try again, 130 interrupted.
    """


def main() -> None:
    """Run the command line and leave with its exit code; errors are one sentence on stderr."""
    try:
        code = sweep.main(prog_name="sweep", standalone_mode=False)
        sys.stdout.flush()
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        sys.exit(130)
    except BrokenPipeError:
        # Whoever read our output has gone, as in `sweep ls | head -1`; nor can Python flush it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        sys.exit(_report(error))
    sys.exit(code if isinstance(code, int) else 0)


def _report(error: Exception) -> int:
    """Say what went wrong in one sentence; the traceback is for those who ask for it."""
    if os.environ.get("SWEEPD_DEBUG"):
        traceback.print_exc()
    kind = type(error)
    if isinstance(error, SweepdError):
        click.echo(f"error: {error}", err=True)
        return error.exit_code
    if kind.__module__.split(".")[0] == "wandb":  # the client's errors are written for people
        click.echo(f"error: {error}", err=True)
    elif isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        click.echo(f"error: {where}{error.strerror}", err=True)
    else:
        click.echo(
            f"error: unexpected {kind.__name__}: {error} (SWEEPD_DEBUG=1 shows the traceback)",
            err=True,
        )
    return 1
