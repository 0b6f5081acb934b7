"""Reading rows back: pages, and what one request may return."""

import json

import pytest

UPSERT = """mutation UpsertBucket($name: String) { upsertBucket(
  input: {name: $name, modelName: "toy", entityName: "alice", host: "box"}) {
  bucket { id } } }"""
PAGE = """query HistoryPage($min: Int64!, $max: Int64!, $size: Int!) {
  project(name: "toy", entityName: "alice") { run(name: "r1") {
    history(minStep: $min, maxStep: $max, samples: $size) } } }"""


@pytest.fixture
def log(client):
    """Makes a run if need be, and logs rows to it from a line on."""

    def log(rows, *, name="r1", offset=0, **more):
        client.data(UPSERT, name=name)
        files = {"wandb-history.jsonl": {"offset": offset, "content": list(map(json.dumps, rows))}}
        answer = client.request(
            "POST", f"/files/alice/toy/{name}/file_stream", json={"files": files, **more}
        )
        assert answer.status_code == 200, answer.text

    return log


@pytest.fixture
def page(client):
    def page(low, high, size):
        found = client.data(PAGE, min=low, max=high, size=size)["project"]["run"]["history"]
        return [json.loads(row) for row in found]

    return page


def test_histories_under_many_aliases_share_one_bound(client, log, page):
    rows = [{"_step": step, "text": "x" * (1 << 20)} for step in range(12)]
    log(rows)
    aliases = " ".join(f"h{n}: history" for n in range(6))
    query = f'{{ project(name: "toy") {{ run(name: "r1") {{ {aliases} }} }} }}'

    status, messages = client.errors(query)

    assert status == 400
    assert "more than 64 MiB, the most that one request returns" in messages[0]
    assert page(0, 6, 6) + page(6, 12, 6) == rows


def test_a_page_holds_all_its_rows_however_large_it_is(log, page):
    log([{"_step": step, "a": step} for step in range(3000)])

    assert len(page(0, 10**6, 10**6)) == 3000
