"""Runs side by side."""

from typing import Any

from starlette.responses import Response

from sweepd.dash import queries
from sweepd.dash.compare import config_rows, metric_rows
from sweepd.dash.plain import config_values, digest, dump, parse
from sweepd.dash.runpage import series_data
from sweepd.dash.runshape import listed_run
from sweepd.dash.sweepshape import address, trial_value
from sweepd.dash.visit import Visit, json_text
from sweepd.engine import history, runs, sweeps
from sweepd.engine.access import Need
from sweepd.engine.views import RunView
from sweepd.errors import InvalidInput
from sweepd.store import Tx

__all__ = ["curves", "data", "page"]

_MOST_RUNS = 50
_MOST_KEYS = 40


def _names(visit: Visit) -> list[str]:
    names = [name for name in visit.request.query_params.get("runs", "").split(",") if name]
    names = list(dict.fromkeys(names))
    if len(names) < 2:
        raise InvalidInput("name two runs or more to compare: ?runs=first,second")
    if len(names) > _MOST_RUNS:
        raise InvalidInput(f"at most {_MOST_RUNS} runs can stand side by side, not {len(names)}")
    return names


def _find(tx: Tx, visit: Visit) -> list[RunView]:
    return [
        runs.get_run(
            tx,
            actor=visit.account,
            need=Need.READ,
            entity=visit["entity"],
            project=visit["project"],
            name=name,
        )
        for name in _names(visit)
    ]


def gather(tx: Tx, visit: Visit) -> dict[str, Any]:
    """Return the runs, where their configs differ, and their metrics against the first run's."""
    found = _find(tx, visit)
    metric, goal, rule = _metric(tx, visit, found)
    scalars = [history.keys_by_kind(run).get("scalar", []) for run in found]
    keys = sorted({key for some in scalars for key in some if not key.startswith("_")})
    return {
        "now": tx.now,
        "stamp": digest(queries.run_stamp(tx, run_ids=[run.id for run in found])),
        "metric": metric,
        "goal": goal,
        "runs": [
            {
                **listed_run(run),
                "host": run.host,
                "commit": run.commit,
                "reason": run.trial.reason if run.trial else None,
                "steps": run.last_step,
            }
            for run in found
        ],
        "config": config_rows([config_values(run.config) for run in found]),
        "metrics": metric_rows(
            [parse(run.summary) for run in found],
            metric=metric,
            goal=goal,
            objectives=[trial_value(run.trial, goal, rule) if run.trial else None for run in found],
            rule=rule,
        ),
        "keys": sorted(keys, key=lambda key: (key != metric, key)),
    }


def _metric(tx: Tx, visit: Visit, found: list[RunView]) -> tuple[str | None, str, str]:
    """Return the metric, goal and rule of the sweeps that the runs belong to, if all agree."""
    ids = {run.sweep_id for run in found if run.sweep_id is not None}
    known = set()
    for sweep_id in ids:
        view = sweeps.sweep_by_id(tx, actor=visit.account, need=Need.READ, sweep_id=sweep_id)
        known.add((view.metric, view.goal, sweeps.definition_of(view).own.objective))
    return known.pop() if len(known) == 1 else (None, "minimize", "best")


async def page(visit: Visit) -> Response:
    """Show runs side by side."""
    shown = await visit.read(gather, visit)
    entity, project = visit["entity"], visit["project"]
    names = ",".join(_names(visit))
    shown["address"] = {
        "data": address("-", "data", "compare", entity, project) + f"?runs={names}",
        "curves": address("-", "data", "compare", entity, project, "curves") + f"?runs={names}",
        "feed": address("-", "feed", "runs", entity, project, names),
        "page": address(entity, project, "compare"),
    }
    return visit.page(
        "compare.html",
        data=shown,
        entity=entity,
        entity_url=f"/{entity}",
        project=project,
        project_url=address(entity, project),
        n=len(shown["runs"]),
    )


async def data(visit: Visit) -> Response:
    """Answer with what the comparison shows, its curves aside."""
    return json_text(dump(await visit.read(gather, visit)))


def _curves(tx: Tx, visit: Visit) -> str:
    query = visit.request.query_params
    keys = query.getlist("key")[:_MOST_KEYS]
    return dump(
        {
            run.name: series_data(
                tx, run, keys=keys, x=query.get("x", "_step"), stream="history", max_points=300
            )
            for run in _find(tx, visit)
        }
    )


async def curves(visit: Visit) -> Response:
    """Answer with some keys' curves for every run of the comparison."""
    return json_text(await visit.read(_curves, visit))
