"""The list of projects, and a project's sweeps and runs."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from starlette.responses import RedirectResponse, Response

from sweepd.dash import queries
from sweepd.dash.assets import HEADERS
from sweepd.dash.forms import Attempt, submit
from sweepd.dash.plain import digest, dump, parse, summary_number
from sweepd.dash.runshape import listed_run
from sweepd.dash.sweepshape import address, controls, progress
from sweepd.dash.visit import Visit, json_text
from sweepd.dash.words import sweep_badge, sweep_sentence
from sweepd.engine import access, entities, projects, runs, sweeps, teams
from sweepd.engine.access import Need
from sweepd.engine.views import Access, Account, RunView, SweepView
from sweepd.errors import InvalidInput
from sweepd.spec import signed
from sweepd.store import Tx

__all__ = ["entity_data", "entity_page", "home", "project_data", "project_page", "set_access"]

_MOST_PROJECTS = 500
_MOST_SWEEPS = 200
_MOST_RUNS = 2000
_MOST_METRICS = 4


async def home(visit: Visit) -> Response:
    """Go to the user's own projects."""
    return RedirectResponse(f"/{visit.account.entity}", 303, headers=HEADERS)


def list_entity(tx: Tx, *, actor: Account, entity: str) -> dict[str, Any]:
    """Return an entity's projects with how much is in each, the last touched first."""
    page = projects.list_projects(
        tx, actor=actor, need=Need.READ, entity=entity, first=_MOST_PROJECTS
    )
    counts = queries.project_counts(tx, project_ids=[view.id for view in page.items])
    stamp = digest(counts)
    rows = [
        {
            "name": view.name,
            "url": address(view.entity, view.name),
            "created": view.created_at,
            "description": view.description,
            **asdict(counts[view.id]),
        }
        for view in page.items
    ]
    rows.sort(key=lambda row: -(row["touched_at"] or row["created"]))
    return {
        "now": tx.now,
        "stamp": stamp,
        "entity": entity,
        "projects": rows,
        "total": page.total or len(rows),
    }


async def entity_page(visit: Visit) -> Response:
    """Show an entity's projects."""
    entity = visit["entity"]
    data = await visit.read(list_entity, actor=visit.account, entity=entity)
    data["address"] = {
        "data": address("-", "data", "entity", entity),
        "feed": address("-", "feed", "entity", entity),
    }
    homes = await visit.read(_homes, actor=visit.account, entity=entity)
    return visit.page("projects.html", data=data, entity=entity, **homes)


def _homes(tx: Tx, *, actor: Account, entity: str) -> dict[str, Any]:
    """Return where else the actor is at home, and the page of the members if this is their team."""
    names = [team.name for team in teams.list_teams(tx, actor=actor)]
    own = [actor.name] if actor.own_id is not None else []
    entity_id, _ = projects.resolve_entity(tx, actor=actor, entity=entity, need=Need.READ)
    is_team = entities.is_team(tx, entity_id=entity_id)
    is_member = is_team and (actor.is_admin or entity in names)
    return {
        "homes": [(name, f"/{name}") for name in own + names],
        "members_url": address("-", "teams", entity) if is_member else None,
    }


async def entity_data(visit: Visit) -> Response:
    """Answer with an entity's projects."""
    found = await visit.read(list_entity, actor=visit.account, entity=visit["entity"])
    return json_text(dump(found))


def list_project(tx: Tx, *, actor: Account, entity: str, project: str) -> dict[str, Any]:
    """Return a project's sweeps and runs, the newest first, and which numbers its runs logged."""
    view = projects.get_project(tx, actor=actor, need=Need.READ, entity=entity, name=project)
    found = sweeps.list_sweeps(
        tx, actor=actor, need=Need.READ, entity=entity, project=project, first=_MOST_SWEEPS
    )
    objectives = queries.objectives(tx, sweep_ids=[one.id for one in found.items])
    listed = runs.query_runs(
        tx, actor=actor, need=Need.READ, project_id=view.id, order="-created_at", first=_MOST_RUNS
    )
    summaries = [_numbers(run) for run in listed.items]
    often = Counter(key for summary in summaries for key in summary)
    metrics = [key for key, _ in often.most_common(_MOST_METRICS)]
    return {
        "now": tx.now,
        "stamp": digest(queries.project_counts(tx, project_ids=[view.id])),
        "sweeps": [_sweep(one, objectives.get(one.id, [])) for one in found.items],
        "n_sweeps": found.total or len(found.items),
        "metrics": metrics,
        "runs": [
            {**listed_run(run), "summary": {key: summary.get(key) for key in metrics}}
            for run, summary in zip(listed.items, summaries, strict=True)
        ],
        "n_runs": runs.count_runs(tx, actor=actor, need=Need.READ, project_id=view.id),
    }


def _numbers(run: RunView) -> dict[str, float]:
    numbers = {key: summary_number(value) for key, value in parse(run.summary).items()}
    return {
        key: value
        for key, value in numbers.items()
        if value is not None and not key.startswith("_")
    }


def _sweep(view: SweepView, objectives: list[float]) -> dict[str, Any]:
    best: list[float] = []
    for objective in objectives:
        best.append(min(objective, best[-1]) if best else objective)
    return {
        "id": view.name,
        "title": view.display_name or view.name,
        "url": address(view.entity, view.project, "sweeps", view.name),
        "state": asdict(sweep_badge(view.state)),
        "sentence": sweep_sentence(view),
        "controls": controls(view.state, n_running=view.n_running),
        "method": view.method,
        "metric": view.metric,
        "goal": view.goal,
        "value": view.best_value,
        "best_url": address(view.entity, view.project, "runs", view.best_run)
        if view.best_run
        else None,
        "progress": progress(view),
        "n_done": view.n_finished + view.n_failed,
        "expected": view.expected,
        "n_agents": view.n_agents,
        "spark": [signed(objective, view.goal) for objective in best],
        "created": view.created_at,
        "user": view.user_name,
    }


async def project_page(visit: Visit) -> Response:
    """Show a project's sweeps and runs."""
    return await _show_project(visit, Attempt())


async def _show_project(visit: Visit, attempt: Attempt) -> Response:
    entity, project = visit["entity"], visit["project"]
    data = await visit.read(list_project, actor=visit.account, entity=entity, project=project)
    data["address"] = {
        "data": address("-", "data", "project", entity, project),
        "feed": address("-", "feed", "project", entity, project),
        "compare": address(entity, project, "compare"),
    }
    return visit.page(
        "project.html",
        data=data,
        status=attempt.status,
        attempt=attempt,
        entity=entity,
        entity_url=f"/{entity}",
        project=project,
        artifacts_url=address(entity, project, "artifacts"),
        access_url=address("-", "access", entity, project),
        **await visit.read(_access, actor=visit.account, entity=entity, project=project),
    )


def _access(tx: Tx, *, actor: Account, entity: str, project: str) -> dict[str, Any]:
    """Return who may read a project, and whether the actor may change that."""
    view = projects.get_project(tx, actor=actor, need=Need.READ, entity=entity, name=project)
    has = access.level(tx, actor=actor, entity_id=view.entity_id, access=view.access)
    is_team = entities.is_team(tx, entity_id=view.entity_id)
    return {
        "access": view.access,
        "may_open": has is Need.ADMIN,
        "insiders": f"members of {entity}" if is_team else entity,
    }


async def set_access(visit: Visit) -> Response:
    """Open a project to everybody with a key, or close it again."""

    async def change(fields: Mapping[str, str]) -> str:
        entity, project = visit["entity"], visit["project"]
        await visit.write(
            _set_access,
            actor=visit.account,
            entity=entity,
            project=project,
            choice=fields.get("access", ""),
        )
        return address(entity, project)

    return await submit(
        "access", visit.request, change, lambda attempt: _show_project(visit, attempt)
    )


def _set_access(tx: Tx, *, actor: Account, entity: str, project: str, choice: str) -> None:
    view = projects.get_project(tx, actor=actor, need=Need.ADMIN, entity=entity, name=project)
    if choice not in list(Access):
        raise InvalidInput(f"access: must be {' or '.join(Access)}, not {choice!r:.40}")
    projects.upsert_project(tx, actor=actor, project_id=view.id, access=Access(choice))


async def project_data(visit: Visit) -> Response:
    """Answer with a project's sweeps and runs."""
    found = await visit.read(
        list_project, actor=visit.account, entity=visit["entity"], project=visit["project"]
    )
    return json_text(dump(found))
