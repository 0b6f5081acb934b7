"""A run's rows as a Parquet file. Runs in a process of its own, which alone imports pyarrow."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweepd.engine.row_reads import StoredRow, read_rows
from sweepd.engine.table_shape import Kind, Ragged, kind_of, merge
from sweepd.store import Blobs, BlobWriter, Store, Tx, Written

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["ExportJob", "Exported", "export"]

_GROUP_ROWS = 50_000  # of a row group at most
_GROUP_BYTES = 16 << 20  # of its rows' text at most
_MAX_COLUMNS = 2_000
_STEP = "_step"
_SIMPLE: Mapping[type, Kind] = {bool: "bool", int: "int", float: "float", type(None): "null"}

_FLOATS = ("float", "special")

_Group = list[dict[str, Any]]


@dataclass(frozen=True)
class ExportJob:
    """What to export: the rows of a run behind a step, into a blob.

    Attributes:
        folder: the data folder.
        run_id: the run.
        number: of the file among the run's.
        after_step: the last step of the files before it, None for the first.
        end_line: one past the run's last line, now.
        n_rewrites: how often its lines were written over, by now.
    """

    folder: str
    run_id: int
    number: int
    after_step: int | None
    end_line: int
    n_rewrites: int


@dataclass(frozen=True)
class Exported:
    """What came of it: bytes and the last step in them, or in words why the rows fit no table."""

    written: Written | None
    last_step: int = 0
    why_not: str = ""


class _Wider(Exception):
    """A later group widens a column."""


def export(job: ExportJob) -> Exported:
    """Write the rows of a job to a blob, in memory that does not grow with them."""
    store = Store.open(Path(job.folder), exclusive=False)
    try:
        return store.read_sync(_export, job=job, blobs=store.blobs)
    except Ragged as reason:
        return Exported(None, why_not=str(reason))
    finally:
        store.close()


def _export(tx: Tx, *, job: ExportJob, blobs: Blobs) -> Exported:
    first = job.after_step + 1 if job.after_step is not None else None

    def groups() -> Iterator[_Group]:
        return _groups(read_rows(tx, run_id=job.run_id, min_step=first))

    try:
        return _write(groups(), kinds=_kinds(islice(groups(), 1)), blobs=blobs)
    except _Wider:
        return _write(groups(), kinds=_kinds(groups()), blobs=blobs)


def _groups(rows: Iterable[StoredRow]) -> Iterator[_Group]:
    """Yield parsed rows in groups of bounded size; each has its step as a whole number."""
    group: _Group = []
    size = 0
    for row in rows:
        values = json.loads(row.body)
        values[_STEP] = row.step
        group.append(values)
        size += len(row.body)
        if len(group) >= _GROUP_ROWS or size >= _GROUP_BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group


def _kinds(groups: Iterable[_Group]) -> Mapping[str, Kind]:
    """Return the kind of each column of all groups; raise Ragged if they are no table."""
    kinds: Mapping[str, Kind] = {}
    for group in groups:
        kinds = _widened(kinds or dict.fromkeys(group[0], "null"), group)
    if len(kinds) > _MAX_COLUMNS:
        raise Ragged(f"the rows have {len(kinds)} keys, more than {_MAX_COLUMNS}")
    return kinds


def _widened(kinds: Mapping[str, Kind], group: _Group) -> Mapping[str, Kind]:
    names = kinds.keys()
    for row in group:
        if row.keys() != names:
            raise Ragged("not every row has the same keys")
    return {name: _column_kind(kind, group, name) for name, kind in kinds.items()}


def _column_kind(kind: Kind, group: _Group, name: str) -> Kind:
    types = {type(row[name]) for row in group}
    for simple in types & _SIMPLE.keys():
        kind = merge(kind, _SIMPLE[simple], key=name)
    if not types <= _SIMPLE.keys():
        for row in group:
            kind = merge(kind, kind_of(row[name], key=name), key=name)
    return kind


def _write(groups: Iterable[_Group], *, kinds: Mapping[str, Kind], blobs: Blobs) -> Exported:
    """Write groups as row groups; raise _Wider once one does not fit the kinds."""
    import pyarrow as pa
    from pyarrow.parquet import ParquetWriter

    schema = pa.schema([(name, _arrow(kind)) for name, kind in kinds.items()])
    texts = [name for name, kind in kinds.items() if kind in ("str", "null")]
    last_step = 0
    with blobs.writer() as blob:
        sink = pa.PythonFile(_Sink(blob), mode="w")
        with ParquetWriter(sink, schema, compression="zstd", use_dictionary=texts) as file:
            for group in groups:
                if _widened(kinds, group) != kinds:
                    raise _Wider
                file.write_table(_table(group, kinds, schema), row_group_size=len(group))
                last_step = group[-1][_STEP]
        return Exported(blob.commit(), last_step=last_step)


def _table(group: _Group, kinds: Mapping[str, Kind], schema: "pa.Schema") -> "pa.Table":
    import pyarrow as pa

    columns = []
    for field, (name, kind) in zip(schema, kinds.items(), strict=True):
        column = [row[name] for row in group]
        if kind in _FLOATS or isinstance(kind, tuple):
            column = [_cell(value, kind) for value in column]
        try:
            columns.append(pa.array(column, field.type))
        except (pa.ArrowInvalid, OverflowError) as error:
            raise Ragged(f"{name} holds what no column takes: {error}") from None
    return pa.table(columns, schema=schema)


def _cell(value: Any, kind: Kind) -> Any:
    """Return a value as its column holds it: the names of numbers as these numbers."""
    if kind in _FLOATS:
        return float(value) if isinstance(value, str) else value
    if value is None or isinstance(kind, str):
        return value
    if kind[0] == "list":
        return [_cell(one, kind[1]) for one in value]
    return {name: _cell(value[name], one) for name, one in kind[1].items()}


def _arrow(kind: Kind) -> "pa.DataType":
    """Return a kind as a type that the client's reader knows."""
    import pyarrow as pa

    if isinstance(kind, tuple):
        if kind[0] == "list":
            return pa.list_(_arrow(kind[1]))
        return pa.struct([(name, _arrow(one)) for name, one in kind[1].items()])
    if kind in _FLOATS:
        return pa.float64()
    return {"int": pa.int64(), "bool": pa.bool_()}.get(kind, pa.string())


class _Sink:
    """A blob as pyarrow writes to it."""

    closed = False

    def __init__(self, blob: BlobWriter) -> None:
        self._blob = blob
        self._size = 0

    def write(self, data: bytes) -> int:
        self._blob.write(data)
        self._size += len(data)
        return len(data)

    def tell(self) -> int:
        return self._size

    def flush(self) -> None:
        pass

    def close(self) -> None:
        pass
