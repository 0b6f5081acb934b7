"""Work that may take longer than a client waits for one answer."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from sweepd.errors import StoreBusy

__all__ = ["Jobs"]

#: The client gives up on an answer after 30 s, and asks again for a quarter of an hour.
_PATIENCE_S = 20.0


class Jobs:
    """Runs a job once however often it is asked for while it runs."""

    def __init__(self, *, patience_s: float = _PATIENCE_S) -> None:
        self._patience_s = patience_s
        self._running: dict[object, asyncio.Future[Any]] = {}

    async def run(self, key: object, job: Callable[[], Awaitable[Any]], *, what: str) -> Any:
        """Return what a job returns, or raise what it raises.

        Args:
            key: names the job; whoever asks again waits for the one that runs.
            job: goes on when the one who asked for it leaves.
            what: the work, for who has to ask again.

        Raises:
            StoreBusy: if it takes longer; asking again waits on.
        """
        if key not in self._running:
            started = asyncio.ensure_future(job())
            started.add_done_callback(lambda _: self._running.pop(key, None))
            self._running[key] = started
        running = self._running[key]
        done, _ = await asyncio.wait([running], timeout=self._patience_s)
        if not done:
            raise StoreBusy(f"{what} takes a while; ask again")
        return running.result()
