"""Runs and their live data: requests as wandb-core sends them."""

import gzip
import json

import pytest

UPSERT = """mutation UpsertBucket ($id: String, $name: String, $project: String, $entity: String,
 $groupName: String, $description: String, $displayName: String, $notes: String, $commit: String,
 $config: JSONString, $host: String, $debug: Boolean, $program: String, $repo: String,
 $jobType: String, $state: String, $sweep: String, $tags: [String!], $summaryMetrics: JSONString) {
  upsertBucket(input: {id:$id,name:$name,groupName:$groupName,modelName:$project,
    entityName:$entity,description:$description,displayName:$displayName,notes:$notes,
    config:$config,commit:$commit,host:$host,debug:$debug,jobProgram:$program,jobRepo:$repo,
    jobType:$jobType,state:$state,sweep:$sweep,tags:$tags,summaryMetrics:$summaryMetrics}) {
    bucket { id name displayName description config sweepName historyLineCount
      project { id name entity { id name } } }
    inserted
  } }"""
RESUME = """query RunResumeStatus ($project: String, $entity: String, $name: String!) {
  model(name: $project, entityName: $entity) { id name entity { id name }
    bucket(name: $name, missingOk: true) { id name summaryMetrics displayName logLineCount
      historyLineCount eventsLineCount historyTail eventsTail config tags notes
      wandbConfig(keys: ["t"]) } } }"""
RUN = """query Run($name: String!, $samples: Int, $specs: [JSONString!]!) {
  project(name: "toy", entityName: "alice") { internalId run(name: $name) { id projectId tags name
    displayName state config group jobType commit readOnly createdAt heartbeatAt notes
    summaryMetrics systemMetrics historyLineCount historyKeys user { name username }
    history(samples: $samples) events(samples: $samples) sampledHistory(specs: $specs)
    parquetHistory(liveKeys: ["_step"]) { parquetUrls liveData } stopped exitcode
    logLines(first: 10) { edges { node { number line level } cursor } pageInfo { hasNextPage } }
  } } }"""
CONFIG = json.dumps({"lr": {"value": 0.1}, "_wandb": {"value": {"t": {"1": [1]}}}})


@pytest.fixture
def upsert(client):
    def upsert(name="r1", **fields):
        variables = {"name": name, "project": "toy", "entity": "alice", "host": "box", **fields}
        return client.data(UPSERT, **variables)["upsertBucket"]

    return upsert


@pytest.fixture
def stream(client):
    def stream(body, name="r1", status=200, **options):
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        url = f"/files/alice/toy/{name}/file_stream"
        answer = client.request("POST", url, content=content, **options)
        assert answer.status_code == status, answer.text
        return answer.json()

    return stream


@pytest.fixture
def read(client):
    def read(name="r1", samples=500, specs=()):
        return client.data(RUN, name=name, samples=samples, specs=specs)["project"]["run"]

    return read


def _rows(*values, offset=0):
    lines = [v if isinstance(v, str) else json.dumps(v) for v in values]
    return {"offset": offset, "content": lines}


def test_a_first_upsert_answers_what_the_client_needs(upsert):
    answer = upsert(config=CONFIG)

    assert answer["inserted"] is True
    bucket = answer["bucket"]
    assert bucket["name"] == "r1"
    assert bucket["displayName"]
    assert bucket["sweepName"] is None
    assert bucket["historyLineCount"] == 0
    assert bucket["project"]["name"] == "toy"
    assert bucket["project"]["entity"]["name"] == "alice"
    assert json.loads(bucket["config"])["lr"] == {"value": 0.1}


def test_null_leaves_a_field_as_it_is_and_a_repeat_inserts_nothing(upsert, read):
    upsert(config=CONFIG, notes="mine", tags=["a"])

    again = upsert(config=None, notes=None, tags=None)

    assert again["inserted"] is False
    assert (read()["notes"], read()["tags"]) == ("mine", ["a"])


def test_the_public_api_updates_by_the_storage_id(client, upsert, read):
    run_id = upsert(config=CONFIG, tags=["a"])["bucket"]["id"]

    client.data(
        "mutation($id: String!, $tags: [String!], $config: JSONString!) { upsertBucket(input:"
        " {id: $id, tags: $tags, config: $config}) { bucket { id } } }",
        id=run_id,
        tags=[],
        config='{"lr": {"value": 0.2, "desc": null}}',
    )

    assert read()["tags"] == []
    assert json.loads(read()["config"])["lr"]["value"] == 0.2


def test_a_config_that_is_not_json_is_refused(client):
    status, messages = client.errors(UPSERT, name="r1", project="toy", config="{")

    assert status == 400
    assert "config is not JSON" in messages[0]


def test_another_entity_is_refused_in_words(client):
    status, messages = client.errors(UPSERT, name="r1", project="toy", entity="nobody")

    assert status == 404
    assert "nobody" in messages[0]


def test_resuming_what_never_was_is_not_an_error(client, upsert):
    unknown_project = client.data(RESUME, project="toy", entity="alice", name="r1")
    upsert("other")
    unknown_run = client.data(RESUME, project="toy", entity="alice", name="r1")

    assert unknown_project["model"] is None
    assert unknown_run["model"]["bucket"] is None


def test_resuming_finds_the_last_rows(client, upsert, stream):
    upsert(config=CONFIG)
    rows = _rows({"loss": 2, "_step": 0}, {"loss": 1, "_step": 1})
    stream({"files": {"wandb-history.jsonl": rows}})

    bucket = client.data(RESUME, project="toy", entity="alice", name="r1")["model"]["bucket"]

    assert bucket["historyLineCount"] == 2
    assert json.loads(json.loads(bucket["historyTail"])[-1])["loss"] == 1
    assert bucket["eventsTail"] == "[]"
    assert json.loads(bucket["wandbConfig"]) == {"t": {"1": [1]}}
    assert json.loads(bucket["summaryMetrics"]) == {}


def test_a_run_that_waits_for_its_agent_has_not_started(client):
    client.data(
        "mutation($p: String, $e: String, $n: String, $s: String) { upsertBucket(input:"
        " {modelName: $p, entityName: $e, name: $n, state: $s}) { bucket { id } } }",
        p="toy",
        e="alice",
        n="r1",
        s="pending",
    )

    bucket = client.data(RESUME, project="toy", entity="alice", name="r1")["model"]["bucket"]

    assert "t" not in json.loads(bucket["wandbConfig"])


def test_rows_come_back_in_every_way_that_the_client_asks(upsert, stream, read):
    upsert()
    stream(
        {
            "files": {
                "wandb-history.jsonl": _rows(
                    '{"loss": NaN, "_step": 0}', {"loss": 0.5, "acc": 1, "_step": 1}
                ),
                "wandb-events.jsonl": _rows({"system.cpu": 3, "_wandb": True}),
                "wandb-summary.json": _rows('{"loss": Infinity, "_step": 1}'),
                "output.log": _rows("2026-11-23T04:20:12.345678 hello"),
            }
        }
    )

    run = read(specs=['{"keys": ["_step", "acc", "_step"], "minStep": 0, "maxStep": 1}', "{}"])

    assert [json.loads(row)["_step"] for row in run["history"]] == [0, 1]
    assert json.loads(run["history"][0])["loss"] == "NaN"
    assert json.loads(run["events"][0])["system.cpu"] == 3
    assert run["sampledHistory"] == [[{"_step": 1, "acc": 1}], []]
    assert run["parquetHistory"] == {"parquetUrls": [], "liveData": [{"_step": 0}]}
    assert run["historyKeys"]["lastStep"] == 1
    assert json.loads(run["summaryMetrics"])["loss"] == "Infinity"
    assert [edge["node"]["line"] for edge in run["logLines"]["edges"]] == ["hello"]
    assert run["user"] == {"name": "alice", "username": "alice"}
    assert int(run["projectId"]) > 0


def test_one_spec_may_come_without_its_list(upsert, stream, read):
    upsert()
    stream({"files": {"wandb-history.jsonl": _rows({"loss": 1, "_step": 0})}})

    run = read(specs='{"keys": ["loss"], "samples": 5}')

    assert run["sampledHistory"] == [[{"loss": 1}]]


@pytest.mark.parametrize(
    "spec",
    ["[]", "{", '{"keys": "loss"}', '{"keys": [1]}', '{"keys": ["a"], "samples": -1}',
     '{"keys": ["a"], "minStep": "x"}'],
)  # fmt: skip
def test_a_malformed_history_spec_is_refused(client, upsert, spec):
    upsert()

    assert client.execute(RUN, name="r1", specs=[spec]).status_code == 400


def test_a_request_that_arrives_twice_counts_once(upsert, stream, read):
    upsert()
    body = {"files": {"wandb-history.jsonl": _rows({"loss": 1, "_step": 0})}}
    body |= {"complete": True, "exitcode": 0}

    assert stream(body) == stream(body) == {"stopped": False}
    assert len(read()["history"]) == 1
    assert (read()["state"], read()["exitcode"]) == ("finished", 0)


def test_an_empty_body_is_a_heartbeat(upsert, stream, read):
    upsert()
    stream({})

    assert read()["state"] == "running"
    assert read()["heartbeatAt"] is not None


def test_a_stop_reaches_the_process_and_its_end_is_killed(client, upsert, stream, read):
    run_id = upsert()["bucket"]["id"]

    client.data("mutation($id: ID!) { stopRun(input: {id: $id}) { success } }", id=run_id)

    assert stream({}) == {"stopped": True}
    stream({"complete": True, "exitcode": 1})
    assert read()["state"] == "killed"


def test_live_data_may_be_compressed(upsert, stream, read):
    upsert()
    body = json.dumps({"files": {"wandb-history.jsonl": _rows({"loss": 1, "_step": 0})}})

    stream(gzip.compress(body.encode()), headers={"Content-Encoding": "gzip"})

    assert len(read()["history"]) == 1


def test_large_live_data_is_taken(upsert, stream, read):
    upsert()
    long = {"text": "x" * 9_000_000, "_step": 0}

    stream({"files": {"wandb-history.jsonl": _rows(long)}})

    assert len(json.loads(read()["history"][0])["text"]) == 9_000_000


def test_live_data_of_an_unknown_run_ends_its_upload(stream):
    answer = stream({}, name="nosuch", status=404)

    assert "nosuch" in answer["errors"][0]["message"]


def test_malformed_live_data_is_refused(upsert, stream):
    upsert()

    assert "errors" in stream(b"{", status=400)


def test_names_in_the_path_are_decoded_once(client):
    client.data(UPSERT, name="a b.c-d_é", project="toy", entity="alice", host="box")

    answer = client.request("POST", "/files/alice/toy/a%20b.c-d_%C3%A9/file_stream", json={})

    assert answer.status_code == 200


def test_runs_are_filtered_ordered_and_paged(client, upsert, stream):
    for name, loss in (("a", 3.0), ("b", 1.0), ("c", 2.0), ("d", None)):
        upsert(name)
        if loss is not None:
            row = _rows(json.dumps({"loss": loss, "_step": 0}))
            stream({"files": {"wandb-summary.json": row}, "complete": True, "exitcode": 0}, name)
    query = """query($filters: JSONString, $cursor: String) { project(name: "toy") { runCount(
      filters: $filters) runs(filters: $filters, first: 2, order: "+summary_metrics.loss",
      after: $cursor) { edges { node { name } cursor } pageInfo { endCursor hasNextPage } } } }"""
    filters = json.dumps({"$and": [{"state": {"$in": ["finished", "running"]}}]})

    first = client.data(query, filters=filters)["project"]
    cursor = first["runs"]["edges"][-1]["cursor"]
    second = client.data(query, filters=filters, cursor=cursor)["project"]

    assert first["runCount"] == 4
    assert [e["node"]["name"] for e in first["runs"]["edges"]] == ["b", "c"]
    assert [e["node"]["name"] for e in second["runs"]["edges"]] == ["a", "d"]
    assert first["runs"]["pageInfo"]["hasNextPage"]
    assert not second["runs"]["pageInfo"]["hasNextPage"]


def test_deleting_a_run_twice_is_fine(client, upsert):
    run_id = upsert()["bucket"]["id"]
    delete = "mutation($id: ID!) { deleteRun(input: {id: $id}) { clientMutationId } }"

    client.data(delete, id=run_id)
    client.data(delete, id=run_id, deleteArtifacts=False)

    found = client.data('{ project(name: "toy") { run(name: "r1") { id } } }')
    assert found["project"]["run"] is None


def test_a_run_is_marked_failed_by_hand_once(client, upsert, read):
    run_id = upsert()["bucket"]["id"]
    mutation = (
        "mutation($input: UpdateRunStateInput!) { updateRunState(input: $input) { success } }"
    )

    answer = client.data(mutation, input={"id": run_id, "state": "failed"})
    status, (refusal,) = client.errors(mutation, input={"id": run_id, "state": "failed"})

    assert answer["updateRunState"]["success"] is True
    assert read()["state"] == "failed"
    assert status < 500
    assert refusal == "invalid state transition: run r1 is failed already"


def test_an_alert_is_kept_once_with_the_run(client, upsert):
    upsert()
    mutation = """mutation($w: Duration) { notifyScriptableRunAlert(input: {entityName: "alice",
      projectName: "toy", runName: "r1", title: "hot", text: "very", severity: WARN,
      waitDuration: $w}) { success } }"""

    answers = [client.data(mutation, w=60_000) for _ in range(2)]

    assert [answer["notifyScriptableRunAlert"]["success"] for answer in answers] == [True, True]
    query = """{ project(name: "toy") { run(name: "r1") {
      sweepdAlerts { title text severity repeats } } } }"""
    kept = client.data(query)["project"]["run"]["sweepdAlerts"]
    assert kept == [{"title": "hot", "text": "very", "severity": "WARN", "repeats": 1}]


def test_a_run_is_finished_by_hand(client, upsert, read):
    run_id = upsert()["bucket"]["id"]
    mutation = "mutation($id: ID!) { sweepdFinishRun(input: {id: $id}) { run { state } } }"

    assert client.data(mutation, id=run_id)["sweepdFinishRun"]["run"]["state"] == "finished"
    assert read()["exitcode"] == 0


def test_projects_are_made_listed_and_read(client):
    made = client.data(
        "mutation CreateProject($input: UpsertModelInput!) { result: upsertModel(input: $input)"
        " { project { id name entityName views } model { name } inserted } }",
        input={"name": "p1", "entityName": "alice", "views": None, "artifactTypes": None},
    )["result"]
    listed = client.data(
        "query($e: String) { models(entityName: $e) { edges { node { name internalId } }"
        " pageInfo { hasNextPage } } }",
        e="alice",
    )["models"]

    assert made["inserted"] is True
    assert made["project"]["name"] == made["model"]["name"] == "p1"
    assert [edge["node"]["name"] for edge in listed["edges"]] == ["p1"]
    assert int(listed["edges"][0]["node"]["internalId"]) > 0
    assert client.data('{ project(name: "nosuch") { id } }')["project"] is None
