"""Projects: reading, listing, making."""

from collections.abc import Mapping
from typing import Any

from sweepd.engine import project_deletion, projects, run_values, runs, sweeps
from sweepd.engine.access import Need, level
from sweepd.engine.views import Access, Page, ProjectView, RunView, SweepView
from sweepd.errors import NotFound, ProtocolError
from sweepd.wire.context import Context, Info, Resolvers
from sweepd.wire.ids import read_int_id
from sweepd.wire.resolvers.accounts import user_of
from sweepd.wire.resolvers.common import (
    EMPTY,
    Named,
    attribute,
    connection,
    constant,
    ident,
    page_size,
    read_object,
)

__all__ = ["FIELDS", "project_of"]


async def project_of(source: RunView | SweepView, info: Info) -> ProjectView:
    """Return the project of a run or a sweep."""
    context = info.context
    found = await context.once(
        projects.project_by_id, actor=context.account, need=Need.READ, project_id=source.project_id
    )
    if found is None:
        raise NotFound("the project is gone")
    return found


async def _project(
    root: None, info: Info, name: str | None = None, entityName: str | None = None
) -> ProjectView | None:
    context = info.context
    return await context.read_or_none(
        projects.get_project, actor=context.account, need=Need.READ, entity=entityName, name=name
    )


async def _models(
    root: None,
    info: Info,
    entityName: str | None = None,
    after: str | None = None,
    first: int | None = None,
) -> Mapping[str, Any]:
    context = info.context
    page: Page[ProjectView] | None = await context.read_or_none(
        projects.list_projects,
        actor=context.account,
        need=Need.READ,
        entity=entityName,
        after=after,
        first=page_size(first),
    )
    return connection(page or EMPTY)


async def _run(
    project: ProjectView,
    info: Info,
    name: str,
    desc: str | None = None,
    missingOk: bool | None = None,
) -> RunView | None:
    context = info.context
    return await context.read_or_none(
        runs.get_run,
        actor=context.account,
        need=Need.READ,
        entity=project.entity,
        project=project.name,
        name=name,
    )


async def _prepare_values(
    context: Context, project_id: int, filters: Mapping[str, Any], order: str | None = None
) -> None:
    """Bring up to date what makes a query over many runs quick."""
    fields = run_values.fields_of(filters, order)
    if not fields:
        return
    actor = context.account
    is_wanted = await context.read(
        run_values.wants, actor=actor, project_id=project_id, fields=fields
    )
    while is_wanted:
        is_wanted = not await context.write(
            run_values.prepare, actor=actor, project_id=project_id, fields=fields
        )


async def _runs(
    project: ProjectView,
    info: Info,
    filters: str | None = None,
    after: str | None = None,
    first: int | None = None,
    order: str | None = None,
) -> Mapping[str, Any]:
    context = info.context
    wanted = read_object(filters, "filters")
    await _prepare_values(context, project.id, wanted, order)
    page = await context.read(
        runs.query_runs,
        actor=context.account,
        need=Need.READ,
        project_id=project.id,
        filters=wanted,
        order=order,
        after=after,
        first=page_size(first),
    )
    return connection(page)


async def _run_count(project: ProjectView, info: Info, filters: str | None = None) -> int:
    context = info.context
    wanted = read_object(filters, "filters")
    await _prepare_values(context, project.id, wanted)
    return await context.read(
        runs.count_runs,
        actor=context.account,
        need=Need.READ,
        project_id=project.id,
        filters=wanted,
    )


async def _sweep(project: ProjectView, info: Info, sweepName: str) -> SweepView | None:
    context = info.context
    return await context.read_or_none(
        sweeps.get_sweep,
        actor=context.account,
        need=Need.READ,
        entity=project.entity,
        project=project.name,
        name=sweepName,
    )


async def _sweeps(
    project: ProjectView,
    info: Info,
    after: str | None = None,
    first: int | None = None,
    filters: str | None = None,
) -> Mapping[str, Any]:
    context = info.context
    page = await context.read(
        sweeps.list_sweeps,
        actor=context.account,
        need=Need.READ,
        entity=project.entity,
        project=project.name,
        filters=read_object(filters, "filters"),
        after=after,
        first=page_size(first),
    )
    return connection(page)


async def _total_sweeps(project: ProjectView, info: Info) -> int:
    context = info.context
    page = await context.read(
        sweeps.list_sweeps,
        actor=context.account,
        need=Need.READ,
        entity=project.entity,
        project=project.name,
        after=None,
        first=0,
    )
    return page.total or 0


#: What the client calls who may read a project. Of the first of each kind, we answer.
_ACCESS = {
    "PRIVATE": Access.ENTITY,
    "ENTITY_READ": Access.ENTITY,
    "ENTITY_WRITE": Access.ENTITY,
    "USER_READ": Access.EVERYBODY,
}


async def _upsert_model(root: None, info: Info, input: Mapping[str, Any]) -> Mapping[str, Any]:
    context = info.context
    project_id = input.get("id")
    project, is_new = await context.write(
        projects.upsert_project,
        actor=context.account,
        project_id=read_int_id("Project", project_id) if project_id else None,
        entity=input.get("entityName"),
        name=input.get("name"),
        description=input.get("description"),
        access=_read_access(input.get("access")),
    )
    return {"project": project, "model": project, "inserted": is_new}


async def _delete_model(root: None, info: Info, input: Mapping[str, Any]) -> Mapping[str, Any]:
    context = info.context
    freed = await context.write(
        project_deletion.delete_project,
        actor=context.account,
        project_id=read_int_id("Project", input["id"]),
    )
    await context.delete_blobs(freed)
    return {"success": True}


async def _size(project: ProjectView, info: Info) -> project_deletion.ProjectSize:
    return await info.context.read(project_deletion.size_of, project_id=project.id)


def _read_access(text: str | None) -> Access | None:
    if not text:
        return None
    if text not in _ACCESS:
        raise ProtocolError(f"access: must be one of {', '.join(_ACCESS)}, not {text!r:.100}")
    return _ACCESS[text]


def _access(project: ProjectView, info: Info) -> str:
    return next(name for name, access in _ACCESS.items() if access == project.access)


async def _is_read_only(project: ProjectView, info: Info) -> bool:
    context = info.context
    has = await context.read(
        level, actor=context.account, entity_id=project.entity_id, access=project.access
    )
    return has is None or has < Need.WRITE


FIELDS: Resolvers = {
    "Query": {"project": _project, "model": _project, "models": _models},
    "Mutation": {"upsertModel": _upsert_model, "deleteModel": _delete_model},
    "SweepdProjectSize": {
        "runs": attribute("n_runs"),
        "sweeps": attribute("n_sweeps"),
        "artifacts": attribute("n_artifacts"),
        "bytes": attribute("size_bytes"),
    },
    "Project": {
        "id": ident("Project"),
        "internalId": attribute("id"),
        "entityName": attribute("entity"),
        "entity": lambda project, info: Named(project.entity),
        "createdAt": attribute("created_at"),
        "updatedAt": attribute("created_at"),
        "isBenchmark": constant(False),
        "readOnly": _is_read_only,
        "access": _access,
        "views": constant(None),
        "user": user_of,
        "run": _run,
        "bucket": _run,
        "runs": _runs,
        "runCount": _run_count,
        "sweep": _sweep,
        "sweeps": _sweeps,
        "totalSweeps": _total_sweeps,
        "sweepdSize": _size,
    },
}
