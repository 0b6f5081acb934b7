"""Runs that several processes write at once."""

import json

import pytest

from sweepd.engine import console, history, runs, streams
from sweepd.engine import shared as shared_runs
from sweepd.errors import InvalidInput


@pytest.fixture
def write(store, alice):
    """Sends rows and console lines as one of a run's writers."""

    def write(run, writer, *, losses=(), offset=0, lines=(), summary=None, **rest):
        rows = [json.dumps({"_step": i, writer: loss}) for i, loss in enumerate(losses, offset)]
        files = {
            "wandb-history.jsonl": {"offset": offset, "content": rows},
            "wandb-events.jsonl": {"offset": offset, "content": [json.dumps({f"cpu/{writer}": 1})]},
            "output.log": {"offset": offset, "content": list(lines)},
        }
        if summary is not None:
            files["wandb-summary.json"] = {"offset": 0, "content": [json.dumps(summary)]}
        post = streams.Post(
            actor=alice,
            entity=run.entity,
            project=run.project,
            run=run.name,
            body=streams.parse_body(json.dumps({"files": files, **rest})),
            writer=writer,
        )
        (reply,) = store.write_sync(streams.append_all, [post])
        if isinstance(reply, Exception):
            raise reply

    return write


@pytest.fixture
def rows(store):
    def rows(run):
        found = map(json.loads, store.read_sync(history.rows, run_id=run.id))
        return [{key: value for key, value in row.items() if key != "_step"} for row in found]

    return rows


def test_writers_do_not_overwrite_each_others_lines(upsert, write, rows, reread, store):
    run = upsert("r1")
    for _ in range(2):  # the answers to the first were lost
        write(run, "a", losses=[1, 2], lines=["from a"], summary={"a": 2})
        write(run, "b", losses=[3, 4], lines=["from b"], summary={"b": 4})
    write(run, "a", losses=[5], offset=2, summary={"a": 5})

    assert rows(run) == [{"a": 1, "b": 3}, {"a": 2, "b": 4}, {"a": 5}]
    read = reread(run)
    assert (read.history_lines, read.event_lines, read.log_lines) == (5, 4, 2)
    assert json.loads(read.summary) == {"a": 5, "b": 4}
    assert json.loads(read.system_metrics) == {"cpu/a": 1, "cpu/b": 1}
    keys = json.loads(read.history_keys)["keys"]
    assert [keys[name]["typeCounts"][0]["count"] for name in ("a", "b")] == [3, 2]
    told = store.read_sync(console.log_lines, run_id=run.id, first=10)
    assert [line.text for line in told.items] == ["from a", "from b"]


def test_late_writer_does_not_open_the_run_again(upsert, write, reread, clock):
    run = upsert("r1")
    write(run, "a", losses=[1], complete=True, exitcode=0)
    clock.advance(10)
    upsert("r1", is_shared=True)

    write(run, "b", losses=[2])

    assert reread(run).state == "finished"


def test_a_writer_that_defines_no_metrics_leaves_those_of_the_others(store, alice, upsert, reread):
    def config(metrics):
        return json.dumps({"_wandb": {"value": {"m": metrics}}})

    defined = [{"1": "examples"}, {"2": "*", "5": 1}]
    run = upsert("r1", config=config(defined))
    change = runs.RunChange(name="r1", project="toy", config=config([]), is_shared=True)
    store.write_sync(runs.upsert_run, actor=alice, change=change)

    assert json.loads(reread(run).config)["_wandb"]["value"]["m"] == defined


def test_configs_of_writers_are_joined(store, alice, upsert, reread):
    def config(label):
        own = {"value": {"t": {"1": label}, "e": {label: {"host": label}}}}
        return json.dumps({label: {"value": 1}, "_wandb": own})

    run = upsert("r1", config=config("a"), is_shared=True)
    change = runs.RunChange(name="r1", project="toy", config=config("b"), is_shared=True)
    store.write_sync(runs.upsert_run, actor=alice, change=change)

    joined = json.loads(reread(run).config)
    assert (joined["a"], joined["b"]) == ({"value": 1}, {"value": 1})
    assert sorted(joined["_wandb"]["value"]["e"]) == ["a", "b"]


def test_writer_that_goes_beyond_its_lines_is_refused(upsert, write):
    with pytest.raises(InvalidInput, match="at most 4194304 lines"):
        write(upsert("r1"), "a", losses=[1], offset=2**22)


def test_writers_without_end_are_refused(store, upsert):
    run = upsert("r1")

    def crowd(tx):
        for number in range(501):
            shared_runs.place_of(tx, run_id=run.id, writer=f"w{number}")

    with pytest.raises(InvalidInput, match="at most 500 writers"):
        store.write_sync(crowd)
