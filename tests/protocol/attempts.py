"""Attempts of a trial with their processes, as our agent starts them."""

import json

SWEEP = """method: random
metric: {name: loss, goal: minimize}
parameters: {lr: {min: 0.0, max: 1.0}}
"""
REPORT = """mutation($run: String!, $attempt: Int!, $token: String!) { sweepdReportOutcome(input: {
  entityName: "alice", projectName: "toy", runName: $run, attempt: $attempt, token: $token,
  reason: "preempted"}) { success } }"""
HEARTBEAT = """mutation($id: ID!) { agentHeartbeat(input: {id: $id, metrics: "{}",
  runState: "{}"}) { commands } }"""


class Attempt:
    """One attempt of a trial and its process, whose requests carry its lease."""

    def __init__(self, client, command):
        self._client, self.run = client, command["run_id"]
        self.number, self.token = command["sweepd"]["attempt"], command["sweepd"]["token"]
        self._headers = {"X-Sweepd-Lease": f"{self.run};{self.number};{self.token}"}
        start = f'upsertBucket(input: {{name: "{self.run}", modelName: "toy", host: "box"}})'
        self.data(f"mutation {{ {start} {{ inserted }} }}")

    def data(self, query, **variables):
        answer = self.answer(query, **variables)
        assert answer.status_code == 200, answer.text
        return answer.json()["data"]

    def preempted(self):
        self.data(REPORT, run=self.run, attempt=self.number, token=self.token)

    def answer(self, query, **variables):
        """Send a request as the process would; return the answer, whatever it is."""
        body = {"query": query, "variables": variables}
        return self._client.request("POST", "/graphql", json=body, headers=self._headers)


def taker(client):
    """Make a sweep and an agent of it; return what takes its next trial and begins it."""
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
