"""A run's requests as a bad network delivers them: twice, late, out of order, unanswered."""

import json
from itertools import permutations

import pytest

UPSERT = """mutation UpsertBucket($id: String, $name: String, $config: JSONString, $host: String,
  $tags: [String!]) { upsertBucket(input: {id: $id, name: $name, modelName: "toy",
  entityName: "alice", config: $config, host: $host, tags: $tags}) { bucket { id historyLineCount }
  inserted } }"""
READ = """query($name: String!) { project(name: "toy") { run(name: $name) { state exitcode tags
  config summaryMetrics historyLineCount eventsLineCount logLineCount historyKeys history events
  logLines(first: 100) { edges { node { number line } } } } } }"""
ALERT = """mutation($name: String!) { notifyScriptableRunAlert(input: {entityName: "alice",
  projectName: "toy", runName: $name, title: "hot", text: "very", waitDuration: 60000})
  { success } }"""


def rows(*losses, offset):
    content = [json.dumps({"_step": offset + n, "loss": loss}) for n, loss in enumerate(losses)]
    return {"offset": offset, "content": content}


def requests(name):
    """What a client sends for a run from its start to its end."""
    first = {"lr": {"value": 0.1}, "_wandb": {"value": {"t": {"5": "0.31.0"}}}}
    later = {**first, "_wandb": {"value": {"t": {"5": "0.31.0", "3": [1]}, "m": []}}}
    history, console = "wandb-history.jsonl", "output.log"
    return [
        ("upsert", {"name": name, "host": "box", "config": json.dumps(first), "tags": ["a"]}),
        ("stream", {"files": {"wandb-events.jsonl": {"offset": 0, "content": ['{"cpu": 1}']}}}),
        ("stream", {"files": {history: rows(3, 2, offset=0)}}),
        ("upsert", {"name": name, "config": json.dumps(later)}),
        ("alert", {"name": name}),
        (
            "stream",
            {
                "files": {
                    history: rows(1, offset=2),
                    console: {"offset": 0, "content": ["one", "two"]},
                    "wandb-summary.json": {"offset": 0, "content": ['{"loss": 1, "_step": 2}']},
                }
            },
        ),
        ("stream", {"complete": True, "exitcode": 0}),
    ]


@pytest.fixture
def send(client):
    def send(name, kind, body):
        if kind == "stream":
            url = f"/files/alice/toy/{name}/file_stream"
            answer = client.request("POST", url, content=json.dumps(body).encode())
            assert answer.status_code == 200, answer.text
        else:
            client.data(UPSERT if kind == "upsert" else ALERT, **body)

    return send


@pytest.fixture
def read(client):
    def read(name):
        found = client.data(READ, name=name)["project"]["run"]
        return {**found, "summaryMetrics": json.loads(found["summaryMetrics"])}

    return read


@pytest.fixture
def plain(send, read):
    """The run as it is when every request arrives once and in order."""
    for kind, body in requests("plain"):
        send("plain", kind, body)
    found = read("plain")
    assert (found["state"], found["historyLineCount"], len(found["history"])) == ("finished", 3, 3)
    return found


def test_every_request_arrives_twice_since_its_answer_was_lost(plain, send, read):
    for kind, body in requests("twice"):
        for _ in range(2):
            send("twice", kind, body)

    assert read("twice") == plain


def test_the_whole_run_arrives_again_after_its_end(plain, send, read):
    for kind, body in requests("plain"):
        send("plain", kind, body)

    assert read("plain") == plain


def test_live_data_arrive_in_any_order_before_the_end(plain, send, read):
    for number, order in enumerate(permutations((1, 2, 5))):
        name, sent = f"order{number}", requests(f"order{number}")
        for place in (0, 3, 4, *order, 6):
            send(name, *sent[place])

        found = read(name)
        stored = {key: value for key, value in found.items() if key != "historyKeys"}
        assert stored == {key: value for key, value in plain.items() if key != "historyKeys"}
        counts = found["historyKeys"]["keys"]["loss"]["typeCounts"]
        assert counts == plain["historyKeys"]["keys"]["loss"]["typeCounts"]


def test_rows_that_come_after_the_end_are_kept_and_change_no_state(plain, send, read):
    sent = requests("late")
    for place in (0, 1, 3, 4, 6, 2, 5):
        send("late", *sent[place])

    found = read("late")
    assert (found["state"], found["history"]) == ("finished", plain["history"])
