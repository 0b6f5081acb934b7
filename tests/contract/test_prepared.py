"""Statements of the hot path find what they need by an index, however much there is beside it."""

import re
import sqlite3
from contextlib import closing
from importlib import import_module
from pkgutil import walk_packages

import pytest
from sqlalchemy import bindparam, select

from sweepd import engine, wire
from sweepd.store import Prepared, Store
from sweepd.store import tables as t

MODULES = [
    import_module(found.name)
    for package in (engine, wire)
    for found in walk_packages(package.__path__, f"{package.__name__}.")
]
FOUND = {
    f"{module.__name__.removeprefix('sweepd.')}.{name}": value
    for module in MODULES
    for name, value in vars(module).items()
}
PREPARED = {name: value for name, value in FOUND.items() if isinstance(value, Prepared)} | {
    f"{name}[{key}]": value
    for name, values in FOUND.items()
    if isinstance(values, dict)
    for key, value in values.items()
    if isinstance(value, Prepared)
}

#: What looks once a second, or when a search is done, reads tables of few rows, and indexes that
#: hold what is live alone.
WATCHDOG = {"watchdog", "timeouts", "bundles", "suggest", "leftovers"}
LIVE = "ix_(trial_leased|attempt_live|deleted_run_unswept)"
FEW = re.compile(rf"SCAN (sweep|agent|bundle|\w+ USING (COVERING )?INDEX {LIVE})")


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    """A database with every table and nothing in it."""
    folder = tmp_path_factory.mktemp("prepared") / "data"
    Store.open(folder).close()
    with closing(sqlite3.connect(folder / "sweepd.db")) as database:
        yield database


def test_there_are_such_statements():
    names = {"engine.beats._LOOK", "engine.curves._REACHED[minimize]"}

    assert names <= PREPARED.keys()


def test_constants_stand_in_the_text_so_that_sqlite_plans_a_statement_once():
    """A parameter that decides about a partial index has it planned anew at each run."""
    sweep = t.trial.c.sweep_id == bindparam("sweep")
    wanted = Prepared(select(t.trial.c.id).where(sweep, t.trial.c.state == "it's"))

    assert "trial.state = 'it''s'" in wanted._text
    assert list(wanted._compiled.params) == ["sweep"]


@pytest.mark.parametrize("name", sorted(PREPARED))
def test_no_statement_has_a_parameter_for_the_state_of_a_trial_that_it_names(name):
    statement = PREPARED[name]

    assert not re.search(r"\.(state|reason) (=|!=) :\w+_\d", statement._text)


@pytest.mark.parametrize("name", sorted(PREPARED))
def test_statement_reads_no_table_from_end_to_end(database, name):
    text, given = PREPARED[name]._text, PREPARED[name]._given
    values = {key: given.get(key, 1) for key in re.findall(r":(\w+)", text)}

    steps = [row[3] for row in database.execute(f"EXPLAIN QUERY PLAN {text}", values)]

    bad = re.compile(r"SCAN (?!CONSTANT ROW)|MATERIALIZE|AUTOMATIC")  # that row is of no table
    slow = [step for step in steps if bad.search(step)]
    if name.split(".")[1] in WATCHDOG:
        slow = [step for step in slow if not FEW.fullmatch(step)]
    assert [step for step in slow if "VIRTUAL TABLE" not in step] == []


@pytest.mark.parametrize(
    ("name", "column"),
    [
        pytest.param("engine.handouts._QUEUED", "state", id="what waits, not what has ended"),
        pytest.param("engine.enqueued._FIRST", "state", id="what was enqueued, likewise"),
        pytest.param("engine.byhand._TWIN", "config_key", id="a configuration, not the others"),
    ],
)
def test_what_is_looked_for_is_found_without_reading_the_rest(database, name, column):
    text, given = PREPARED[name]._text, PREPARED[name]._given
    values = {key: given.get(key, 1) for key in re.findall(r":(\w+)", text)}

    first, *_ = [row[3] for row in database.execute(f"EXPLAIN QUERY PLAN {text}", values)]

    index = f"ix_trial_sweep_id_{column}"
    assert first == f"SEARCH trial USING INDEX {index} (sweep_id=? AND {column}=?)"
