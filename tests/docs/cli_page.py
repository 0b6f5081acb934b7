"""Renders docs/cli.md from the commands themselves; `python tests/docs/cli_page.py` writes it."""

import inspect
from pathlib import Path

import click

from sweepd.cli import sweep

PAGE = Path(__file__).parents[2] / "docs" / "cli.md"

HEAD = """# The `sweep` command

SWEEP is an id, `entity/project/id`, or a page's address. Exit codes: 0 done, 1 failed, 2 wrong
input, 75 try again, 130 interrupted. `WANDB_BASE_URL`, `WANDB_API_KEY`, `WANDB_ENTITY`,
`WANDB_PROJECT` and netrc mean what they mean to `wandb`, but netrc alone never picks a server; with
the service on this machine, `sweep` finds its address and key in the data folder by itself.
`--server` takes an address, `cloud` (W&B's) or `local`: the service on this machine, whatever
`WANDB_BASE_URL` says. DEFINITION is a file or the name of a sample, which needs no clone: `bayes`,
`grid`, `hyperband`, `quickstart` or `random`. `SWEEPD_DEBUG=1` shows the traceback of an unexpected
error. This page is made from the commands' own help.
"""


def render() -> str:
    parts = [HEAD]
    context = click.Context(sweep, info_name="sweep")
    for name in sweep.list_commands(context):
        command = sweep.get_command(context, name)
        assert command is not None
        parts.append(_section(command, f"sweep {name}", context))
    return "\n".join(parts)


def _section(command: click.Command, path: str, parent: click.Context) -> str:
    names = sweep.context_settings["help_option_names"]
    context = click.Context(command, info_name=path, help_option_names=names, max_content_width=96)
    usage = " ".join(command.collect_usage_pieces(context))
    lines = [f"## `{path} {usage}`", "", inspect.cleandoc(command.help or ""), ""]
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            assert child is not None
            lines.append(_section(child, f"{path} {name}", context).replace("## ", "### ", 1))
        return "\n".join(lines)
    options = [
        record
        for parameter in command.get_params(context)
        if isinstance(parameter, click.Option) and (record := parameter.get_help_record(context))
    ]
    lines += ["| option | meaning |", "|---|---|"]
    lines += [f"| `{_cell(flags)}` | {_cell(text)} |" for flags, text in options]
    return "\n".join([*lines, ""])


def _cell(text: str) -> str:
    return text.replace("|", r"\|")  # GitHub would end the cell there, code or not


if __name__ == "__main__":
    PAGE.write_text(render())
