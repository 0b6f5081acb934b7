"""Bombs: requests that are small to send and were large to answer. Each is refused in words."""

import gzip
import json
import zlib

import pytest

FILTER = 'query($f: JSONString) { project(name: "toy") { runCount(filters: $f) } }'
SWEEP = """mutation($c: String!) { upsertSweep(input: {config: $c, projectName: "toy",
  entityName: "alice"}) { sweep { id } configValidationWarnings } }"""


@pytest.fixture(scope="module")
def client(fortress):
    return fortress.client()


def _fragments(count, body):
    return " ".join(f"fragment F{n} on User {{ {body(n)} }}" for n in range(count))


BOMBS = [
    pytest.param("{" + " ".join(f"a{n}: viewer {{ id }}" for n in range(60)) + "}", id="alias"),
    pytest.param("{ viewer {" + "id " * 2_000 + "} }", id="duplicate field"),
    pytest.param(
        "{ viewer { ...F0 } } fragment F0 on User { ...F1 } fragment F1 on User { ...F0 }",
        id="fragment cycle",
    ),
    pytest.param("{ viewer { ...F } } fragment F on User { ...F }", id="fragment in itself"),
    pytest.param(
        "{ viewer { ...F0 } } "
        + _fragments(40, lambda n: f"a{n}: id ...F{n + 1} " * 2)
        + " fragment F40 on User { id }",
        id="fragment doubling",
    ),
    pytest.param("{ viewer { " + "...on User { id } " * 200 + "} }", id="inline fragment"),
    pytest.param("{ viewer { id " + "@include(if: true) " * 1_000 + "} }", id="directive"),
    pytest.param(
        '{ entity(name: "x") ' + "{ user { teams { edges { node " * 8 + "{ id }" + "}}}}" * 8 + "}",
        id="depth",
    ),
    pytest.param("{ viewer" + "{ a" * 5_000 + "}" * 5_000 + " }", id="bottomless depth"),
    pytest.param("{ project(name: " + "[" * 3_000 + "]" * 3_000 + ") { id } }", id="list depth"),
    pytest.param(" ".join(f"query Q{n} {{ viewer {{ id }} }}" for n in range(100)), id="batch"),
    pytest.param("{ viewer { id } " + "x " * 9_000 + "}", id="token"),
    pytest.param("{ viewer { id } " + "#" * 100 + "\n" + "," * 100_000 + "x }", id="comma"),
    pytest.param("{ __schema { types { name } } " + "x" * 100_000 + " }", id="long name"),
    pytest.param(
        "{" + " ".join(f't{n}: __type(name: "Run") {{ name }}' for n in range(60)) + "}",
        id="introspection alias",
    ),
    pytest.param(
        "mutation {"
        + " ".join(f'm{n}: upsertModel(input: {{name: "p{n}"}}) {{ inserted }}' for n in range(60))
        + "}",
        id="mutation alias",
    ),
]


@pytest.mark.parametrize("query", BOMBS)
def test_a_graphql_bomb_is_refused_in_words(client, query):
    status, messages = client.errors(query)

    assert status == 400
    assert all(0 < len(message) < 1_000 for message in messages), messages
    assert len(messages) <= 5


def test_a_graphql_batch_of_requests_is_refused(client):
    body = [{"query": "{ viewer { id } }"}] * 1_000

    assert client.request("POST", "/graphql", json=body).status_code == 400


@pytest.mark.parametrize("path", ["/graphql", "/files/alice/toy/r1/file_stream"])
@pytest.mark.parametrize(
    "body",
    [
        pytest.param(gzip.compress(b" " * (64 << 20), 9), id="gzip"),
        pytest.param(gzip.compress(gzip.compress(b" " * (1 << 20), 9), 9), id="gzip in gzip"),
        pytest.param(gzip.compress(b"{}") + gzip.compress(b" " * (1 << 20)), id="two members"),
        pytest.param(gzip.compress(b"[" * (1 << 20), 9), id="deep"),
        pytest.param(gzip.compress(b'{"a":' * (1 << 18), 9), id="deep objects"),
        pytest.param(zlib.compress(b" " * (1 << 20), 9), id="not gzip"),
        pytest.param(gzip.compress(b"9" * 10_000), id="a huge number"),
    ],
)
def test_a_decompression_bomb_is_refused(client, path, body):
    answer = client.request("POST", path, content=body, headers={"Content-Encoding": "gzip"})

    assert answer.status_code in (400, 413), answer.text
    assert answer.json()["errors"][0]["message"]


@pytest.mark.parametrize("encoding", ["gzip, gzip", "deflate", "zstd", "gzip;q=1", "compress"])
def test_a_bomb_in_another_wrapping_is_refused(client, encoding):
    body = gzip.compress(b"{}")

    answer = client.request(
        "POST", "/graphql", content=body, headers={"Content-Encoding": encoding}
    )

    assert answer.status_code == 400


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("[" * 50_000, id="lists"),
        pytest.param('{"a":' * 50_000 + "1" + "}" * 50_000, id="objects"),
        pytest.param('{"$and": [' * 200 + "{}" + "]}" * 200, id="filters"),
        pytest.param('{"$not": ' * 200 + "{}" + "}" * 200, id="negations"),
        pytest.param('{"a": ' + "9" * 5_000 + "}", id="digits"),
        pytest.param('{"a": 1e' + "9" * 400 + "}", id="exponent"),
        pytest.param(
            json.dumps({"$or": [{"config.x": n} for n in range(20_000)]}), id="alternatives"
        ),
        pytest.param(json.dumps({"name": {"$in": ["x"] * 200_000}}), id="a long list"),
    ],
)
def test_a_json_bomb_in_a_filter_does_no_harm(client, text):
    answer = client.execute(FILTER, f=text)

    assert answer.status_code in (200, 400), answer.text[:300]


def _each(filters):
    return json.dumps({"$or": filters})


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(_each([{}] * 20_000), id="empty alternatives"),
        pytest.param(_each([{"state": f"s{n}"} for n in range(1_000)]), id="a deep chain"),
        pytest.param(json.dumps({"tags": [f"t{n}" for n in range(2_000)]}), id="tags"),
        pytest.param(json.dumps({"tags": {"$in": [["t"] * 2_000]}}), id="lists of tags"),
        pytest.param(_each([{"config.a": {"$in": [*range(900)]}}] * 50), id="lists of numbers"),
        pytest.param(json.dumps({"config." + ".".join("a" * 200): 1}), id="dots"),
        pytest.param(json.dumps({"config." + "." * 200_000: 1}), id="a great many dots"),
        pytest.param(_each([{f"summary_metrics.a{n}": 1} for n in range(100)]), id="keys"),
        pytest.param(_each([{f"summary_metrics.a.b.c.d.e{n}": 1} for n in range(9)]), id="splits"),
    ],
)
def test_a_bomb_of_terms_in_a_filter_is_refused_before_it_becomes_sql(client, text):
    status, messages = client.errors(FILTER, f=text)

    assert status == 400
    assert messages[0].startswith("filters: ")


@pytest.mark.parametrize("key", ["state", "config.a", "tags"])
def test_a_long_list_in_a_filter_is_still_answered(client, key):
    values = [*map(str, range(900))] if key != "config.a" else [*range(450), *map(str, range(450))]

    client.data(FILTER, f=json.dumps({key: {"$in": values}}))
    client.data(FILTER, f=_each([{"name": f"n{n}"} for n in range(890)]))


@pytest.mark.parametrize("n", [33, 3_000])
def test_a_bomb_of_orders_is_refused(client, n):
    order = ",".join(f"+config.a{number}" for number in range(n))
    query = 'query($o: String) { project(name: "toy") { runs(order: $o) { totalCount } } }'

    status, messages = client.errors(query, o=order)

    assert status == 400
    assert "more than 32 fields" in messages[0]


@pytest.mark.parametrize(
    "pattern",
    [
        "(a+)+$",
        "(a|a)*$",
        "(a|aa)+$",
        "(.*a){30}$",
        "^(([a-z])+.)+[A-Z]([a-z])+$",
        "(a?){100}a{100}",
        "((a{50}){50}){50}",
        "a{999}{999}",
        "(" * 500 + "a" + ")" * 500,
        "(?:" * 500 + "a" + ")" * 500,
        "[" * 500,
        "(?R)",
        r"(a)\1",
        "(?=a)",
        "(?P<x>a)(?P=x)",
        "\\",
        "a" * 10_000,
    ],
)
def test_redos_through_a_filters_regex_ends_at_once(client, pattern):
    name = "a" * 120 + "!"
    client.data(
        'mutation($n: String!) { upsertBucket(input: {name: "redos", modelName: "toy",'
        ' host: "box", displayName: $n}) { inserted } }',
        n=name,
    )

    answer = client.execute(FILTER, f=json.dumps({"display_name": {"$regex": pattern}}))

    assert answer.status_code in (200, 400), answer.text


LAUGHS = "a0: &a0 [x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12)
)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(LAUGHS + "method: random\n", id="a billion laughs"),
        pytest.param("a: &a [*a]\nmethod: random\n", id="an alias to itself"),
        pytest.param("method: " + "[" * 20_000, id="depth"),
        pytest.param("{" * 20_000, id="braces"),
        pytest.param("- " * 20_000 + "x", id="dashes"),
        pytest.param("!!python/object/apply:os.system ['true']", id="python object"),
        pytest.param("method: !!python/name:os.system\n", id="python name"),
        pytest.param("method: random\n<<: &m {<<: *m}\n", id="merge"),
        pytest.param("? " * 10_000, id="complex keys"),
        pytest.param(
            "method: random\nparameters: {x: {values: [" + "1," * 300_000 + "1]}}", id="many values"
        ),
        pytest.param(
            "method: grid\nparameters: {"
            + ", ".join(f"p{n}: {{values: [1, 2, 3, 4]}}" for n in range(40))
            + "}",
            id="a grid of 4^40 points",
        ),
        pytest.param(
            "method: random\nparameters: {x: {min: 0, max: " + "9" * 4_000 + "}}", id="digits"
        ),
        pytest.param("%TAG ! tag:" + "x" * 100_000 + "\n---\n", id="tag"),
        pytest.param('"\\x' + "0" * 100_000 + '"', id="escape"),
    ],
)
def test_a_yaml_bomb_in_a_definition_does_no_harm(client, text):
    answer = client.execute(SWEEP, c=text)

    assert answer.status_code in (200, 400), answer.text[:300]
    assert len(answer.text) < 100_000


@pytest.mark.parametrize("field", ["config", "summaryMetrics", "tags", "notes", "displayName"])
def test_a_field_of_megabytes_is_taken_or_refused_but_never_a_failure(client, field):
    huge = {"config": json.dumps({"x": {"value": "y" * (4 << 20)}}), "tags": ["t" * 1_000] * 2_000}
    value = huge.get(field, json.dumps({"x": "y" * (4 << 20)}))
    given = {"name": "huge", "modelName": "toy", "host": "box", field: value}

    answer = client.execute(
        "mutation($i: UpsertBucketInput!) { upsertBucket(input: $i) { inserted } }", i=given
    )

    assert answer.status_code in (200, 400, 413)
