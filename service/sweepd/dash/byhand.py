"""What a person does to a sweep by forms of its page: enqueue, edit, release a place."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
from anyio import to_thread
from starlette.requests import Request
from starlette.responses import Response

from sweepd.dash.addressed import run_of, sweep_of
from sweepd.dash.axes import bands_of
from sweepd.dash.forms import read_body
from sweepd.dash.plain import dump
from sweepd.dash.sweepshape import address
from sweepd.dash.visit import Visit, json_text
from sweepd.engine import agents, byhand, sweeps, versions
from sweepd.engine import retry as engine_retry
from sweepd.engine.access import Need
from sweepd.engine.definitions import read_sent
from sweepd.errors import InvalidInput
from sweepd.spec import Definition, read_value

__all__ = [
    "edit",
    "enqueue",
    "fields",
    "list_versions",
    "preview",
    "release",
    "retry",
    "retry_run",
]

_LONGEST = 2**21  # bytes of a request: a definition has at most half of it


def fields(definition: Definition) -> list[dict[str, Any]]:
    """Return the fields of the form that enqueues: what each allows, and a value to begin with."""
    space = definition.space
    middle = space.from_unit(np.full(space.d, 0.5))
    return [
        {
            "name": parameter.name,
            "allowed": parameter.distribution.allowed,
            "choices": bands_of(parameter.distribution) or [],
            **({"value": middle[parameter.name]} if parameter.name in middle else {}),
        }
        for parameter in space.searched
    ]


async def enqueue(visit: Visit) -> Response:
    """Put a run of the form's values into the sweep."""
    sweep = await sweep_of(visit, Need.WRITE)
    body = await _body(visit.request)
    given = body.get("values")
    if not isinstance(given, Mapping) or not all(isinstance(text, str) for text in given.values()):
        raise InvalidInput("values: must be texts by the parameters' names")
    config = {}
    for name, text in given.items():
        try:
            config[str(name)] = read_value(text)
        except InvalidInput as error:
            raise InvalidInput(f"{name}: {error}") from None
    like, title = body.get("like"), body.get("name")
    asked: dict[str, Any] = {
        "actor": visit.account,
        "sweep_id": sweep.id,
        "configs": [config],
        "like": like if isinstance(like, str) and like else None,
    }
    made = await visit.write(
        byhand.enqueue,
        **asked,
        display_name=title.strip()[:200] or None if isinstance(title, str) else None,
        checked=await visit.read(byhand.check, **asked),
    )
    run = {"run": made.runs[0], "url": address(sweep.entity, sweep.project, "runs", made.runs[0])}
    return json_text(dump({**run, "warnings": made.warnings}))


async def list_versions(visit: Visit) -> Response:
    """Answer with every version of the definition."""
    sweep = await sweep_of(visit, Need.READ)
    found = await visit.read(
        versions.list_versions, actor=visit.account, sweep_id=sweep.id, need=Need.READ
    )
    return json_text(dump([asdict(one) for one in found]))


async def preview(visit: Visit) -> Response:
    """Answer with what a new definition would change."""
    sweep = await sweep_of(visit, Need.WRITE)
    found = await visit.read(
        versions.preview_edit,
        actor=visit.account,
        sweep_id=sweep.id,
        definition=_definition(await _body(visit.request)),
        need=Need.WRITE,
    )
    return json_text(dump(asdict(found)))


async def edit(visit: Visit) -> Response:
    """Give the sweep a new definition."""
    sweep = await sweep_of(visit, Need.WRITE)
    body = await _body(visit.request)
    definition = await to_thread.run_sync(read_sent, _definition(body))
    version = body.get("version")
    if not isinstance(version, int):
        raise InvalidInput("version: must be the number of the version that was edited")
    view, warnings = await visit.write(
        sweeps.edit_sweep,
        actor=visit.account,
        sweep_id=sweep.id,
        definition=definition,
        version=version,
    )
    return json_text(dump({"version": view.version, "warnings": warnings}))


async def release(visit: Visit) -> Response:
    """Take the place where an agent works out of quarantine."""
    await sweep_of(visit, Need.WRITE)
    await visit.write(agents.release_slot, actor=visit.account, agent_id=visit["agent"])
    return json_text("{}")


async def retry(visit: Visit) -> Response:
    """Put every failed trial of the sweep back."""
    sweep = await sweep_of(visit, Need.WRITE)
    done = await visit.write(engine_retry.retry_sweep, actor=visit.account, sweep_id=sweep.id)
    return json_text(dump({"runs": done.runs}))


async def retry_run(visit: Visit) -> Response:
    """Put a trial that failed back."""
    run = await run_of(visit, Need.WRITE)
    done = await visit.write(engine_retry.retry_run, actor=visit.account, run_id=run.id)
    return json_text(dump({"runs": done.runs}))


def _definition(body: Mapping[str, Any]) -> str:
    definition = body.get("definition")
    if not isinstance(definition, str):
        raise InvalidInput("definition: must be its text")
    return definition


async def _body(request: Request) -> dict[str, Any]:
    """Return the JSON object that a form's script sent.

    Raises:
        InvalidInput: if it is none, or longer than any form of ours.
    """
    body = await read_body(request, most=_LONGEST)
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise InvalidInput("a form of this service's own pages was expected")
    return found
