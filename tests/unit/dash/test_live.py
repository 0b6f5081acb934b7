"""Server-sent events: one at once, one per change, and an end with the store."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sweepd.dash.live import changes
from sweepd.engine import events
from sweepd.errors import NotFound
from sweepd.store import Store, Tx


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store.open(tmp_path / "data")
    yield store
    store.close()


def record(tx: Tx) -> int:
    return events.record(tx, actor="test", kind="test.happened")


def test_page_is_told_at_once_and_after_each_change_until_the_store_closes(store: Store) -> None:
    seen: list[int] = [0]

    async def watch() -> list[str]:
        told = []
        async with asyncio.timeout(20):
            async for message in changes(store, lambda tx: seen[0]):
                told.append(message)
                if len(told) == 1:
                    seen[0] = 1
                    await store.write(record)
                else:
                    asyncio.get_running_loop().call_later(0.4, store.close)
        return told

    with ThreadPoolExecutor(1) as thread:  # a loop of its own, whatever runs in this thread
        told = thread.submit(asyncio.run, watch()).result()

    assert [message.split("\n")[0] for message in told] == ["event: change"] * 2
    assert told[0] != told[1]


def test_page_is_told_of_rows_that_make_no_event(store: Store) -> None:
    seen: list[int] = [0]

    async def watch() -> list[str]:
        told = []
        async with asyncio.timeout(20):
            async for message in changes(store, lambda tx: seen[0], look_s=60):
                told.append(message)
                if len(told) == 2:
                    break
                seen[0] = 1
                await store.write(Tx.announce)
        return told

    with ThreadPoolExecutor(1) as thread:
        assert len(thread.submit(asyncio.run, watch()).result()) == 2


def test_page_is_told_now_and_whenever_it_changes_that_the_service_cannot_write(
    store: Store,
) -> None:
    found: list[str | None] = ["the disk is full"]

    async def watch() -> list[str]:
        told: list[str] = []
        async with asyncio.timeout(20):
            messages = changes(store, lambda tx: 1, look_s=0.01, problem=lambda: found[0])
            async for message in messages:
                told.append(message)
                if len(told) == 2:
                    found[0] = None
                if len(told) == 3:
                    break
        return told

    with ThreadPoolExecutor(1) as thread:
        told = thread.submit(asyncio.run, watch()).result()

    assert told[0] == "event: problem\ndata: the disk is full\n\n"
    assert told[1].startswith("event: change")
    assert told[2] == "event: problem\ndata: \n\n"


def test_page_is_told_that_it_is_over_once_it_may_not_be_seen(store: Store) -> None:
    seen: list[int] = []

    def look(tx: Tx) -> int:
        if seen:
            raise NotFound("there is no such project")
        return 0

    async def watch() -> list[str]:
        told = []
        async with asyncio.timeout(20):
            async for message in changes(store, look, look_s=60):
                told.append(message.split("\n")[0])
                seen.append(1)
                await store.write(record)
        return told

    with ThreadPoolExecutor(1) as thread:
        told = thread.submit(asyncio.run, watch()).result()

    assert told == ["event: change", "event: over"]
