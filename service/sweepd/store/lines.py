"""The lines of a run's history, read as SQLite gives them."""

import json
from collections.abc import Collection, Iterator, Sequence

from sweepd.store.tx import Tx

__all__ = ["history_lines"]


def history_lines(
    tx: Tx,
    *,
    run_id: int,
    stream: int,
    min_step: int | None = None,
    max_step: int | None = None,
    steps: Sequence[int] | None = None,
    mentions: Collection[str] = (),
) -> Iterator[tuple[int, int, str]]:
    """Return (step, attempt, body) of a run's lines, one after the other, by step, then by line.

    Args:
        tx: the transaction.
        run_id: the run.
        stream: its lines must have a step.
        min_step: the first step.
        max_step: the last step, inclusive.
        steps: only these.
        mentions: only lines that hold one of these texts.
    """
    where = ["run_id = ?", "stream = ?", "step IS NOT NULL"]
    arguments: list[int | str] = [run_id, stream]
    if min_step is not None:
        where.append("step >= ?")
        arguments.append(min_step)
    if max_step is not None:
        where.append("step <= ?")
        arguments.append(max_step)
    if steps is not None:
        where.append("step IN (SELECT value FROM json_each(?))")
        arguments.append(json.dumps(list(steps)))
    if mentions:
        where.append(f"({' OR '.join(['instr(body, ?) > 0'] * len(mentions))})")
        arguments.extend(mentions)
    return tx.raw.execute(
        f"SELECT step, attempt, body FROM stream_line WHERE {' AND '.join(where)} "
        "ORDER BY step, stream, line",
        arguments,
    )
