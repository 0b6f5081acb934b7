"""A sweep as its page shows it: plain data from views, no I/O."""

import shlex
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from typing import Any
from urllib.parse import quote

from sweepd.dash.axes import metric_axis, parameter_axes
from sweepd.dash.plain import parse
from sweepd.dash.queries import TrialRow
from sweepd.dash.words import Badge, Pace, ends_in, run_badge, sweep_badge, sweep_sentence
from sweepd.engine.bundles import BundleView
from sweepd.engine.fronts import as_logged
from sweepd.engine.views import AgentView, SweepView, TrialView
from sweepd.errors import Reason
from sweepd.schedule import FAILURES, RETRIED
from sweepd.schedule.budget import Spent
from sweepd.spec import Definition, signed
from sweepd.states import SWEEP_MOVES, AgentState, RunState, SweepState, is_terminal

__all__ = [
    "address",
    "bundle_row",
    "can_retry",
    "controls",
    "curve_runs",
    "progress",
    "sweep_data",
    "trial_value",
]

Curves = Mapping[int, tuple[list[int], list[float]]]

#: Learning curves of at most so many runs are drawn.
MAX_CURVES = 60

_CONTROLS = (
    ("pause", SweepState.PAUSED),
    ("resume", SweepState.RUNNING),
    ("stop", SweepState.FINISHED),
    ("cancel", SweepState.CANCELED),
)


def address(entity: str, project: str, *parts: str) -> str:
    """Return a page's path, percent-encoded."""
    return "/" + "/".join(quote(part, safe="") for part in (entity, project, *parts))


def controls(state: SweepState, *, n_running: int) -> list[str]:
    """Return what a person may do to a sweep in this state: pause, resume, stop, cancel."""
    allowed = SWEEP_MOVES[state]
    if state is SweepState.FINISHED and not n_running:
        allowed = frozenset()
    if state in (SweepState.PENDING, SweepState.FINISHED):  # a finished one goes on by a retry only
        allowed = allowed - {SweepState.RUNNING}
    return [name for name, target in _CONTROLS if target in allowed]


def can_retry(trial: TrialView, *, also_killed: bool = False) -> bool:
    """Return whether a trial failed, so that it may be put back; one that was killed if asked."""
    if trial.state != "ended" or trial.reason is None or trial.attempt == 0:
        return False
    reason = Reason(trial.reason)
    return reason in FAILURES | RETRIED or (also_killed and reason is Reason.KILLED)


def trial_value(trial: TrialView, goal: str, rule: str) -> float | None:
    """Return a trial's metric as logged, by the definition's rule; so far, while it runs."""
    if trial.objective is not None:
        return signed(trial.objective, goal)
    return trial.best if rule == "best" else trial.last


def _value(row: TrialRow, definition: Definition) -> float | None:
    return trial_value(row.trial, definition.goal, definition.own.objective)


def progress(view: SweepView) -> list[dict[str, Any]]:
    """Return the parts of a sweep's progress bar: tone, count and word, in order."""
    parts = [
        ("good", view.n_finished, "finished"),
        ("bad", view.n_failed, "failed"),
        ("run", view.n_running, "running"),
        ("warn", view.n_queued, "waiting to be tried again"),
    ]
    known = sum(count for _, count, _ in parts)
    if view.expected is not None and view.expected > known:
        parts.append(("quiet", view.expected - known, "to come"))
    return [{"tone": tone, "count": count, "word": word} for tone, count, word in parts if count]


def curve_runs(rows: Sequence[TrialRow], definition: Definition) -> list[TrialRow]:
    """Return the trials whose curves are drawn: those that run, then the best."""
    having = [row for row in rows if row.trial.n_values > 0]

    def order(row: TrialRow) -> tuple[bool, float]:
        value = _value(row, definition)
        worst = float("inf")
        return row.trial.state == "ended", signed(
            value, definition.goal
        ) if value is not None else worst

    return sorted(having, key=order)[:MAX_CURVES]


def sweep_data(
    view: SweepView,
    definition: Definition,
    *,
    rows: Sequence[TrialRow],
    curves: Curves,
    agents: Sequence[AgentView],
    base_url: str,
    budget: Sequence[Spent] = (),
    now: float,
    front: Collection[str] = (),
) -> dict[str, Any]:
    """Return everything that a sweep's page draws.

    `front` are the ids of the runs that no other beats, where there are several metrics.
    """
    values = [_value(row, definition) for row in rows]
    metric = definition.metric_name
    several = [as_logged(definition, row.trial.objectives) for row in rows]
    pace = _pace(rows, now)
    left = ends_in(view, pace)
    return {
        "now": now,
        "sweep": {
            "name": view.name,
            "version": view.version,
            "title": view.display_name or definition.name or view.name,
            "state": asdict(sweep_badge(view.state)),
            "sentence": sweep_sentence(view),
            "ends": now + left if left is not None else None,
            "stop_reason": view.stop_reason,
            "controls": controls(view.state, n_running=view.n_running),
            "n_retried": sum(can_retry(row.trial) for row in rows) if _may_go_on(view) else 0,
            "budget": [asdict(one) for one in budget],
            "takes_more": not is_terminal(view.state) and view.stop_reason is None,
            "method": view.method,
            "metric": metric,
            "metrics": [{"name": one.name, "goal": one.goal} for one in definition.metrics],
            "n_front": len(front),
            "goal": definition.goal,
            "rule": definition.own.objective,
            "stopping": _stopping(definition),
            "progress": progress(view),
            "n_done": view.n_finished + view.n_failed,
            "expected": view.expected,
            "n_running": view.n_running,
            "n_failed": view.n_failed,
            "n_agents": view.n_agents,
            "compute_s": _compute_s(rows, now),
            "created": view.created_at,
            "ended": view.ended_at,
            "user": view.user_name,
            "description": view.description or definition.description,
            "best": _best(rows, values, view, definition),
        },
        "axes": _axes(definition, rows, values, several),
        "constants": _constants(definition),
        "runs": [
            _run(row, value, view) | ({"values": own, "front": row.name in front} if own else {})
            for row, value, own in zip(rows, values, several, strict=True)
        ],
        "curves": {
            row.name: {"x": curves[row.trial.run_id][0], "y": curves[row.trial.run_id][1]}
            for row in rows
            if row.trial.run_id in curves
        },
        "n_curves": sum(row.trial.n_values > 0 for row in rows),
        "agents": [_agent(agent, view) for agent in agents],
        "commands": _commands(view, base_url),
    }


def _may_go_on(view: SweepView) -> bool:
    """Return whether a sweep takes up trials again that failed; one that was cancelled never."""
    return view.state is not SweepState.CANCELED and (
        view.stop_reason is None or is_terminal(view.state)
    )


def _axes(
    definition: Definition,
    rows: Sequence[TrialRow],
    values: Sequence[float | None],
    several: Sequence[Mapping[str, float]],
) -> list[dict[str, Any]]:
    """Return the axes of the parallel coordinates: parameters, then what is optimised."""
    axes = parameter_axes(definition, [parse(row.trial.config) for row in rows])
    for one in definition.objectives:
        own = values if definition.metric is not None else [each.get(one.name) for each in several]
        known = [value for value in own if value is not None]
        axes.append(metric_axis(one.name, goal=one.goal, values=known))
    return axes


def _run(row: TrialRow, value: float | None, view: SweepView) -> dict[str, Any]:
    trial = row.trial
    ended = trial.ended_at if trial.state == "ended" else None
    return {
        "id": row.name,
        "title": row.title,
        "url": address(view.entity, view.project, "runs", row.name),
        "number": trial.number,
        "state": asdict(run_badge(row.state, trial)),
        "config": parse(trial.config),
        "value": value,
        "last": trial.last,
        "n": trial.n_values,
        "is_out": trial.outcome is not None,
        "counts": value is not None and _counts(row),
        "origin": trial.origin,
        "version": trial.version,
        "attempt": trial.attempt,
        "created": trial.created_at,
        "started": row.started_at,
        "ended": ended,
    }


def _counts(row: TrialRow) -> bool:
    """Return whether a trial can be the best: it has finished, or runs and may yet."""
    return row.state in (RunState.FINISHED, RunState.RUNNING) and row.trial.outcome is None


def _compute_s(rows: Sequence[TrialRow], now: float) -> float:
    """Return how long the trials' attempts took, s; not what was waited between them."""
    total = 0.0
    for row in rows:
        until = now if row.trial.state == "leased" else row.ended_at
        if row.started_at is not None and until is not None:
            total += max(0.0, until - row.started_at)
        total += row.earlier_s
    return total


def _pace(rows: Sequence[TrialRow], now: float) -> Pace:
    ended = [
        (row.trial.ended_at, row.trial.ended_at - row.started_at)
        for row in rows
        if row.trial.state == "ended" and row.trial.ended_at and row.started_at
    ]
    running = [
        max(0.0, now - row.started_at)
        for row in rows
        if row.trial.state == "leased" and row.started_at is not None
    ]
    return Pace([seconds for _, seconds in sorted(ended)], running)


def _stopping(definition: Definition) -> str | None:
    """Return the names of the stop rules that a person chose, None if there are none."""
    rules = [definition.early_terminate.type] if definition.early_terminate else []
    rules += [block.rule for block in definition.own.stop if block.rule != "nan"]
    return " and ".join(rules) or None


def _best(
    rows: Sequence[TrialRow],
    values: Sequence[float | None],
    view: SweepView,
    definition: Definition,
) -> dict[str, Any] | None:
    """Return the best run, and by how much it beats the best before it."""
    if view.best_run is None or view.best_value is None:
        return None
    row = next((row for row in rows if row.name == view.best_run), None)
    if row is None:
        return None
    before = [
        value
        for other, value in zip(rows, values, strict=True)
        if value is not None
        and other is not row
        and _counts(other)
        and (other.trial.ended_at or float("inf")) <= (row.trial.ended_at or 0.0)
    ]
    sign = signed(1.0, definition.goal)
    previous = sign * min((sign * value for value in before), default=float("nan"))
    return {
        "value": view.best_value,
        "run": row.name,
        "title": row.title,
        "url": address(view.entity, view.project, "runs", row.name),
        "number": row.trial.number,
        "at": row.trial.ended_at,
        "gain": view.best_value - previous if before else None,
    }


def _constants(definition: Definition) -> dict[str, Any]:
    searched = {parameter.name for parameter in definition.space.searched}
    return {
        parameter.name: parameter.distribution.ppf(0.5)
        for parameter in definition.space.parameters
        if parameter.name not in searched
    }


def _agent(agent: AgentView, view: SweepView) -> dict[str, Any]:
    words = {
        AgentState.RUNNING: ("Connected", "finished", "good"),
        AgentState.LOST: ("Silent", "crashed", "warn"),
        AgentState.EXITED: ("Left", "killed", "quiet"),
    }
    word, icon, tone = words[agent.state]
    run = agent.current_run
    return {
        "id": agent.id,
        "name": agent.name,
        "host": agent.host,
        "state": {"word": word, "icon": icon, "tone": tone, "why": None},
        "n_runs": agent.n_runs,
        "created": agent.created_at,
        "seen": agent.heartbeat_at,
        "device": agent.device,
        "quarantine": agent.quarantine,
        "quarantined": agent.quarantined_at,
        "run": run,
        "run_url": address(view.entity, view.project, "runs", run) if run else None,
    }


def bundle_row(bundle: BundleView) -> dict[str, Any]:
    """Return a bundle as the sweep's page lists it."""
    if bundle.n_out:
        badge = Badge("Away", "pending", "quiet")
    elif bundle.ended_at is None:
        badge = Badge("Back", "finished", "good")
    else:
        badge = Badge("Over", "killed", "quiet", "what it had not run by then went to others")
    return {
        "name": bundle.id,
        "state": asdict(badge),
        "n": bundle.n_given,
        "n_out": bundle.n_out,
        "user": bundle.user_name,
        "created": bundle.created_at,
        "until": bundle.until,
    }


def _commands(view: SweepView, base_url: str) -> list[dict[str, str]]:
    path = shlex.quote(f"{view.entity}/{view.project}/{view.name}")
    server = f"WANDB_BASE_URL={shlex.quote(base_url)}"
    return [
        {"name": "sweep", "text": f"{server} sweep agent {path}"},
        {"name": "wandb", "text": f"{server} wandb agent {path}"},
    ]
