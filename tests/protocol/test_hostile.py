"""What no client of ours sends: it is refused in words, never a 5xx, and costs little."""

import json

import pytest

from sweepd.engine import accounts, sessions

DEEP = '{"a": ' * 600 + "NaN" + "}" * 600
RUN = "mutation($i: UpsertBucketInput!) { upsertBucket(input: $i) { bucket { id } } }"
FILES = """mutation($f: [String!]!) { createRunFiles(input: {entityName: "alice",
  projectName: "toy", runName: "r1", files: $f}) { files { name } } }"""
BEAT = """mutation($state: JSONString!) { agentHeartbeat(input: {id: "QWdlbnQ6YQ==",
  runState: $state}) { commands } }"""
FILTER = 'query($f: JSONString) { project(name: "toy") { runCount(filters: $f) } }'


@pytest.fixture(autouse=True)
def run(client):
    client.data(RUN, i={"name": "r1", "modelName": "toy", "host": "box"})


def stream(client, body):
    return send(client, "/files/alice/toy/r1/file_stream", body)


def send(client, path, body):
    """Send JSON in which everything outside ASCII is escaped, half surrogate pairs too."""
    return client.request("POST", path, content=json.dumps(body))


@pytest.mark.parametrize("field", ["name", "modelName", "entityName", "sweep", "notes"])
def test_half_a_surrogate_pair_is_no_failure_of_ours(client, field):
    body = {"query": RUN, "variables": {"i": {"name": "r1", "modelName": "toy", field: "\ud800"}}}

    assert send(client, "/graphql", body).status_code < 500


def test_half_a_surrogate_pair_is_stored_as_a_question_mark(client):
    query = "mutation($d: String) { generateApiKey(input: {description: $d}) { apiKey {"
    body = {"query": f"{query} description }} }} }}", "variables": {"d": "a\ud800 \U0001f600"}}

    answer = send(client, "/graphql", body).json()["data"]

    assert answer["generateApiKey"]["apiKey"]["description"] == "a? \U0001f600"


@pytest.mark.parametrize(
    ("query", "variables"),
    [
        pytest.param(FILTER, {"f": DEEP}, id="filters"),
        pytest.param(FILTER, {"f": '{"a": ' * 5000}, id="deeper filters"),
        pytest.param(BEAT, {"state": DEEP}, id="heartbeat"),
        pytest.param(RUN, {"i": {"name": "r1", "config": DEEP}}, id="config"),
        pytest.param(RUN, {"i": {"name": "r1", "summaryMetrics": DEEP}}, id="summary"),
    ],
)
def test_json_that_is_nested_too_deeply_is_refused(client, query, variables):
    status, messages = client.errors(query, **variables)

    assert status == 400
    assert "nested more than 100 levels deep" in messages[0]


def test_a_row_that_is_nested_too_deeply_is_counted_but_not_kept(client):
    rows = {"wandb-history.jsonl": {"offset": 0, "content": [DEEP, '{"x": 1}']}}

    assert stream(client, {"files": rows}).status_code == 200
    answer = client.data(
        '{ project(name: "toy") { run(name: "r1") { historyLineCount history } } }'
    )
    assert answer["project"]["run"] == {"historyLineCount": 2, "history": ['{"x": 1}']}


@pytest.mark.parametrize(
    "body",
    [
        pytest.param({"files": {"\ud800": 1}}, id="file name"),
        pytest.param({"files": {"a": {"offset": 2**40, "content": []}}}, id="offset"),
    ],
)
def test_a_malformed_stream_is_refused(client, body):
    assert stream(client, body).status_code == 400


def test_a_strange_exit_code_leaves_the_run_readable(client):
    assert stream(client, {"complete": True, "exitcode": 2**40}).status_code == 200
    client.data('{ project(name: "toy") { run(name: "r1") { exitcode logLineCount } } }')


@pytest.mark.parametrize(
    ("query", "variables"),
    [
        pytest.param(FILES, {"f": ["a"] * 10_001}, id="links"),
        pytest.param(
            "mutation($f: [ID!]!) { deleteFiles(input: {files: $f}) { success } }",
            {"f": ["RmlsZTox"] * 10_001},
            id="deletions",
        ),
        pytest.param(
            BEAT,
            {"state": "{" + ",".join(f'"r{n}": true' for n in range(10_001)) + "}"},
            id="runs of an agent",
        ),
    ],
)
def test_a_list_that_would_keep_everybody_waiting_is_refused(client, query, variables):
    status, messages = client.errors(query, **variables)

    assert status == 400
    assert "10001" in messages[0]
    assert "at most 10000" in messages[0]


def test_listings_in_listings_end(client):
    for n in range(30):
        client.data(RUN, i={"name": f"n{n}", "modelName": "toy"})
    inner = "id"
    for _ in range(4):
        inner = f"project {{ runs {{ edges {{ node {{ {inner} }} }} }} }}"
    query = f'{{ project(name: "toy") {{ runs {{ edges {{ node {{ {inner} }} }} }} }} }}'

    status, messages = client.errors(query)

    assert status == 400
    assert "use smaller pages" in messages[0]


def test_a_large_request_reads_a_few_things_at_a_time_and_each_project_once(
    client, service, monkeypatch
):
    for n in range(20):
        client.data(RUN, i={"name": f"n{n}", "modelName": "toy"})
    abreast, most, asked = 0, 0, []
    original = service.store.read

    async def counted(use_case, **arguments):
        nonlocal abreast, most
        asked.append(use_case.__name__)
        abreast += 1
        most = max(most, abreast)
        try:
            return await original(use_case, **arguments)
        finally:
            abreast -= 1

    monkeypatch.setattr(service.store, "read", counted)

    client.data(
        '{ project(name: "toy") { runs { edges { node { project { id } user { id } again: '
        "project { runCount } } } } } }"
    )

    assert 2 <= most <= 4
    assert asked.count("project_by_id") == 1


@pytest.mark.parametrize("step", ["NaN", "1e999", "-Infinity"])
def test_a_step_that_is_no_number_is_refused(client, step):
    query = """query($s: [JSONString!]!) { project(name: "toy") { run(name: "r1") {
      sampledHistory(specs: $s) } } }"""

    status, messages = client.errors(query, s=[f'{{"keys": ["a"], "minStep": {step}}}'])

    assert status == 400
    assert "minStep" in messages[0]


@pytest.mark.parametrize(
    "path", [f"/storage/{'9' * 5000}/x", "/storage/x/y", "/-/static/v/%00", "/-/static/v/..%2fx"]
)
def test_an_address_that_cannot_be_is_not_found(service, path):
    assert service.client(key=None).request("GET", path).status_code == 404


def test_an_origin_that_is_no_address_is_somebody_elses(service):
    account = service.store.read_sync(accounts.list_users)[0]
    token = service.store.write_sync(sessions.open_session, account=account)
    headers = {"Cookie": f"{sessions.SESSION_COOKIE}={token}", "Origin": "http://[::"}
    browser = service.client(key=None)

    for path in ("/graphql", "/login", "/authorize", "/-/run/alice/toy/r1/stop"):
        assert browser.request("POST", path, json={}, headers=headers).status_code == 403


def test_a_media_key_with_a_control_character_shows_nothing(service):
    account = service.store.read_sync(accounts.list_users)[0]
    token = service.store.write_sync(sessions.open_session, account=account)
    headers = {"Cookie": f"{sessions.SESSION_COOKIE}={token}"}

    answer = service.client(key=None).request(
        "GET", "/-/data/run/alice/toy/r1/media?key=%00", headers=headers
    )

    assert answer.json() == {"steps": [], "n_steps": 0, "step": None, "items": []}
