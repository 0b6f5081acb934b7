"""How requests arrive and how failures leave, whatever they ask for."""

import gzip
import json
import re

import pytest

from sweepd.engine import accounts, keys, sessions
from sweepd.errors import LeaseLost, NotFound, StoreBusy
from sweepd.wire.context import Context
from sweepd.wire.documents import Documents, InvalidDocument
from sweepd.wire.execution import Api, make_schema

VIEWER = "query Viewer { viewer { id entity username } }"


def test_without_a_key_the_answer_says_how_to_get_one(service):
    answer = service.client(key=None).execute(VIEWER)

    assert answer.status_code == 401
    assert answer.json()["data"] is None
    message = answer.json()["errors"][0]["message"]
    assert "no API key was sent" in message
    assert "`sweep user add NAME`" in message
    assert "wandb login --host=http://sweeps.test" in message


def test_an_unknown_key_is_refused_without_repeating_it(service):
    answer = service.client(key="x" * 40).execute(VIEWER)

    assert answer.status_code == 401
    assert "does not know that API key" in answer.text
    assert "x" * 40 not in answer.text


def test_a_revoked_key_is_refused_with_its_very_next_rows(service, client):
    run = 'mutation { upsertBucket(input: {name: "r", modelName: "toy"}) { inserted } }'
    client.data(run)
    alice = service.store.read_sync(accounts.list_users)[0]
    record, key = service.store.write_sync(keys.add_key, account=alice)
    other = service.client(key=key)

    def log():
        return other.request("POST", "/files/alice/toy/r/file_stream", json={})

    assert [log().status_code for _ in range(3)] == [200, 200, 200]
    service.store.write_sync(keys.revoke_key, key_id=record.id, actor=None)
    answer = log()

    assert answer.status_code == 401
    assert "revoked" in answer.json()["errors"][0]["message"]


@pytest.mark.parametrize("header", ["Basic", "Basic %%%", "Basic YXBp", "Digest abc", ""], ids=repr)
def test_a_malformed_authorization_is_refused(service, header):
    answer = service.client(key=None).request(
        "POST", "/graphql", json={"query": VIEWER}, headers={"Authorization": header}
    )

    assert answer.status_code == 401


def test_health_needs_no_key(service):
    answer = service.client(key=None).request("GET", "/healthz")

    assert (answer.status_code, answer.json()["status"]) == (200, "ok")


def test_an_empty_operation_name_is_none(client):
    assert client.execute(VIEWER, "").json()["data"]["viewer"]["entity"] == "alice"


def test_variables_that_the_operation_does_not_declare_are_ignored(client):
    assert client.data(VIEWER, deleteArtifacts=True)["viewer"]["username"] == "alice"


def test_what_is_not_supported_is_refused_by_name(client):
    status, messages = client.errors("{ viewer { entity } registry(id: 1) { id } }")

    assert status == 400
    assert messages == ["Cannot query field 'registry' on type 'Query'."]


def test_a_wrong_variable_is_refused(client):
    status, messages = client.errors(
        "mutation($id: ID!) { stopRun(input: {id: $id}) { success } }", id=None
    )

    assert status == 400
    assert "$id" in messages[0]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        pytest.param(b"{", "the body is not JSON", id="broken"),
        pytest.param(b"\xff", "the body is not JSON", id="not UTF-8"),
        pytest.param(b"[" * 100_000, "the body is not JSON", id="deep"),
        pytest.param(b"[]", "GraphQL `query`", id="a list"),
        pytest.param(b'{"query": 1}', "GraphQL `query`", id="no text"),
        pytest.param(b'{"query": "{a}", "variables": [1]}', "variables", id="variables"),
        pytest.param(b'{"query": "{a}", "operationName": 1}', "operationName", id="operation"),
        pytest.param(b'{"query": "{"}', "Syntax Error", id="syntax"),
    ],
)
def test_a_malformed_request_is_refused_in_words(client, body, words):
    answer = client.request("POST", "/graphql", content=body)

    assert answer.status_code == 400
    assert words in answer.json()["errors"][0]["message"]


def test_ten_megabytes_are_taken_and_seventeen_are_not(client):
    taken = client.execute(VIEWER, pad="x" * 10_000_000)
    refused = client.execute(VIEWER, pad="x" * 17_000_000)

    assert taken.status_code == 200
    assert refused.status_code == 413
    assert "16 MiB" in refused.json()["errors"][0]["message"]


def test_a_gzip_bomb_is_refused_before_it_unfolds(client):
    bomb = gzip.compress(b" " * 100_000_000)

    answer = client.request("POST", "/graphql", content=bomb, headers={"Content-Encoding": "gzip"})

    assert len(bomb) < 200_000
    assert answer.status_code == 413


@pytest.mark.parametrize(
    ("encoding", "body"),
    [("gzip", b"plain"), ("gzip", gzip.compress(b"{}")[:-4]), ("br", b"{}")],
    ids=["not gzip", "cut off", "unknown"],
)
def test_a_body_that_is_not_what_its_encoding_says_is_refused(client, encoding, body):
    answer = client.request(
        "POST", "/graphql", content=body, headers={"Content-Encoding": encoding}
    )

    assert answer.status_code == 400


@pytest.fixture
def documents():
    return Documents(make_schema([]))


def test_a_document_is_parsed_once(documents):
    assert documents.read(VIEWER) is documents.read(VIEWER)


def test_the_oldest_documents_are_forgotten(documents):
    first = documents.read(VIEWER)
    for number in range(600):
        documents.read(f"query Q{number} {{ viewer {{ id }} }}")

    assert documents.read(VIEWER) is not first


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(
            "{" + " ".join(f"a{n}: viewer {{ id }}" for n in range(1_000)) + "}", id="aliases"
        ),
        pytest.param(
            '{ entity(name: "x") '
            + "{ user { teams { edges { node " * 8
            + "{ id }"
            + "}}}}" * 8
            + "}",
            id="depth",
        ),
        pytest.param(
            "{ viewer { ...F0 } } "
            + " ".join(
                f"fragment F{n} on User {{ a: id b: id ...F{n + 1} ...F{n + 1} }}"
                for n in range(12)
            )
            + " fragment F12 on User { id }",
            id="fragments",
        ),
    ],
)
def test_a_giant_document_is_refused(documents, text):
    with pytest.raises(InvalidDocument, match=r"fields|names"):
        documents.read(text)


def _failing(error):
    async def resolve(root, info):
        raise error

    return Api(make_schema([{"Query": {"viewer": resolve}}]))


@pytest.mark.parametrize(
    ("error", "status"),
    [
        pytest.param(NotFound("no such thing"), 404, id="not found"),
        pytest.param(LeaseLost("another has it"), 422, id="a conflict must not be repeated"),
        pytest.param(StoreBusy("try again"), 503, id="busy"),
    ],
)
def test_our_errors_keep_their_words(service, error, status):
    context = Context(
        services=service.app.state.services, account=None, base_url="", request_id="r"
    )

    reply = service.portal.call(_failing(error).answer, {"query": "{viewer{id}}"}, context)

    assert reply.status == status
    assert json.loads(reply.encode()) == {"errors": [{"message": str(error)}], "data": None}
    assert ("Retry-After" in reply.headers) == (status == 503)


def test_an_unexpected_failure_is_logged_and_kept_from_the_client(service, caplog):
    context = Context(
        services=service.app.state.services, account=None, base_url="", request_id="r7"
    )
    request = {"query": "{viewer{id}}", "variables": {"run": "abc"}}

    reply = service.portal.call(_failing(KeyError("secret")).answer, request, context)

    assert reply.status == 500
    assert "secret" not in str(reply.body)
    assert "r7" in reply.body["errors"][0]["message"]
    assert "r7" in caplog.text
    assert "'abc'" in caplog.text


@pytest.fixture
def cookie(service):
    account = service.store.read_sync(accounts.list_users)[0]
    token = service.store.write_sync(sessions.open_session, account=account)
    return f"{sessions.SESSION_COOKIE}={token}"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        pytest.param({"Sec-Fetch-Site": "same-origin"}, 200, id="our page"),
        pytest.param({"Origin": "http://sweeps.test"}, 200, id="our page, older browser"),
        pytest.param({"Sec-Fetch-Site": "cross-site"}, 403, id="another site"),
        pytest.param({"Origin": "http://evil.test"}, 403, id="another site, older browser"),
        pytest.param({}, 403, id="no browser"),
        pytest.param(
            {"Sec-Fetch-Site": "same-origin", "Content-Type": "text/plain"}, 403, id="a form"
        ),
    ],
)
def test_a_session_counts_only_for_our_own_pages(service, cookie, headers, status):
    headers = {"Content-Type": "application/json", "Cookie": cookie, **headers}

    answer = service.client(key=None).request(
        "POST", "/graphql", content=json.dumps({"query": VIEWER}), headers=headers
    )

    assert answer.status_code == status


def test_a_session_that_has_ended_is_no_key(service):
    headers = {"Cookie": f"{sessions.SESSION_COOKIE}=gone", "Sec-Fetch-Site": "same-origin"}

    answer = service.client(key=None).request(
        "POST", "/graphql", json={"query": VIEWER}, headers=headers
    )

    assert answer.status_code == 401


def test_every_request_has_an_id_of_its_own(service, caplog):
    caplog.set_level("INFO", logger="sweepd.wire")
    client = service.client()

    client.execute("{ nothing }")
    client.execute("{ nothing }")

    found = re.findall(r"\[(\w{8})\] refused document", caplog.text)
    assert len(set(found)) == 2


def test_a_route_that_fails_unexpectedly_answers_in_json(service, client, caplog):
    service.store.blobs = None  # a mistake of ours, as good as any
    answer = client.data(
        'mutation { upsertBucket(input: {name: "r1", modelName: "toy", host: "box"})'
        " { bucket { id } } }"
    )
    assert answer["upsertBucket"]["bucket"]["id"]
    url = client.data(
        'mutation { createRunFiles(input: {entityName: "alice", projectName: "toy", runName: "r1",'
        ' files: ["a.txt"]}) { files { uploadUrl } } }'
    )["createRunFiles"]["files"][0]["uploadUrl"]

    answer = client.request("PUT", url, content=b"x")

    assert answer.status_code == 500
    assert "internal error" in answer.json()["errors"][0]["message"]
    assert "AttributeError" in caplog.text
