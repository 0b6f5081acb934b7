"""Our own operations, all named `sweepd…`."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from anyio import to_thread

from sweepd.engine import (
    agents,
    alerts,
    budgets,
    byhand,
    decisions,
    fronts,
    outcomes,
    replay,
    retry,
    runs,
    sessions,
    sweeps,
    versions,
)
from sweepd.engine.access import Need
from sweepd.engine.decisions import DecisionView
from sweepd.engine.definitions import read_sent
from sweepd.engine.importance import MOST_WAIT_S, ImportanceView
from sweepd.engine.versions import EditPreview, VersionView
from sweepd.engine.views import AgentView, AlertView, RunView, SweepView, TrialView
from sweepd.errors import ProtocolError, Reason
from sweepd.schedule.budget import Spent
from sweepd.spec import Metric
from sweepd.states import is_terminal
from sweepd.wire.context import Info, Resolvers
from sweepd.wire.ids import read_id, read_int_id
from sweepd.wire.resolvers.common import attribute, connection, ident, page_size, read_list

__all__ = ["FIELDS", "seconds_left"]

#: How a trial ends whose length says something about the others.
_TYPICAL = (Reason.FINISHED, Reason.NO_METRIC, Reason.DIVERGED, Reason.STOPPED_EARLY)


async def _sweep(root: None, info: Info, name: str) -> SweepView | None:
    context = info.context
    return await context.read_or_none(
        sweeps.find_sweep, actor=context.account, need=Need.READ, name=name
    )


async def _sweeps(
    root: None,
    info: Info,
    entityName: str | None = None,
    projectName: str | None = None,
    after: str | None = None,
    first: int | None = None,
) -> Mapping[str, Any]:
    context = info.context
    page = await context.read(
        sweeps.list_sweeps,
        actor=context.account,
        need=Need.READ,
        entity=entityName,
        project=projectName,
        after=after,
        first=page_size(first),
    )
    return connection(page)


def _itself(sweep: SweepView, info: Info) -> SweepView:
    return sweep


async def _seconds_left(sweep: SweepView, info: Info) -> float | None:
    context = info.context
    trials = await context.read(
        sweeps.trials_of, actor=context.account, need=Need.READ, sweep_id=sweep.id
    )
    return seconds_left(sweep, trials)


def seconds_left(sweep: SweepView, trials: Sequence[TrialView]) -> float | None:
    """Return how long a sweep will go on at its present pace, None while nothing can be said.

    Trials to come × mean length of those that ended by themselves / agents alive.
    """
    lengths = [
        trial.ended_at - trial.created_at
        for trial in trials
        if trial.ended_at is not None and trial.reason in _TYPICAL
    ]
    if sweep.expected is None or is_terminal(sweep.state) or not lengths or not sweep.n_agents:
        return None
    n_left = max(0, sweep.expected - sweep.n_finished - sweep.n_failed)
    return n_left * sum(lengths) / len(lengths) / max(1, min(sweep.n_agents, n_left))


async def _budget(sweep: SweepView, info: Info) -> Sequence[Spent]:
    context = info.context
    return await context.read(
        budgets.budget_of, actor=context.account, need=Need.READ, sweep_id=sweep.id
    )


def _url(sweep: SweepView, info: Info) -> str:
    path = f"{sweep.entity}/{sweep.project}/sweeps/{sweep.name}"
    return f"{info.context.base_url}/{path}"


async def _agents(sweep: SweepView, info: Info) -> Sequence[AgentView]:
    context = info.context
    return await context.read(
        agents.list_agents, actor=context.account, need=Need.READ, sweep_id=sweep.id
    )


async def _report_outcome(root: None, info: Info, input: Mapping[str, Any]) -> Mapping[str, Any]:
    context = info.context
    await context.write(
        outcomes.report,
        actor=context.account,
        run=(
            input.get("entityName") or context.account.entity,
            input["projectName"],
            input["runName"],
        ),
        attempt=input["attempt"],
        token=input["token"],
        reason=input["reason"],
        exit_code=input.get("exitcode"),
        signal=input.get("signal"),
        message=input.get("message"),
        host=input.get("host"),
        device=input.get("device"),
        is_crowded=bool(input.get("isCrowded")),
        ran_s=input.get("seconds"),
        limits=context.services.limits,
    )
    return {"success": True}


async def _leave_agent(root: None, info: Info, input: Mapping[str, Any]) -> Mapping[str, Any]:
    context = info.context
    await context.write(agents.leave, actor=context.account, agent_id=read_id("Agent", input["id"]))
    return {"success": True}


def _metrics(sweep: SweepView, info: Info) -> Sequence[Metric]:
    return sweeps.definition_of(sweep).metrics


async def _front(sweep: SweepView, info: Info) -> Sequence[Mapping[str, Any]]:
    found = await info.context.read(fronts.pareto_front, sweep_id=sweep.id)
    return [
        {"runName": one.run, "number": one.number, "values": list(one.values.values())}
        for one in found
    ]


async def _versions(sweep: SweepView, info: Info) -> Sequence[VersionView]:
    context = info.context
    return await context.read(
        versions.list_versions, actor=context.account, need=Need.READ, sweep_id=sweep.id
    )


async def _handed_out(sweep: SweepView, info: Info) -> str:
    context = info.context
    found = await context.read(
        versions.handed_out, actor=context.account, need=Need.READ, sweep_id=sweep.id
    )
    return json.dumps(found, ensure_ascii=False)


async def _importance(
    sweep: SweepView, info: Info, metric: str | None = None, goal: str | None = None
) -> ImportanceView:
    context = info.context
    return await context.services.importances.of(
        context.read,
        actor=context.account,
        sweep_id=sweep.id,
        need=Need.READ,
        metric=metric or None,
        goal=goal,
        wait_s=MOST_WAIT_S,
    )


async def _preview_edit(sweep: SweepView, info: Info, config: str) -> EditPreview:
    context = info.context
    return await context.read(
        versions.preview_edit,
        actor=context.account,
        need=Need.READ,
        sweep_id=sweep.id,
        definition=config,
    )


async def _enqueue(root: None, info: Info, input: Mapping[str, Any]) -> byhand.Enqueued:
    context = info.context
    asked: dict[str, Any] = {
        "actor": context.account,
        "sweep_id": read_int_id("Sweep", input["id"]),
        "configs": read_list(input["configs"], "configs"),
        "like": input.get("like") or None,
    }
    checked = await context.read(byhand.check, **asked)
    title = input.get("displayName")
    return await context.write(byhand.enqueue, **asked, display_name=title, checked=checked)


async def _edit(root: None, info: Info, input: Mapping[str, Any]) -> Mapping[str, Any]:
    context = info.context
    view, warnings = await context.write(
        sweeps.edit_sweep,
        actor=context.account,
        sweep_id=read_int_id("Sweep", input["id"]),
        definition=await to_thread.run_sync(read_sent, input["config"]),
        version=input["version"],
    )
    return {"version": view.version, "warnings": warnings}


async def _retry(root: None, info: Info, input: Mapping[str, Any]) -> retry.Retried:
    context = info.context
    sweep, run = input.get("sweepId"), input.get("runId")
    if (sweep is None) == (run is None):
        raise ProtocolError("input: give sweepId or runId, one of the two")
    if sweep is not None:
        return await context.write(
            retry.retry_sweep, actor=context.account, sweep_id=read_int_id("Sweep", sweep)
        )
    return await context.write(
        retry.retry_run, actor=context.account, run_id=read_int_id("Run", str(run))
    )


async def _release_slot(root: None, info: Info, input: Mapping[str, Any]) -> Mapping[str, Any]:
    context = info.context
    agent = await context.write(
        agents.release_slot, actor=context.account, agent_id=read_id("Agent", input["id"])
    )
    return {"agent": agent}


async def _quarantine_slot(root: None, info: Info, input: Mapping[str, Any]) -> Mapping[str, Any]:
    context = info.context
    agent = await context.write(
        agents.quarantine_slot,
        actor=context.account,
        agent_id=read_id("Agent", input["id"]),
        reason=input["reason"],
        limits=context.services.limits,
    )
    return {"agent": agent}


async def _delete_sweep(root: None, info: Info, input: Mapping[str, Any]) -> Mapping[str, Any]:
    context = info.context
    freed = await context.write(
        sweeps.delete_sweep, actor=context.account, sweep_id=read_int_id("Sweep", input["id"])
    )
    await context.delete_blobs(freed)
    return {"success": True}


async def _finish_run(root: None, info: Info, input: Mapping[str, Any]) -> Mapping[str, Any]:
    context = info.context
    run = await context.write(
        runs.finish_run,
        actor=context.account,
        run_id=read_int_id("Run", input["id"]),
        limits=context.services.limits,
    )
    return {"run": run}


async def _alerts(run: RunView, info: Info) -> Sequence[AlertView]:
    return await info.context.read(alerts.list_alerts, run_id=run.id)


async def _decision(run: RunView, info: Info) -> DecisionView | None:
    return await info.context.read(decisions.decision_of, run=run)


async def _replay_log(sweep: SweepView, info: Info) -> str:
    context = info.context
    log = await context.read(
        replay.log_of, actor=context.account, sweep_id=sweep.id, need=Need.READ
    )
    return log.text()


async def _create_login_link(root: None, info: Info) -> Mapping[str, Any]:
    context = info.context
    token = await context.write(sessions.create_login_link, account=context.account)
    return {"url": f"{context.base_url}/login/{token}"}


FIELDS: Resolvers = {
    "Query": {"sweepdSweep": _sweep, "sweepdSweeps": _sweeps},
    "Run": {"sweepdAlerts": _alerts, "sweepdDecision": _decision},
    "SweepdDecision": {
        "versions": attribute("n_versions"),
        "basisEvent": attribute("basis_event"),
        "basisAt": attribute("basis_at"),
        "logEI": attribute("log_ei"),
        "feasibility": attribute("p_feasible"),
    },
    "SweepdNeighbour": {"runName": attribute("run"), "isFeasible": attribute("is_feasible")},
    "SweepdAlert": {"createdAt": attribute("at"), "repeats": attribute("n_repeats")},
    "Sweep": {
        "sweepdStatus": _itself,
        "sweepdAgents": _agents,
        "sweepdVersions": _versions,
        "sweepdHandedOut": _handed_out,
        "sweepdReplayLog": _replay_log,
        "sweepdPreviewEdit": _preview_edit,
        "sweepdImportance": _importance,
    },
    "SweepdImportance": {
        "runs": attribute("n"),
        "runsNeeded": attribute("n_needed"),
        "isComputing": attribute("is_computing"),
    },
    "SweepdParameterImportance": {
        "runs": attribute("n"),
        "shareLow": attribute("share_low"),
        "shareHigh": attribute("share_high"),
        "trendLow": attribute("trend_low"),
        "trendHigh": attribute("trend_high"),
    },
    "SweepdVersion": {
        "config": attribute("definition"),
        "createdAt": attribute("created_at"),
        "trials": attribute("n_trials"),
    },
    "SweepdEditPreview": {
        "trialsKept": attribute("n_kept"),
        "trialsLost": attribute("n_lost"),
    },
    "Mutation": {
        "sweepdReportOutcome": _report_outcome,
        "sweepdLeaveAgent": _leave_agent,
        "sweepdEnqueue": _enqueue,
        "sweepdEdit": _edit,
        "sweepdRetry": _retry,
        "sweepdReleaseSlot": _release_slot,
        "sweepdQuarantineSlot": _quarantine_slot,
        "sweepdDeleteSweep": _delete_sweep,
        "sweepdFinishRun": _finish_run,
        "sweepdCreateLoginLink": _create_login_link,
    },
    "SweepdAgent": {
        "id": ident("Agent"),
        "totalRuns": attribute("n_runs"),
        "currentRunName": attribute("current_run"),
        "createdAt": attribute("created_at"),
        "heartbeatAt": attribute("heartbeat_at"),
        "quarantineReason": attribute("quarantine"),
        "quarantinedAt": attribute("quarantined_at"),
    },
    "SweepdStatus": {
        "issued": attribute("n_issued"),
        "running": attribute("n_running"),
        "finished": attribute("n_finished"),
        "failed": attribute("n_failed"),
        "bundled": attribute("n_bundled"),
        "queued": attribute("n_queued"),
        "agents": attribute("n_agents"),
        "bestValue": attribute("best_value"),
        "bestRunName": attribute("best_run"),
        "stopReason": attribute("stop_reason"),
        "createdAt": attribute("created_at"),
        "endedAt": attribute("ended_at"),
        "metrics": _metrics,
        "front": _front,
        "secondsLeft": _seconds_left,
        "budget": _budget,
        "url": _url,
    },
}
