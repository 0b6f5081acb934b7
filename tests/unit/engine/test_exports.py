import math

import pyarrow.parquet as pq
import pytest

from sweepd.engine import exports, runs
from sweepd.engine.parquet import export
from sweepd.engine.run_views import load_run


def row(step, **values):
    return {"_step": step, "_timestamp": 1_800_000_000.0 + step, **values}


@pytest.fixture
def look(store):
    """Returns what there is of a run's rows."""

    def look(run):
        view = store.read_sync(load_run, run.id)
        return store.read_sync(exports.exports, view=view, folder=store.folder)

    return look


@pytest.fixture
def made(store, look):
    """Makes the file that can be made of a run's rows; returns what there is then."""

    def made(run):
        job = look(run).job
        store.write_sync(exports.store, job=job, made=export(job))
        return look(run)

    return made


@pytest.fixture
def table(store):
    """Reads a file of a run."""

    def table(run, number=0):
        file = store.read_sync(exports.export_file, run_id=run.id, number=number)
        return pq.read_table(store.blobs.path(file.blob))

    return table


@pytest.fixture
def ended(upsert, stream):
    """Makes a run with rows that has ended."""

    def ended(rows):
        run = upsert()
        stream(run, history=rows, complete=True, exitcode=0)
        return run

    return ended


def test_rows_of_an_ended_run_are_in_a_file_as_they_were_logged(ended, made, table):
    rows = [
        row(step, n=step, x=0.5 * step, text=f"t{step}", ok=step == 1, a={"b": [1, step]})
        for step in (0, 1, 500)
    ]
    run = ended(rows)

    found = made(run)

    assert (found.n_files, found.live_from, found.job) == (1, None, None)
    assert table(run).to_pylist() == rows
    kinds = {field.name: str(field.type) for field in table(run).schema}
    assert kinds["_step"] == kinds["n"] == "int64"
    assert (kinds["x"], kinds["text"], kinds["ok"]) == ("double", "string", "bool")


def test_rows_of_one_step_are_one_row_of_the_file(ended, made, table):
    run = ended([row(0, a=1, b=1), row(0, a=2), row(1, a=3, b=3)])

    made(run)

    assert table(run).to_pylist() == [row(0, a=2, b=1), row(1, a=3, b=3)]


def test_nan_and_infinities_are_numbers_in_a_file(ended, made, table):
    run = ended([row(0, a=math.nan, b=math.inf), row(1, a=1, b=-math.inf)])

    made(run)

    first, second = table(run).to_pylist()
    assert math.isnan(first["a"])
    assert (first["b"], second["a"], second["b"]) == (math.inf, 1.0, -math.inf)


def test_a_late_fraction_makes_the_whole_column_fractions(ended, made, table):
    text = "x" * (1 << 20)  # so that the rows take more than one group
    run = ended([row(step, text=text, a=step if step < 17 else 0.5) for step in range(18)])

    made(run)

    assert table(run)["a"].to_pylist() == [*map(float, range(17)), 0.5]


@pytest.mark.parametrize(
    "rows",
    [
        pytest.param([{"a": 1}, {"b": 1}], id="keys"),
        pytest.param([{"a": 1}, {"a": "text"}], id="kinds"),
        pytest.param([{"a": 1}, {"a": True}], id="bools"),
        pytest.param([{"a": {"b": 1}}, {"a": {"c": 1}}], id="objects"),
        pytest.param([{"a": [1]}, {"a": ["x"]}], id="lists"),
        pytest.param([{"a": {}}], id="empty"),
        pytest.param([{"a": 10**30}], id="huge"),
    ],
)
def test_rows_that_fit_no_table_are_had_live_and_tried_once(ended, made, rows):
    run = ended([row(step, **values) for step, values in enumerate(rows, start=5)])

    found = made(run)

    assert (found.n_files, found.live_from, found.job) == (0, 5, None)


def test_nothing_is_exported_while_a_run_goes_on(upsert, stream, look):
    run = upsert()
    empty = look(run)
    stream(run, history=[row(3, a=1)])

    assert (empty.n_files, empty.live_from, empty.job) == (0, None, None)
    assert (look(run).n_files, look(run).live_from, look(run).job) == (0, 3, None)


def test_resumed_rows_are_live_and_then_in_a_further_file(ended, made, look, table, upsert, stream):
    run = ended([row(0, a=1), row(1, a=2)])
    made(run)
    upsert()  # as a resume does
    stream(run, history=[row(2, a=3)], offset=2)

    going_on = look(run)
    stream(run, complete=True, exitcode=0)
    over = made(run)

    assert (going_on.n_files, going_on.live_from, going_on.job) == (0, 0, None)
    assert (over.n_files, over.live_from) == (2, None)
    assert [len(table(run, number)) for number in (0, 1)] == [2, 1]


@pytest.mark.parametrize(
    ("offset", "step"), [pytest.param(1, 1, id="over"), pytest.param(2, 1, id="again")]
)
def test_rows_written_over_a_file_are_all_had_live(ended, made, look, upsert, stream, offset, step):
    run = ended([row(0, a=1), row(1, a=2)])
    made(run)
    upsert()
    stream(run, history=[row(step, a=9)], offset=offset, complete=True, exitcode=0)

    found = look(run)

    assert (found.n_files, found.live_from, found.job) == (0, 0, None)


def test_file_is_dropped_if_its_run_changed_while_it_was_made(ended, look, store, stream):
    run = ended([row(0, a=1), row(1, a=2)])
    job = look(run).job
    made = export(job)
    stream(run, history=[row(1, a=3)], offset=1)

    assert store.write_sync(exports.store, job=job, made=made) == [made.written.key]
    assert look(run).n_files == 0


def test_bytes_of_a_file_go_with_its_run(ended, made, store, alice):
    run = ended([row(0, a=1)])
    made(run)
    key = store.read_sync(exports.export_file, run_id=run.id, number=0).blob

    assert store.write_sync(runs.delete_run, actor=alice, run_id=run.id) == [key]
