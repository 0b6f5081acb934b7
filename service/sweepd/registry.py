"""Loads a row of a table in `sweepd.names`, lazily."""

from collections.abc import Iterator, Mapping
from importlib import import_module
from importlib.metadata import entry_points
from importlib.util import find_spec
from typing import Any

from sweepd.errors import UnknownName
from sweepd.names import EXTRAS

__all__ = ["Registry", "install_command", "missing_extra"]


class Registry(Mapping[str, str]):
    """Maps a public name to "module:attribute"; imports nothing until load().

    Installed packages add rows through the entry-point group `sweepd.<kind>`; a row of ours wins.
    """

    def __init__(self, kind: str, rows: Mapping[str, str]) -> None:
        self.kind = kind
        self._rows = dict(rows)
        for point in entry_points(group=f"sweepd.{kind}"):
            self._rows.setdefault(point.name, point.value)

    def __getitem__(self, name: str) -> str:
        try:
            return self._rows[name]
        except KeyError:
            known = ", ".join(sorted(self._rows))
            raise UnknownName(f"unknown {self.kind} {name!r}; known: {known}") from None

    def __contains__(self, name: object) -> bool:
        return name in self._rows

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def load(self, name: str) -> Any:
        """Import and return what `name` stands for.

        Raises:
            UnknownName: if there is no such row; the message lists the known names.
        """
        module, _, attribute = self[name].partition(":")
        return getattr(import_module(module), attribute)


def missing_extra(method: str) -> str | None:
    """Return the command that installs what a search method lacks here, None if it lacks nothing.

    Nothing is imported for it.
    """
    extra, modules = EXTRAS.get(method, ("", ()))
    lacks = any(find_spec(module) is None for module in modules)
    return install_command(extra) if lacks else None


def install_command(extra: str) -> str:
    """Return the command that installs an extra."""
    return f"pip install 'sweepd[{extra}]'"
