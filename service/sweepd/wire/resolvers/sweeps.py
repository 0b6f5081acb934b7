"""Sweeps: registering, changing, reading."""

import math
from collections.abc import Mapping
from typing import Any

from anyio import to_thread

from sweepd.engine import agents, runs, sweeps
from sweepd.engine.access import Need
from sweepd.engine.definitions import read_sent
from sweepd.engine.sweepviews import scheduler_run
from sweepd.engine.views import AgentView, Page, RunView, SweepView
from sweepd.errors import ProtocolError
from sweepd.wire.context import Context, Info, Resolvers
from sweepd.wire.ids import read_int_id, wire_id
from sweepd.wire.resolvers.common import (
    attribute,
    connection,
    ident,
    page_size,
    read_object,
)
from sweepd.wire.resolvers.projects import project_of

__all__ = ["FIELDS"]

_AT_ONCE = 1_000  # runs read in one go


async def _upsert_sweep(root: None, info: Info, input: Mapping[str, Any]) -> Mapping[str, Any]:
    context = info.context
    if input.get("id"):
        sweep, warnings = await _update(context, input)
    else:
        sweep, warnings = await _create(context, input)
    return {"sweep": sweep, "configValidationWarnings": list(warnings)}


async def _create(context: Context, input: Mapping[str, Any]) -> tuple[SweepView, list[str]]:
    if input.get("config") is None:
        raise ProtocolError("a new sweep needs its definition: `config`, in YAML")
    if read_object(input.get("launchScheduler"), "launchScheduler"):
        raise ProtocolError("launch is not supported: start agents with `wandb agent SWEEP`")
    definition = await to_thread.run_sync(read_sent, input["config"])
    return await context.write(
        sweeps.create_sweep,
        actor=context.account,
        entity=input.get("entityName") or None,
        project=input.get("projectName") or None,
        definition=definition,
        display_name=input.get("displayName"),
        description=input.get("description"),
        prior_runs_filters=input.get("priorRunsFilters"),
        controller=input.get("controller"),
        scheduler=input.get("scheduler"),
    )


async def _update(context: Context, input: Mapping[str, Any]) -> tuple[SweepView, list[str]]:
    text = input.get("config")
    definition = None if text is None else await to_thread.run_sync(read_sent, text)
    return await context.write(
        sweeps.update_sweep,
        actor=context.account,
        sweep_id=read_int_id("Sweep", input["id"]),
        definition=definition,
        display_name=input.get("displayName"),
        description=input.get("description"),
        state=input.get("state"),
        prior_runs_filters=input.get("priorRunsFilters"),
        controller=input.get("controller"),
        scheduler=input.get("scheduler"),
    )


async def _enqueue_run(root: None, info: Info, input: Mapping[str, Any]) -> Mapping[str, Any]:
    trial_id, run = await info.context.write(
        sweeps.enqueue_run,
        actor=info.context.account,
        sweep_id=read_int_id("Sweep", input["id"]),
        config=read_object(input["config"], "config"),
        display_name=input.get("displayName"),
    )
    return {"id": run, "runQueueItemId": wire_id("Trial", trial_id)}


async def _prior_runs(sweep: SweepView, info: Info) -> Mapping[str, Any]:
    context = info.context
    found = await context.read(
        sweeps.prior_runs_of, actor=context.account, sweep_id=sweep.id, need=Need.READ
    )
    return {
        "edges": [{"node": run, "cursor": wire_id("Run", run.id)} for run in found],
        "pageInfo": {"endCursor": None, "hasNextPage": False},
        "totalCount": len(found),
    }


def _controller_run(sweep: SweepView, info: Info) -> str:
    return scheduler_run(sweep.name)


async def _runs(
    sweep: SweepView, info: Info, first: int | None = None, after: str | None = None
) -> Mapping[str, Any]:
    """Answer with a page of a sweep's runs; with all of them if no size is given, as the CLI asks.

    It reads no further page, and decides by the runs what to do with the sweep.
    """
    page = await _page(sweep, info, first=page_size(first, _AT_ONCE), after=after)
    if first is not None:
        return connection(page)
    pages = [page]
    while pages[-1].has_next:
        pages.append(await _page(sweep, info, first=_AT_ONCE, after=pages[-1].end))
    items = tuple(run for one in pages for run in one.items)
    cursors = tuple(cursor for one in pages for cursor in one.cursors)
    return connection(Page(items=items, cursors=cursors, has_next=False, total=page.total))


async def _page(sweep: SweepView, info: Info, *, first: int, after: str | None) -> Page[RunView]:
    context = info.context
    return await context.read(
        runs.query_runs,
        actor=context.account,
        need=Need.READ,
        project_id=sweep.project_id,
        filters={"sweep": sweep.name},
        order="+created_at",
        after=after,
        first=first,
    )


async def _agents(sweep: SweepView, info: Info) -> Mapping[str, Any]:
    context = info.context
    found = await context.read(
        agents.list_agents, actor=context.account, need=Need.READ, sweep_id=sweep.id
    )
    return {"edges": [{"node": agent} for agent in found]}


async def _agent(sweep: SweepView, info: Info, agentName: str) -> AgentView | None:
    context = info.context
    for agent in await context.read(
        agents.list_agents, actor=context.account, need=Need.READ, sweep_id=sweep.id
    ):
        if agentName in (agent.name, agent.id, wire_id("Agent", agent.id)):
            return agent
    return None


def _best_loss(sweep: SweepView, info: Info) -> float | None:
    value = sweep.best_value
    return value if value is not None and math.isfinite(value) else None


def _is_early_stopping(sweep: SweepView, info: Info) -> bool:
    """Tell that no job for early termination runs: decisions are made as values arrive."""
    return False


FIELDS: Resolvers = {
    "Mutation": {"upsertSweep": _upsert_sweep, "enqueueSweepRun": _enqueue_run},
    "Sweep": {
        "id": ident("Sweep"),
        "displayName": attribute("display_name"),
        "bestLoss": _best_loss,
        "config": attribute("definition"),
        "createdAt": attribute("created_at"),
        "updatedAt": attribute("updated_at"),
        "heartbeatAt": attribute("heartbeat_at"),
        "runCount": attribute("n_issued"),
        "runCountExpected": attribute("expected"),
        "earlyStopJobRunning": _is_early_stopping,
        "project": project_of,
        "runs": _runs,
        "priorRuns": _prior_runs,
        "controllerRunName": _controller_run,
        "agent": _agent,
        "agents": _agents,
    },
}
