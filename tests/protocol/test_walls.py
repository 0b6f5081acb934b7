"""Two users, two teams: neither sees, guesses, changes, downloads or links anything of the other.

Every field of the schema's roots is asked with valid names and ids of the other team's things, and
with ones that nothing has: both must be answered alike, to the letter, and nothing may change.
"""

import re
import sys
from functools import partial
from pathlib import Path

import pytest
from graphql import GraphQLObjectType
from sqlalchemy import select

from sweepd.store.tables import metadata
from sweepd.wire.execution import make_schema
from sweepd.wire.resolvers import TABLES

sys.path.insert(0, str(Path(__file__).parent))

from walls import CASES, HARMLESS, NESTED, World, read_number

#: They make something of the caller's own, with a fresh secret in the answer.
OWN = ("Mutation.generateApiKey", "Mutation.sweepdCreateLoginLink")
WAYS = [(field, way) for field, ways in {**CASES, **NESTED}.items() for way in ways]
IDS = [f"{field}-{number}" for number, (field, _) in enumerate(WAYS)]
#: Kept up by the service itself, or by the stranger's own requests.
MOVING = {"event", "pulse", "suggestion", "login_link", "session"}


@pytest.fixture(scope="module")
def world(fortress):
    """A world that its tests leave as it is."""
    return World(fortress)


@pytest.fixture
def own_world(service):
    """A world of the test's own."""
    return World(service)


@pytest.fixture
def rows(world):
    return partial(rows_of, world)


def rows_of(world):
    """Read every row of every table that holds what people made."""

    def read(tx):
        return {
            name: sorted(map(repr, tx.conn.execute(select(table)).all()))
            for name, table in metadata.tables.items()
            if name not in MOVING
        }

    return world.service.store.read_sync(read)


def fields_of(schema):
    roots = {"Query", "Mutation"}
    for name, kind in schema.type_map.items():
        if isinstance(kind, GraphQLObjectType) and not name.startswith("__"):
            for field, definition in kind.fields.items():
                yield f"{name}.{field}", name in roots, set(definition.args)


def test_every_field_that_can_name_anothers_things_has_a_case():
    fields = list(fields_of(make_schema(TABLES)))
    roots = {name for name, is_root, _ in fields if is_root}
    naming = {name for name, is_root, args in fields if not is_root and args - HARMLESS}

    assert roots == set(CASES)
    assert naming <= set(NESTED)
    assert set(NESTED) <= {name for name, _, args in fields if args}


def test_stranger_is_answered_as_if_it_were_not_there_and_changes_nothing(world, rows):
    before = rows()
    ghosts = world.ghost()
    wrong = []
    for field, way in WAYS:
        if field in OWN:
            continue
        status, text = world.send(world.mal, field, way, world.ids)
        of_ghost = world.send(world.mal, field, way, ghosts)
        if (status, text) != (of_ghost[0], world.as_real(of_ghost[1], ghosts)):
            wrong.append((field, way, status, text, *of_ghost))

    assert wrong == []
    assert rows() == before


def test_nobody_at_all_is_asked_for_a_key(world, rows):
    before = rows()
    nobody = world.service.client(key=None)

    statuses = {world.send(nobody, field, way, world.ids)[0] for field, way in WAYS}

    assert statuses == {401}
    assert rows() == before


def test_viewer_changes_nothing_by_any_mutation(world, rows):
    before = rows()
    answers = {
        (field, way): world.send(world.vic, field, way, world.ids)
        for field, way in WAYS
        if field.startswith("Mutation") and field not in OWN
    }

    passed = {key: answer for key, answer in answers.items() if answer[0] not in (403, 404)}
    assert passed == {}
    assert rows() == before


def test_viewer_reads_what_the_stranger_does_not(world):
    for field, way in WAYS:
        if field in ("Query.users", "Query.organization") or "/$entity" in way or "./" in way:
            continue
        if field.startswith("Query") and "$member" not in way and "$entity/" not in way:
            status, text = world.send(world.vic, field, way, world.ids)
            assert status == 200, text
            assert not re.search(r'"data":\{"\w+":(null|\{"edges":\[\]\})', text), (way, text)


def test_who_may_is_refused_nothing(own_world):
    """Show that the cases are good ones: for the team's own administrator they all succeed."""
    refused = {}
    for field, way in WAYS:
        if not field.startswith("Mutation"):
            continue
        status, text = own_world.send(own_world.ann, field, way, own_world.ids)
        is_for_the_service = field in ("Mutation.createUser", "Mutation.createTeam")
        if status != (403 if is_for_the_service else 200):
            refused[way] = text

    assert refused == {}


def test_project_that_is_open_is_read_and_not_changed_by_strangers(own_world):
    own_world.ann.data(
        'mutation { upsertModel(input: {name: "toy", entityName: "red", access: "USER_READ"})'
        " { project { access } } }"
    )
    before = rows_of(own_world)
    changed = {}
    for field, way in WAYS:
        if field.startswith("Mutation") and field not in OWN:
            status, text = own_world.send(own_world.mal, field, way, own_world.ids)
            if status not in (403, 404):
                changed[way] = text

    assert changed == {}
    assert rows_of(own_world) == before
    found = own_world.mal.data(
        '{ project(name: "toy", entityName: "red") { access readOnly run(name: "r1")'
        ' { historyLineCount } entity { members { name } } } entity(name: "red") { isTeam } }'
    )
    assert found == {
        "project": {
            "access": "USER_READ",
            "readOnly": True,
            "run": {"historyLineCount": 1},
            "entity": {"members": []},
        },
        "entity": {"isTeam": True},
    }


def test_live_data_of_others_is_as_if_the_run_were_not(world, rows):
    before = rows()
    answers = [
        client.request("POST", f"/files/red/toy/{run}/file_stream", json={"complete": True})
        for client in (world.mal, world.service.client(key=None), world.vic)
        for run in ("r1", "nosuch", world.ids["trial"])
    ]

    stranger, nobody, viewer = answers[:3], answers[3:6], answers[6:]
    words = {answer.text.replace("nosuch", "r1") for answer in stranger[:2]}
    assert [answer.status_code for answer in stranger] == [404] * 3
    assert words == {'{"errors":[{"message":"there is no run red/toy/r1"}],"data":null}'}
    assert [answer.status_code for answer in nobody] == [401] * 3
    assert [answer.status_code for answer in viewer] == [403, 404, 403]
    assert rows() == before


def test_link_to_ones_own_file_opens_no_other(world):
    own = world.ids["run_id"]
    number = int(read_number(own))
    path, _, query = world.link.partition("?")

    for changed in (f"/storage/{number}/b.txt", f"/storage/{number + 1}/net.onnx"):
        moved = path.replace(f"/storage/{number}/net.onnx", changed)
        assert world.mal.request("GET", f"{moved}?{query}").status_code == 403
    assert world.mal.request("PUT", world.link, content=b"mine").status_code == 403
    assert world.mal.request("GET", path).status_code == 403
