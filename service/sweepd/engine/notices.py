"""What a person should know of a sweep now, in words: one notice a topic, withdrawn when mended."""

from dataclasses import dataclass

from sqlalchemy import bindparam, delete, select, update
from sqlalchemy.dialects.sqlite import insert

from sweepd.engine import events
from sweepd.store import Prepared, Tx
from sweepd.store import sweep_tables as s
from sweepd.store import tables as t

__all__ = ["Notice", "list_notices", "post", "said", "withdraw"]

_MAX_NOTICE = 1_000  # characters
_SAID = Prepared(
    select(s.notice.c.topic, s.notice.c.text).where(s.notice.c.sweep_id == bindparam("sweep"))
)
_WITHDRAW = Prepared(
    delete(s.notice).where(
        s.notice.c.sweep_id == bindparam("sweep"), s.notice.c.topic == bindparam("topic")
    )
)


@dataclass(frozen=True)
class Notice:
    """What a person should know of a sweep, on one topic."""

    topic: str
    text: str


def list_notices(tx: Tx, sweep_id: int) -> list[Notice]:
    """Return what there is to say of a sweep, the oldest first."""
    query = select(s.notice.c.topic, s.notice.c.text).where(s.notice.c.sweep_id == sweep_id)
    rows = tx.conn.execute(query.order_by(s.notice.c.at, s.notice.c.topic))
    return [Notice(row.topic, row.text) for row in rows]


def said(tx: Tx, sweep_id: int) -> dict[str, str]:
    """Return topic -> what is said of a sweep, on the path of each request."""
    return dict(_SAID.rows(tx, sweep=sweep_id))


def post(tx: Tx, sweep_id: int, *, topic: str, text: str) -> None:
    """Say something of a sweep, in the place of what was said on that topic before."""
    text = text[:_MAX_NOTICE]
    same = (s.notice.c.sweep_id == sweep_id) & (s.notice.c.topic == topic)
    if tx.conn.scalar(select(s.notice.c.text).where(same)) == text:
        return
    row = insert(s.notice).values(sweep_id=sweep_id, topic=topic, text=text, at=tx.now)
    anew = {"text": text, "at": tx.now}
    tx.conn.execute(row.on_conflict_do_update(index_elements=["sweep_id", "topic"], set_=anew))
    _show(tx, sweep_id, topic=topic, notice=text)


def withdraw(tx: Tx, sweep_id: int, *, topic: str) -> None:
    """Take back what was said on a topic; harmless if nothing was."""
    if _WITHDRAW.run(tx, sweep=sweep_id, topic=topic):
        _show(tx, sweep_id, topic=topic, notice=None)


def _show(tx: Tx, sweep_id: int, *, topic: str, notice: str | None) -> None:
    """Keep the sweep's own column, which every page reads, in line with the notices."""
    texts = [one.text for one in list_notices(tx, sweep_id)]
    project_id = tx.conn.scalar(
        update(t.sweep)
        .where(t.sweep.c.id == sweep_id)
        .values(notice="; ".join(texts) or None)
        .returning(t.sweep.c.project_id)
    )
    events.record(
        tx,
        actor=events.SERVICE,
        kind="sweep.noticed",
        project_id=project_id,
        sweep_id=sweep_id,
        data={"topic": topic, "notice": notice},
    )
