"""Presets of custom charts, as `Api.create_custom_chart` makes them."""

import json

import pytest

from sweepd.engine import accounts, presets

CREATE = """mutation CreateCustomChart ($entity: String!, $chartName: String!,
  $displayName: String!, $chartType: String!, $access: String!, $spec: JSONString!) {
  createCustomChart(input: {entity: $entity, name: $chartName, displayName: $displayName,
  type: $chartType, access: $access, spec: $spec}) { chart { id } } }"""
GOOD = {
    "entity": "alice",
    "chartName": "bars",
    "displayName": "My bars",
    "chartType": "vega2",
    "access": "PRIVATE",
    "spec": json.dumps({"mark": "bar"}),
}


@pytest.fixture
def seen_by(service):
    """Which of alice's presets a user sees, by id: their specifications."""

    def seen_by(name):
        account, _ = service.store.write_sync(accounts.add_user, name=name)
        found = service.store.read_sync(
            presets.presets_of, actor=account, ids=["alice/bars", "alice/none", "no slash"]
        )
        return {key: one.spec for key, one in found.items()}

    return seen_by


def test_a_preset_is_kept_under_its_entity_and_name(client):
    answer = client.data(CREATE, **GOOD)

    assert answer["createCustomChart"]["chart"]["id"] == "alice/bars"


def test_a_preset_of_the_same_name_is_replaced(client, seen_by):
    for mark in ("bar", "line"):
        spec = json.dumps({"mark": mark})
        client.data(CREATE, **GOOD | {"access": "PUBLIC", "spec": spec})

    assert seen_by("bob") == {"alice/bars": '{"mark": "line"}'}


def test_a_private_preset_is_seen_by_nobody_else(client, seen_by):
    client.data(CREATE, **GOOD)

    assert seen_by("bob") == {}


@pytest.mark.parametrize(
    ("change", "status", "words"),
    [
        ({"chartType": "pie"}, 400, "must be vega2, not 'pie'"),
        ({"access": "private"}, 400, "one of PRIVATE, PUBLIC, not 'private'"),
        ({"spec": "[1]"}, 400, "spec must be a JSON object"),
        ({"spec": "{"}, 400, "spec is not JSON"),
        ({"chartName": "a/b"}, 400, "may not contain '/'"),
        ({"displayName": "x" * 2000}, 400, "a title of 1000"),
        ({"entity": "nobody"}, 404, "no entity 'nobody'"),
    ],
)
def test_a_preset_without_sense_is_refused_in_words(client, change, status, words):
    found, (message,) = client.errors(CREATE, **GOOD | change)

    assert found == status
    assert words in message


def test_nobody_makes_presets_for_others(service):
    service.store.write_sync(accounts.add_user, name="mallory", key="mallory" + "m" * 40)
    mallory = service.client(key="mallory" + "m" * 40)

    status, _ = mallory.errors(CREATE, **GOOD)

    assert status == 404
