"""A run's files: upload and download links, listing, deleting."""

from collections.abc import Awaitable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from sweepd.engine import files, paging, runs
from sweepd.engine.access import Need
from sweepd.engine.artifacts.views import ArtifactFile
from sweepd.engine.views import Account, FileView, Page, RunView
from sweepd.errors import NotFound, ProtocolError
from sweepd.store import Tx
from sweepd.wire.artifact_storage import FOLDER, file_link
from sweepd.wire.context import Info, Resolvers
from sweepd.wire.ids import read_int_id, wire_id
from sweepd.wire.resolvers.common import at_most, attribute, connection, page_size
from sweepd.wire.storage import link

__all__ = ["FIELDS"]


@dataclass(frozen=True)
class AbsentFile:
    """Stands for a file of a run that is not there; the client knows it by its digest."""

    run_id: int
    name: str
    id: int = 0
    size: int = 0
    md5: str = "0"
    mimetype: str = ""
    updated_at: float | None = None


async def _create_run_files(root: None, info: Info, input: Mapping[str, Any]) -> Mapping[str, Any]:
    """Answer one upload link per name, in the order asked and with the names as they came.

    The client asks for all files of some seconds at once, and gives up on all of them after an
    error. So a name that no file can have spoils its own upload only.
    """
    context = info.context
    run = await _run_of(info, input)
    names = [(name, *_checked(name)) for name in at_most(input["files"], "files")]
    problems = [problem for _, _, problem in names if problem is not None]
    if problems and len(problems) == len(names):
        raise problems[0]
    lease = context.lease_of(run.name)
    attempt = lease.attempt if lease is not None else None
    uploads = [
        {"name": name, "uploadUrl": link(context, run.id, path, method="PUT", attempt=attempt)}
        for name, path, _ in names
    ]
    return {"runID": wire_id("Run", run.id), "uploadHeaders": [], "files": uploads}


def _checked(name: str) -> tuple[str, ProtocolError | None]:
    """Return what a file is kept as; or a name that an upload is refused for, and why."""
    try:
        return files.check_name(name), None
    except ProtocolError as problem:
        return f"../{name}".replace("/", "\\"), problem  # a slash would be tidied on the way


async def _mark_uploaded(root: None, info: Info, input: Mapping[str, Any]) -> Mapping[str, Any]:
    """Confirm: the bytes were registered when they arrived."""
    await _run_of(info, input)
    return {"success": True}


async def _run_of(info: Info, input: Mapping[str, Any]) -> RunView:
    context = info.context
    return await context.read(
        runs.get_run,
        actor=context.account,
        need=Need.WRITE,
        entity=input["entityName"],
        project=input["projectName"],
        name=input["runName"],
    )


async def _delete_files(root: None, info: Info, input: Mapping[str, Any]) -> Mapping[str, Any]:
    context = info.context
    freed = await context.write(
        _delete,
        actor=context.account,
        file_ids=[read_int_id("File", file_id) for file_id in at_most(input["files"], "files")],
    )
    await context.delete_blobs(freed)
    return {"success": True}


def _delete(tx: Tx, *, actor: Account, file_ids: Sequence[int]) -> list[str]:
    """Delete files of runs that the actor may write; return the blob keys that were freed."""
    may_go = []
    for file_id in file_ids:
        with suppress(NotFound):  # gone already, or never seen: deleting is repeated safely
            file = files.file_by_id(tx, file_id=file_id)
            runs.run_by_id(tx, actor=actor, run_id=file.run_id, need=Need.WRITE)
            may_go.append(file_id)
    return files.delete_files(tx, file_ids=may_go)


async def _files(
    run: RunView,
    info: Info,
    names: Sequence[str | None] | None = None,
    after: str | None = None,
    first: int | None = None,
    pattern: str | None = None,
) -> Mapping[str, Any]:
    wanted = [files.uploaded_name(name) for name in names or () if name]
    page = await info.context.read(
        files.list_files,
        run_id=run.id,
        names=wanted,
        pattern=pattern,
        after=after,
        first=page_size(first),
    )
    if after is None and not page.has_next and not pattern:
        page = _with_absent(page, run, wanted)
    return connection(page)


def _with_absent(page: Page[Any], run: RunView, wanted: Sequence[str]) -> Page[Any]:
    """Add an entry for every name that was asked for and that no file has.

    The client takes the first entry as it comes, and knows by its digest that there is no such
    file; so it does before it uploads one.
    """
    checked = [name for name, problem in map(_checked, wanted) if problem is None]
    known = {file.name for file in page.items}
    absent = [AbsentFile(run.id, name) for name in dict.fromkeys(checked) if name not in known]
    return replace(
        page,
        items=(*page.items, *absent),
        cursors=(*page.cursors, *(paging.encode(file.name) for file in absent)),
    )


async def _file_count(run: RunView, info: Info) -> int:
    return await info.context.read(files.count_files, run_id=run.id)


def _url(
    file: FileView | AbsentFile | ArtifactFile, info: Info, upload: bool | None = None
) -> str | Awaitable[str]:
    if isinstance(file, ArtifactFile):
        return file_link(info.context, file)
    if upload:
        return _upload_url(file, info)
    return link(info.context, file.run_id, file.name, method="GET")


async def _upload_url(file: FileView | AbsentFile, info: Info) -> str:
    """Link to where a file's bytes are written, for those who may change the run."""
    context = info.context
    await context.read(runs.run_by_id, actor=context.account, run_id=file.run_id, need=Need.WRITE)
    return link(context, file.run_id, file.name, method="PUT")


def _id(file: FileView | AbsentFile | ArtifactFile, info: Info) -> str:
    if isinstance(file, ArtifactFile):
        return wire_id("ArtifactFile", f"{file.artifact_id}/{file.path}")
    return wire_id("File", file.id)


def _storage_path(file: FileView | AbsentFile | ArtifactFile, info: Info) -> str | None:
    if isinstance(file, ArtifactFile) and file.ref is None:
        return f"{FOLDER}/{file.artifact_id}/{file.path}"
    return None


FIELDS: Resolvers = {
    "Mutation": {
        "createRunFiles": _create_run_files,
        "markRunFilesUploaded": _mark_uploaded,
        "deleteFiles": _delete_files,
    },
    "Run": {"files": _files, "fileCount": _file_count},
    "File": {
        "id": _id,
        "displayName": attribute("name"),
        "url": _url,
        "directUrl": _url,
        "sizeBytes": attribute("size"),
        "updatedAt": attribute("updated_at"),
        "digest": attribute("md5"),
        "storagePath": _storage_path,
    },
}
