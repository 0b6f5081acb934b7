"""The data folder of the service on this machine, for commands that work beside it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from sweepd.errors import NotFound

if TYPE_CHECKING:
    from sweepd.engine.views import Account
    from sweepd.store import Store

__all__ = ["keeper", "open_folder"]


@contextmanager
def open_folder(data: Path) -> Iterator["Store"]:
    """Open a service's data folder, though the service may run.

    Raises:
        NotFound: if there is none.
    """
    if not (data / "sweepd.db").is_file():
        raise NotFound(
            f"there is no service's data in {data}; `sweep serve` makes it at its first start, "
            "--data names another folder"
        )
    from sweepd.store import Store

    store = Store.open(data, exclusive=False)
    try:
        yield store
    finally:
        store.close()


def keeper() -> "Account":
    """Return who acts when the holder of a data folder does: no user, but an administrator."""
    from sweepd.engine import events
    from sweepd.engine.views import Account

    return Account(0, events.SERVICE, "", True, 0, "", own_id=None)
