import pytest
from sqlalchemy import func, select

from sweepd.engine import history
from sweepd.engine.services import Limits
from sweepd.engine.stream_bodies import CONSOLE
from sweepd.store import tables as t

LIMITS = Limits(log_head_size=400, log_tail_size=3200)


@pytest.fixture
def flood(stream):
    """Sends so many console lines of 10 characters, ten a request, as the client does."""

    def flood(run, n_lines, first=0, **rest):
        for start in range(first, n_lines, 10):
            lines = [f"line {number:5}" for number in range(start, start + 10)]
            stream(run, console=lines, offset=start, limits=LIMITS, **rest)

    return flood


@pytest.fixture
def kept(store):
    """Reads the lines that are kept of a run's console, by number, in pages of any size."""

    def kept(run):
        page = store.read_sync(history.log_lines, run_id=run.id)
        return {line.number: line.text for line in page.items}

    return kept


def stored_size(store, run):
    c = t.stream_line.c
    query = select(func.sum(func.length(c.body))).where(c.run_id == run.id, c.stream == CONSOLE)
    return store.read_sync(lambda tx: tx.conn.scalar(query))


def size_of(store, run):
    query = select(t.run.c.log_size).where(t.run.c.id == run.id)
    return store.read_sync(lambda tx: tx.conn.scalar(query))


def test_output_within_the_bound_is_kept_whole(upsert, flood, kept, store):
    run = upsert()

    flood(run, 200)

    assert len(kept(run)) == 200
    assert size_of(store, run) == stored_size(store, run) == 2000


def test_flood_keeps_its_first_and_last_lines_and_says_what_is_missing(
    upsert, flood, kept, store, reread
):
    run = upsert()

    flood(run, 2000)

    lines = kept(run)
    assert stored_size(store, run) <= 3800
    assert size_of(store, run) == stored_size(store, run)
    assert reread(run).log_lines == 2000
    numbers = sorted(lines)
    (gap,) = [number for number in numbers if lines[number].startswith("[...")]
    before = [number for number in numbers if number < gap]
    after = [number for number in numbers if number > gap]
    assert before == list(range(len(before)))
    assert after == list(range(after[0], 2000))
    assert 40 <= len(before) <= 60
    assert len(after) >= 280
    assert f"{after[0] - gap:,} lines left out" in lines[gap]


def test_flood_that_is_repeated_is_kept_the_same(upsert, flood, kept, store):
    run = upsert()
    flood(run, 1000)
    before = kept(run)

    flood(run, 1000, first=990)

    assert kept(run) == before
    assert size_of(store, run) == stored_size(store, run)


def test_progress_bar_that_is_drawn_for_ever_is_never_cut(upsert, stream, kept, store):
    run = upsert()

    for percent in range(400):  # 4,800 characters: more than is kept of other lines
        stream(run, console=[f"{percent:4} |#####|"], limits=LIMITS)

    assert kept(run) == {0: " 399 |#####|"}
    assert size_of(store, run) == stored_size(store, run)


def test_run_of_several_processes_is_bounded_too(upsert, stream, store):
    run = upsert()

    for base in (2**22, 0):  # lines of the second process, then, before all of them, of the first
        for start in range(base, base + 3000, 50):
            stream(run, console=["line 12345"] * 50, offset=start, limits=LIMITS)

    assert stored_size(store, run) <= 400 + 5 * 3200
