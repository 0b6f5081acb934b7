"""Links from a page to the bytes of a run's files."""

from collections.abc import Collection, Mapping, MutableMapping, Sequence
from typing import Any

from sweepd.dash.visit import Visit
from sweepd.engine import files, link_holders, links
from sweepd.engine.views import FileView
from sweepd.store import Tx

__all__ = ["add_links", "artifact_link", "file_link"]

_LINK_S = 24 * 3600.0


def file_link(visit: Visit, tx: Tx, run_id: int, name: str) -> str:
    """Return a link to a file of a run that is good for a day."""
    return _signed(visit, tx, f"/storage/{run_id}/{name}")


def artifact_link(visit: Visit, tx: Tx, artifact_id: int, path: str) -> str:
    """Return a link to a file of an artifact's version that is good for a day."""
    return _signed(visit, tx, f"/storage/wandb_artifacts/{artifact_id}/{path}")


def _signed(visit: Visit, tx: Tx, path: str) -> str:
    """Return a link to read what is stored at `path`, for whom the page is and for a day."""
    # To the whole hour, so that a page's data only change when something did.
    expires_at = tx.now // 3600 * 3600 + _LINK_S
    holder = link_holders.holder_of(visit.account)
    secret = visit.services.store.secret
    return links.sign(secret, path, expires_at=expires_at, method="GET", holder=holder)


def add_links(tx: Tx, visit: Visit, run_id: int, shown: Sequence[MutableMapping[str, Any]]) -> None:
    """Give everything that has a `path` its `link`, `size` and `type`, if the file has arrived."""
    known = _known(tx, run_id, {one["path"] for one in shown})
    for one in shown:
        file = known.get(one["path"])
        if file is not None:
            link = file_link(visit, tx, run_id, file.name)
            one.update(link=link, size=file.size, type=file.mimetype)


def _known(tx: Tx, run_id: int, names: Collection[str]) -> Mapping[str, FileView]:
    if not names:
        return {}
    found = files.list_files(tx, run_id=run_id, names=sorted(names), first=len(names))
    return {file.name: file for file in found.items}
