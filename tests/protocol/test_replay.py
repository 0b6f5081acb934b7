"""The log that a sweep's suggestions follow from, over GraphQL."""

from sweepd.engine.replay import ReplayLog, replay

UPSERT = """mutation($config: String) { upsertSweep(input: {config: $config, projectName: "toy"})
  { sweep { name } } }"""
AGENT = """mutation($s: String!) { createAgent(input: {host: "box", sweep: $s, projectName: "toy"})
  { agent { id } } }"""
BEAT = 'mutation($id: ID!) { agentHeartbeat(input: {id: $id, runState: "{}"}) { commands } }'
LOOK = "query($s: String!) { sweepdSweep(name: $s) { sweepdReplayLog } }"
TEXT = "method: random\nparameters: {lr: {min: 0.0, max: 1.0}}\nsweepd: {seed: 5}\n"


def test_log_of_a_sweep_gives_its_suggestions_again(client):
    sweep = client.data(UPSERT, config=TEXT)["upsertSweep"]["sweep"]["name"]
    for _ in range(3):
        agent = client.data(AGENT, s=sweep)["createAgent"]["agent"]["id"]
        client.data(BEAT, id=agent)

    found = client.data(LOOK, s=sweep)["sweepdSweep"]

    checks = list(replay(ReplayLog.read(found["sweepdReplayLog"])))
    assert [check.verdict for check in checks] == ["same"] * 6
