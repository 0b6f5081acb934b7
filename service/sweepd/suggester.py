"""Who computes suggestions while nobody asks: two workers, so that no sweep waits for another."""

import asyncio
import logging
import time
from contextlib import suppress

from sweepd.engine import computing, suggest
from sweepd.engine.services import Services
from sweepd.errors import ProcessDied
from sweepd.names import METHODS
from sweepd.worker import Worker

__all__ = ["Suggester"]

_log = logging.getLogger("sweepd.background")

#: A computation that takes longer than this lets the second worker go on with the other sweeps.
_LONG_S = 5.0
#: How long a worker may take to start and to import a method of ours, on a machine that is busy.
_START_S = 60.0
#: The second worker is ended when it had nothing to do for so long: it holds 60 MB.
_SPARE_S = 60.0
#: The second worker looks no oftener than that: each commit of others is a change, and what it is
#: there for can wait so long.
_HELP_EVERY_S = 0.25
#: How long a computation lets a crowd of agents go first: to begin it takes the service's own time.
_CROWD_S = 0.3


class Suggester:
    """Computes what is wanted most, turn by turn; see `suggest.next_job`.

    Sweeps whose search has failed have a worker of their own, which also helps out while the other
    one is busy for long: a search that hangs costs only its own sweep.

    Args:
        services: the store, and how much is prepared.
        timeout_s: how long one computation may take.
        limit_mib: how much memory it may take.
    """

    def __init__(self, services: Services, *, timeout_s: float, limit_mib: int) -> None:
        self._services = services
        self._timeout_s = timeout_s
        self._main, self._spare = Worker(limit_mib=limit_mib), Worker(limit_mib=limit_mib)
        self._computing: set[int] = set()
        self._rehearsed: set[str] = set()
        self._main_since: float | None = None
        self._spare_until = 0.0

    async def work(self) -> None:
        """Compute for the sweeps whose search is well, or wait until something happens."""
        seen = self._services.store.newest_event
        job = await self._next(is_ailing=False)
        if job is None:  # what the other one computes for may want more once that is stored
            wait_s = 0.2 if self._computing else None
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._services.store.wait_change(seen)
            return
        self._main_since = time.monotonic()
        try:
            await self._compute(job, self._main)
        finally:
            self._main_since = None

    async def help(self) -> None:
        """Compute for the sweeps whose search has failed, and for others if they would wait."""
        store = self._services.store
        seen = store.newest_event
        since = self._main_since
        is_long = since is not None and time.monotonic() - since > min(_LONG_S, self._timeout_s / 2)
        job = await self._next(is_ailing=None if is_long else True)
        if job is not None:
            await self._compute(job, self._spare)
            self._spare_until = time.monotonic() + _SPARE_S
            return
        if time.monotonic() > self._spare_until:
            self._spare.stop()
        again_in_s = await store.read(suggest.next_try_in)
        wait_s = min(_LONG_S, self._timeout_s / 2)
        if again_in_s is not None:
            wait_s = min(wait_s, max(0.01, again_in_s))
        with suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await store.wait_change(seen)
                await asyncio.sleep(_HELP_EVERY_S)

    def stop(self) -> None:
        """End both workers."""
        self._main.stop()
        self._spare.stop()

    async def _next(self, *, is_ailing: bool | None) -> computing.SuggestJob | None:
        store = self._services.store
        await store.wait_calm(within_s=_CROWD_S)
        return await store.read(
            suggest.next_job,
            limits=self._services.limits,
            without=frozenset(self._computing),
            is_ailing=is_ailing,
        )

    async def _compute(self, job: computing.SuggestJob, worker: Worker) -> None:
        if job.sweep_id in self._computing:
            return
        store = self._services.store
        self._computing.add(job.sweep_id)
        try:
            if not worker.is_running:  # its start is no part of the computation's time
                start_s = max(_START_S, self._timeout_s)
                await worker.call(computing.prepare, job.method, timeout_s=start_s)
            answer = await worker.call(computing.compute, job, timeout_s=self._timeout_s)
        except ProcessDied as error:
            _log.warning("sweep %d: no suggestions from %s: %s", job.sweep_id, job.method, error)
            await store.write(suggest.store, job=job, error=str(error))
        else:
            await store.write(suggest.store, job=job, answer=answer)
            await self._rehearse(job, worker)
        finally:
            self._computing.discard(job.sweep_id)

    async def _rehearse(self, job: computing.SuggestJob, worker: Worker) -> None:
        """Let one of our methods fit once before there is anything to fit: it imports a lot."""
        if worker is not self._main or job.method in self._rehearsed or job.method not in METHODS:
            return
        self._rehearsed.add(job.method)
        if job.trials:  # it has fitted something, or will so soon that it would wait for this
            return
        try:
            await worker.call(computing.rehearse, job, timeout_s=self._timeout_s)
        except ProcessDied as error:  # the sweep itself has its suggestions, and is told no more
            _log.info("%s failed at its rehearsal: %s", job.method, error)
