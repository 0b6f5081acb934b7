"""Reads what was logged as objects, by step; its callers have checked who may see the run."""

import json
from typing import Any

from sweepd.engine.row_reads import pick, read_rows, steps_with
from sweepd.store import Tx

__all__ = ["logged_at", "logged_objects"]


def logged_objects(
    tx: Tx, *, run_id: int, key: str, most: int
) -> tuple[list[tuple[int, dict[str, Any]]], int]:
    """Return (step, object) of a key by step, and at how many steps there may be one.

    With more than `most` steps they are thinned evenly; the last one is kept.
    """
    steps = steps_with(tx, run_id=run_id, key=key)
    every = -(-len(steps) // most) or 1
    chosen = [*steps[:-1:every], *steps[-1:]]
    rows = read_rows(tx, run_id=run_id, keys=[key], steps=chosen)
    found = [(row.step, value) for row in rows if (value := _object(row.body, key)) is not None]
    return found, len(steps) if every > 1 else len(found)


def logged_at(tx: Tx, *, run_id: int, key: str, step: int) -> dict[str, Any] | None:
    """Return the object that was logged under a key at a step; None if there is none."""
    for row in read_rows(tx, run_id=run_id, keys=[key], min_step=step, max_step=step):
        return _object(row.body, key)
    return None


def _object(body: str, key: str) -> dict[str, Any] | None:
    has, value = pick(json.loads(body), key)
    return value if has and isinstance(value, dict) else None
