import json
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from sweepd.engine import accounts, history, runs, streams
from sweepd.engine.access import Need
from sweepd.errors import NotFound, ProtocolError
from sweepd.store import Store
from sweepd.store import tables as t


def row(step, **values):
    return {"_step": step, "_timestamp": 1_800_000_000.0 + step, "_runtime": float(step), **values}


@pytest.fixture
def rows(store):
    """Reads a run's history back, parsed."""

    def rows(run):
        return [json.loads(text) for text in store.read_sync(history.rows, run_id=run.id)]

    return rows


@pytest.fixture
def lines(store):
    """Reads a run's console back, as text by number."""

    def lines(run):
        page = store.read_sync(history.log_lines, run_id=run.id)
        return {line.number: line.text for line in page.items}

    return lines


def test_rows_go_to_the_lines_that_the_offset_says(upsert, stream, rows, reread):
    run = upsert()

    stream(run, history=[row(0, loss=3), row(1, loss=2)])
    stream(run, history=[row(2, loss=1)], offset=2)

    assert [found["loss"] for found in rows(run)] == [3, 2, 1]
    assert (reread(run).history_lines, reread(run).last_step) == (3, 2)


def test_repeated_delivery_is_harmless(upsert, stream, rows, reread):
    run = upsert()
    request = {
        "history": [row(0, loss=3), row(1, loss=2)],
        "events": [{"_wandb": True, "_runtime": 1.0, "system.cpu": 5}],
        "console": ["a", "b"],
        "summary": {"loss": 2},
    }
    stream(run, **request)
    once = reread(run)

    stream(run, **request)

    assert reread(run) == once
    assert len(rows(run)) == 2
    keys = history.history_keys(once)["keys"]
    assert keys["loss"]["typeCounts"] == [{"type": "number", "count": 2}]


def test_progress_bar_rewrites_its_console_line(upsert, stream, lines, reread):
    run = upsert()

    stream(run, console=["start", "10%"])
    stream(run, console=["50%"], offset=1)
    stream(run, console=["done"], offset=7)

    assert lines(run) == {0: "start", 1: "50%", 7: "done"}
    assert reread(run).log_lines == 8


def test_summary_is_replaced_whole(upsert, stream, reread):
    run = upsert()

    stream(run, summary={"a": 1, "b": 2})
    stream(run, summary={"a": 3})

    assert json.loads(reread(run).summary) == {"a": 3}


def test_last_events_row_is_the_system_metrics(upsert, stream, reread):
    run = upsert()

    stream(run, events=[{"system.cpu": 1}, {"system.cpu": 2}])
    stream(run, events=[{"system.cpu": 1}])

    assert json.loads(reread(run).system_metrics) == {"system.cpu": 2}
    assert reread(run).event_lines == 2


def test_nan_and_infinity_are_read_back_as_texts_in_strict_json(upsert, stream, rows, store):
    run = upsert()
    stream(
        run,
        history=['{"_step": 0, "a": NaN, "b": [Infinity, {"c": -Infinity}], "d": "NaN it is"}'],
        events=['{"system.gpu": NaN}'],
        summary='{"a": NaN}',
    )

    def refuse(name):
        raise AssertionError(f"{name} is not strict JSON")

    (text,) = store.read_sync(history.rows, run_id=run.id)
    (event,) = store.read_sync(history.events, run_id=run.id)
    assert json.loads(text, parse_constant=refuse) == {
        "_step": 0,
        "a": "NaN",
        "b": ["Infinity", {"c": "-Infinity"}],
        "d": "NaN it is",
    }
    assert json.loads(event, parse_constant=refuse) == {"system.gpu": "NaN"}


def test_strict_rows_are_stored_as_they_came(upsert, stream, store):
    run = upsert()
    text = '{"_step":0,  "loss":1.0e-3, "name":"\\u00fc"}'

    stream(run, history=[text])

    assert store.read_sync(history.rows, run_id=run.id) == [text]


@pytest.mark.parametrize("bad", ["", "{", "[1]", "7", "null", "[" * 100_000])
def test_row_that_is_no_object_is_passed_over_and_the_rest_kept(upsert, stream, rows, reread, bad):
    run = upsert()

    stream(run, history=[row(0, a=1), bad, row(2, a=3)])

    assert [found["a"] for found in rows(run)] == [1, 3]
    assert reread(run).history_lines == 3


@pytest.mark.parametrize("step", [None, "x", 1.5, True, 10**30])
def test_row_without_a_usable_step_has_its_line_for_one(upsert, stream, reread, step):
    run = upsert()

    stream(run, history=[{"_step": step, "a": 1}], offset=4)

    assert reread(run).last_step == 4


@pytest.mark.parametrize(
    ("exit_code", "stopped", "preempting", "state"),
    [
        (0, False, False, "finished"),
        (1, False, False, "failed"),
        (255, True, False, "killed"),
        (0, True, False, "finished"),
        (1, False, True, "preempted"),
        (0, False, True, "finished"),
        (1, True, True, "killed"),
    ],
)
def test_end_follows_from_exit_code_stop_and_preemption(
    store, alice, upsert, stream, reread, clock, exit_code, stopped, preempting, state
):
    run = upsert()
    if stopped:
        store.write_sync(runs.request_stop, actor=alice, run_id=run.id)
    if preempting:
        stream(run, preempting=True)
        assert reread(run).state == "preempting"
    clock.advance(60)

    for _ in range(2):
        stream(run, complete=True, exitcode=exit_code)

    ended = reread(run)
    assert (ended.state, ended.exit_code, ended.ended_at) == (state, exit_code, clock.now)
    ends = select(t.event.c.data).where(t.event.c.kind == "run.state")
    said = [
        json.loads(data)["to"] for data in store.read_sync(lambda tx: tx.conn.scalars(ends).all())
    ]
    assert said[-1:] == [state]
    assert said.count(state) == 1


def test_late_rows_are_stored_and_do_not_open_the_run_again(upsert, stream, rows, reread, clock):
    run = upsert()
    stream(run, history=[row(0, a=1)], complete=True, exitcode=1)
    beat = reread(run).heartbeat_at
    clock.advance(10)

    stream(run, history=[row(1, a=2)], offset=1)

    assert [found["a"] for found in rows(run)] == [1, 2]
    assert (reread(run).state, reread(run).heartbeat_at) == ("failed", beat)


def test_empty_request_is_a_heartbeat(upsert, stream, reread, clock):
    run = upsert()
    clock.advance(30)

    reply = stream(run)

    assert not reply.stopped
    assert reread(run).heartbeat_at == clock.now


def test_run_that_is_gone_is_not_found(upsert, stream, store, alice):
    run = upsert()
    store.write_sync(runs.delete_run, actor=alice, run_id=run.id)

    with pytest.raises(NotFound, match="no run alice/toy/r1"):
        stream(run, history=[row(0)])


def test_run_of_another_user_is_not_found(upsert, store, bob):
    run = upsert()

    with pytest.raises(NotFound, match="no run alice/toy/r1"):
        store.write_sync(
            streams.append,
            actor=bob,
            entity="alice",
            project="toy",
            run=run.name,
            body=streams.parse_body("{}"),
        )


def post_of(alice, run, first, n=2, name=None):
    texts = [json.dumps(row(step, loss=step)) for step in range(first, first + n)]
    body = json.dumps({"files": {"wandb-history.jsonl": {"offset": first, "content": texts}}})
    return streams.Post(
        actor=alice,
        entity=run.entity,
        project=run.project,
        run=name or run.name,
        body=streams.parse_body(body),
    )


def test_many_requests_at_once_are_stored_as_one_after_the_other(
    upsert, store, alice, rows, reread
):
    one, two = upsert("one"), upsert("two")
    posts = [post_of(alice, run, first) for first in (0, 2) for run in (one, two)]

    store.write_sync(streams.append_all, [*posts, posts[0]])

    for run in (one, two):
        assert [found["_step"] for found in rows(run)] == [0, 1, 2, 3]
        assert history.history_keys(reread(run))["keys"]["loss"]["typeCounts"][0]["count"] == 4


def test_request_for_a_run_that_is_gone_is_refused_alone(upsert, store, alice, rows):
    run = upsert()
    posts = [post_of(alice, run, 0), post_of(alice, run, 0, name="gone"), post_of(alice, run, 2)]

    first, refused, last = store.write_sync(streams.append_all, posts)

    assert isinstance(refused, NotFound)
    assert first == last == streams.StreamReply(stopped=False)
    assert len(rows(run)) == 4


def test_statistics_of_rows_that_were_rolled_back_are_forgotten(upsert, store, alice, reread):
    run = upsert()
    store.write_sync(streams.append_all, [post_of(alice, run, 0)])

    def fail(tx):
        streams.append_all(tx, [post_of(alice, run, 2)])
        raise KeyError("after the rows")

    with pytest.raises(KeyError):
        store.write_sync(fail)
    store.write_sync(streams.append_all, [post_of(alice, run, 2)])

    assert history.history_keys(reread(run))["keys"]["loss"]["typeCounts"][0]["count"] == 4


@pytest.mark.parametrize(
    ("body", "words"),
    [
        pytest.param("{", "not JSON", id="no json"),
        pytest.param(b"\xff\xfe\x00", "not JSON", id="no text"),
        pytest.param("[]", "JSON object", id="list"),
        pytest.param('{"files": []}', "JSON object", id="files a list"),
        pytest.param('{"files": {"output.log": 1}}', "whole offset", id="chunk a number"),
        pytest.param(
            '{"files": {"output.log": {"offset": "1"}}}', "whole offset", id="offset text"
        ),
        pytest.param('{"files": {"output.log": {"offset": -1}}}', "out of range", id="negative"),
        pytest.param('{"files": {"output.log": {"offset": 1e300}}}', "whole offset", id="float"),
        pytest.param(
            '{"files": {"output.log": {"offset": 9007199254740993}}}', "out of range", id="huge"
        ),
        pytest.param(
            '{"files": {"output.log": {"offset": 0, "content": [1]}}}',
            "list of texts",
            id="numbers",
        ),
    ],
)
def test_malformed_request_is_refused_in_words(body, words):
    with pytest.raises(ProtocolError, match=words):
        streams.parse_body(body)


def test_unknown_files_and_members_are_passed_over():
    body = streams.parse_body('{"files": {"other": {"offset": 0, "content": ["x"]}}, "new": 1}')

    assert body == streams.StreamBody()


def test_console_text_outside_unicode_is_stored(upsert, stream, lines):
    run = upsert()

    stream(run, console=["half \ud800 pair", "nul \x00 byte", "\x1b[31mred\x1b[0m"])

    assert lines(run) == {0: "half ? pair", 1: "nul \x00 byte", 2: "\x1b[31mred\x1b[0m"}


def test_history_keys_tell_types_last_value_and_growth(upsert, stream, reread):
    run = upsert()
    stream(
        run,
        history=[
            row(0, loss=2, dict={"val1": 1, "deep": {"x": "a"}}, flag=True, n=None, many=[1]),
            row(1, loss=1.5, hist={"_type": "histogram", "bins": [0, 1], "values": [1]}),
        ],
    )
    stream(run, history=[row(5, loss=float("nan"), dict={"val1": 3})], offset=2)

    found = history.history_keys(reread(run))

    assert found["lastStep"] == 5
    assert found["sets"] == []
    keys = found["keys"]
    assert keys["loss"] == {
        "typeCounts": [{"type": "number", "count": 3}],
        "monotonic": False,
        "previousValue": "NaN",
    }
    assert (keys["dict.val1"]["previousValue"], keys["dict.val1"]["monotonic"]) == (3, True)
    assert keys["dict.deep.x"]["typeCounts"] == [{"type": "string", "count": 1}]
    assert keys["hist"]["typeCounts"] == [{"type": "histogram", "count": 1}]
    assert keys["_step"]["monotonic"]


def test_offline_run_is_as_old_as_its_first_row(upsert, stream, reread, clock):
    clock.advance(86_400)
    run = upsert()

    stream(run, history=[row(0, a=1)])

    assert reread(run).created_at == 1_800_000_000.0


# A run of a sweep.


@pytest.fixture
def trial(store, alice, upsert):
    """A running trial of a sweep of alice's: its run."""
    run = upsert("t1")

    def hand_out(tx):
        sweep_id = tx.insert(
            t.sweep,
            project_id=run.project_id,
            name="sw1",
            state="RUNNING",
            definition="method: random\nmetric: {name: loss}\nparameters: {lr: {value: 1}}\n",
            method="random",
            seed=1,
            created_at=tx.now,
            updated_at=tx.now,
        )
        tx.conn.execute(t.run.update().where(t.run.c.id == run.id).values(sweep_id=sweep_id))
        trial_id = tx.insert(
            t.trial,
            sweep_id=sweep_id,
            number=1,
            run_id=run.id,
            config="{}",
            config_key="{}",
            origin="search",
            state="leased",
            attempt=2,
            created_at=tx.now,
        )
        lease = {"agent_id": "ag", "issued_at": tx.now, "seen_at": tx.now, "started_at": tx.now}
        for number, token in ((1, "old"), (2, "new")):
            attempt = {"trial_id": trial_id, "number": number, "token": token, **lease}
            tx.conn.execute(t.attempt.insert(), attempt)

    store.write_sync(hand_out)
    return store.read_sync(runs.run_by_id, actor=alice, need=Need.READ, run_id=run.id)


def test_values_of_a_trial_count_once_however_often_they_come(trial, stream, reread):
    for _ in range(3):
        stream(trial, history=[row(0, loss=3), row(1, loss=1), row(2, loss=2)])
    stream(trial, history=[row(2, loss=2), row(3, loss=4)], offset=2)

    found = reread(trial).trial
    assert (found.n_values, found.best, found.last) == (4, 1, 4)


def test_rows_of_an_attempt_that_lost_its_lease_are_kept_apart(trial, stream, rows, reread, store):
    stream(trial, history=[row(0, loss=3)], attempt=2, token="new")
    before = reread(trial)

    reply = stream(
        trial,
        history=[row(0, loss=-9)],
        console=["zombie"],
        summary={"loss": -9},
        complete=True,
        exitcode=0,
        attempt=1,
        token="old",
    )

    assert reply.stopped
    assert reread(trial) == before
    assert [found["loss"] for found in rows(trial)] == [3]
    kept = select(t.stream_line.c.body).where(t.stream_line.c.attempt == 1)
    assert len(store.read_sync(lambda tx: tx.conn.scalars(kept).all())) == 2


def test_readers_see_no_rows_that_a_later_attempt_did_again(trial, stream, rows, store):
    stream(trial, history=[row(step, loss=step, by=1) for step in range(6)])
    older = t.stream_line.update().values(attempt=1)
    store.write_sync(lambda tx: tx.conn.execute(older).rowcount)

    stream(trial, history=[row(3, loss=30, by=2)], offset=6, attempt=2, token="new")

    assert [(found["_step"], found["by"]) for found in rows(trial)] == [
        (0, 1),
        (1, 1),
        (2, 1),
        (3, 2),
    ]


# Whatever is delivered again, in whatever order, the run ends up the same.

VALUES = (
    st.integers(-3, 3)
    | st.floats(-2, 2)
    | st.just(float("nan"))
    | st.just("text")
    | st.just({"deep": 1})
)
ROWS = st.lists(st.dictionaries(st.sampled_from("abc"), VALUES, max_size=3), min_size=1, max_size=8)


@pytest.fixture(scope="module")
def shared():
    """A store for many runs, and alice."""
    folder = Path(tempfile.mkdtemp())
    store = Store.open(folder / "data")
    alice, _ = store.write_sync(accounts.ensure_first_user, name="alice")
    yield store, alice
    store.close()
    shutil.rmtree(folder)


def deliver(store, alice, chunks):
    """Send chunks of (offset, rows) to a new run; return what can be read of it."""

    def send(tx):
        change = runs.RunChange(project="toy", host="box")
        run, _ = runs.upsert_run(tx, actor=alice, change=change)
        for offset, content in chunks:
            files = {"wandb-history.jsonl": {"offset": offset, "content": content}}
            body = streams.parse_body(json.dumps({"files": files}))
            where = {"entity": run.entity, "project": run.project, "run": run.name}
            streams.append(tx, actor=alice, **where, body=body)
        found = runs.run_by_id(tx, actor=alice, need=Need.READ, run_id=run.id)
        keys = json.loads(found.history_keys)
        for entry in keys["keys"].values():
            entry["typeCounts"].sort(key=lambda count: count["type"])
        return keys, found.history_lines, found.last_step, history.rows(tx, run_id=run.id)

    return store.write_sync(send)


@settings(max_examples=40, deadline=None)
@given(rows=ROWS, data=st.data())
def test_order_and_repetition_of_chunks_do_not_matter(shared, rows, data):
    texts = [json.dumps({"_step": step, **values}) for step, values in enumerate(rows)]
    cuts = sorted(data.draw(st.sets(st.integers(1, len(texts)), max_size=4)) | {len(texts)})
    starts = [0, *cuts[:-1]]
    chunks = [(start, texts[start:end]) for start, end in zip(starts, cuts, strict=True)]
    shuffled = data.draw(st.permutations(chunks + data.draw(st.lists(st.sampled_from(chunks)))))

    assert deliver(*shared, shuffled) == deliver(*shared, [(0, texts)])
