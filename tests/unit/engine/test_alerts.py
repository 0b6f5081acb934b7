"""Alerts, kept once however often a client sends them."""

import pytest

from sweepd.engine import alerts
from sweepd.errors import InvalidInput


@pytest.fixture
def tell(store):
    def tell(run, title="hot", text="very", **more):
        return store.write_sync(
            alerts.raise_alert, run=run, actor="alice", title=title, text=text, **more
        )

    return tell


@pytest.fixture
def told(store):
    def told(run):
        found = store.read_sync(alerts.list_alerts, run_id=run.id)
        return [(one.title, one.text, one.n_repeats) for one in found]

    return told


def test_alert_of_the_same_title_within_its_wait_is_counted_and_not_kept(upsert, clock, tell, told):
    run = upsert()

    first = tell(run, wait_s=60)
    clock.advance(59)
    again = tell(run, text="very, very", wait_s=60)
    other = tell(run, title="cold", wait_s=60)
    clock.advance(2)
    later = tell(run, text="still", wait_s=60)

    assert (first, again, other, later) == (True, False, True, True)
    assert told(run) == [("hot", "still", 0), ("cold", "very", 0), ("hot", "very", 1)]


def test_alert_without_a_wait_is_always_kept(upsert, clock, tell, told):
    run = upsert()

    assert [tell(run, wait_s=0) for _ in range(2)] == [True, True]
    assert len(told(run)) == 2


def test_run_that_ended_repeats_its_alerts_however_late(upsert, stream, reread, clock, tell, told):
    run = upsert()
    tell(run)
    stream(run, complete=True, exitcode=0)
    clock.advance(90 * 86400)

    again = tell(reread(run))
    other = tell(reread(run), text="mild")

    assert (again, other) == (False, True)
    assert told(run) == [("hot", "mild", 0), ("hot", "very", 1)]


def test_alerts_of_one_run_are_not_anothers(upsert, tell, told):
    one, other = upsert("r1"), upsert("r2")

    assert tell(one)
    assert tell(other)
    assert len(told(other)) == 1


def test_alert_beyond_all_measure_is_refused(upsert, tell):
    run = upsert()

    with pytest.raises(InvalidInput, match="title has at most 1000 characters, not 1001"):
        tell(run, title="x" * 1001)
    with pytest.raises(InvalidInput, match="severity: must be one of INFO, WARN, ERROR"):
        tell(run, severity="LOUD")
