"""The end of a project: what goes, who may end it, and what its processes are told."""

import json
import sys
from pathlib import Path

import pytest
from sqlalchemy import func, select

from sweepd.engine import leftovers
from sweepd.store.tables import metadata

sys.path.insert(0, str(Path(__file__).parent))

from walls import World

DELETE = "mutation($id: String!) { deleteModel(input: {id: $id}) { success } }"
SIZE = """{ project(name: "toy", entityName: "red") { id
  sweepdSize { runs sweeps artifacts bytes } } }"""
#: What is not of any one project; `event` and `deleted_run` tell what was there once.
SHARED = {"entity", "user", "api_key", "membership", "session", "login_link"}
SHARED |= {"event", "deleted_run", "pulse", "chart_preset"}
HEARTBEAT = """mutation($id: ID!) { agentHeartbeat(input: {id: $id, metrics: "{}", runState: "{}"})
  { commands } }"""


@pytest.fixture
def world(service):
    """Team `red` with a project that has one of everything, and `blue` with an empty one."""
    return World(service)


def counts(world):
    """Read how many rows each table has of projects."""

    def read(tx):
        while leftovers.is_any_left(tx):
            leftovers.sweep_up(tx)
        return {
            name: tx.conn.scalar(select(func.count()).select_from(table))
            for name, table in metadata.tables.items()
            if name not in SHARED
        }

    found = world.service.store.write_sync(read)
    return {name: count for name, count in found.items() if count}


def blobs(world):
    folder = world.service.store.blobs.path("00").parent.parent
    return [path for path in folder.rglob("*") if path.is_file()]


def test_all_that_a_project_holds_goes_with_it(world):
    before, n_blobs = counts(world), len(blobs(world))

    world.ann.data(DELETE, id=world.ids["project_id"])

    left = counts(world)
    assert before["run"] > 2
    assert n_blobs > 2
    assert left.pop("project") == before["project"] - 1
    assert left == {}
    assert blobs(world) == []


def test_size_says_what_would_go(world):
    found = world.ann.data(SIZE)["project"]["sweepdSize"]

    rows = counts(world)
    assert found["runs"] == rows["run"]
    assert found["sweeps"] == rows["sweep"]
    assert found["artifacts"] > 0
    assert found["bytes"] > 0


def test_name_can_be_used_again_and_is_empty(world):
    world.ann.data(DELETE, id=world.ids["project_id"])

    world.bea.data(
        'mutation { upsertBucket(input: {name: "r1", modelName: "toy", entityName: "red",'
        ' host: "h"}) { inserted } }'
    )

    size = world.ann.data(SIZE)["project"]["sweepdSize"]
    assert size == {"runs": 1, "sweeps": 0, "artifacts": 0, "bytes": 0}


def test_deleting_it_twice_is_fine(world):
    for _ in range(2):
        assert world.ann.data(DELETE, id=world.ids["project_id"]) == {
            "deleteModel": {"success": True}
        }


@pytest.mark.parametrize("who", ["bea", "vic"])
def test_members_who_administer_nothing_may_not(world, who):
    status, text = getattr(world, who).errors(DELETE, id=world.ids["project_id"])

    assert status == 403
    assert "red/toy" in str(text)
    assert counts(world)["run"] > 2


def test_owner_may_delete_a_project_of_their_own(client):
    made = client.data('mutation { upsertModel(input: {name: "mine"}) { project { id } } }')

    client.data(DELETE, id=made["upsertModel"]["project"]["id"])

    assert client.data('{ project(name: "mine") { id } }')["project"] is None


def test_processes_of_a_deleted_project_are_told_that_it_is_gone_and_bring_nothing_back(world):
    made = world.ann.data(
        'mutation($s: String!) { createAgent(input: {host: "h", sweep: $s, projectName: "toy",'
        ' entityName: "red"}) { agent { id } } }',
        s=world.ids["sweep"],
    )
    agent = made["createAgent"]["agent"]["id"]
    beat = world.ann.data(HEARTBEAT, id=agent)["agentHeartbeat"]["commands"]
    (command,) = json.loads(beat)
    lease = command["sweepd"]
    header = {"X-Sweepd-Lease": f"{command['run_id']};{lease['attempt']};{lease['token']}"}

    world.ann.data(DELETE, id=world.ids["project_id"])

    assert world.ann.errors(HEARTBEAT, id=agent)[0] == 404
    stream = f"/files/red/toy/{command['run_id']}/file_stream"
    assert world.ann.request("POST", stream, json={"complete": True}).status_code == 404
    address = f'name: "{command["run_id"]}", modelName: "toy", entityName: "red", host: "h"'
    upsert = {"query": f"mutation {{ upsertBucket(input: {{{address}}}) {{ inserted }} }}"}
    answer = world.ann.request("POST", "/graphql", json=upsert, headers=header)
    assert answer.status_code == 404
    assert "any more" in answer.text
    assert world.ann.data(SIZE)["project"] is None


def test_links_from_other_projects_go_with_what_they_lead_to(world):
    world.ann.data(
        'mutation { upsertModel(input: {name: "shop", entityName: "red"}) { inserted } }'
    )
    world.ann.data(
        """mutation($id: ID!) { linkArtifact(input: {artifactID: $id, entityName: "red",
          artifactPortfolioName: "shelf", projectName: "shop", aliases: []}) { versionIndex } }""",
        id=world.ids["artifact_id"],
    )

    world.ann.data(DELETE, id=world.ids["project_id"])

    rows = counts(world)
    assert "artifact_member" not in rows
    assert rows["artifact_collection"] == 1


def test_deletion_that_is_sent_again_does_not_delete_the_next_project(world):
    world.ann.data(DELETE, id=world.ids["project_id"])
    create = 'mutation { upsertModel(input: {name: "toy", entityName: "red"}) { project { id } } }'
    made = world.ann.data(create)["upsertModel"]["project"]["id"]

    world.ann.data(DELETE, id=world.ids["project_id"])

    assert made != world.ids["project_id"]
    assert world.ann.data(SIZE)["project"]["id"] == made
