"""A sweep's page, its data, and what its buttons do."""

from dataclasses import asdict
from typing import Any

from starlette.responses import Response

from sweepd.dash import byhand, queries
from sweepd.dash.addressed import sweep_of
from sweepd.dash.plain import digest, dump
from sweepd.dash.sweepshape import address, bundle_row, curve_runs, sweep_data
from sweepd.dash.visit import Visit, json_text
from sweepd.engine import agents, budgets, bundles, fronts, notices, sweeps, warm_start
from sweepd.engine.access import Need
from sweepd.engine.importance import MOST_WAIT_S
from sweepd.engine.views import Account, SweepView
from sweepd.errors import NotFound
from sweepd.states import SweepState
from sweepd.store import Tx

__all__ = ["control", "data", "importance", "page"]

_ACTIONS = {
    "pause": SweepState.PAUSED,
    "resume": SweepState.RUNNING,
    "stop": SweepState.FINISHED,
    "cancel": SweepState.CANCELED,
}


def gather(
    tx: Tx, *, actor: Account, entity: str, project: str, name: str, base_url: str
) -> tuple[SweepView, dict[str, Any]]:
    """Return a sweep and everything that its page draws."""
    view = sweeps.get_sweep(
        tx, actor=actor, need=Need.READ, entity=entity, project=project, name=name
    )
    definition = sweeps.definition_of(view)
    rows = queries.trial_rows(tx, sweep_id=view.id)
    drawn = [row.trial.run_id for row in curve_runs(rows, definition)]
    shown = sweep_data(
        view,
        definition,
        rows=rows,
        curves=queries.curves(tx, run_ids=drawn),
        agents=agents.list_agents(tx, actor=actor, need=Need.READ, sweep_id=view.id),
        base_url=base_url,
        budget=budgets.budget_of(tx, actor=actor, sweep_id=view.id, need=Need.READ),
        now=tx.now,
        front={trial.run for trial in fronts.pareto_front(tx, view.id)},
    )
    shown["notices"] = [
        {"text": one.text, "tone": "quiet" if one.topic == warm_start.TOPIC else "warn"}
        for one in notices.list_notices(tx, view.id)
    ]
    shown["bundles"] = [
        bundle_row(one)
        for one in bundles.list_bundles(tx, actor=actor, need=Need.READ, sweep_id=view.id)
    ]
    shown["fields"] = byhand.fields(definition)
    shown["stamp"] = digest(queries.sweep_stamp(tx, sweep_id=view.id))
    return view, shown


async def _gather(visit: Visit) -> tuple[SweepView, dict[str, Any]]:
    return await visit.read(
        gather,
        actor=visit.account,
        entity=visit["entity"],
        project=visit["project"],
        name=visit["name"],
        base_url=visit.base_url,
    )


async def page(visit: Visit) -> Response:
    """Show a sweep."""
    view, shown = await _gather(visit)
    place = (view.entity, view.project, view.name)
    shown["address"] = {
        "data": address("-", "data", "sweep", *place),
        "feed": address("-", "feed", "sweep", *place),
        "control": address("-", "sweep", *place),
        "versions": address("-", "data", "sweep", *place, "versions"),
        "compare": address(view.entity, view.project, "compare"),
    }
    return visit.page(
        "sweep.html",
        data=shown,
        entity=view.entity,
        entity_url=f"/{view.entity}",
        project=view.project,
        project_url=address(view.entity, view.project),
        title=shown["sweep"]["title"],
        sentence=shown["sweep"]["sentence"],
        yaml=view.definition,
    )


async def data(visit: Visit) -> Response:
    """Answer with what a sweep's page draws."""
    _, shown = await _gather(visit)
    return json_text(dump(shown))


async def importance(visit: Visit) -> Response:
    """Answer with which parameters matter, for the metric that the page asks for."""
    view = await sweep_of(visit, Need.READ)
    query = visit.request.query_params
    found = await visit.services.importances.of(
        visit.read,
        actor=visit.account,
        sweep_id=view.id,
        need=Need.READ,
        metric=query.get("metric") or None,
        goal=query.get("goal") or None,
        wait_s=MOST_WAIT_S,
    )
    return json_text(dump(asdict(found)))


def change(tx: Tx, *, actor: Account, entity: str, project: str, name: str, action: str) -> None:
    """Pause, resume, stop or cancel a sweep."""
    if action not in _ACTIONS:
        raise NotFound(f"a sweep can be paused, resumed, stopped and cancelled, not {action!r}")
    view = sweeps.get_sweep(
        tx, actor=actor, need=Need.WRITE, entity=entity, project=project, name=name
    )
    sweeps.set_state(tx, actor=actor, sweep_id=view.id, state=_ACTIONS[action])


async def control(visit: Visit) -> Response:
    """Do what a button of a sweep's page says."""
    await visit.write(
        change,
        actor=visit.account,
        entity=visit["entity"],
        project=visit["project"],
        name=visit["name"],
        action=visit["action"],
    )
    return json_text("{}")
