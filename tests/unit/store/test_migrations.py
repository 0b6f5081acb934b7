"""Data of older versions come through an upgrade whole."""

from importlib.resources import files

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import delete, select, text

from sweepd.store import Store
from sweepd.store import sweep_tables as s
from sweepd.store import tables as t
from sweepd.store.database import writing_engine


@pytest.fixture
def folder_of(tmp_path):
    """Makes a data folder as the version with a schema of this number left it."""

    def folder_of(revision, *statements):
        folder = tmp_path / "data"
        folder.mkdir()
        engine = writing_engine(folder / "sweepd.db")
        config = Config()
        config.set_main_option("script_location", str(files("sweepd.store") / "migrations"))
        with engine.connect() as conn, conn.begin():
            config.attributes["connection"] = conn
            command.upgrade(config, revision)
            for statement in statements:
                conn.execute(text(statement))
        engine.dispose()
        return folder

    return folder_of


def test_files_of_the_first_schema_keep_their_bytes(folder_of):
    folder = folder_of(
        "0001",
        "INSERT INTO entity (id, name) VALUES (1, 'alice')",
        "INSERT INTO project (id, entity_id, name, created_at) VALUES (2, 1, 'toy', 0)",
        "INSERT INTO run (id, project_id, name, state, display_name, created_at)"
        " VALUES (3, 2, 'r1', 'running', 'r1', 0)",
        "INSERT INTO run_file (run_id, name, size, md5, mimetype, blob, updated_at)"
        " VALUES (3, 'a.txt', 5, 'x', 'text/plain', 'k1', 7.0)",
    )

    store = Store.open(folder)

    found = store.read_sync(lambda tx: tx.conn.execute(select(t.blob)).mappings().all())
    names = store.read_sync(lambda tx: tx.conn.execute(select(t.run_file.c.name)).scalars().all())
    store.close()
    assert [dict(row) for row in found] == [
        {"key": "k1", "project_id": 2, "size": 5, "md5": "x", "sha256": None, "created_at": 7.0}
    ]
    assert names == ["a.txt"]


def test_prior_runs_come_through_whole_and_outlive_their_run(folder_of):
    folder = folder_of(
        "0016",
        "INSERT INTO entity (id, name) VALUES (1, 'alice')",
        "INSERT INTO project (id, entity_id, name, created_at) VALUES (2, 1, 'toy', 0)",
        "INSERT INTO run (id, project_id, name, state, display_name, created_at)"
        " VALUES (3, 2, 'r1', 'finished', 'r1', 0)",
        "INSERT INTO sweep (id, project_id, name, state, definition, method, seed, created_at,"
        " updated_at) VALUES (4, 2, 's1', 'RUNNING', '', 'bayes', 5, 0, 0)",
        "INSERT INTO old_prior_run (sweep_id, run_id, event, until, config, value, has_finished)"
        " VALUES (4, 3, 6, 7, '{\"a\": 1}', 0.5, 0)",
        "INSERT INTO prior_run (sweep_id, run_id, config, value, objectives, outcome,"
        " has_finished, event) VALUES (4, 3, '{\"a\": 2}', 0.25, '[1, 2]', 'broken', 1, 7)",
    )

    store = Store.open(folder)

    def rows(tx):
        return {
            table.name: [dict(row) for row in tx.conn.execute(select(table)).mappings()]
            for table in (s.prior_run, s.old_prior_run)
        }

    of_run = {"sweep_id": 4, "run_id": 3}
    now = {"config": '{"a": 2}', "value": 0.25, "objectives": "[1, 2]", "outcome": "broken"}
    before = {"config": '{"a": 1}', "value": 0.5, "objectives": None, "outcome": None}
    kept = {
        "prior_run": [{**of_run, **now, "has_finished": 1, "event": 7}],
        "old_prior_run": [{**of_run, **before, "has_finished": 0, "event": 6, "until": 7}],
    }
    found = store.read_sync(rows)
    store.write_sync(lambda tx: tx.conn.execute(delete(t.run)))
    without_run = store.read_sync(rows)
    store.write_sync(lambda tx: tx.conn.execute(delete(t.sweep)))
    without_sweep = store.read_sync(rows)
    store.close()
    assert found == kept
    assert without_run == kept
    assert without_sweep == {"prior_run": [], "old_prior_run": []}


def test_live_grid_that_passed_the_point_of_a_failed_prior_run_looks_at_its_points_again(folder_of):
    sweep = (
        "INSERT INTO sweep (id, project_id, name, state, definition, method, seed, created_at,"
        " updated_at, next_index, is_exhausted) VALUES ({0}, 2, 's{0}', '{1}', '', '{2}', 5, 0, 0,"
        " 6, 1)"
    )
    prior = (
        "INSERT INTO prior_run (sweep_id, run_id, config, has_finished, event)"
        " VALUES ({0}, 3, '{{}}', {1}, 7)"
    )
    folder = folder_of(
        "0016",
        "INSERT INTO entity (id, name) VALUES (1, 'alice')",
        "INSERT INTO project (id, entity_id, name, created_at) VALUES (2, 1, 'toy', 0)",
        "INSERT INTO run (id, project_id, name, state, display_name, created_at)"
        " VALUES (3, 2, 'r1', 'failed', 'r1', 0)",
        *(sweep.format(number, state, method) for number, state, method in SWEEPS),
        *(prior.format(number, int(number == 14)) for number, _, _ in SWEEPS),
    )

    store = Store.open(folder)

    places = select(t.sweep.c.id, t.sweep.c.next_index, t.sweep.c.is_exhausted)
    found = store.read_sync(lambda tx: tx.conn.execute(places).all())
    store.close()
    assert found == [(11, 0, 0), (12, 6, 1), (13, 6, 1), (14, 6, 1)]


#: The first is a grid that goes on after a prior run that failed; of the last, it finished.
SWEEPS = [
    (11, "RUNNING", "grid"),
    (12, "FINISHED", "grid"),
    (13, "RUNNING", "random"),
    (14, "RUNNING", "grid"),
]
