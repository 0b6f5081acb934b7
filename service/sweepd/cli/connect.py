"""The server that a command talks to, for its length."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sweepd.cli.api import Api
    from sweepd_agent.options import SweepPath

__all__ = ["connect", "open_target"]


@contextmanager
def connect(server: str | None, data: Path) -> Iterator["Api"]:
    """Open the server that the options mean, for the length of a command."""
    from sweepd.cli.api import Api
    from sweepd.cli.server import find_server

    api = Api(find_server(server, data))
    try:
        yield api
    finally:
        api.close()


@contextmanager
def open_target(target: str, server: str | None, data: Path) -> Iterator[tuple["Api", "SweepPath"]]:
    """Open the server that the options mean, or the one whose page TARGET is the address of."""
    from sweepd.cli.api import parse_target

    reference = parse_target(target)
    with connect(server or reference.base_url, data) as api:
        yield api, reference
