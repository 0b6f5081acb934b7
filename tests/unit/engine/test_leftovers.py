import pytest
from sqlalchemy import func, select

from sweepd.engine import leftovers, runs
from sweepd.store import tables as t


@pytest.fixture
def n_lines(store):
    def n_lines(run):
        of_run = select(func.count()).where(t.stream_line.c.run_id == run.id)
        return store.read_sync(lambda tx: tx.conn.scalar(of_run))

    return n_lines


def test_rows_of_a_deleted_run_go_some_at_a_time(store, alice, upsert, stream, n_lines):
    run, other = upsert(), upsert("other")
    for one in (run, other):
        stream(one, history=[{"_step": n} for n in range(10)], console=["a"] * 5, events=[{}] * 3)

    store.write_sync(runs.delete_run, actor=alice, run_id=run.id)
    left = [n_lines(run)]
    while store.read_sync(leftovers.is_any_left):
        store.write_sync(leftovers.sweep_up, at_once=4)
        left.append(n_lines(run))

    assert left == [18, 14, 10, 6, 2, 0]
    assert n_lines(other) == 18


def test_id_of_a_deleted_run_is_never_given_again(store, alice, upsert, stream, n_lines):
    run = upsert()
    stream(run, history=[{"_step": 0}])
    store.write_sync(runs.delete_run, actor=alice, run_id=run.id)

    again = upsert()

    assert again.id > run.id
    assert n_lines(again) == 0
    while store.read_sync(leftovers.is_any_left):
        store.write_sync(leftovers.sweep_up)
    assert upsert("third").id > again.id
    store.write_sync(runs.delete_run, actor=alice, run_id=run.id)  # an old id harms no new run
    assert store.read_sync(lambda tx: tx.conn.scalar(select(func.count()).select_from(t.run))) == 2
