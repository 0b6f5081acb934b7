"""A run's page: its data, curves, media, console and files."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from starlette.responses import Response

from sweepd.dash import artifactpage, queries, viewer
from sweepd.dash.assets import HEADERS
from sweepd.dash.filelinks import add_links, file_link
from sweepd.dash.mediashape import charts
from sweepd.dash.plain import digest, dump
from sweepd.dash.runshape import attempt_data, decision_data, files_data, run_data
from sweepd.dash.sweepshape import address
from sweepd.dash.vegalite import as_preset
from sweepd.dash.visit import Visit, json_text
from sweepd.engine import alerts, decisions, files, history, presets, runs, sweeps
from sweepd.engine.access import Need
from sweepd.engine.views import RunView
from sweepd.errors import InvalidInput, NotFound
from sweepd.store import Tx

__all__ = [
    "data",
    "find",
    "finish",
    "log",
    "log_file",
    "page",
    "preset",
    "series",
    "series_data",
    "stop",
]

_MOST_FILES = 1000
_MOST_KEYS = 80
_MOST_POINTS = 2000
_LOG_PAGE = 1000


def find(tx: Tx, visit: Visit) -> RunView:
    """Return the run that an address names."""
    return runs.get_run(
        tx,
        actor=visit.account,
        need=Need.READ,
        entity=visit["entity"],
        project=visit["project"],
        name=visit["name"],
    )


def gather(tx: Tx, visit: Visit) -> dict[str, Any]:
    """Return what a run's page shows, its curves and console aside."""
    run = find(tx, visit)
    listed = files.list_files(tx, run_id=run.id, first=_MOST_FILES)
    own = [file_link(visit, tx, run.id, file.name) for file in listed.items]
    names = [file.name for file in listed.items]
    drawn = viewer.pages(address(run.entity, run.project, "runs", run.name), names)
    shown = run_data(run, history.keys_by_kind(run), tx.now)
    shown["stamp"] = digest(queries.run_stamp(tx, run_ids=[run.id]))
    shown["attempts"], shown["metric"] = [], None
    if run.sweep_id is not None:
        view = sweeps.sweep_by_id(tx, actor=visit.account, need=Need.READ, sweep_id=run.sweep_id)
        shown["metric"] = view.metric
    if run.trial is not None:
        found = queries.attempts(tx, trial_id=run.trial.id)
        shown["attempts"] = [attempt_data(attempt) for attempt in found]
    shown["decision"] = decision_data(decisions.decision_of(tx, run=run), run)
    shown["alerts"] = [asdict(one) for one in alerts.list_alerts(tx, run_id=run.id)]
    shown["files"] = files_data(listed.items, own, drawn)
    shown["lacking"] = viewer.lacking(names)
    shown["n_files"] = files.count_files(tx, run_id=run.id)
    shown["pruned"] = files.pruned_notice(tx, run_id=run.id)
    shown["charts"] = charts(run.config, run.summary)
    _read_presets(tx, visit, shown["charts"])
    add_links(tx, visit, run.id, [chart["table"] for chart in shown["charts"]])
    shown["artifacts"] = artifactpage.of_run(tx, visit, run)
    shown["system"] = history.event_keys(tx, run_id=run.id)
    return shown


def _read_presets(tx: Tx, visit: Visit, shown: list[dict[str, Any]]) -> None:
    """Draw charts of presets that people made as one of the known ones, where that is the same."""
    found = presets.presets_of(tx, actor=visit.account, ids={one["preset"] for one in shown})
    for chart in shown:
        preset = found.get(chart["preset"])
        if preset is None:
            continue
        chart["spec_link"] = address("-", "data", "chart", *preset.id.split("/", 1))
        drawn = as_preset(preset.spec, chart["fields"])
        chart["preset_name"] = preset.display_name
        if drawn is not None:
            chart["preset"], chart["fields"] = drawn


def _preset(tx: Tx, visit: Visit) -> str:
    preset_id = f"{visit['entity']}/{visit['name']}"
    found = presets.presets_of(tx, actor=visit.account, ids=[preset_id])
    if preset_id not in found:
        raise NotFound(f"there is no preset {preset_id}")
    return found[preset_id].spec


async def preset(visit: Visit) -> Response:
    """Answer with the specification of a custom chart's preset."""
    return json_text(await visit.read(_preset, visit))


async def page(visit: Visit) -> Response:
    """Show a run."""
    shown = await visit.read(gather, visit)
    entity, project, name = visit["entity"], visit["project"], visit["name"]
    run = shown["run"]
    shown["address"] = {
        "data": address("-", "data", "run", entity, project, name),
        "feed": address("-", "feed", "runs", entity, project, name),
        "stop": address("-", "run", entity, project, name, "stop"),
        "finish": address("-", "run", entity, project, name, "finish"),
        "retry": address("-", "run", entity, project, name, "retry"),
    }
    return visit.page(
        "run.html",
        data=shown,
        entity=entity,
        entity_url=f"/{entity}",
        project=project,
        project_url=address(entity, project),
        sweep=run["sweep"],
        sweep_url=run["sweep_url"],
        title=run["title"],
    )


async def data(visit: Visit) -> Response:
    """Answer with what a run's page shows, its curves and console aside."""
    return json_text(dump(await visit.read(gather, visit)))


def series_data(
    tx: Tx, run: RunView, *, keys: list[str], x: str, stream: str, max_points: int
) -> dict[str, Any]:
    """Return curves by key: x, the last, lowest and highest value of each bucket, and counts."""
    found = history.series(tx, run_id=run.id, keys=keys, max_points=max_points, x=x, stream=stream)
    return {
        key: {
            "x": one.x,
            "y": one.last,
            **({"lo": one.low, "hi": one.high} if one.n > len(one.x) else {}),
            "n": one.n,
            "n_bad": one.n_bad,
        }
        for key, one in found.items()
    }


def _series(tx: Tx, visit: Visit) -> str:
    query = visit.request.query_params
    keys = query.getlist("key")[:_MOST_KEYS]
    stream = query.get("stream", "history")
    if stream not in ("history", "events"):
        raise InvalidInput(f"stream: must be history or events, not {stream!r}")
    points = query.get("points", "600")
    if not points.isascii() or not points.isdecimal():
        raise InvalidInput(f"points: must be a whole number, not {points!r}")
    found = series_data(
        tx,
        find(tx, visit),
        keys=keys,
        x=query.get("x", "_step"),
        stream=stream,
        max_points=max(2, min(int(points[:6]), _MOST_POINTS)),
    )
    return dump(found)


async def series(visit: Visit) -> Response:
    """Answer with some of a run's curves."""
    return json_text(await visit.read(_series, visit))


def _log(tx: Tx, visit: Visit) -> str:
    query = visit.request.query_params
    run = find(tx, visit)
    if "after" in query:
        found = history.log_lines(tx, run_id=run.id, first=_LOG_PAGE, after=query["after"] or None)
    else:
        found = history.log_lines(
            tx, run_id=run.id, last=_LOG_PAGE, before=query.get("before") or None
        )
    return dump(
        {
            "total": run.log_lines,
            "start": found.cursors[0] if found.cursors else None,
            "end": found.end,
            "has_more": found.has_next,
            "lines": [[line.number, line.text, line.timestamp, line.level] for line in found.items],
        }
    )


async def log(visit: Visit) -> Response:
    """Answer with console lines: the last ones, those before a cursor, or those after one."""
    return json_text(await visit.read(_log, visit))


def _whole_log(tx: Tx, visit: Visit) -> bytes:
    run = find(tx, visit)
    return "".join(_lines(tx, run.id)).encode("utf-8", "replace")


def _lines(tx: Tx, run_id: int) -> Iterator[str]:
    after = None
    while True:
        found = history.log_lines(tx, run_id=run_id, first=5000, after=after)
        for line in found.items:
            yield f"{line.text}\n"
        after = found.end
        if not found.has_next or after is None:
            return


async def log_file(visit: Visit) -> Response:
    """Send the whole console as a text file."""
    headers = {**HEADERS, "Content-Disposition": 'attachment; filename="output.log"'}
    return Response(await visit.read(_whole_log, visit), headers=headers, media_type="text/plain")


def _stop(tx: Tx, visit: Visit) -> None:
    run = find(tx, visit)
    why = f"stopped by {visit.account.name}"
    runs.request_stop(tx, actor=visit.account, run_id=run.id, why=why)


async def stop(visit: Visit) -> Response:
    """Ask a run's process to stop."""
    await visit.write(_stop, visit)
    return json_text("{}")


def _finish(tx: Tx, visit: Visit) -> None:
    run = find(tx, visit)
    runs.finish_run(tx, actor=visit.account, run_id=run.id, limits=visit.services.limits)


async def finish(visit: Visit) -> Response:
    """Mark a run whose process is gone as finished."""
    await visit.write(_finish, visit)
    return json_text("{}")
