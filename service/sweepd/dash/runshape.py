"""A run as its page, the listings and the comparison show it: plain data from views, no I/O."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from sweepd.dash.mediashape import media_keys
from sweepd.dash.plain import config_values, flatten, parse
from sweepd.dash.queries import AttemptRow
from sweepd.dash.sweepshape import address, can_retry
from sweepd.dash.words import run_badge
from sweepd.engine.decisions import DecisionView
from sweepd.engine.views import FileView, RunView
from sweepd.errors import Reason
from sweepd.states import RunState

__all__ = [
    "attempt_data",
    "decision_data",
    "files_data",
    "histogram",
    "listed_run",
    "run_data",
    "step_keys",
]


def listed_run(run: RunView) -> dict[str, Any]:
    """Return a run as a row of a project's table."""
    return {
        "id": run.name,
        "title": run.display_name or run.name,
        "url": address(run.entity, run.project, "runs", run.name),
        "state": asdict(run_badge(run.state, run.trial)),
        "sweep": run.sweep,
        "sweep_url": address(run.entity, run.project, "sweeps", run.sweep) if run.sweep else None,
        "tags": _tags(run),
        "user": run.user_name,
        "created": run.created_at,
        "started": run.started_at,
        "ended": run.ended_at,
    }


def run_data(run: RunView, keys: Mapping[str, Sequence[str]], now: float) -> dict[str, Any]:
    """Return what a run's page shows of the run itself: names, state, config, summary, keys.

    Args:
        run: the run.
        keys: its logged keys by kind, as `history.keys_by_kind` returns them.
        now: unix seconds.
    """
    summary = flatten({k: value for k, value in parse(run.summary).items() if k != "_wandb"})
    return {
        "now": now,
        "run": {
            **listed_run(run),
            "name": run.name,
            "is_live": run.state in (RunState.RUNNING, RunState.PREEMPTING),
            "can_retry": run.trial is not None and can_retry(run.trial, also_killed=True),
            "is_stuck": _is_stuck(run, now),
            "stop_requested": run.stop_requested,
            "description": run.description,
            "notes": run.notes,
            "group": run.group,
            "job_type": run.job_type,
            "host": run.host,
            "program": run.program,
            "repo": run.repo,
            "commit": run.commit,
            "exit_code": run.exit_code,
            "last_step": run.last_step,
            "log_lines": run.log_lines,
            "history_lines": run.history_lines,
            "trial": run.trial.number if run.trial else None,
            "origin": run.trial.origin if run.trial else None,
        },
        "config": config_values(run.config),
        "summary": summary,
        "keys": {kind: list(names) for kind, names in keys.items()},
        "media": media_keys(keys, run.summary),
        "steps": step_keys(run.config, keys.get("scalar", ())),
    }


_SILENT_S = 90.0  # three heartbeats of the client


def _is_stuck(run: RunView, now: float) -> bool:
    """Return whether a run goes on or crashed, and nothing is heard of it any more."""
    if run.state is RunState.CRASHED:
        return True
    is_live = run.state in (RunState.RUNNING, RunState.PREEMPTING)
    return is_live and now - (run.heartbeat_at or run.created_at) > _SILENT_S


def _tags(run: RunView) -> list[str]:
    try:
        tags = json.loads(run.tags)
    except ValueError:
        return []
    return [str(tag) for tag in tags] if isinstance(tags, list) else []


def step_keys(config: str, scalars: Sequence[str]) -> dict[str, str]:
    """Return which key each scalar is drawn over, where `define_metric(step_metric=…)` named one.

    The client keeps these in its config under `_wandb.value.m`: a list of entries with `1` the
    metric's name (or `2`, a glob that ends in `*`) and `5` the 1-based place of its step metric.
    """
    own = parse(config).get("_wandb")
    entries = own.get("value", {}).get("m", []) if isinstance(own, Mapping) else []
    if not isinstance(entries, list):
        return {}
    found: dict[str, str] = {}
    for entry in (one for one in entries if isinstance(one, Mapping)):
        place = entry.get("5")
        if not isinstance(place, int) or not 0 < place <= len(entries):
            continue
        step = entries[place - 1].get("1") if isinstance(entries[place - 1], Mapping) else None
        for key in scalars:
            if isinstance(step, str) and step in scalars and key != step and _names(entry, key):
                found[key] = step
    return found


def _names(entry: Mapping[str, Any], key: str) -> bool:
    glob = entry.get("2")
    if isinstance(glob, str) and glob.endswith("*"):
        return key.startswith(glob[:-1])
    return entry.get("1") == key


_ENDS = {
    Reason.FINISHED: ("Finished", "finished", "good"),
    Reason.STOPPED_EARLY: ("Stopped early", "early", "quiet"),
    Reason.NO_METRIC: ("No metric", "crashed", "warn"),
    Reason.OUT_OF_MEMORY: ("Out of memory", "failed", "bad"),
    Reason.NEVER_INIT: ("Died at start", "failed", "bad"),
    Reason.CRASHED: ("Crashed", "crashed", "warn"),
    Reason.NEVER_STARTED: ("Never started", "crashed", "warn"),
    Reason.PREEMPTED: ("Preempted", "killed", "warn"),
    Reason.TIMED_OUT: ("Timed out", "crashed", "warn"),
    Reason.KILLED: ("Killed", "killed", "quiet"),
}


def attempt_data(attempt: AttemptRow) -> dict[str, Any]:
    """Return one attempt at a trial: who, where, when, how it ended."""
    if attempt.ended_at is None:
        word, icon, tone = ("Running", "running", "run")
        if attempt.started_at is None:
            word, icon, tone = ("Handed out", "pending", "quiet")
    else:
        default = (attempt.reason or "Ended").replace("_", " ").capitalize(), "failed", "bad"
        word, icon, tone = _ENDS.get(Reason(attempt.reason), default) if attempt.reason else default
    return {
        "number": attempt.number,
        "agent": attempt.agent or attempt.agent_id,
        "host": attempt.host,
        "device": attempt.device,
        "issued": attempt.issued_at,
        "started": attempt.started_at,
        "ended": attempt.ended_at,
        "state": {"word": word, "icon": icon, "tone": tone, "why": None},
        "exit_code": attempt.exit_code,
        "signal": attempt.signal,
        "message": attempt.message,
    }


def decision_data(decision: DecisionView | None, run: RunView) -> dict[str, Any] | None:
    """Return why a run was suggested and stopped, with links to the trials that it names."""
    if decision is None:
        return None
    shown = asdict(decision)
    for one in shown["nearest"]:
        one["url"] = address(run.entity, run.project, "runs", one["run"])
    return shown


def files_data(
    files: Sequence[FileView], links: Sequence[str], drawn: Mapping[str, str]
) -> list[dict[str, Any]]:
    """Return a run's files with the links that their bytes are fetched from, and models' pages."""
    return [
        {
            "name": file.name,
            "size": file.size,
            "type": file.mimetype,
            "updated": file.updated_at,
            "link": link,
            "view": drawn.get(file.name),
        }
        for file, link in zip(files, links, strict=True)
    ]


def histogram(step: int, data: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return a logged histogram as step, n + 1 edges and n counts; None if it is not one."""
    values = _numbers(data.get("values"))
    bins = _numbers(data.get("bins"))
    packed = data.get("packedBins")
    if isinstance(packed, Mapping):
        start = _numbers([packed.get("min"), packed.get("size")])
        bins = [start[0] + start[1] * i for i in range(len(values) + 1)] if start else []
    if data.get("_type") != "histogram" or not values or len(bins) != len(values) + 1:
        return None
    return {"step": step, "bins": bins, "values": values}


def _numbers(items: Any) -> list[float]:
    """Return a list of numbers; empty for anything else."""
    if not isinstance(items, list) or not all(
        isinstance(item, (int, float)) and not isinstance(item, bool) for item in items
    ):
        return []
    return items
