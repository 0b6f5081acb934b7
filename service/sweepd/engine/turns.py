"""Readers are few: nobody's requests take all of them, however many and however slow they are."""

import asyncio
from collections.abc import Coroutine, Hashable
from dataclasses import dataclass, field
from typing import Any, TypeVar

__all__ = ["Turns"]

T = TypeVar("T")

_AT_ONCE = 4  # of the store's eight readers


@dataclass
class _Queue:
    free: asyncio.Semaphore
    n: int = 0


@dataclass(frozen=True)
class Turns:
    """Lets each account read a few things at the same time; the others of its requests wait."""

    at_once: int = _AT_ONCE
    _queues: dict[Hashable, _Queue] = field(default_factory=dict)

    async def take(self, who: Hashable, job: Coroutine[Any, Any, T]) -> T:
        """Return what `job` does, once it is its turn.

        A turn lasts until the job is done, even if whoever waited for it has gone: its thread is
        taken until then.
        """
        queue = self._queues.setdefault(who, _Queue(asyncio.Semaphore(self.at_once)))
        queue.n += 1
        try:
            await queue.free.acquire()
        except BaseException:
            job.close()
            self._leave(who, queue)
            raise
        task = asyncio.ensure_future(job)

        def done(task: "asyncio.Future[T]") -> None:
            queue.free.release()
            self._leave(who, queue)
            if not task.cancelled():
                task.exception()  # seen, even where nobody waits for it any more

        task.add_done_callback(done)
        return await asyncio.shield(task)

    def _leave(self, who: Hashable, queue: _Queue) -> None:
        queue.n -= 1
        if queue.n == 0:
            del self._queues[who]
