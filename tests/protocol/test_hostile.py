"""What no client of ours sends: it is refused in words, never a 5xx, and costs little."""

import asyncio
import gc
import json

import httpx
import pytest
from graphql import Executor

from sweepd.engine import accounts, sessions
from sweepd.engine.turns import Turns
from sweepd.errors import ProtocolError
from sweepd.wire.context import Context

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


def test_listings_in_listings_end(client, monkeypatch):
    monkeypatch.setattr("sweepd.wire.context._MAX_READS", 2_000)  # so that it ends sooner
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
    take, read = Turns.take, service.store.read

    async def counted(turns, account_id, reading):
        nonlocal abreast, most
        abreast += 1
        most = max(most, abreast)
        try:
            return await take(turns, account_id, reading)
        finally:
            abreast -= 1

    def named(use_case, **arguments):
        asked.append(use_case.__name__)
        return read(use_case, **arguments)

    # Requests take turns; what the service reads for itself meanwhile does not.
    monkeypatch.setattr(Turns, "take", counted)
    monkeypatch.setattr(service.store, "read", named)

    client.data(
        '{ project(name: "toy") { runs { edges { node { project { id } user { id } again: '
        "project { runCount } } } } } }"
    )

    assert 2 <= most <= 4
    assert asked.count("project_by_id") == 1


def test_a_field_that_fails_takes_no_read_away_from_others(client):
    client.data(RUN, i={"name": "r2", "modelName": "toy", "host": "box"})
    query = """{ project(name: "toy") {
      a: run(name: "r1") { project { name } history(samples: -1) }
      b: run(name: "r2") { project { name } }
    } }"""

    for _ in range(10):
        status, messages = client.errors(query)
        assert status == 400
        assert "samples" in messages[0]


def test_a_request_leaves_nothing_for_the_garbage_collector(client):
    queries = [
        "{ viewer { username } }",
        '{ project(name: "toy") { runs { edges { node { id } } } } }',
    ]

    def found():
        return [one for one in gc.get_objects() if issubclass(type(one), Context | Executor)]

    gc.collect()
    gc.disable()  # so that whatever refers to itself would stay
    try:
        before = found()  # of other tests' services
        for query in queries:
            client.data(query)
        client.errors('{ project(name: "toy") { run(name: "r1") { nothing } } }')
        left = [one for one in found() if not any(one is other for other in before)]
    finally:
        gc.enable()

    assert left == []


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


KEY = "protocoltest" + "k" * 40
MARY = "mary" + "m" * 40
READ = '{ project(name: "none") { id } }'
SLOW = json.dumps({"$or": [{"notes": {"$regex": f"a.*b.*c{n}"}} for n in range(400)]})


@pytest.fixture
def notes(client):
    """A run whose notes keep a reader busy: a search in them takes far longer than it may."""
    client.data(RUN, i={"name": "r1", "modelName": "toy", "notes": "ab " * 20_000})


def test_a_slow_search_gives_its_reader_back(service, client, notes):
    service.store.patience_s = 0.3

    status, messages = client.errors(FILTER, f=SLOW)

    assert status == 400
    assert messages == ["the request takes longer than 0.3 s to read; ask for less"]


def test_a_slow_query_without_any_search_is_interrupted_too(service):
    rows = (
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1e10)"
        " SELECT count(*) FROM n"
    )
    service.store.patience_s = 0.1

    with pytest.raises(ProtocolError, match="takes longer than"):
        service.portal.call(service.store.read, lambda tx: tx.conn.exec_driver_sql(rows).all())


def test_slow_searches_of_one_account_keep_no_other_waiting(service, client, notes):
    service.store.write_sync(accounts.add_user, name="mary", key=MARY)

    async def race():
        body = {"query": FILTER, "variables": {"f": SLOW}}
        slow = [asyncio.ensure_future(_post(service, KEY, body)) for _ in range(12)]
        answers = [await _post(service, MARY, {"query": READ}) for _ in range(20)]
        n_done = sum(task.done() for task in slow)
        for task in slow:
            task.cancel()
        return [answer.status_code for answer in answers], n_done

    assert service.portal.call(race) == ([200] * 20, 0)


async def _post(service, key, body):
    transport = httpx.ASGITransport(app=service.app)
    async with httpx.AsyncClient(
        transport=transport, base_url="http://sweeps.test", auth=("api", key), timeout=60
    ) as http:
        return await http.post("/graphql", json=body)


def test_a_run_of_more_tags_than_a_page_can_show_is_refused(client):
    tags = [f"t{n}" for n in range(1_001)]

    client.data(RUN, i={"name": "r1", "modelName": "toy", "tags": tags[1:]})
    status, messages = client.errors(RUN, i={"name": "r1", "modelName": "toy", "tags": tags})

    assert status == 400
    assert messages == ["tags: 1001 of them; a run has at most 1000"]


def test_a_history_spec_of_a_great_many_keys_is_refused(client):
    query = """query($s: [JSONString!]!) { project(name: "toy") { run(name: "r1") {
      sampledHistory(specs: $s) } } }"""

    status, messages = client.errors(query, s=[json.dumps({"keys": [*map(str, range(1_001))]})])

    assert status == 400
    assert messages == ["1001 keys in a history spec; at most 1000"]
