"""Files of an attempt that another one has replaced, as the client uploads them."""

import pytest
from attempts import taker

LINKS = """mutation($run: String!, $files: [String!]!) { createRunFiles(input: {entityName: "alice",
  projectName: "toy", runName: $run, files: $files}) { files { uploadUrl } } }"""
LIST = """query($run: String!) { project(name: "toy") { run(name: $run) { files { edges { node {
  name directUrl } } } } } }"""


@pytest.fixture
def take(client):
    return taker(client)


def link(attempt, name):
    answer = attempt.data(LINKS, run=attempt.run, files=[name])
    (file,) = answer["createRunFiles"]["files"]
    return file["uploadUrl"]


@pytest.fixture
def put(client):
    def put(link, content):
        assert client.request("PUT", link, content=content).status_code == 200

    return put


@pytest.fixture
def contents(client):
    def contents(run):
        found = client.data(LIST, run=run)["project"]["run"]["files"]["edges"]
        nodes = [edge["node"] for edge in found]
        return {node["name"]: client.request("GET", node["directUrl"]).content for node in nodes}

    return contents


def test_a_zombies_file_is_kept_and_takes_nobodys_place(take, put, contents):
    zombie = take()
    early = link(zombie, "checkpoint.pt")
    put(early, b"early")
    zombie.preempted()
    later = take()
    assert (later.run, later.number) == (zombie.run, 2)
    put(link(later, "checkpoint.pt"), b"of the second")

    put(early, b"sent again")  # by a link of the time when it held the lease
    put(link(zombie, "dir/model.onnx"), b"late")

    assert contents(later.run) == {
        "checkpoint.pt": b"of the second",
        "late/attempt-1/checkpoint.pt": b"sent again",
        "late/attempt-1/dir/model.onnx": b"late",
    }


def test_a_late_file_keeps_the_end_of_a_name_that_leaves_no_room(take, put, contents):
    zombie = take()
    zombie.preempted()
    assert take().number == 2
    name = "d/" + "n" * 1_000 + "/" + "model.onnx"

    put(link(zombie, name), b"late")

    ((kept, content),) = contents(zombie.run).items()
    assert (len(kept), content) == (1_024, b"late")
    assert kept.startswith("late/attempt-1/n")
    assert kept.endswith("n/model.onnx")


def test_a_file_that_comes_after_its_attempt_ended_is_the_runs_until_another_begins(
    take, put, contents
):
    first = take()
    sent = link(first, "checkpoint.pt")
    first.preempted()

    put(sent, b"the last state")

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
