"""Alerts: what a run tells people, each once however often its client sends it."""

from collections.abc import Sequence

from sqlalchemy import select, update

from sweepd.engine import events
from sweepd.engine.leases import Speaker, is_late
from sweepd.engine.texts import clean
from sweepd.engine.views import AlertView, RunView
from sweepd.errors import InvalidInput
from sweepd.states import is_terminal
from sweepd.store import Tx
from sweepd.store.run_tables import alert as table

__all__ = ["DEFAULT_WAIT_S", "SEVERITIES", "list_alerts", "raise_alert"]

SEVERITIES = ("INFO", "WARN", "ERROR")
DEFAULT_WAIT_S = 60.0  # the client's own

_MAX_TITLE = 1_000  # characters
_MAX_TEXT = 20_000


def raise_alert(
    tx: Tx,
    *,
    run: RunView,
    actor: str,
    title: str,
    text: str,
    severity: str = "INFO",
    wait_s: float = DEFAULT_WAIT_S,
    speaker: Speaker | None = None,
) -> bool:
    """Keep an alert of a run; return False if it repeats one that was kept.

    It repeats one if that has its title and came less than `wait_s` seconds ago. Of a run that has
    ended, also if that has its title and its text: a folder that is synced again sends its alerts
    again, however much later. That of an attempt which a later one has replaced says so.

    Raises:
        InvalidInput: for a severity that is none, or a title or text beyond all measure.
    """
    if severity not in SEVERITIES:
        raise InvalidInput(f"severity: must be one of {', '.join(SEVERITIES)}, not {severity!r}")
    for name, value, most in (("title", title, _MAX_TITLE), ("text", text, _MAX_TEXT)):
        if len(value) > most:
            raise InvalidInput(f"an alert's {name} has at most {most} characters, not {len(value)}")
    title, text = clean(title), clean(text)
    if speaker is not None and is_late(tx, speaker, run_id=run.id):
        title = f"late, of attempt {speaker.attempt}: {title}"
    same_title = (table.c.run_id == run.id) & (table.c.title == title)
    repeated = table.c.at > tx.now - wait_s
    if is_terminal(run.state):
        repeated |= table.c.text == text
    earlier = tx.conn.scalar(
        select(table.c.id).where(same_title, repeated).order_by(table.c.at.desc()).limit(1)
    )
    if earlier is not None:
        again = update(table).where(table.c.id == earlier)
        tx.conn.execute(again.values(n_repeats=table.c.n_repeats + 1))
        return False
    tx.insert(table, run_id=run.id, title=title, text=text, severity=severity, at=tx.now)
    events.record(
        tx,
        actor=actor,
        kind="run.alert",
        project_id=run.project_id,
        sweep_id=run.sweep_id,
        run_id=run.id,
        data={"title": title, "text": text, "severity": severity},
    )
    return True


def list_alerts(tx: Tx, *, run_id: int, most: int = 100) -> Sequence[AlertView]:
    """Return a run's alerts, the newest first; asks nobody's leave."""
    query = (
        select(table.c.title, table.c.text, table.c.severity, table.c.at, table.c.n_repeats)
        .where(table.c.run_id == run_id)
        .order_by(table.c.at.desc(), table.c.id.desc())
        .limit(most)
    )
    return [AlertView(*row) for row in tx.conn.execute(query)]
