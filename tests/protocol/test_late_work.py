"""What else a process does whose trial a later attempt has: kept, marked, without effect.

Its rows, its summary and its files have tests of their own.
"""

import pytest
from attempts import taker
from drafting import Drafting

ALERT = """mutation($run: String!) { notifyScriptableRunAlert(input: {entityName: "alice",
  projectName: "toy", runName: $run, title: "loss", text: "too high"}) { success } }"""
ALERTS = """query($run: String!) { project(name: "toy") { run(name: $run) { sweepdAlerts {
  title text } } } }"""
REWIND = """mutation($run: String!) { rewindRun(input: {runName: $run, entityName: "alice",
  projectName: "toy", metricName: "_step", metricValue: 0}) { rewoundRun { historyLineCount } } }"""
LINK = """mutation($id: ID!) { linkArtifact(input: {artifactID: $id, entityName: "alice",
  projectName: "toy", artifactPortfolioName: "shown", aliases: []}) { versionIndex } }"""


@pytest.fixture
def take(client):
    return taker(client)


@pytest.fixture
def stranger(service):
    return service.client(key=None)


@pytest.fixture
def attempts(take):
    """A zombie, and the attempt that has its trial now."""
    zombie = take()
    zombie.preempted()
    later = take()
    assert (later.run, later.number) == (zombie.run, 2)
    return zombie, later


def log(attempt, stranger, text):
    """Log a model as a run's process does; return the version's id, number and aliases."""
    made = Drafting(attempt, stranger).log(
        {"model.onnx": text}, name="net", type="model", runName=attempt.run, aliases=("best",)
    )
    return made["id"], made["versionIndex"], sorted(one["alias"] for one in made["aliases"])


def test_a_zombies_artifact_is_kept_and_moves_no_alias_of_the_later_attempts(
    attempts, stranger, client
):
    zombie, later = attempts
    good, *was = log(later, stranger, b"good")

    _, *late = log(zombie, stranger, b"late")

    assert was == [0, ["best", "latest"]]
    assert late == [1, ["late-attempt-1"]]
    again = "query($id: ID!) { artifact(id: $id) { aliases { alias } } }"
    kept = client.data(again, id=good)["artifact"]["aliases"]
    assert sorted(one["alias"] for one in kept) == ["best", "latest"]


def test_an_attempt_that_was_not_replaced_moves_the_aliases(take, stranger):
    first = take()
    log(first, stranger, b"one")
    first.preempted()

    _, *last = log(first, stranger, b"two")  # what it had left to send

    assert last == [1, ["best", "latest"]]


def test_a_zombies_version_is_linked_nowhere(attempts, stranger):
    zombie, _ = attempts
    version, *_ = log(zombie, stranger, b"late")

    refused = zombie.answer(LINK, id=version)

    assert refused.status_code == 422
    assert "a later attempt follows attempt 1" in refused.text


def test_a_zombies_alert_says_whose_it_is(attempts, client):
    zombie, later = attempts

    for attempt in (zombie, later):
        attempt.data(ALERT, run=attempt.run)

    alerts = client.data(ALERTS, run=later.run)["project"]["run"]["sweepdAlerts"]
    assert {one["title"] for one in alerts} == {"late, of attempt 1: loss", "loss"}


def test_a_zombie_takes_no_run_back(attempts, client):
    zombie, later = attempts

    refused = zombie.answer(REWIND, run=zombie.run)
    rewound = later.data(REWIND, run=later.run)

    assert "a later attempt follows attempt 1" in refused.text
    assert rewound["rewindRun"]["rewoundRun"]["historyLineCount"] == 0


def test_a_process_may_act_on_other_runs_than_its_own(attempts, client):
    zombie, _ = attempts
    client.data(
        'mutation { upsertBucket(input: {name: "own", modelName: "toy", host: "box"})'
        " { inserted } }"
    )

    assert "errors" not in zombie.answer(REWIND, run="own").json()
