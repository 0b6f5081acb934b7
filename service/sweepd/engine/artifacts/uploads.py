"""The bytes of drafts: which are to be sent, and what was received.

A project keeps equal bytes once, whatever they came with. So a client that announces a digest need
not send what the draft's own project holds already; what another project holds it has to send, for
a digest proves nothing.
"""

import binascii
import json
import re
from base64 import b64decode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from sqlalchemy import Select, bindparam, delete, func, select, update
from sqlalchemy.dialects.sqlite import insert

from sweepd.engine import blobs
from sweepd.engine.artifacts import drafts
from sweepd.engine.artifacts.views import ArtifactView, DraftFile, Kept, Part, Upload
from sweepd.engine.files import check_name
from sweepd.engine.views import Account
from sweepd.errors import Conflict, NotFound, ProtocolError
from sweepd.store import Tx, Written
from sweepd.store import artifact_tables as a
from sweepd.store import tables as t

__all__ = [
    "Held",
    "Parts",
    "Received",
    "announce",
    "held",
    "part_to_receive",
    "parts_of",
    "receive",
    "receive_part",
    "whole_digest",
]

_MAX_FILES = 10_000
_MAX_PARTS = 10_000
_HEX_MD5 = re.compile(r"[0-9a-f]{32}")


class Held(NamedTuple):
    """Bytes that a project holds: their key and their size."""

    key: str
    size: int


@dataclass(frozen=True)
class Parts:
    """An upload in parts that are all here: the keys in their order, and the MD5 of the whole."""

    upload_id: int
    digest: str
    keys: tuple[str, ...]


def announce(
    tx: Tx, *, actor: Account, files: Sequence[DraftFile]
) -> tuple[list[Upload], list[str]]:
    """Return what is to be sent of each file, in order, and the blobs that nothing needs any more.

    Raises:
        NotFound, Forbidden, Conflict: for a draft, as `drafts.draft_by_id`.
        ProtocolError: for a path or a digest that is none, or too many files or parts.
    """
    if len(files) > _MAX_FILES:
        raise ProtocolError(f"{len(files)} files at once; at most {_MAX_FILES}")
    uploads: dict[tuple[int, str], Upload] = {}
    stale: set[str] = set()
    for artifact_id in dict.fromkeys(file.artifact_id for file in files):
        draft = drafts.draft_by_id(tx, actor=actor, artifact_id=artifact_id)
        mine = {file.path: _checked(file) for file in files if file.artifact_id == artifact_id}
        for path, upload in _announce(tx, draft, mine).items():
            stale |= _announce_parts(tx, upload)
            uploads[artifact_id, path] = upload
        drafts.touch(tx, artifact_id)
    freed = blobs.release(tx, keys=stale)
    return [uploads[file.artifact_id, file.path] for file in files], freed


def _checked(file: DraftFile) -> DraftFile:
    if check_name(file.path) != file.path:
        raise ProtocolError(f"the path {file.path!r} must be written as {check_name(file.path)!r}")
    try:
        is_md5 = len(b64decode(file.digest, validate=True)) == 16
    except (binascii.Error, ValueError):
        is_md5 = False
    if not is_md5:
        raise ProtocolError(
            f"md5 of {file.path!r}: must be base64 of 16 bytes, not {file.digest!r}"
        )
    numbers = [part.number for part in file.parts]
    if len(numbers) > _MAX_PARTS or numbers != list(range(1, len(numbers) + 1)):
        raise ProtocolError(f"parts of {file.path!r}: must be numbered 1 to at most {_MAX_PARTS}")
    for part in file.parts:
        if not _HEX_MD5.fullmatch(part.md5):
            raise ProtocolError(
                f"hexMD5 of part {part.number} of {file.path!r}: must be 32 hexadecimal digits"
            )
    return file


def _announce(tx: Tx, draft: ArtifactView, files: Mapping[str, DraftFile]) -> Mapping[str, Upload]:
    here = held(tx, project_id=draft.project_id, digests=[file.digest for file in files.values()])
    statement = insert(a.artifact_upload)
    statement = statement.on_conflict_do_update(
        index_elements=["artifact_id", "path"],
        set_={"digest": statement.excluded.digest, "blob": statement.excluded.blob},
    )
    values = [
        {
            "artifact_id": draft.id,
            "path": path,
            "digest": file.digest,
            "blob": here[file.digest].key if file.digest in here else None,
        }
        for path, file in files.items()
    ]
    tx.conn.execute(statement, values)
    c = a.artifact_upload.c
    rows = tx.conn.execute(
        select(c.path, c.id).where(c.artifact_id == draft.id, c.path.in_(_members(files)))
    )
    ids = {path: int(upload_id) for path, upload_id in rows}
    births = _births(tx, [blob.key for blob in here.values()])
    return {
        path: Upload(
            id=ids[path],
            artifact_id=draft.id,
            path=path,
            digest=file.digest,
            is_here=file.digest in here,
            birth_id=births.get(here[file.digest].key, draft.id)
            if file.digest in here
            else draft.id,
            parts=file.parts,
        )
        for path, file in files.items()
    }


def _announce_parts(tx: Tx, upload: Upload) -> set[str]:
    """Remember the parts of an upload; return the keys of others that were sent before."""
    if not upload.parts or upload.is_here:
        return set()
    c = a.artifact_part.c
    known = {
        row.number: row
        for row in tx.conn.execute(
            select(c.number, c.digest, c.blob).where(c.upload_id == upload.id)
        )
    }
    wanted = {part.number: part.md5 for part in upload.parts}
    stale = [row for row in known.values() if wanted.get(row.number) != row.digest]
    gone = {row.number for row in stale}
    tx.conn.execute(delete(a.artifact_part).where(c.upload_id == upload.id, c.number.in_(gone)))
    fresh = [
        {"upload_id": upload.id, "number": number, "digest": md5}
        for number, md5 in wanted.items()
        if number not in known or number in gone
    ]
    if fresh:
        tx.conn.execute(insert(a.artifact_part), fresh)
    return {row.blob for row in stale if row.blob is not None}


def _members(values: Iterable[str] | Iterable[int]) -> Select[Any]:
    members = func.json_each(json.dumps(list(values))).table_valued("value")
    return select(members.c.value)


def held(tx: Tx, *, project_id: int, digests: Iterable[str]) -> dict[str, Held]:
    """Return which of these digests (MD5, base64) a project holds the bytes of."""
    c = t.blob.c
    query = select(c.md5, c.key, c.size).where(
        c.project_id == project_id,
        c.md5.in_(_members(dict.fromkeys(digests))),
        c.sha256.is_not(None),
    )
    return {md5: Held(key, size) for md5, key, size in tx.conn.execute(query)}


def _births(tx: Tx, keys: Sequence[str]) -> dict[str, int]:
    """Return the oldest version that holds each of these blobs."""
    c = a.artifact_entry.c
    query = select(c.blob, func.min(c.artifact_id)).where(c.blob.in_(_members(keys)))
    return {key: artifact_id for key, artifact_id in tx.conn.execute(query.group_by(c.blob))}


@dataclass(frozen=True)
class Received:
    """The bytes of a draft's file, on the disk; their MD5 was checked against the link's."""

    upload_id: int
    written: Written


def receive(tx: Tx, received: Sequence[Received]) -> list[Kept | Exception]:
    """Record the bytes of files of drafts, many at once.

    A file whose draft is committed or gone is answered with NotFound, one for which other bytes
    have been announced since with Conflict.
    """
    wanted = _wanted(tx, [one.upload_id for one in received])
    answers: list[Kept | Exception] = []
    good: dict[int, tuple[Received, int]] = {}  # by place among the answers, with its project
    for place, one in enumerate(received):
        row = wanted.get(one.upload_id)
        if row is None:
            answers.append(NotFound("there is no such draft any more"))
        elif row.digest != one.written.md5:
            answers.append(Conflict("other bytes have been announced for this file since"))
        else:
            good[place] = one, row.project_id
            answers.append(Kept(one.written.key))
    if not good:
        return answers
    keys = _adopt_all(tx, [(project_id, one.written) for one, project_id in good.values()])
    uploads = [one.upload_id for one, _ in good.values()]
    filled = zip(uploads, keys, strict=True)
    tx.conn.execute(_FILL, [{"upload": upload, "key": key} for upload, key in filled])
    freed = _drop_parts(tx, uploads)
    for place, key in zip(good, keys, strict=True):
        answers[place] = Kept(key, tuple(freed))
        freed = []
    return answers


_FILL = (
    update(a.artifact_upload)
    .where(a.artifact_upload.c.id == bindparam("upload"))
    .values(blob=bindparam("key"))
)


class _Wanted(NamedTuple):
    digest: str
    project_id: int


def _wanted(tx: Tx, upload_ids: Sequence[int]) -> dict[int, _Wanted]:
    """Return what is to be received for each of these uploads, and for which project."""
    u = a.artifact_upload.c
    query = (
        select(u.id, u.digest, a.artifact_collection.c.project_id)
        .select_from(
            a.artifact_upload.join(a.artifact, a.artifact.c.id == u.artifact_id).join(
                a.artifact_collection, a.artifact_collection.c.id == a.artifact.c.sequence_id
            )
        )
        .where(u.id.in_(_members(upload_ids)))
    )
    return {row[0]: _Wanted(row[1], row[2]) for row in tx.conn.execute(query)}


def _adopt_all(tx: Tx, written: Sequence[tuple[int, Written]]) -> list[str]:
    """Return the keys under which each project keeps these bytes, as `blobs.adopt` does for one."""
    c = t.blob.c
    query = select(c.project_id, c.sha256, c.key).where(
        c.project_id.in_({project_id for project_id, _ in written}),
        c.sha256.in_(_members(one.sha256 for _, one in written)),
    )
    kept = {(row[0], row[1]): row[2] for row in tx.conn.execute(query)}
    fresh = {}
    for project_id, one in written:
        if (project_id, one.sha256) not in kept:
            kept[project_id, one.sha256] = one.key
            fresh[one.key] = {**asdict(one), "project_id": project_id, "created_at": tx.now}
    if fresh:
        tx.conn.execute(insert(t.blob), list(fresh.values()))
    return [kept[project_id, one.sha256] for project_id, one in written]


def _drop_parts(tx: Tx, upload_ids: Sequence[int]) -> list[str]:
    """Forget what was sent in parts for uploads that are whole now; return the blobs freed."""
    c = a.artifact_part.c
    gone = tx.conn.scalars(
        delete(a.artifact_part).where(c.upload_id.in_(_members(upload_ids))).returning(c.blob)
    )
    return blobs.release(tx, keys={part for part in gone if part is not None})


def whole_digest(tx: Tx, *, upload_id: int) -> str:
    """Return the MD5, base64, of a file that is uploaded in parts.

    Raises:
        NotFound: if its draft is committed or gone.
    """
    c = a.artifact_upload.c
    digest = tx.conn.scalar(select(c.digest).where(c.id == upload_id))
    if digest is None:
        raise NotFound("there is no such draft any more")
    return str(digest)


def part_to_receive(tx: Tx, *, upload_id: int, number: int) -> str:
    """Return the MD5, hexadecimal, of a part that a signed link lets somebody send.

    Raises:
        NotFound: if its draft is committed or gone.
    """
    c = a.artifact_part.c
    digest = tx.conn.scalar(select(c.digest).where(c.upload_id == upload_id, c.number == number))
    if digest is None:
        raise NotFound("there is no such draft any more")
    return str(digest)


def receive_part(tx: Tx, *, upload_id: int, number: int, written: Written) -> Kept:
    """Record the bytes of a part.

    Raises:
        NotFound: as `part_to_receive`.
    """
    part_to_receive(tx, upload_id=upload_id, number=number)
    c = a.artifact_part.c
    mine = (c.upload_id == upload_id, c.number == number)
    before = tx.conn.scalar(select(c.blob).where(*mine))
    artifact_id = tx.conn.scalar(
        select(a.artifact_upload.c.artifact_id).where(a.artifact_upload.c.id == upload_id)
    )
    assert artifact_id is not None
    place = drafts.project_of(tx, artifact_id=artifact_id)
    key = blobs.adopt(tx, project_id=place, written=written)
    tx.conn.execute(update(a.artifact_part).where(*mine).values(blob=key))
    freed = blobs.release(tx, keys=[before]) if before not in (None, key) else []
    return Kept(key, tuple(freed))


def parts_of(
    tx: Tx, *, actor: Account, artifact_id: int, upload_id: int, announced: Sequence[Part]
) -> Parts | None:
    """Return an upload's parts to be put together; None if the whole is here already.

    Raises:
        NotFound, Forbidden, Conflict: for the draft; also if the upload is not one of it.
        ProtocolError: if a part is missing, or is not the one that was sent.
    """
    drafts.draft_by_id(tx, actor=actor, artifact_id=artifact_id)
    u, c = a.artifact_upload.c, a.artifact_part.c
    row = tx.conn.execute(
        select(u.digest, u.blob).where(u.id == upload_id, u.artifact_id == artifact_id)
    ).one_or_none()
    if row is None:
        raise NotFound("the draft has no such upload")
    if row.blob is not None:
        return None
    parts = tx.conn.execute(
        select(c.number, c.digest, c.blob).where(c.upload_id == upload_id).order_by(c.number)
    ).all()
    missing = [part.number for part in parts if part.blob is None]
    if missing or not parts:
        raise ProtocolError(f"parts have not arrived: {', '.join(map(str, missing[:20]))}")
    if [(part.number, part.digest) for part in parts] != [(p.number, p.md5) for p in announced]:
        raise ProtocolError("completedParts are not the parts that were announced")
    return Parts(upload_id, row.digest, tuple(part.blob for part in parts))
