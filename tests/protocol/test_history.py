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


def test_rows_of_an_ended_run_are_a_file_behind_a_signed_link(service, client, log):
    log([{"_step": step, "a": step / 2} for step in range(100)], complete=True, exitcode=0)
    query = """{ project(name: "toy") { run(name: "r1") {
        parquetHistory(liveKeys: ["_step"]) { parquetUrls liveData } } } }"""

    found = client.data(query)["project"]["run"]["parquetHistory"]
    (url,) = found["parquetUrls"]
    stranger = service.client(None)
    whole, head = stranger.request("GET", url), stranger.request("HEAD", url)
    end = stranger.request("GET", url, headers={"Range": "bytes=-4"})

    assert found["liveData"] == []
    assert whole.status_code == head.status_code == 200
    assert len(whole.content) == int(head.headers["content-length"])
    assert (end.status_code, end.content) == (206, b"PAR1")
    assert stranger.request("GET", url.replace("0.parquet", "1.parquet")).status_code == 403
    assert stranger.request("PUT", url, content=b"x").status_code in (403, 404, 405)
