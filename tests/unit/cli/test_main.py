"""The command as a whole: help, exit codes, errors in one sentence."""

import subprocess
import sys

import click
import pytest

from sweepd import cli
from sweepd.errors import NotFound

COMMANDS = cli.sweep.list_commands(click.Context(cli.sweep))


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(sweep, command):
    done = sweep(command, "--help", code=0)

    assert done.out.startswith(f"Usage: sweep {command}")


def test_help_gives_a_whole_sentence_for_every_command(sweep):
    out = sweep("--help", code=0).out

    assert [name for name in COMMANDS if f"\n  {name} " not in out] == []
    assert "..." not in out.partition("Commands:")[2]


def test_help_and_lint_import_only_what_they_need():
    heavy = "{'numpy', 'sqlalchemy', 'wandb', 'pydantic', 'rich', 'uvicorn', 'torch'}"
    code = (
        "import sys; from sweepd.cli import sweep; sweep.main(['--help'], standalone_mode=False);"
        f"print('HEAVY', sorted({heavy} & set(sys.modules)))"
    )

    out = subprocess.check_output([sys.executable, "-c", code], text=True)

    assert out.splitlines()[-1] == "HEAVY []"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["lnit"], "No such command 'lnit'; did you mean lint?"),
        (["moon"], "No such command 'moon'\n"),
        (["lint"], "Missing argument 'DEFINITION'"),
        (["lint", "quickstart", "more"], "unexpected extra argument"),
        (["preview", "quickstart", "-n", "0"], "1<=x<=10000"),
        (["run", "quickstart", "--agents", "0"], "1<=x<=256"),
        (["serve", "--port", "99999"], "0<=x<=65535"),
        (["agent", "s", "--per-gpu", "0"], "'--per-gpu': must be auto or at least 1, not '0'"),
        (["user"], "Usage: sweep user"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_arguments_leave_with_2(sweep, arguments, said):
    done = sweep(*arguments, code=2)

    assert said in done.err
    assert done.out == ""


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        pytest.param(NotFound("there is no x"), 1, "error: there is no x\n", id="ours"),
        pytest.param(
            PermissionError(13, "Permission denied", "/x/y"),
            1,
            "error: /x/y: Permission denied\n",
            id="the system's",
        ),
        pytest.param(
            ZeroDivisionError("by zero"),
            1,
            "error: unexpected ZeroDivisionError: by zero (SWEEPD_DEBUG=1 shows the traceback)\n",
            id="a mistake of ours",
        ),
        pytest.param(KeyboardInterrupt(), 130, "interrupted\n", id="Ctrl-C"),
    ],
)
def test_an_error_is_one_sentence(sweep, monkeypatch, error, code, said):
    def fail(self, ctx, cmd_name):
        raise error

    monkeypatch.setattr(type(cli.sweep), "get_command", fail)

    assert sweep("ls", code=code).err.lstrip() == said


def test_a_reader_that_leaves_early_is_no_noise():
    process = subprocess.Popen(
        [sys.executable, "-m", "sweepd.cli", "--help"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    process.stdout.close()

    _, err = process.communicate(timeout=30)

    assert err == ""
