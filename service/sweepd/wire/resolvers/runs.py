"""Runs: the client's upserts and resumes, the public API's reads and changes."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from sweepd.engine import alerts, exports, history, rewinds, runs
from sweepd.engine.access import Need
from sweepd.engine.artifacts import removal
from sweepd.engine.leases import Speaker
from sweepd.engine.views import Account, RunView
from sweepd.errors import NotFound, ProtocolError
from sweepd.states import RunState, is_terminal
from sweepd.store import Tx
from sweepd.wire import storage
from sweepd.wire.context import Info, Resolvers
from sweepd.wire.ids import read_int_id
from sweepd.wire.resolvers.accounts import user_of
from sweepd.wire.resolvers.common import (
    attribute,
    connection,
    constant,
    ident,
    page_size,
    read_object,
)
from sweepd.wire.resolvers.projects import project_of

__all__ = ["FIELDS"]

_MAX_SPECS = 100
_MAX_KEYS = 1_000  # of one spec


async def _upsert_bucket(root: None, info: Info, input: Mapping[str, Any]) -> Mapping[str, Any]:
    context = info.context
    lease = context.lease_of(input.get("name"))
    tags = input.get("tags")
    storage_id = input.get("id")
    for name in ("config", "summaryMetrics"):
        read_object(input.get(name), name)
    change = runs.RunChange(
        id=read_int_id("Run", storage_id) if storage_id else None,
        entity=input.get("entityName") or None,
        project=input.get("modelName") or None,
        name=input.get("name") or None,
        display_name=input.get("displayName"),
        description=input.get("description"),
        notes=input.get("notes"),
        group=input.get("groupName"),
        job_type=input.get("jobType"),
        host=input.get("host"),
        program=input.get("jobProgram"),
        repo=input.get("jobRepo"),
        commit=input.get("commit"),
        config=input.get("config"),
        summary=input.get("summaryMetrics"),
        tags=tuple(tags) if tags is not None else None,
        state=input.get("state"),
        sweep=input.get("sweep") or None,
        attempt=lease.attempt if lease else None,
        token=lease.token if lease else None,
        is_shared=context.is_shared,
    )
    run, inserted = await context.write(runs.upsert_run, actor=context.account, change=change)
    return {"bucket": run, "inserted": inserted}


async def _delete_run(root: None, info: Info, input: Mapping[str, Any]) -> Mapping[str, Any]:
    context = info.context
    freed = await context.write(
        _delete_with,
        actor=context.account,
        run_id=read_int_id("Run", input["id"]),
        with_artifacts=bool(input.get("deleteArtifacts")),
    )
    await context.delete_blobs(freed)
    return {"clientMutationId": None}


def _delete_with(tx: Tx, *, actor: Account, run_id: int, with_artifacts: bool) -> list[str]:
    """Delete a run, and the artifacts that it made if asked; return the blobs that are free.

    Of a run that the actor may not see, nothing.
    """
    try:
        runs.run_by_id(tx, actor=actor, run_id=run_id, need=Need.WRITE)
    except NotFound:
        return []
    made = removal.made_by_run(tx, run_id=run_id) if with_artifacts else []
    freed = runs.delete_run(tx, actor=actor, run_id=run_id)
    return freed + removal.delete_made(tx, artifact_ids=made)


async def _rewind_run(root: None, info: Info, input: Mapping[str, Any]) -> Mapping[str, Any]:
    context = info.context
    run = await context.write(
        rewinds.rewind,
        actor=context.account,
        entity=input.get("entityName") or None,
        project=input.get("projectName") or None,
        name=input["runName"],
        metric=input["metricName"],
        value=input["metricValue"],
        speaker=context.speaker,
    )
    return {"rewoundRun": run}


async def _stop_run(root: None, info: Info, input: Mapping[str, Any]) -> Mapping[str, Any]:
    context = info.context
    await context.write(
        runs.request_stop, actor=context.account, run_id=read_int_id("Run", input["id"])
    )
    return {"success": True}


async def _update_run_state(root: None, info: Info, input: Mapping[str, Any]) -> Mapping[str, Any]:
    context = info.context
    await context.write(
        runs.set_run_state,
        actor=context.account,
        run_id=read_int_id("Run", input["id"]),
        state=input["state"],
    )
    return {"success": True}


async def _alert(root: None, info: Info, input: Mapping[str, Any]) -> Mapping[str, Any]:
    context = info.context
    await context.write(_keep_alert, actor=context.account, alert=input, speaker=context.speaker)
    return {"success": True}


def _keep_alert(
    tx: Tx, *, actor: Account, alert: Mapping[str, Any], speaker: Speaker | None
) -> None:
    run = runs.get_run(
        tx,
        actor=actor,
        need=Need.WRITE,
        entity=alert["entityName"],
        project=alert["projectName"],
        name=alert["runName"],
    )
    wait_ms = alert.get("waitDuration")
    alerts.raise_alert(
        tx,
        run=run,
        actor=actor.name,
        speaker=speaker,
        title=alert["title"],
        text=alert["text"],
        severity=alert.get("severity") or "INFO",
        wait_s=alerts.DEFAULT_WAIT_S if wait_ms is None else wait_ms / 1000,
    )


async def _history(
    run: RunView,
    info: Info,
    minStep: int | None = None,
    maxStep: int | None = None,
    samples: int | None = None,
) -> list[str]:
    return await info.context.read(
        history.rows,
        run_id=run.id,
        min_step=minStep,
        max_step=maxStep,
        samples=_samples(samples, "samples"),
        allowance=info.context.allowance,
    )


async def _events(run: RunView, info: Info, samples: int | None = None) -> list[str]:
    return await info.context.read(
        history.events,
        run_id=run.id,
        samples=_samples(samples, "samples"),
        allowance=info.context.allowance,
    )


async def _sampled_history(
    run: RunView, info: Info, specs: Sequence[str]
) -> list[list[dict[str, Any]]]:
    """Answer one list of rows per spec; a spec without keys, as the CLI sends it, asks for none."""
    if len(specs) > _MAX_SPECS:
        raise ProtocolError(f"{len(specs)} history specs at once; at most {_MAX_SPECS}")
    answers: list[list[dict[str, Any]]] = []
    for text in specs:
        spec = read_object(text, "a history spec")
        keys = spec.get("keys") or []
        if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
            raise ProtocolError(f"the keys of a history spec must be strings, not {text:.80}")
        if len(keys) > _MAX_KEYS:
            raise ProtocolError(f"{len(keys)} keys in a history spec; at most {_MAX_KEYS}")
        if not keys:
            answers.append([])
            continue
        rows = await info.context.read(
            history.sampled,
            run_id=run.id,
            keys=list(dict.fromkeys(keys)),
            min_step=_step(spec, "minStep"),
            max_step=_step(spec, "maxStep"),
            samples=_samples(spec.get("samples"), "samples"),
            allowance=info.context.allowance,
        )
        answers.append(rows)
    return answers


def _step(spec: Mapping[str, Any], name: str) -> int | None:
    value = spec.get(name)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
        raise ProtocolError(f"{name} of a history spec must be a number, not {value!r:.80}")
    if value is not None and not math.isfinite(value):
        raise ProtocolError(f"{name} of a history spec must be finite, not {value!r}")
    return int(value) if value is not None else None


def _samples(value: Any, name: str) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ProtocolError(f"{name} must be a whole number from 0, not {value!r:.80}")
    return value


async def _history_tail(run: RunView, info: Info) -> str:
    return await _tail(run, info, "history")


async def _events_tail(run: RunView, info: Info) -> str:
    return await _tail(run, info, "events")


async def _tail(run: RunView, info: Info, stream: str) -> str:
    found = await info.context.read(history.tail, run_id=run.id, stream=stream)
    info.context.allowance.take(found)
    return found


async def _parquet_history(run: RunView, info: Info, liveKeys: Sequence[str]) -> Any:
    """Answer with links to the files of a run's rows, and with where the rows begin that are live.

    The client asks for live rows from the lowest step on that `liveData` has.
    """
    context = info.context
    folder, exporter = context.services.store.folder, context.services.exporter
    found = await context.read(exports.exports, view=run, folder=folder)
    if found.job is not None and exporter is not None:
        await exporter.export(found.job)
        found = await context.read(exports.exports, view=run, folder=folder)
    return {
        "parquetUrls": [
            storage.export_link(context, run.id, number) for number in range(found.n_files)
        ],
        "liveData": [{"_step": found.live_from}] if found.live_from is not None else [],
    }


async def _log_lines(
    run: RunView,
    info: Info,
    first: int | None = None,
    last: int | None = None,
    after: str | None = None,
    before: str | None = None,
    useImprovedPagination: bool | None = None,
) -> Mapping[str, Any]:
    page = await info.context.read(
        history.log_lines,
        run_id=run.id,
        first=page_size(first, 1_000) if last is None else None,
        last=page_size(last, 1_000) if last is not None else None,
        after=after,
        before=before,
        allowance=info.context.allowance,
    )
    return connection(page)


def _history_keys(run: RunView, info: Info) -> dict[str, Any] | None:
    return history.history_keys(run)


def _wandb_config(run: RunView, info: Info, keys: Sequence[str] | None = None) -> str:
    """Return what the client keeps for itself in the config; without `t` a run never started."""
    entry = json.loads(run.config).get("_wandb")
    value = entry.get("value") if isinstance(entry, dict) else None
    own = value if isinstance(value, dict) else {}
    return json.dumps({key: own[key] for key in (own if keys is None else keys) if key in own})


def _tags(run: RunView, info: Info) -> Any:
    return json.loads(run.tags)


def _is_stop_requested(run: RunView, info: Info) -> bool:
    return run.stop_requested is not None


def _is_running(run: RunView, info: Info) -> bool:
    return not is_terminal(run.state)


def _has_failed(run: RunView, info: Info) -> bool:
    return run.state in (RunState.FAILED, RunState.CRASHED)


FIELDS: Resolvers = {
    "Mutation": {
        "upsertBucket": _upsert_bucket,
        "deleteRun": _delete_run,
        "rewindRun": _rewind_run,
        "stopRun": _stop_run,
        "updateRunState": _update_run_state,
        "notifyScriptableRunAlert": _alert,
    },
    "Run": {
        "id": ident("Run"),
        "displayName": attribute("display_name"),
        "sweepName": attribute("sweep"),
        "groupName": attribute("group"),
        "jobType": attribute("job_type"),
        "readOnly": constant(False),
        "createdAt": attribute("created_at"),
        "heartbeatAt": attribute("heartbeat_at"),
        "tags": _tags,
        "systemMetrics": attribute("system_metrics"),
        "summaryMetrics": attribute("summary"),
        "historyLineCount": attribute("history_lines"),
        "eventsLineCount": attribute("event_lines"),
        "logLineCount": attribute("log_lines"),
        "historyTail": _history_tail,
        "eventsTail": _events_tail,
        "historyKeys": _history_keys,
        "user": user_of,
        "projectId": attribute("project_id"),
        "project": project_of,
        "wandbConfig": _wandb_config,
        "history": _history,
        "events": _events,
        "sampledHistory": _sampled_history,
        "parquetHistory": _parquet_history,
        "logLines": _log_lines,
        "stopped": _is_stop_requested,
        "shouldStop": _is_stop_requested,
        "failed": _has_failed,
        "running": _is_running,
        "exitcode": attribute("exit_code"),
    },
    "LogLine": {"line": attribute("text")},
}
