"""A run that a rule stops hears of it by both ways at once, under every kind of agent."""

import json

import pytest

UPSERT_SWEEP = """mutation UpsertSweep($config: String, $projectName: String) { upsertSweep(input: {
  config: $config, projectName: $projectName}) { sweep { name } } }"""
CREATE_AGENT = """mutation CreateAgent($host: String!, $sweep: String!) { createAgent(input: {
  host: $host, projectName: "toy", sweep: $sweep}) { agent { id } } }"""
HEARTBEAT = """mutation Heartbeat($id: ID!, $runState: JSONString) { agentHeartbeat(input: {
  id: $id, metrics: "{}", runState: $runState}) { commands } }"""
UPSERT_RUN = """mutation UpsertBucket($n: String, $s: String) { upsertBucket(input: {name: $n,
  sweep: $s, modelName: "toy", host: "box"}) { bucket { id } } }"""
STATE = """query($run: String!) { project(name: "toy") { run(name: $run) { state stopped
  shouldStop } } }"""
DEFINITION = """
method: random
program: toy.py
metric: {name: loss, goal: minimize}
parameters: {lr: {min: 0.0, max: 1.0}}
sweepd: {stop: {rule: threshold, after: 2, max: 1.0}}
"""


class _Agent:
    """One agent with one run, by the requests that its client sends."""

    def __init__(self, client, *, is_ours):
        sweep = client.data(UPSERT_SWEEP, config=DEFINITION, projectName="toy")["upsertSweep"]
        self._client, self._sweep = client, sweep["sweep"]["name"]
        made = client.data(CREATE_AGENT, host="box", sweep=self._sweep)["createAgent"]
        self._id = made["agent"]["id"]
        (command,) = self.beat()
        self.run, self._headers = command["run_id"], {}
        if is_ours:
            lease = ";".join(
                (self.run, str(command["sweepd"]["attempt"]), command["sweepd"]["token"])
            )
            self._headers = {"X-Sweepd-Lease": lease}
        client.data(UPSERT_RUN, n=self.run, s=self._sweep)

    def beat(self, *running):
        state = json.dumps(dict.fromkeys(running, True))
        answer = self._client.data(HEARTBEAT, id=self._id, runState=state)
        return json.loads(answer["agentHeartbeat"]["commands"])

    def log(self, number, loss):
        """Send one row as wandb-core does; return what it is told."""
        row = json.dumps({"loss": loss, "_step": number})
        body = {"files": {"wandb-history.jsonl": {"offset": number, "content": [row]}}}
        address = f"/files/alice/toy/{self.run}/file_stream"
        answer = self._client.request("POST", address, json=body, headers=self._headers)
        assert answer.status_code == 200, answer.text
        return answer.json()


@pytest.mark.parametrize("is_ours", [True, False], ids=["ours", "W&B's"])
def test_stop_comes_with_the_value_and_with_the_next_heartbeat(client, is_ours):
    agent = _Agent(client, is_ours=is_ours)
    assert agent.log(0, 5.0) == {"stopped": False}
    assert agent.beat(agent.run) == []

    assert agent.log(1, 5.0) == {"stopped": True}

    for _ in range(2):  # until the process has ended: a command may be lost
        assert agent.beat(agent.run) == [{"type": "stop", "run_id": agent.run}]
    asked = client.data(STATE, run=agent.run)["project"]["run"]  # as the client asks, every 15 s
    assert asked == {"state": "running", "stopped": True, "shouldStop": True}


def test_agent_whose_process_is_gone_is_given_another_run(client):
    """W&B's function agent reads the first command only, so there is never a second."""
    agent = _Agent(client, is_ours=False)
    agent.log(0, 5.0)
    agent.log(1, 5.0)
    assert len(agent.beat(agent.run)) == 1

    (command,) = agent.beat()

    assert command["type"] == "run"
    assert command["run_id"] != agent.run
    assert client.data(STATE, run=agent.run)["project"]["run"]["state"] == "killed"
