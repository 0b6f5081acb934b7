"""What every command prints with: lines, tables, JSON, numbers, times."""

import json
import math
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import click

__all__ = [
    "echo_json",
    "format_duration",
    "format_number",
    "harmless",
    "note",
    "plain_json",
    "print_table",
    "say",
]

#: What a terminal takes for a command: names and words of others must not reach it as such.
_COMMAND = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
#: The same, save our own colours.
_COMMAND_SAID = re.compile(r"(?!\x1b\[[0-9;]{1,20}m)[\x00-\x08\x0b-\x1f\x7f-\x9f]")

_WIDE = 10_000  # into a pipe or a file, tables are as wide as they need to be


def harmless(text: str) -> str:
    """Return a text without what a terminal would take for commands, but those for colours."""
    return _COMMAND_SAID.sub("\ufffd", text)


def say(text: str, *, is_dim: bool = False) -> None:
    """Print a line at once; colours are left out where they cannot be seen."""
    shown = harmless(text)
    click.echo(click.style(shown, dim=True) if is_dim else shown)


def note(text: str) -> None:
    """Say what goes on, beside the output."""
    click.echo(click.style(harmless(text), dim=True), err=True)


def echo_json(value: Any) -> None:
    """Print one line of strict JSON: NaN and infinities, which it cannot hold, become null."""
    click.echo(json.dumps(plain_json(value), allow_nan=False))


def plain_json(value: Any) -> Any:
    """Return `value` with null in place of every number that is not finite."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): plain_json(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain_json(entry) for entry in value]
    return value


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print rows under a head; numbers are right-aligned and have consistent digits."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for index, column in enumerate(columns):
        is_number = any(_is_number(row[index]) for row in rows)
        justify: Any = "right" if is_number else "left"
        table.add_column(Text(column), justify=justify, overflow="fold")
    for row in rows:  # Text: names of people's runs are not markup
        table.add_row(*(Text(_COMMAND.sub("\ufffd", _text(cell))) for cell in row))
    Console(highlight=False, width=None if sys.stdout.isatty() else _WIDE).print(table)


def format_number(value: float | None, digits: int = 4) -> str:
    """Return `value` to a number of significant digits, or a dash if there is none."""
    if value is None:
        return "–"
    return f"{value:.{digits}g}" if isinstance(value, float) else str(value)


def format_duration(seconds: float | None) -> str:
    """Return a duration as people say it: 8 s, 3 min 20 s, 2 h 5 min."""
    if seconds is None:
        return "–"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def _is_number(cell: object) -> bool:
    return isinstance(cell, int | float) and not isinstance(cell, bool)


def _text(cell: object) -> str:
    if cell is None:
        return "–"
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    if isinstance(cell, list | dict):
        return json.dumps(cell)
    return format_number(cell) if isinstance(cell, float) else str(cell)
