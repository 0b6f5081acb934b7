"""Artifacts: a project's, and a version with its files, its metadata and the runs around it."""

import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from starlette.responses import RedirectResponse, Response

from sweepd.dash import viewer
from sweepd.dash.assets import HEADERS
from sweepd.dash.filelinks import artifact_link
from sweepd.dash.plain import flatten, parse
from sweepd.dash.sweepshape import address
from sweepd.dash.visit import Visit
from sweepd.engine import projects, runs
from sweepd.engine.access import Need
from sweepd.engine.artifacts import find, listing
from sweepd.engine.artifacts.listing import Sorted
from sweepd.engine.artifacts.views import (
    ArtifactFile,
    ArtifactView,
    CollectionView,
    MemberView,
)
from sweepd.engine.views import Page, RunView
from sweepd.errors import NotFound
from sweepd.store import Tx

__all__ = [
    "collection_page",
    "find_version",
    "in_bytes",
    "list_page",
    "of_run",
    "url_of",
    "version_page",
]

_FILES = 500  # of a page
_MOST_VERSIONS = 200
_MOST_COLLECTIONS = 1_000
_MOST_OF_RUN = 200
_MOST_RUNS = 100
_LONGEST = 500  # characters of one value of the metadata
_UNITS = ("kB", "MB", "GB", "TB", "PB")


def in_bytes(size: float) -> str:
    """Return a size as the scripts write it: three digits and a unit."""
    if size < 1000:
        return f"{size:.0f} B"
    for unit in _UNITS:
        size /= 1000
        if size < 999.5 or unit == _UNITS[-1]:
            break
    return f"{size:.{2 if size < 9.995 else 1 if size < 99.95 else 0}f} {unit}"


def url_of(member: MemberView) -> str:
    """Return the address of a version's page, as the client prints it."""
    return _url(member.collection, f"v{member.version_index}")


def _url(collection: CollectionView, *version: str) -> str:
    where = ("artifacts", collection.type, collection.name, *version)
    return address(collection.entity, collection.project, *where)


def _list(tx: Tx, visit: Visit) -> dict[str, Any]:
    """Return a project's collections by type, with their newest versions."""
    place = projects.get_project(
        tx, actor=visit.account, need=Need.READ, entity=visit["entity"], name=visit["project"]
    )
    wanted = Sorted(order="-updatedAt", first=_MOST_COLLECTIONS)
    found = listing.list_collections(tx, project_id=place.id, wanted=wanted)
    types: dict[str, list[dict[str, Any]]] = {}
    for collection in found.items:
        newest = listing.list_versions(
            tx, actor=visit.account, collection=collection, wanted=Sorted(first=1)
        )
        types.setdefault(collection.type, []).append(
            {
                "view": collection,
                "url": _url(collection),
                "n_versions": newest.total,
                "newest": newest.items[0] if newest.items else None,
            }
        )
    return {"types": dict(sorted(types.items())), "n_left": (found.total or 0) - len(found.items)}


async def list_page(visit: Visit) -> Response:
    """Show a project's artifacts."""
    return _page(visit, "artifacts.html", **await visit.read(_list, visit))


async def collection_page(visit: Visit) -> Response:
    """Go to the newest version of an artifact."""
    collection = await visit.read(_collection, visit)
    return RedirectResponse(_url(collection, "latest"), 303, headers=HEADERS)


def _collection(tx: Tx, visit: Visit) -> CollectionView:
    collection = find.get_collection(
        tx,
        actor=visit.account,
        entity=visit["entity"],
        project=visit["project"],
        name=visit["name"],
        need=Need.READ,
    )
    if collection.type != visit["type"]:
        raise NotFound(f"{collection.name} is no {visit['type']}")
    return collection


def find_version(tx: Tx, visit: Visit) -> MemberView:
    """Return the version that an address names.

    Raises:
        NotFound: if there is none that the visitor may see.
    """
    collection, alias = _collection(tx, visit), visit["version"]
    member = find.member_by_alias(tx, actor=visit.account, collection=collection, alias=alias)
    if member is None:
        raise NotFound(f"there is no version {collection.name}:{alias}")
    return member


def _version(tx: Tx, visit: Visit) -> dict[str, Any]:
    """Return what a version's page shows."""
    actor, member = visit.account, find_version(tx, visit)
    collection, artifact = member.collection, member.artifact
    others = listing.list_versions(
        tx, actor=actor, collection=collection, wanted=Sorted(first=_MOST_VERSIONS)
    )
    after = visit.request.query_params.get("after")
    files = listing.list_files(tx, artifact_id=artifact.id, after=after, first=_FILES)
    names = [file.path for file in files.items if file.ref is None]
    places = listing.memberships(tx, actor=actor, artifact=artifact)
    using = listing.runs_using(tx, actor=actor, artifact_id=artifact.id)
    return {
        "member": member,
        "artifact": artifact,
        "source": _source(places, collection),
        "links": [(place, url_of(place)) for place in places if place.collection.is_portfolio],
        "versions": [(one, url_of(one)) for one in others.items],
        "n_versions": others.total,
        "files": _files(tx, visit, files, viewer.pages(url_of(member), names)),
        "lacking": viewer.lacking(names),
        "next": files.end if files.has_next else None,
        "is_first": after is None,
        "metadata": _metadata(artifact.metadata),
        "maker": _maker(tx, visit, artifact),
        "users": [(run, _run_url(run)) for run in using[:_MOST_RUNS]],
        "n_users": len(using),
    }


def _source(
    places: Sequence[MemberView], collection: CollectionView
) -> tuple[MemberView, str] | None:
    """Return where a linked version was made."""
    if not collection.is_portfolio or not places or places[0].collection.is_portfolio:
        return None
    return places[0], url_of(places[0])


def _files(
    tx: Tx, visit: Visit, page: Page[ArtifactFile], drawn: Mapping[str, str]
) -> list[dict[str, Any]]:
    return [
        {
            "name": file.path,
            "size": in_bytes(file.size),
            "is_reference": file.ref is not None,
            "ref": file.ref,
            "view": drawn.get(file.path),
            "link": _web(file.ref)
            if file.ref is not None
            else artifact_link(visit, tx, file.artifact_id, file.path),
        }
        for file in page.items
    ]


def _web(ref: str) -> str | None:
    """Return a reference that a browser may follow, None for any other."""
    try:
        return ref if urlsplit(ref).scheme in ("http", "https") else None
    except ValueError:
        return None


def _metadata(text: str) -> list[tuple[str, str]]:
    pairs = []
    for key, value in sorted(flatten(parse(text)).items()):
        shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        pairs.append((key, shown if len(shown) <= _LONGEST else f"{shown[:_LONGEST]}…"))
    return pairs


def _maker(tx: Tx, visit: Visit, artifact: ArtifactView) -> tuple[RunView, str] | None:
    if artifact.run_id is None:
        return None
    run = runs.run_by_id(tx, actor=visit.account, need=Need.READ, run_id=artifact.run_id)
    return run, _run_url(run)


def _run_url(run: RunView) -> str:
    return address(run.entity, run.project, "runs", run.name)


async def version_page(visit: Visit) -> Response:
    """Show a version: its files, what it is for, which run made it and which used it."""
    shown = await visit.read(_version, visit)
    return _page(visit, "artifact.html", in_bytes=in_bytes, **shown)


def _page(visit: Visit, template: str, **shown: Any) -> Response:
    entity, project = visit["entity"], visit["project"]
    return visit.page(
        template,
        entity=entity,
        entity_url=f"/{entity}",
        project=project,
        project_url=address(entity, project),
        artifacts_url=address(entity, project, "artifacts"),
        **shown,
    )


def of_run(tx: Tx, visit: Visit, run: RunView) -> Mapping[str, list[dict[str, Any]]]:
    """Return the versions that a run logged and used, for its page."""
    found = {}
    for name, role in (("logged", "output"), ("used", "input")):
        page = listing.artifacts_of_run(
            tx, actor=visit.account, run_id=run.id, role=role, first=_MOST_OF_RUN
        )
        found[name] = [
            {
                "name": f"{one.sequence}:v{one.version_index}",
                "url": address(
                    one.entity, one.project, "artifacts", one.type, one.sequence,
                    f"v{one.version_index}",
                ),
                "type": one.type,
                "size": one.size,
                "n_files": one.n_files,
                "aliases": [a.name for a in one.aliases if a.collection_id == one.sequence_id],
            }
            for one in page.items
        ]  # fmt: skip
    return found
