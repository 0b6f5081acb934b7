import math

import pytest

from sweepd.engine import columns, history
from sweepd.engine.columns import CHUNK


@pytest.fixture
def run(upsert, stream):
    """A run of a little more than two chunks: a peak, a gap, numbers that are none, nested ones."""

    def values(step):
        bad = {1: {"bad": math.nan}, 2: {"bad": math.inf}, 3: {"bad": "text"}, 4: {}}
        return {"_step": 2 * step, "_runtime": step / 2, "a": 1e6 if step == 777 else -step} | (
            {"nest": {"b": step}, **bad.get(step, {"bad": step})}
        )

    run = upsert()
    for start in range(0, 2 * CHUNK + 100, 5000):
        end = min(start + 5000, 2 * CHUNK + 100)
        stream(run, history=[values(step) for step in range(start, end)], offset=start)
    return run


@pytest.fixture
def pack_all(store):
    """Packs all there is to pack; returns how many chunks that were."""

    def pack_all():
        n = 0
        while (job := store.read_sync(columns.next_job, folder=store.folder)) is not None:
            store.write_sync(columns.store, job=job, made=columns.pack(job))
            n += 1
        return n

    return pack_all


@pytest.fixture
def curves(store):
    def curves(run, **options):
        keys = ["a", "bad", "nest.b", "nothing", "_step"]
        return store.read_sync(history.series, run_id=run.id, keys=keys, **options)

    return curves


def test_curves_are_the_same_packed_or_not(run, pack_all, curves):
    asked = [{"max_points": 50}, {"x": "_runtime"}, {"x": "nest.b", "min_x": 5, "max_x": 9000.0}]
    asked += [{"min_x": 100, "max_x": 40_000}, {"x": "a"}]
    before = [curves(run, **options) for options in asked]

    assert pack_all() == 2
    assert [curves(run, **options) for options in asked] == before
    assert (before[0]["bad"].n_bad, before[0]["bad"].n) == (2, 2 * CHUNK + 96)
    assert max(before[0]["a"].high) == 1e6


def test_lines_written_over_are_packed_anew(run, pack_all, curves, stream):
    pack_all()
    stream(run, history=[{"_step": 10, "a": 5e6}], offset=5)

    meanwhile = curves(run)

    assert max(meanwhile["a"].high) == 5e6
    assert pack_all() == 2
    assert curves(run) == meanwhile


def test_steps_that_come_again_are_merged_though_they_are_packed(run, pack_all, curves, stream):
    pack_all()
    stream(run, history=[{"_step": 0, "a": 7e6}], offset=2 * CHUNK + 100)

    assert max(curves(run)["a"].high) == 7e6
    assert curves(run)["nest.b"].n == 2 * CHUNK + 100


def test_what_was_packed_of_lines_since_written_over_is_dropped(run, store, stream):
    job = store.read_sync(columns.next_job, folder=store.folder)
    made = columns.pack(job)
    stream(run, history=[{"_step": 10, "a": 5e6}], offset=5)

    store.write_sync(columns.store, job=job, made=made)

    assert store.read_sync(columns.packed, run_id=run.id) is None


def test_short_runs_and_runs_to_skip_are_not_packed(run, store, upsert, stream):
    other = upsert("short")
    stream(other, history=[{"_step": 0, "a": 1}])

    assert store.read_sync(columns.next_job, folder=store.folder).run_id == run.id
    assert store.read_sync(columns.next_job, folder=store.folder, skip={run.id}) is None
