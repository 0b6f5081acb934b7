"""What every store must do; another one joins by a row in the fixture's table."""

import asyncio
import threading

import pytest
from sqlalchemy import bindparam, func, insert, select

from sweepd.errors import StoreError
from sweepd.store import Prepared, Store, change_rows
from sweepd.store import tables as t

NEWEST = Prepared(select(func.max(t.event.c.id)).where(t.event.c.kind == bindparam("kind")))


@pytest.fixture(params=["sqlite"])
def store(request, tmp_path):
    opened = {"sqlite": Store.open}[request.param](tmp_path / "data", clock=lambda: 1000.0)
    yield opened
    opened.close()


def add(tx, kind="test"):
    return tx.insert(t.event, at=tx.now, actor="test", kind=kind)


def count(tx):
    return tx.conn.scalar(select(func.count()).select_from(t.event))


def test_what_was_written_is_read_back_by_the_next_read(store):
    assert store.write_sync(add) == 1
    assert store.read_sync(count) == 1


def test_use_case_that_fails_leaves_nothing_and_harms_no_other(store):
    def fail(tx):
        add(tx)
        raise KeyError("mine")

    gate = threading.Event()
    blocker = threading.Thread(target=lambda: store.write_sync(lambda tx: gate.wait(10)))
    blocker.start()

    async def all_at_once():  # while the writer is held up, so that they share a transaction
        tasks = [asyncio.ensure_future(store.write(f)) for f in (add, fail, add)]
        await asyncio.sleep(0)
        gate.set()
        return await asyncio.gather(*tasks, return_exceptions=True)

    first, failed, second = asyncio.run(all_at_once())
    blocker.join()

    assert isinstance(failed, KeyError)
    assert (first, second) == (1, 2)
    assert store.read_sync(count) == 2


def add_all(tx, kinds):
    """Adds events; refuses the one named `refused`, and fails on one named `broken`."""
    answers = []
    for kind in kinds:
        answers.append(KeyError(kind) if kind == "refused" else add(tx, kind))
        if kind == "broken":
            raise ValueError(kind)
    return answers


def together(store, *kinds):
    """Sends requests while the writer is held up, so that they wait together."""
    gate = threading.Event()
    blocker = threading.Thread(target=lambda: store.write_sync(lambda tx: gate.wait(10)))
    blocker.start()

    async def all_at_once():
        tasks = [asyncio.ensure_future(store.write_together(add_all, kind)) for kind in kinds]
        await asyncio.sleep(0)
        gate.set()
        return await asyncio.gather(*tasks, return_exceptions=True)

    answers = asyncio.run(all_at_once())
    blocker.join()
    return answers


def test_requests_that_wait_together_are_each_given_their_own_answer(store):
    assert together(store, "a", "b", "c") == [1, 2, 3]


def test_refused_request_harms_none_that_waited_with_it(store):
    first, refused, second = together(store, "a", "refused", "c")

    assert (first, second) == (1, 2)
    assert isinstance(refused, KeyError)


def test_request_that_breaks_the_use_case_is_undone_alone(store):
    first, broken, second = together(store, "a", "broken", "c")

    assert isinstance(broken, ValueError)
    assert store.read_sync(count) == 2
    assert first != second


def test_peek_sees_what_was_committed_last(store):
    def newest(tx):
        return NEWEST.row(tx, kind="test")

    assert store.peek(newest) == (None,)
    store.write_sync(add)
    assert store.peek(newest) == (1,)


def test_peek_holds_no_old_state_even_with_a_statement_that_was_not_prepared(store):
    assert store.peek(count) == 0
    store.write_sync(add)
    assert store.peek(count) == 1


def test_writes_are_serial_and_see_each_other(store):
    def increment(tx):
        found = tx.conn.scalar(select(t.pulse.c.at).where(t.pulse.c.id == 1))
        if found is None:
            tx.conn.execute(insert(t.pulse), {"id": 1, "at": 1.0})
        else:
            tx.conn.execute(t.pulse.update().values(at=found + 1))

    async def crowd():
        await asyncio.gather(*(store.write(increment) for _ in range(50)))

    asyncio.run(crowd())

    assert store.read_sync(lambda tx: tx.conn.scalar(select(t.pulse.c.at))) == 50.0


def test_reads_cannot_write(store):
    with pytest.raises(Exception, match=r"read-?only"):
        store.read_sync(add)
    assert store.read_sync(count) == 0


def test_one_read_sees_one_state(store):
    seen = []

    def twice(tx):
        seen.append(count(tx))
        store.write_sync(add)
        seen.append(count(tx))

    store.read_sync(twice)

    assert seen == [0, 0]
    assert store.read_sync(count) == 1


def test_foreign_keys_hold(store):
    with pytest.raises(Exception, match="FOREIGN KEY"):
        store.write_sync(lambda tx: tx.insert(t.project, entity_id=99, name="x", created_at=0.0))


def test_states_outside_the_table_are_refused(store):
    def write(tx):
        entity = tx.insert(t.entity, name="e")
        project = tx.insert(t.project, entity_id=entity, name="p", created_at=0.0)
        tx.insert(
            t.run, project_id=project, name="r", state="tired", display_name="r", created_at=0.0
        )

    with pytest.raises(Exception, match="CHECK"):
        store.write_sync(write)


def test_time_comes_from_the_clock_alone(store):
    assert store.write_sync(lambda tx: tx.now) == 1000.0
    assert store.read_sync(lambda tx: tx.now) == 1000.0


def test_everything_is_there_after_it_is_opened_again(store, tmp_path):
    store.write_sync(add)
    secret = store.secret
    store.close()

    again = Store.open(tmp_path / "data")

    assert again.read_sync(count) == 1
    assert again.newest_event == 1
    assert again.secret == secret
    again.close()


def test_waiting_for_a_change_ends_with_the_commit(store):
    async def wait():
        waiting = asyncio.ensure_future(store.wait_change(0))
        await asyncio.sleep(0)
        assert not waiting.done()
        event = await store.write(add)
        return event, await asyncio.wait_for(waiting, 10), await store.wait_change(0)

    assert asyncio.run(wait()) == (1, 1, 1)


def test_waiting_for_activity_ends_with_rows_that_make_no_event(store):
    async def scenario():
        seen, newest = store.activity, store.newest_event
        waiting = asyncio.create_task(store.wait_activity(seen))
        await asyncio.sleep(0)
        await store.write(lambda tx: tx.announce())
        return await asyncio.wait_for(waiting, 10) > seen, store.newest_event == newest

    assert asyncio.run(scenario()) == (True, True)


def fail(tx):
    raise KeyError("mine")


def test_what_can_wait_begins_once_a_crowd_was_answered(store):
    gate, answered = threading.Event(), []

    async def write(use_case):
        await store.write(use_case)
        answered.append(use_case)

    async def beside_a_crowd():
        held_up = asyncio.ensure_future(store.write(lambda tx: gate.wait(10)))
        crowd = [asyncio.ensure_future(write(use_case)) for use_case in (add, add, fail, add)]
        await asyncio.sleep(0)
        crowd.pop().cancel()
        calm = asyncio.ensure_future(store.wait_calm(within_s=60))
        await asyncio.wait({calm}, timeout=0.1)
        was_calm = calm.done()
        gate.set()
        await asyncio.gather(held_up, calm)
        n_answered = len(answered)
        await asyncio.gather(*crowd, return_exceptions=True)
        await store.wait_calm(within_s=60)  # what failed or was given up counts no more
        return was_calm, n_answered

    assert asyncio.run(beside_a_crowd()) == (False, 2)


def test_a_crowd_that_stays_is_not_waited_for_any_longer(store):
    gate = threading.Event()

    async def beside_a_crowd():
        crowd = [asyncio.ensure_future(store.write(lambda tx: gate.wait(10))) for _ in range(4)]
        await asyncio.sleep(0)
        await store.wait_calm(within_s=0.05)
        is_answered = [one.done() for one in crowd]
        gate.set()
        await asyncio.gather(*crowd)
        return is_answered

    assert asyncio.run(beside_a_crowd()) == [False] * 4


def test_waiting_ends_when_the_store_closes(store):
    async def wait():
        waiting = asyncio.ensure_future(store.wait_change(5))
        await asyncio.sleep(0)
        await asyncio.to_thread(store.close)
        return await asyncio.wait_for(waiting, 10)

    assert asyncio.run(wait()) == 0


def test_closed_store_says_so(store):
    store.close()
    store.close()

    with pytest.raises(StoreError, match="closed"):
        store.write_sync(add)


def test_ids_begin_with_a_letter_and_differ(store):
    ids = store.write_sync(lambda tx: [tx.new_id() for _ in range(200)])
    tokens = store.write_sync(lambda tx: [tx.new_token() for _ in range(20)])

    assert len(set(ids)) == 200
    assert all(len(id_) == 8 and id_.isalnum() and id_[0].isalpha() for id_ in ids)
    assert len(set(tokens)) == 20
    assert min(map(len, tokens)) >= 40


def test_rows_are_changed_that_are_found_by_the_values_of_other_columns(store):
    def change(tx):
        for kind in ("a", "b"):
            add(tx, kind)
        values = {"actor": "seen", "run_id": 7}
        n_changed = change_rows(tx, t.event, values, at=1000.0, kind="b")
        emptied = change_rows(tx, t.event, {"run_id": None}, kind="b")
        missed = change_rows(tx, t.event, values, kind="c")
        columns = (t.event.c.kind, t.event.c.actor, t.event.c.run_id)
        rows = tx.conn.execute(select(*columns).order_by(t.event.c.id)).all()
        return (n_changed, emptied, missed), [tuple(row) for row in rows]

    counts, rows = store.write_sync(change)

    assert counts == (1, 1, 0)
    assert rows == [("a", "test", None), ("b", "seen", None)]
