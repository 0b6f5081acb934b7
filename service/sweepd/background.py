"""What the service does while nobody asks: suggestions, the watchdog, tidying up."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Sequence

from sqlalchemy import select

from sweepd.engine import blobs, files, keys, leftovers, watchdog
from sweepd.engine.artifacts import removal
from sweepd.engine.services import Services
from sweepd.errors import StoreError
from sweepd.settings import Settings
from sweepd.store import Tx
from sweepd.store import tables as t
from sweepd.suggester import Suggester

__all__ = ["background_tasks"]

_log = logging.getLogger("sweepd.background")

_PAUSE_AFTER_FAILURE_S = 1.0
_PRUNE_EVERY_S = 2.0
_SWEEP_PAUSE_S = 0.02
_SWEEP_EVERY_S = 1.0
_ORPHAN_S = 24 * 3600.0


def background_tasks(
    services: Services, settings: Settings, suggester: Suggester
) -> Sequence["asyncio.Task[None]"]:
    """Start what runs as long as the service does; cancel the tasks to end it."""
    loops = {
        "suggester": _forever(suggester.work),
        "second suggester": _forever(suggester.help),
        "watchdog": _forever(lambda: _watch(services)),
        "health": _forever(lambda: _look_after(services)),
        "artifacts": _forever(lambda: _expire(services)),
        "key uses": _forever(lambda: _note_key_uses(services)),
        "leftovers": _forever(lambda: _sweep_up(services)),
        "pruner": _forever(_Pruner(services, keep=settings.keep_checkpoints).run),
    }
    return [asyncio.create_task(loop, name=name) for name, loop in loops.items()]


async def _forever(turn: Callable[[], Awaitable[None]]) -> None:
    """Take turn after turn; a failure is logged and does not end the service."""
    while True:
        try:
            await turn()
        except StoreError as error:  # a full disk, mostly: it says all there is to know
            _log.warning("a background task failed; it goes on: %s", error)
            await asyncio.sleep(_PAUSE_AFTER_FAILURE_S)
        except Exception:  # an edge: nobody above could do more
            _log.exception("a background task failed; it goes on")
            await asyncio.sleep(_PAUSE_AFTER_FAILURE_S)


async def _watch(services: Services) -> None:
    beats = services.beats.take()
    try:
        await services.store.write(watchdog.tick, limits=services.limits, beats=beats)
    except BaseException:
        services.beats.put_back(beats)
        raise
    await asyncio.sleep(services.limits.tick_s)


async def _look_after(services: Services) -> None:
    await services.health.glance()
    await asyncio.sleep(services.limits.tick_s)


async def _expire(services: Services) -> None:
    """Delete artifacts past their time and drafts that were given up."""
    store = services.store
    for key in await store.write(removal.expire):
        await asyncio.to_thread(store.blobs.delete, key)
    await asyncio.sleep(services.limits.expire_s)


async def _sweep_up(services: Services) -> None:
    """Delete what deleted runs left, so slowly that nobody waits for it."""
    seen = services.store.newest_event
    if await services.store.read(leftovers.is_any_left):
        await services.store.write(leftovers.sweep_up)
        await asyncio.sleep(_SWEEP_PAUSE_S)
    else:
        await services.store.wait_change(seen)
        await asyncio.sleep(_SWEEP_EVERY_S)  # each commit of others is a change


async def _note_key_uses(services: Services) -> None:
    """Write when keys were last used, all at once and rarely: a request does not wait for it."""
    await asyncio.sleep(services.limits.key_use_s)
    uses = services.key_uses.take()
    if uses:
        try:
            await services.store.write(keys.note_uses, uses=uses)
        except BaseException:
            services.key_uses.put_back(uses)
            raise


class _Pruner:
    """Keeps the checkpoints of each sweep's best trials, and no others; drops orphaned bytes."""

    def __init__(self, services: Services, *, keep: int) -> None:
        self._store = services.store
        self._keep = keep
        self._seen = 0
        self._is_tidy = False

    async def run(self) -> None:
        """Look once at every sweep that something happened to, then wait for more."""
        if not self._is_tidy:
            await asyncio.to_thread(self._drop_orphans)
            self._is_tidy = True
        newest = self._store.newest_event
        for sweep_id in await self._store.read(_touched_sweeps, after=self._seen):
            freed = await self._store.write(
                files.prune_checkpoints, sweep_id=sweep_id, keep=self._keep
            )
            for key in freed:
                await asyncio.to_thread(self._store.blobs.delete, key)
        self._seen = newest
        await self._store.wait_change(newest)
        await asyncio.sleep(_PRUNE_EVERY_S)

    def _drop_orphans(self) -> None:
        def live_among(keys: Collection[str]) -> set[str]:
            return self._store.read_sync(blobs.live_among, keys=keys)

        now = self._store.read_sync(_now)
        self._store.blobs.sweep(live_among, before=now - _ORPHAN_S)


def _touched_sweeps(tx: Tx, *, after: int) -> list[int]:
    rows = select(t.event.c.sweep_id).where(t.event.c.id > after, t.event.c.sweep_id.is_not(None))
    return [int(sweep_id) for sweep_id in tx.conn.scalars(rows.distinct())]


def _now(tx: Tx) -> float:
    return tx.now
