"""Requests made up by a machine: whatever they are, the answer is never a failure of ours.

A short search that is the same each time is part of the plain run. `SWEEPD_FUZZ=2000` makes it that
many examples, different ones each time; `.ci/run` does.
"""

import base64
import gzip
import json
import os
from pathlib import Path

import httpx
import pytest
from graphql import StringValueNode, Visitor, parse, print_ast, print_schema, visit
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis_graphql import mutations, nodes, queries

import sweepd.wire
from sweepd.wire.execution import make_schema
from sweepd.wire.resolvers import TABLES

WISHED = int(os.environ.get("SWEEPD_FUZZ", "0"))
SCHEMA = print_schema(make_schema(TABLES))
LONG = HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large


def fuzz(share):
    """Return the settings of a search of so many examples, or of that share of those wished."""
    return settings(
        max_examples=WISHED * share // 100 or share // 2,
        derandomize=not WISHED,
        database=None,
        deadline=None,
        suppress_health_check=[*LONG, HealthCheck.function_scoped_fixture],
        phases=[Phase.explicit, Phase.generate, Phase.shrink],
    )


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["$and", "$regex", "config.x", "summary_metrics.loss", "_step", "NaN", ""]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.text(max_size=8)
            | st.sampled_from(["$or", "$not", "$gt", "$in", "$regex", "name", "tags", "keys"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)
texts = plain.map(json.dumps) | st.text(max_size=30)
moments = st.sampled_from(["2026-01-01T00:00:00Z", "0", "", "9999-99-99"]) | st.text(max_size=9)
SCALARS = {
    "JSONString": texts.map(nodes.String),
    "JSON": texts.map(nodes.String),
    "DateTime": moments.map(nodes.String),
    "Duration": st.integers(-(2**65), 2**65).map(nodes.Int),
    "Int64": st.integers(-(2**65), 2**65).map(nodes.Int),
}


def _id(kind, key):
    return base64.b64encode(f"{kind}:{key}".encode()).decode()


KNOWN = [
    *("alice", "toy", "r1", "../x", "", "\0", "é" * 300, "+created_at", "-summary_metrics.x"),
    *('{"a": 1}', "[]", "running", "finished", "PAUSED", "NaN"),
    *(_id(kind, key) for kind in ("Run", "Project", "Sweep", "File", "Agent") for key in (1, "x")),
    "method: random\nparameters: {x: {min: 0, max: 1}}",
]


class _Swap(Visitor):
    """Puts names that exist, or almost, in place of texts."""

    def __init__(self, draw):
        super().__init__()
        self._draw = draw

    def enter_string_value(self, node, *_):
        chosen = self._draw(st.sampled_from([None, *KNOWN]))
        return None if chosen is None else StringValueNode(value=chosen)


@st.composite
def documents(draw, made):
    return print_ast(visit(parse(draw(made)), _Swap(draw)))


@pytest.fixture(scope="module")
def client(fortress):
    return fortress.client()


def _check(answer):
    assert answer.status_code < 500, answer.text
    assert answer.headers["Content-Type"].startswith("application/json")
    assert json.loads(answer.content, parse_constant=_no_constant) is not None


def _no_constant(name):
    raise AssertionError(f"{name} is not strict JSON")


@fuzz(40)
@given(query=documents(queries(SCHEMA, custom_scalars=SCALARS)))
def test_no_query_that_fits_the_schema_makes_the_service_fail(client, query):
    _check(client.execute(query))


@fuzz(40)
@given(query=documents(mutations(SCHEMA, custom_scalars=SCALARS)))
def test_no_mutation_that_fits_the_schema_makes_the_service_fail(client, query):
    _check(client.execute(query))


@fuzz(40)
@given(body=st.binary(max_size=200) | plain.map(lambda value: json.dumps(value).encode()))
def test_no_body_at_all_makes_graphql_fail(client, body):
    _check(client.request("POST", "/graphql", content=body))


names = st.sampled_from(
    ["wandb-history.jsonl", "wandb-events.jsonl", "wandb-summary.json", "output.log", "x"]
)
rows = st.dictionaries(
    st.sampled_from(["_step", "_timestamp", "_runtime", "loss", "a.b", "", "_wandb"])
    | st.text(max_size=6),
    plain,
    max_size=5,
)
lines = rows.map(json.dumps) | texts | plain
chunks = plain | st.fixed_dictionaries(
    {},
    optional={
        "offset": st.integers(-2, 20) | st.integers(2**31 - 3, 2**31) | plain,
        "content": st.lists(lines, max_size=6) | plain,
    },
)
bodies = st.fixed_dictionaries(
    {},
    optional={
        "files": st.dictionaries(names, chunks, max_size=4) | plain,
        "uploaded": st.lists(st.text(max_size=5)) | plain,
        "preempting": plain,
        "complete": st.booleans() | plain,
        "exitcode": st.integers(-300, 300) | plain,
        "dropped": plain,
    },
)
cuts = st.integers(0, 400)


@fuzz(150)
@given(body=bodies, cut=st.none() | cuts, is_packed=st.booleans())
def test_no_stream_whole_or_broken_makes_the_service_fail(client, body, cut, is_packed):
    data = json.dumps(body).encode()
    if is_packed:
        data = gzip.compress(data)
    if cut is not None:
        data = data[:cut]
    headers = {"Content-Encoding": "gzip"} if is_packed else {}

    answer = client.request(
        "POST", "/files/alice/toy/r1/file_stream", content=data, headers=headers
    )

    _check(answer)


@fuzz(20)
@given(
    path=st.lists(st.text(max_size=12), max_size=6).map("/".join),
    method=st.sampled_from(["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"]),
)
def test_no_address_makes_the_service_fail(browser, path, method):
    try:
        answer = browser.request(method, f"http://sweeps.test/{path}")
    except (httpx.InvalidURL, UnicodeError):  # it cannot even be written down
        return

    assert answer.status_code < 500, answer.text


def test_what_was_made_up_left_the_store_whole(fortress, client):
    """The last test of the file: runs can be read, and the database is sound."""
    query = """{ project(name: "toy") { runs(first: 100) { edges { node { id name config
      summaryMetrics historyKeys historyLineCount } } } } }"""

    found = client.execute(query)
    whole = fortress.store.read_sync(lambda tx: tx.conn.exec_driver_sql("PRAGMA quick_check").all())

    assert found.status_code in (200, 404)
    assert whole == [("ok",)]
    assert Path(sweepd.wire.__file__).exists()
