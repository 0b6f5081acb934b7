"""A model's file as the viewer draws it, in a frame: of a run, or of an artifact's version."""

from collections.abc import Callable
from typing import Any

from starlette.responses import RedirectResponse, Response

from sweepd.dash import artifactpage, runpage, viewer
from sweepd.dash.assets import HEADERS
from sweepd.dash.filelinks import artifact_link, file_link
from sweepd.dash.sweepshape import address
from sweepd.dash.visit import Visit
from sweepd.engine import files
from sweepd.engine.artifacts import fetching
from sweepd.errors import NotFound
from sweepd.store import Tx

__all__ = ["run_file", "run_page", "version_file", "version_page"]


def _of_run(tx: Tx, visit: Visit) -> dict[str, Any]:
    """Return what is shown about a file of a run."""
    run = runpage.find(tx, visit)
    file = files.get_file(tx, run_id=run.id, name=visit["path"])
    return {
        "size": file.size,
        "link": file_link(visit, tx, run.id, file.name),
        "owner": run.display_name or run.name,
        "owner_url": f"{_below(visit, 'runs', visit['name'])}#files",
    }


def _of_version(tx: Tx, visit: Visit) -> dict[str, Any]:
    """Return what is shown about a file of an artifact's version."""
    member = artifactpage.find_version(tx, visit)
    file = fetching.file_of(tx, artifact_id=member.artifact.id, path=visit["path"])
    return {
        "size": file.size,
        "link": artifact_link(visit, tx, member.artifact.id, visit["path"]),
        "owner": f"{member.collection.name}:v{member.version_index}",
        "owner_url": artifactpage.url_of(member),
    }


def _below(visit: Visit, *parts: str) -> str:
    return address(visit["entity"], visit["project"], *parts)


async def run_page(visit: Visit) -> Response:
    """Show a model of a run."""
    place = ("run", visit["entity"], visit["project"], visit["name"])
    return await _page(visit, _of_run, place)


async def version_page(visit: Visit) -> Response:
    """Show a model of an artifact's version."""
    names = ("entity", "project", "type", "name", "version")
    return await _page(visit, _of_version, ("artifact", *(visit[name] for name in names)))


async def _page(
    visit: Visit, find: Callable[[Tx, Visit], dict[str, Any]], place: tuple[str, ...]
) -> Response:
    shown, name, found = await visit.read(find, visit), visit["path"], viewer.installed()
    if not viewer.is_model(name):
        raise NotFound(f"{name} is no model that is drawn here: {', '.join(viewer.MODELS)} are")
    if found is None:
        raise NotFound(
            f"models are drawn by Netron, which the service runs without: {viewer.COMMAND}"
        )
    return visit.page(
        "model.html",
        entity=visit["entity"],
        entity_url=f"/{visit['entity']}",
        project=visit["project"],
        project_url=_below(visit),
        file=name,
        netron=found.version,
        frame=found.page_of(address("-", "data", *place, "file", *name.split("/")), name),
        **{**shown, "size": artifactpage.in_bytes(shown["size"])},
    )


async def run_file(visit: Visit) -> Response:
    """Lead to the bytes of a run's file, by a link for whom asks."""
    return await _to_bytes(visit, _of_run)


async def version_file(visit: Visit) -> Response:
    """Lead to the bytes of a file of an artifact's version, by a link for whom asks."""
    return await _to_bytes(visit, _of_version)


async def _to_bytes(visit: Visit, find: Callable[[Tx, Visit], dict[str, Any]]) -> Response:
    shown = await visit.read(find, visit)
    return RedirectResponse(shown["link"], 303, headers=HEADERS)
