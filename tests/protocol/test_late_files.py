"""Files of an attempt that another one has replaced, as the client uploads them."""

import json

import pytest

SWEEP = """method: random
metric: {name: loss, goal: minimize}
parameters: {lr: {min: 0.0, max: 1.0}}
"""
LINKS = """mutation($run: String!, $files: [String!]!) { createRunFiles(input: {entityName: "alice",
  projectName: "toy", runName: $run, files: $files}) { files { uploadUrl } } }"""
REPORT = """mutation($run: String!, $attempt: Int!, $token: String!) { sweepdReportOutcome(input: {
  entityName: "alice", projectName: "toy", runName: $run, attempt: $attempt, token: $token,
  reason: "preempted"}) { success } }"""
LIST = """query($run: String!) { project(name: "toy") { run(name: $run) { files { edges { node {
  name directUrl } } } } } }"""
HEARTBEAT = """mutation($id: ID!) { agentHeartbeat(input: {id: $id, metrics: "{}",
  runState: "{}"}) { commands } }"""


class Attempt:
    """One attempt of a trial and its process, whose requests carry its lease."""

    def __init__(self, client, command):
        self._client, self.run = client, command["run_id"]
        self.number, self.token = command["sweepd"]["attempt"], command["sweepd"]["token"]
        self._headers = {"X-Sweepd-Lease": f"{self.run};{self.number};{self.token}"}
        start = f'upsertBucket(input: {{name: "{self.run}", modelName: "toy", host: "box"}})'
        self.post(f"mutation {{ {start} {{ inserted }} }}")

    def post(self, query, **variables):
        body = {"query": query, "variables": variables}
        answer = self._client.request("POST", "/graphql", json=body, headers=self._headers)
        assert answer.status_code == 200, answer.text
        return answer.json()["data"]

    def link(self, name):
        (file,) = self.post(LINKS, run=self.run, files=[name])["createRunFiles"]["files"]
        return file["uploadUrl"]

    def put(self, link, content):
        assert self._client.request("PUT", link, content=content).status_code == 200

    def preempted(self):
        self.post(REPORT, run=self.run, attempt=self.number, token=self.token)


@pytest.fixture
def take(client):
    made = client.data(
        'mutation($c: String) { upsertSweep(input: {config: $c, projectName: "toy"})'
        " { sweep { name } } }",
        c=SWEEP,
    )
    sweep = made["upsertSweep"]["sweep"]["name"]
    made = client.data(
        'mutation($s: String!) { createAgent(input: {host: "box", sweep: $s, projectName: "toy"})'
        " { agent { id } } }",
        s=sweep,
    )
    agent = made["createAgent"]["agent"]["id"]

    def take():
        (command,) = json.loads(client.data(HEARTBEAT, id=agent)["agentHeartbeat"]["commands"])
        return Attempt(client, command)

    return take


@pytest.fixture
def contents(client):
    def contents(run):
        found = client.data(LIST, run=run)["project"]["run"]["files"]["edges"]
        nodes = [edge["node"] for edge in found]
        return {node["name"]: client.request("GET", node["directUrl"]).content for node in nodes}

    return contents


def test_a_zombies_file_is_kept_and_takes_nobodys_place(take, contents):
    zombie = take()
    early = zombie.link("checkpoint.pt")
    zombie.put(early, b"early")
    zombie.preempted()
    later = take()
    assert (later.run, later.number) == (zombie.run, 2)
    later.put(later.link("checkpoint.pt"), b"of the second")

    zombie.put(early, b"sent again")  # by a link of the time when it held the lease
    zombie.put(zombie.link("dir/model.onnx"), b"late")

    assert contents(later.run) == {
        "checkpoint.pt": b"of the second",
        "late/attempt-1/checkpoint.pt": b"sent again",
        "late/attempt-1/dir/model.onnx": b"late",
    }


def test_a_late_file_keeps_the_end_of_a_name_that_leaves_no_room(take, contents):
    zombie = take()
    zombie.preempted()
    assert take().number == 2
    name = "d/" + "n" * 1_000 + "/" + "model.onnx"

    zombie.put(zombie.link(name), b"late")

    ((kept, content),) = contents(zombie.run).items()
    assert (len(kept), content) == (1_024, b"late")
    assert kept.startswith("late/attempt-1/n")
    assert kept.endswith("n/model.onnx")


def test_a_file_that_comes_after_its_attempt_ended_is_the_runs_until_another_begins(take, contents):
    first = take()
    link = first.link("checkpoint.pt")
    first.preempted()

    first.put(link, b"the last state")

    assert contents(first.run) == {"checkpoint.pt": b"the last state"}


def test_a_run_that_is_no_trial_has_no_late_files(client, contents):
    client.data(
        'mutation { upsertBucket(input: {name: "own", modelName: "toy", host: "box"})'
        " { inserted } }"
    )
    made = client.data(LINKS, run="own", files=["a.txt"])["createRunFiles"]["files"]

    client.request("PUT", f"{made[0]['uploadUrl']}&attempt=0", content=b"x")
    client.request("PUT", f"{made[0]['uploadUrl']}&attempt=99999999999999999999", content=b"y")

    assert contents("own") == {"a.txt": b"y"}
