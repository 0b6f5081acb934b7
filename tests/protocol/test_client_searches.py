"""Searches in a client, prior runs and edits: requests as W&B's client sends them."""

import json

import pytest

UPSERT = """mutation UpsertSweep($id: ID, $config: String, $projectName: String, $state: String,
  $priorRunsFilters: JSONString, $displayName: String) { upsertSweep(input: {id: $id,
  config: $config, projectName: $projectName, state: $state, priorRunsFilters: $priorRunsFilters,
  displayName: $displayName}) { sweep { name id } configValidationWarnings } }"""
AGENT = """mutation($sweep: String!) { createAgent(input: {host: "box", projectName: "toy",
  sweep: $sweep}) { agent { id } } }"""
HEARTBEAT = """mutation($id: ID!) { agentHeartbeat(input: {id: $id, runState: "{}"}) {
  commands } }"""
ENQUEUE = """mutation EnqueueSweepRun($id: ID!, $config: JSONString!, $displayName: String) {
  enqueueSweepRun(input: {id: $id, config: $config, displayName: $displayName}) {
  id runQueueItemId } }"""
SWEEP = """query($sweep: String!) { project(name: "toy") { sweep(sweepName: $sweep) { id state
  config displayName controllerRunName runCountExpected priorRuns { edges { node { id name } } }
  runs(first: 100) { pageInfo { hasNextPage endCursor } edges { node { id name state config
  summaryMetrics sampledHistory(specs: ["{\\"keys\\": [\\"loss\\", \\"_step\\"]}"]) } } } } } }"""
BUCKET = """mutation($name: String!, $config: JSONString, $host: String) { upsertBucket(input: {
  name: $name, modelName: "toy", config: $config, host: $host}) { bucket { id name } } }"""
DELETE = """mutation($id: ID!) { deleteRun(input: {id: $id}) { clientMutationId } }"""
SCHEDULED = """
method: custom
metric: {name: loss}
scheduler: {engine: ax, source: s.py, search_space: f}
"""
GRID = "method: grid\nparameters: {a: {values: [1, 2, 3]}}\n"


@pytest.fixture
def upsert(client):
    def upsert(**variables):
        return client.data(UPSERT, **{"projectName": "toy", **variables})["upsertSweep"]

    return upsert


@pytest.fixture
def read(client):
    def read(sweep):
        return client.data(SWEEP, sweep=sweep["name"])["project"]["sweep"]

    return read


def test_a_run_is_enqueued_and_handed_to_an_agent(client, upsert, read):
    sweep = upsert(config=SCHEDULED)["sweep"]
    agent = client.data(AGENT, sweep=sweep["name"])

    config = json.dumps({"x": {"value": 1.5}})
    made = client.data(ENQUEUE, id=sweep["id"], config=config)["enqueueSweepRun"]
    (pending,) = read(sweep)["runs"]["edges"]
    told = client.data(HEARTBEAT, id=agent["createAgent"]["agent"]["id"])

    assert (pending["node"]["name"], pending["node"]["state"]) == (made["id"], "pending")
    assert json.loads(pending["node"]["config"]) == {"x": {"value": 1.5}}
    (command,) = json.loads(told["agentHeartbeat"]["commands"])
    assert (command["run_id"], command["args"]) == (made["id"], {"x": {"value": 1.5}})
    assert made["runQueueItemId"]
    assert read(sweep)["controllerRunName"] == f"{sweep['name']}-scheduler"


def test_nothing_is_enqueued_where_it_cannot_be(client, upsert):
    sweep = upsert(config=SCHEDULED)["sweep"]
    upsert(id=sweep["id"], state="FINISHED")

    ended = client.errors(ENQUEUE, id=sweep["id"], config="{}")
    unknown = client.errors(ENQUEUE, id="U3dlZXA6OTk5", config="{}")
    wrong = client.errors(ENQUEUE, id=sweep["id"], config="[1]")

    assert (ended[0], unknown[0], wrong[0]) == (422, 404, 400)
    assert "takes no more runs" in ended[1][0]


def test_prior_runs_are_attached_and_the_expected_count_stays(client, upsert, read):
    config = json.dumps({"a": {"value": 1}})
    run = client.data(BUCKET, name="r1", config=config, host="box")["upsertBucket"]["bucket"]

    filters = json.dumps({"$or": [{"name": "r1"}]})
    sweep = upsert(config=GRID, priorRunsFilters=filters)["sweep"]

    found = read(sweep)
    assert [edge["node"] for edge in found["priorRuns"]["edges"]] == [run]
    assert found["runCountExpected"] == 3


def test_a_prior_run_that_is_deleted_is_listed_no_more(client, upsert, read):
    config = json.dumps({"a": {"value": 1}})
    run = client.data(BUCKET, name="r1", config=config, host="box")["upsertBucket"]["bucket"]
    filters = json.dumps({"$or": [{"name": "r1"}]})
    sweep = upsert(config=GRID, priorRunsFilters=filters)["sweep"]

    client.data(DELETE, id=run["id"])

    assert read(sweep)["priorRuns"]["edges"] == []


def test_a_prior_run_that_is_not_there_is_refused_in_words(client):
    filters = json.dumps({"$or": [{"name": "nosuch"}]})

    status, words = client.errors(UPSERT, config=GRID, projectName="toy", priorRunsFilters=filters)

    assert status == 404
    assert "there is no run 'nosuch' in alice/toy" in words[0]


def test_a_definition_is_updated_by_its_storage_id(upsert, read):
    sweep = upsert(config=GRID)["sweep"]

    upsert(id=sweep["id"], config=GRID.replace("3]", "3, 4]"), displayName="wider")

    found = read(sweep)
    assert (found["runCountExpected"], found["displayName"]) == (4, "wider")
    assert found["priorRuns"]["edges"] == []
