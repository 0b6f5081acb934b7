import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from sweepd.engine import accounts, run_values, runs, streams
from sweepd.engine.access import Need
from sweepd.engine.filters import compile_filters, compile_order
from sweepd.errors import ProtocolError
from sweepd.store import Store
from sweepd.store import tables as t
from sweepd.store.run_tables import run_value


def config(**values):
    return json.dumps({key: {"value": value} for key, value in values.items()})


RICH = {
    "display_name": "calm-heron-1",
    "group": "g1",
    "job_type": "train",
    "tags": ("t1", "t2"),
    "config": json.dumps(
        {
            "lr": {"value": 0.1},
            "opt": {"value": {"lr": 0.5, "name": "sgd"}},
            "a.b": {"value": "dotted"},
            "flag": {"value": True},
            "none": {"value": None},
        }
    ),
    "summary": '{"loss": 0.25, "val/acc": 0.9, "nest": {"a": 1},'
    ' "x": {"min": 1, "max": 9}, "ü": 1}',
}
POOR = {
    "display_name": "poor",
    "config": config(lr=0.01, flag=False),
    "summary": '{"loss": 0.5, "x": {"max": 4}}',
}
BARE = {
    "display_name": "bare",
    "config": config(lr="auto"),
    "summary": '{"loss": NaN, "x": {"best": 2}}',
}


def fill(tx):
    """Make alice's project `toy` with three runs, an hour apart; return her and its id."""
    accounts.ensure_first_user(tx, name="root")
    alice, _ = accounts.add_user(tx, name="alice")
    for hour, (name, fields) in enumerate({"a": RICH, "b": POOR, "c": BARE}.items()):
        change = runs.RunChange(name=name, project="toy", host="box", **fields)
        run, _ = runs.upsert_run(replace(tx, now=tx.now + hour * 3600), actor=alice, change=change)
    return alice, run.project_id


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """A store with alice's runs `a`, `b`, `c`, for tests that only read."""
    store = Store.open(tmp_path_factory.mktemp("filters"), clock=lambda: 1_800_000_000.0)
    yield store, *store.write_sync(fill)
    store.close()


def set_apart(store, alice, project_id, *, filters=None, order=None):
    """Set the values of the fields that a query names apart."""
    asked = {"actor": alice, "project_id": project_id}
    asked["fields"] = run_values.fields_of(filters, order)
    while not store.write_sync(run_values.prepare, **asked):
        pass


def listing(store, alice, project_id, *, filters=None, order="+name"):
    """Return the names of the runs that pass a filter, in an order, as one text."""
    where = {"actor": alice, "project_id": project_id, "need": Need.READ, "filters": filters}
    page = store.read_sync(runs.query_runs, **where, order=order)
    assert store.read_sync(runs.count_runs, **where) == len(page.items)
    set_apart(store, alice, project_id, filters=filters, order=order)
    assert store.read_sync(runs.query_runs, **where, order=order) == page
    assert store.read_sync(runs.count_runs, **where) == len(page.items)
    return "".join(run.name for run in page.items)


@pytest.fixture
def toy(store):
    """The same in a store of its own: alice and the project's id."""
    return store.write_sync(fill)


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        pytest.param({}, "abc", id="empty"),
        pytest.param(None, "abc", id="none"),
        pytest.param({"name": "a"}, "a", id="bare value"),
        pytest.param({"name": "a", "state": "failed"}, "", id="members are and-ed"),
        pytest.param({"$and": [{"name": "a"}, {"state": "running"}]}, "a", id="and"),
        pytest.param({"$or": [{"name": "a"}, {"name": "c"}]}, "ac", id="or"),
        pytest.param({"$or": []}, "", id="or of nothing"),
        pytest.param({"$and": []}, "abc", id="and of nothing"),
        pytest.param({"$nor": [{"name": "a"}, {"name": "c"}]}, "b", id="nor"),
        pytest.param({"$not": {"name": "a"}}, "bc", id="not around a document"),
        pytest.param({"name": {"$not": {"$eq": "a"}}}, "bc", id="not at a field"),
        pytest.param({"name": {"$ne": "a"}}, "bc", id="ne"),
        pytest.param({"group": {"$ne": "g1"}}, "bc", id="ne counts what is absent"),
        pytest.param({"group": None}, "bc", id="null is absent"),
        pytest.param({"name": {"$in": ["a", "b", "z"]}}, "ab", id="in"),
        pytest.param({"name": {"$in": []}}, "", id="in nothing"),
        pytest.param({"name": {"$nin": ["a", "b"]}}, "c", id="nin"),
        pytest.param({"group": {"$in": [None, "g1"]}}, "abc", id="in with null"),
        pytest.param({"display_name": {"$regex": "^calm-"}}, "a", id="regex"),
        pytest.param({"displayName": {"$regex": "HERON", "$options": "i"}}, "a", id="regex, i"),
        pytest.param({"job_type": "train"}, "a", id="job_type"),
        pytest.param({"jobType": "train"}, "a", id="jobType"),
        pytest.param({"username": "alice"}, "abc", id="username"),
        pytest.param({"user": "alice"}, "abc", id="user"),
        pytest.param({"host": "box"}, "abc", id="host"),
        pytest.param({"duration": {"$gte": 0}}, "abc", id="duration"),
        pytest.param({"updatedAt": {"$gt": "2027-01-15T08:00:01"}}, "bc", id="updatedAt"),
        pytest.param({"sweep": "abc"}, "", id="sweep"),
        pytest.param({"tags": None}, "bc", id="no tags"),
        pytest.param(
            {"$or": [{"tags": None}, {"tags": {"$ne": "t1"}}]}, "bc", id="as the client's own"
        ),
        pytest.param({"tags": "t1"}, "a", id="tags contain"),
        pytest.param({"tags": {"$in": ["t1", "t9"]}}, "a", id="tags in"),
        pytest.param({"tags": {"$nin": ["t1", "t9"]}}, "bc", id="tags nin"),
        pytest.param({"tags": ["t1", "t9"]}, "", id="tags contain all"),
        pytest.param({"tags": {"$regex": "^t"}}, "a", id="tags regex"),
        pytest.param({"created_at": {"$gt": "2027-01-15T08:00:01"}}, "bc", id="created_at"),
        pytest.param({"createdAt": {"$lte": "2027-01-15T08:00:00Z"}}, "a", id="createdAt, Z"),
        pytest.param({"heartbeat_at": {"$exists": True}}, "abc", id="heartbeat_at"),
        pytest.param({"config.lr": 0.1}, "a", id="config"),
        pytest.param({"config.lr.value": {"$lt": 1}}, "ab", id="config value, numbers only"),
        pytest.param({"config.lr": "auto"}, "c", id="config text"),
        pytest.param({"config.opt.lr": {"$gte": 0.5}}, "a", id="nested config"),
        pytest.param({"config.opt.value.name": "sgd"}, "a", id="nested config as W&B says it"),
        pytest.param({"config.a.b": "dotted"}, "a", id="key with a dot"),
        pytest.param({"config.flag": True}, "a", id="true"),
        pytest.param({"config.flag": False}, "b", id="false"),
        pytest.param({"config.flag": 1}, "", id="1 is not true"),
        pytest.param({"config.none": None}, "abc", id="null and absent are alike"),
        pytest.param({"config.none": {"$exists": True}}, "a", id="null exists"),
        pytest.param({"config.opt": {"$exists": False}}, "bc", id="exists false"),
        pytest.param({"summary_metrics.loss": {"$lt": 0.3}}, "a", id="summary"),
        pytest.param({"summary_metrics.loss": {"$gt": 0}}, "ab", id="NaN is above nothing"),
        pytest.param({"summary_metrics.loss": "NaN"}, "c", id="NaN by name"),
        pytest.param({"summary_metrics.loss": {"$not": {"$gt": 0.3}}}, "ac", id="not of a compare"),
        pytest.param({"summary_metrics.val/acc": 0.9}, "a", id="key with a slash"),
        pytest.param({"summary_metrics.nest.a": 1}, "a", id="nested summary"),
        pytest.param({"summary_metrics.x": {"$lte": 2}}, "ac", id="summary object is unwrapped"),
        pytest.param({"summary_metrics.x.max": {"$gt": 4}}, "a", id="its member by name"),
        pytest.param({"summary_metrics.ü": 1}, "a", id="key outside ASCII"),
        pytest.param({"config.lr": 10**30}, "", id="huge number"),
        pytest.param({"config.lr": "\ud800"}, "", id="half a surrogate pair"),
    ],
)
def test_filter_lets_the_right_runs_pass(filled, filters, expected):
    assert listing(*filled, filters=filters) == expected


def test_sweep_filter_names_the_short_id(store, toy):
    def adopt(tx):
        sweep_id = tx.insert(
            t.sweep,
            project_id=toy[1],
            name="sw1",
            state="RUNNING",
            definition="",
            method="grid",
            seed=1,
            created_at=tx.now,
            updated_at=tx.now,
        )
        tx.conn.execute(t.run.update().where(t.run.c.name == "b").values(sweep_id=sweep_id))

    store.write_sync(adopt)

    assert listing(store, *toy, filters={"$and": [{"sweep": "sw1"}]}) == "b"
    assert listing(store, *toy, filters={"sweep": {"$ne": "sw1"}}) == "ac"
    assert listing(store, *toy, filters={"sweep": None}) == "ac"


def test_keys_info_tells_which_keys_were_logged(store, toy):
    rows = ['{"_step": 0, "val/loss": 1.0}']
    body = streams.parse_body(
        json.dumps({"files": {"wandb-history.jsonl": {"offset": 0, "content": rows}}})
    )
    where = {"entity": "alice", "project": "toy", "run": "a"}
    store.write_sync(streams.append, actor=toy[0], **where, body=body)

    has = {"keys_info.keys.val/loss": {"$exists": True}}
    lacks = {"keys_info.keys.other": {"$exists": False}}
    assert listing(store, *toy, filters=has) == "a"
    assert listing(store, *toy, filters=lacks) == "abc"


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        pytest.param(None, "abc", id="default: oldest first"),
        pytest.param("-created_at", "cba", id="newest first"),
        pytest.param("+summary_metrics.loss", "abc", id="up, NaN last"),
        pytest.param("-summary_metrics.loss", "bac", id="down, NaN last"),
        pytest.param("+summary_metrics.x", "acb", id="up, by best or min"),
        pytest.param("-summary_metrics.x", "abc", id="down, by best or max"),
        pytest.param("summary_metrics.nest.a", "abc", id="missing last, no sign"),
        pytest.param("-summary_metrics.nest.a", "abc", id="missing last, down"),
        pytest.param("-state, -name", "cba", id="two keys"),
        pytest.param("+config.lr.value", "bac", id="config, texts after numbers"),
        pytest.param("", "abc", id="empty"),
    ],
)
def test_runs_come_in_the_order_asked_for(filled, order, expected):
    assert listing(*filled, order=order) == expected


@pytest.mark.parametrize("order", ["+summary_metrics.loss", "-summary_metrics.x", "-state,+name"])
@pytest.mark.parametrize("first", [1, 2])
@pytest.mark.parametrize("is_apart", [False, True], ids=["as they stand", "set apart"])
def test_pages_join_up_to_the_whole_listing(filled, order, first, is_apart):
    store, alice, project_id = filled
    if is_apart:
        set_apart(store, alice, project_id, order=order)
    query = {
        "actor": alice,
        "project_id": project_id,
        "need": Need.READ,
        "order": order,
        "first": first,
    }
    page = store.read_sync(runs.query_runs, **query)
    seen = list(page.items)
    while page.has_next:
        page = store.read_sync(runs.query_runs, **query, after=page.end)
        seen += page.items

    assert "".join(run.name for run in seen) == listing(*filled, order=order)


def test_page_goes_on_after_a_run_that_was_deleted(store, toy):
    query = {"actor": toy[0], "project_id": toy[1], "need": Need.READ}
    page = store.read_sync(runs.query_runs, **query, first=1)
    store.write_sync(runs.delete_run, actor=toy[0], run_id=page.items[0].id)

    rest = store.read_sync(runs.query_runs, **query, after=page.end)

    assert [run.name for run in rest.items] == ["b", "c"]


def test_cursor_holds_when_values_are_set_apart_between_two_pages(store, toy):
    query = {"actor": toy[0], "project_id": toy[1], "need": Need.READ, "first": 1}
    order = "-summary_metrics.loss"
    page = store.read_sync(runs.query_runs, **query, order=order)
    set_apart(store, *toy, order=order)

    second = store.read_sync(runs.query_runs, **query, order=order, after=page.end)
    third = store.read_sync(runs.query_runs, **query, order=order, after=second.end)

    names = [run.name for one in (page, second, third) for run in one.items]
    assert names == ["b", "a", "c"]


def test_run_that_changes_after_its_values_were_set_apart_is_found_as_it_is(store, toy):
    alice, _ = toy
    order, filters = "+summary_metrics.loss", {"config.lr": {"$exists": True}}
    assert listing(store, *toy, filters=filters, order=order) == "abc"
    change = runs.RunChange(name="c", project="toy", summary='{"loss": 0.1}', config="{}")
    store.write_sync(runs.upsert_run, actor=alice, change=change)
    change = runs.RunChange(name="d", project="toy", summary='{"loss": 0.3}', config=config(lr=1))
    new, _ = store.write_sync(runs.upsert_run, actor=alice, change=change)

    assert listing(store, *toy, filters=filters, order=order) == "adb"
    assert listing(store, *toy, order=order) == "cadb"
    store.write_sync(runs.delete_run, actor=alice, run_id=new.id)
    assert listing(store, *toy, filters=filters, order=order) == "ab"
    left = select(run_value.c.run_id).where(run_value.c.run_id == new.id)
    assert store.read_sync(lambda tx: tx.conn.scalars(left).all()) == []


def test_fields_wanted_least_lately_are_let_go(store, toy):
    for number in range(20):
        set_apart(store, *toy, filters={f"config.k{number}": 1})

    kept = store.read_sync(run_values.ready, project_id=toy[1])

    assert len(kept) == 16
    assert "config.k19" in kept


def test_few_runs_are_not_worth_it(store, toy):
    asked = {"actor": toy[0], "project_id": toy[1], "fields": ["config.lr"]}

    assert not store.read_sync(run_values.wants, **asked)


def test_cursor_of_another_order_is_refused(filled):
    store, alice, project_id = filled
    query = {"actor": alice, "project_id": project_id, "need": Need.READ}
    page = store.read_sync(runs.query_runs, **query, order="name,state")

    with pytest.raises(ProtocolError, match="another order"):
        store.read_sync(runs.query_runs, **query, after=page.end)


@pytest.mark.parametrize(
    ("filters", "words"),
    [
        pytest.param({"$xor": []}, r"unknown operator '\$xor'; known: \$and", id="operator"),
        pytest.param({"name": {"$like": "a"}}, r"unknown operator '\$like'", id="field operator"),
        pytest.param({"lr": 1}, "unknown field 'lr'; known: name", id="field"),
        pytest.param({"config.": 1}, "unknown field", id="no key"),
        pytest.param({"$and": {}}, "takes a list", id="and of an object"),
        pytest.param({"$or": [1]}, "must be an object, not 1", id="or of a number"),
        pytest.param([], "must be an object", id="list"),
        pytest.param({"name": {"$in": "a"}}, "take a list", id="in of a text"),
        pytest.param({"name": {"$gt": None}}, "None has no order", id="gt null"),
        pytest.param({"tags": {"$gt": "a"}}, "tags have no order", id="gt tags"),
        pytest.param({"created_at": "soon"}, "'soon' is not a time", id="time"),
        pytest.param({"config.lr": {"a": 1}}, "give a single value", id="object value"),
        pytest.param({"name": {"$regex": "(a"}}, "a group is not closed", id="regex"),
        pytest.param({"name": {"$regex": "a" * 501}}, "at most 500", id="long regex"),
        pytest.param({"name": {"$regex": "a", "$options": "x"}}, "only 'i'", id="options"),
        pytest.param({"name": {"$options": "i"}}, r"only beside \$regex", id="options alone"),
        pytest.param({"name": {"$in": ["a"] * 1001}}, "more than 1000", id="long in"),
        pytest.param({'config.a"b': 1}, "with a quote", id="quote in a key"),
        pytest.param({"config.lr": float("nan")}, "nothing compares with NaN", id="nan"),
    ],
)
def test_wrong_filter_is_refused_in_words(filters, words):
    with pytest.raises(ProtocolError, match=words):
        compile_filters(filters)


def test_filter_nested_without_end_is_refused():
    filters = {"name": "a"}
    for _ in range(500):
        filters = {"$not": filters}

    with pytest.raises(ProtocolError, match="nested deeper"):
        compile_filters(filters)


def test_order_by_an_unknown_field_is_refused():
    with pytest.raises(ProtocolError, match="unknown field 'speed'"):
        compile_order("-speed")


def test_values_never_become_sql():
    hostile = "'); DROP TABLE run; --"
    clause = compile_filters({f"summary_metrics.{hostile}": hostile, "name": hostile})

    assert "DROP" not in str(clause)


KEYS = st.sampled_from(
    ["name", "tags", "created_at", "config.lr", "config.a.b.c.d.e.f.g", "summary_metrics.x"]
) | st.sampled_from(["keys_info.keys.loss", "nope", "$and", "$or", "$not", "$nor", "$eq", ""])
OPERATORS = st.sampled_from(
    ["$eq", "$ne", "$gt", "$gte", "$lt", "$lte", "$in", "$nin", "$regex", "$exists", "$not", "$x"]
)
SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just("(a+)+")
)
FILTERS = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(KEYS, inner, max_size=3)
        | st.dictionaries(OPERATORS, inner, max_size=2)
        | st.dictionaries(KEYS, st.dictionaries(OPERATORS, inner, max_size=2), max_size=2)
    ),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None)
@given(filters=st.dictionaries(KEYS, FILTERS, max_size=3))
def test_any_filter_runs_or_is_refused_and_its_negation_is_the_rest(filled, filters):
    store, alice, project_id = filled
    where = {"actor": alice, "project_id": project_id, "need": Need.READ}
    try:
        passing = store.read_sync(runs.count_runs, **where, filters=filters)
        others = store.read_sync(runs.count_runs, **where, filters={"$not": filters})
    except ProtocolError:
        return

    assert passing + others == 3
