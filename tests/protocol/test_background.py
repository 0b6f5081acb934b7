"""What the service does while nobody asks, through the app in this process."""

import asyncio
import json
import time

import pytest
from sqlalchemy import func, select

from sweepd.background import _forever
from sweepd.store import tables as t

BAYES = """
method: bayes
program: toy.py
metric: {name: loss, goal: minimize}
run_cap: 20
parameters: {x: {min: 0.0, max: 1.0}}
sweepd: {seed: 1}
"""


@pytest.fixture
def settings(settings):
    return settings.model_copy(update={"keep_checkpoints": 1})


@pytest.fixture
def wait_until(service):
    """Waits until a use case that reads returns something true; returns it."""

    def wait_until(use_case):
        deadline = time.monotonic() + 60
        while not (found := service.store.read_sync(use_case)):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        return found

    return wait_until


@pytest.fixture
def sweep(client):
    answer = client.data(
        'mutation($c: String) { upsertSweep(input: {config: $c, projectName: "toy"})'
        " { sweep { name } } }",
        c=BAYES,
    )
    return answer["upsertSweep"]["sweep"]["name"]


@pytest.fixture
def agent(client, sweep):
    answer = client.data(
        'mutation($s: String!) { createAgent(input: {host: "box", sweep: $s, projectName: "toy"})'
        " { agent { id } } }",
        s=sweep,
    )
    return answer["createAgent"]["agent"]["id"]


@pytest.fixture
def next_run(client, agent):
    """Asks for a run as an idle agent; returns its id and x."""

    def next_run():
        answer = client.data(
            'mutation($id: ID!) { agentHeartbeat(input: {id: $id, runState: "{}"}) { commands } }',
            id=agent,
        )
        (command,) = json.loads(answer["agentHeartbeat"]["commands"])
        return command["run_id"], command["args"]["x"]["value"]

    return next_run


@pytest.fixture
def finish(client, sweep):
    """Logs a run's loss and ends it; with a checkpoint if asked."""

    def finish(run, loss, checkpoint=None):
        client.data(
            "mutation($n: String, $s: String) { upsertBucket(input: {name: $n, sweep: $s,"
            ' modelName: "toy", host: "box"}) { bucket { id } } }',
            n=run,
            s=sweep,
        )
        if checkpoint is not None:
            files = client.data(
                'mutation($r: String!) { createRunFiles(input: {entityName: "alice", projectName:'
                ' "toy", runName: $r, files: ["checkpoint.pt"]}) { files { uploadUrl } } }',
                r=run,
            )["createRunFiles"]["files"]
            client.request("PUT", files[0]["uploadUrl"], content=checkpoint)
        row = {"offset": 0, "content": [json.dumps({"loss": loss, "_step": 0})]}
        body = {"files": {"wandb-history.jsonl": row, "wandb-summary.json": row}}
        body |= {"complete": True, "exitcode": 0}
        client.request("POST", f"/files/alice/toy/{run}/file_stream", json=body)

    return finish


def _prepared(tx):
    return tx.conn.scalar(select(func.count()).select_from(t.suggestion))


def _origins(tx):
    return list(tx.conn.scalars(select(t.trial.c.origin).order_by(t.trial.c.number)))


def test_an_agent_never_waits_and_is_given_suggestions_once_there_are_some(
    service, next_run, finish, wait_until
):
    run, x = next_run()  # the first answer is a run, not "ask again"

    for _ in range(4):
        finish(run, (x - 0.3) ** 2)
        wait_until(_prepared)
        run, x = next_run()

    origins = service.store.read_sync(_origins)
    assert origins[0] == "filler"
    assert "search" in origins


def test_only_the_best_checkpoints_are_kept(service, next_run, finish, wait_until):
    losses = {}
    for loss in (0.5, 0.1, 0.9):
        run, _ = next_run()
        losses[run] = loss
        finish(run, loss, checkpoint=run.encode())

    def one_is_left(tx):
        names = select(t.run.c.name).join(t.run_file)
        left = list(tx.conn.scalars(names))
        return left if len(left) == 1 else None

    assert wait_until(one_is_left) == [min(losses, key=losses.get)]

    def bytes_left():
        return [path for path in (service.store.folder / "blobs").rglob("*") if path.is_file()]

    wait_until(lambda tx: len(bytes_left()) == 1)


def test_a_turn_that_fails_is_logged_and_the_next_is_taken(caplog, monkeypatch):
    monkeypatch.setattr("sweepd.background._PAUSE_AFTER_FAILURE_S", 0.0)
    turns = []

    async def turn():
        turns.append(None)
        if len(turns) == 1:
            raise RuntimeError("once")
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(_forever(turn))

    assert len(turns) == 2
    assert "once" in caplog.text
