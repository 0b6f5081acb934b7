"""Server-sent events: a page is told that it has something new to fetch, never what.

At every look it is asked anew whether the browser is still signed in, and may still see it: who was
signed out, or taken out of a team, is told that it is over.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

from starlette.responses import Response, StreamingResponse

from sweepd.dash import queries
from sweepd.dash.assets import HEADERS
from sweepd.dash.plain import digest
from sweepd.dash.visit import Visit
from sweepd.engine import projects, runs, sessions, sweeps
from sweepd.engine.access import Need
from sweepd.engine.views import Account
from sweepd.errors import Forbidden, NotFound, Unauthorized
from sweepd.store import Store, Tx

__all__ = ["entity_feed", "project_feed", "run_feed", "sweep_feed"]

_LOOK_S = 2.0  # what another process writes is announced to nobody, so look this often too
_REST_S = 0.2  # at most five messages a second to one page
_ALIVE_S = 15.0  # a word this often: proxies keep the stream, pages know that we are here

Stamp = Callable[[Tx], Any]


async def sweep_feed(visit: Visit) -> Response:
    """Tell a sweep's page about changes."""

    def find(tx: Tx, *, actor: Account) -> Stamp:
        view = sweeps.get_sweep(
            tx,
            actor=actor,
            need=Need.READ,
            entity=visit["entity"],
            project=visit["project"],
            name=visit["name"],
        )
        return partial(queries.sweep_stamp, sweep_id=view.id)

    return await _feed(visit, find)


async def run_feed(visit: Visit) -> Response:
    """Tell a run's page, or a comparison's, about changes."""
    names = visit["names"].split(",")

    def find(tx: Tx, *, actor: Account) -> Stamp:
        found = [
            runs.get_run(
                tx,
                actor=actor,
                need=Need.READ,
                entity=visit["entity"],
                project=visit["project"],
                name=name,
            ).id
            for name in names[:100]
        ]
        return partial(queries.run_stamp, run_ids=found)

    return await _feed(visit, find)


async def project_feed(visit: Visit) -> Response:
    """Tell a project's page about changes."""

    def find(tx: Tx, *, actor: Account) -> Stamp:
        view = projects.get_project(
            tx, actor=actor, need=Need.READ, entity=visit["entity"], name=visit["project"]
        )
        return partial(queries.project_counts, project_ids=[view.id])

    return await _feed(visit, find)


async def entity_feed(visit: Visit) -> Response:
    """Tell the list of projects about changes."""

    def find(tx: Tx, *, actor: Account) -> Stamp:
        page = projects.list_projects(
            tx, actor=actor, need=Need.READ, entity=visit["entity"], first=200
        )
        return partial(queries.project_counts, project_ids=[view.id for view in page.items])

    def wall(tx: Tx, *, actor: Account) -> None:
        projects.resolve_entity(tx, actor=actor, entity=visit["entity"], need=Need.READ)

    return await _feed(visit, find, wall)


async def _feed(
    visit: Visit, find: Callable[..., Stamp], wall: Callable[..., None] | None = None
) -> Response:
    stamp = await visit.read(find, actor=visit.account)

    def project(tx: Tx, *, actor: Account) -> None:
        entity, name = visit["entity"], visit["project"]
        projects.get_project(tx, actor=actor, need=Need.READ, entity=entity, name=name)

    def look(tx: Tx) -> Any:
        token = visit.request.cookies[sessions.SESSION_COOKIE]
        actor = sessions.account_by_session(tx, token=token)
        if actor is None:
            raise Unauthorized("your sign-in has ended")
        (wall or project)(tx, actor=actor)
        return stamp(tx)

    headers = {**HEADERS, "X-Accel-Buffering": "no"}
    messages = changes(visit.services.store, look, problem=lambda: visit.problem)
    return StreamingResponse(messages, headers=headers, media_type="text/event-stream")


async def changes(
    store: Store,
    stamp: Stamp,
    *,
    look_s: float = _LOOK_S,
    problem: Callable[[], str | None] | None = None,
) -> AsyncIterator[str]:
    """Yield a message now and whenever `stamp` reads differently, until the store closes.

    The last one says that it is over if who listens is signed out, or may see it no more.

    Args:
        store: is asked what `stamp` reads after each commit that pages may want to show.
        stamp: what the page shows, in short; raises if that is not to be seen any more.
        look_s: seconds after which it is asked anyway.
        problem: returns what is wrong with the service; told now and whenever it changes.
    """
    last, spoke_at = "", 0.0
    told: str | None = None
    while True:
        if problem is not None and (wrong := problem() or "") != told:
            told = wrong
            yield f"event: problem\ndata: {told}\n\n"
        seen = store.activity
        try:
            now = digest(await store.read(stamp))
        except (Unauthorized, Forbidden, NotFound):
            yield "event: over\ndata: over\n\n"
            return
        if now != last:
            last, spoke_at = now, time.monotonic()
            yield f"event: change\ndata: {now}\n\n"
        elif time.monotonic() - spoke_at > _ALIVE_S:
            spoke_at = time.monotonic()
            yield "event: alive\ndata:\n\n"
        await asyncio.sleep(_REST_S)
        try:
            async with asyncio.timeout(look_s):
                if await store.wait_activity(seen) == seen:
                    return
        except TimeoutError:
            continue
