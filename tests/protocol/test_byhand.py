"""Configs enqueued and definitions edited by hand, over GraphQL."""

import json

UPSERT = """mutation($id: ID, $config: String) { upsertSweep(input: {id: $id, config: $config,
  projectName: "toy"}) { sweep { id name } } }"""
ENQUEUE = """mutation($input: SweepdEnqueueInput!) { sweepdEnqueue(input: $input)
  { runs warnings } }"""
LOOK = """query($name: String!, $config: String!) { sweepdSweep(name: $name) {
  sweepdVersions { version config createdAt actor trials }
  sweepdPreviewEdit(config: $config) { problems warnings changes trialsKept trialsLost } } }"""
HANDED_OUT = "query($name: String!) { sweepdSweep(name: $name) { sweepdHandedOut } }"
AGENT = """mutation($s: String!) { createAgent(input: {host: "box", sweep: $s, projectName: "toy"})
  { agent { id } } }"""
BEAT = 'mutation($id: ID!) { agentHeartbeat(input: {id: $id, runState: "{}"}) { commands } }'
NESTED = """\
method: random
parameters: {opt: {parameters: {lr: {values: [0.1]}}}, a.b: {value: 3}, kind: {values: [a]}}
"""
OLD = "method: random\nparameters: {lr: {min: 0.0, max: 1.0}, kind: {values: [a, b]}}\n"
NEW = OLD + "run_cap: 9\n"


def test_configs_are_enqueued_with_warnings(client):
    sweep = client.data(UPSERT, config=OLD)["upsertSweep"]["sweep"]
    configs = json.dumps([{"lr": 7.0, "kind": "a"}, {"lr": 0.5, "kind": None}])

    made = client.data(ENQUEUE, input={"id": sweep["id"], "configs": configs})["sweepdEnqueue"]

    assert len(set(made["runs"])) == 2
    assert [words.split(":")[0] for words in made["warnings"]] == ["config 1", "config 2"]


def test_configs_that_are_none_are_refused(client):
    sweep = client.data(UPSERT, config=OLD)["upsertSweep"]["sweep"]

    for configs in ("[1]", "nonsense", '"text"', "[]", '[{"lr": 0.5}]'):
        status, words = client.errors(ENQUEUE, input={"id": sweep["id"], "configs": configs})
        assert (status, len(words)) == (400, 1), configs


def test_edit_is_previewed_and_versions_are_told(client):
    sweep = client.data(UPSERT, config=OLD)["upsertSweep"]["sweep"]
    before = client.data(LOOK, name=sweep["name"], config=NEW)["sweepdSweep"]

    client.data(UPSERT, id=sweep["id"], config=NEW)
    after = client.data(LOOK, name=sweep["name"], config=NEW)["sweepdSweep"]

    assert before["sweepdPreviewEdit"]["changes"] == ["run_cap: nothing → 9"]
    assert after["sweepdPreviewEdit"]["changes"] == []
    assert [one["version"] for one in after["sweepdVersions"]] == [1, 2]
    assert [one["config"] for one in after["sweepdVersions"]] == [OLD, NEW]
    assert {one["actor"] for one in after["sweepdVersions"]} == {"alice"}


def test_a_version_is_edited_once(client):
    sweep = client.data(UPSERT, config=OLD)["upsertSweep"]["sweep"]
    edit = "mutation($input: SweepdEditInput!) { sweepdEdit(input: $input) { version warnings } }"
    asked = {"id": sweep["id"], "config": NEW, "version": 1}

    assert client.data(edit, input=asked)["sweepdEdit"] == {"version": 2, "warnings": []}
    status, words = client.errors(edit, input={**asked, "config": OLD})

    assert status == 422
    assert words == ["somebody made version 2 of the sweep meanwhile: edit that one"]


def test_what_trials_were_given_is_told_nested_and_stays_after_an_edit(client):
    sweep = client.data(UPSERT, config=NESTED)["upsertSweep"]["sweep"]
    agent = client.data(AGENT, s=sweep["name"])["createAgent"]["agent"]["id"]
    (command,) = json.loads(client.data(BEAT, id=agent)["agentHeartbeat"]["commands"])
    client.data(UPSERT, id=sweep["id"], config=OLD)

    found = client.data(HANDED_OUT, name=sweep["name"])["sweepdSweep"]["sweepdHandedOut"]

    assert json.loads(found) == {command["run_id"]: {"opt": {"lr": 0.1}, "a.b": 3, "kind": "a"}}
