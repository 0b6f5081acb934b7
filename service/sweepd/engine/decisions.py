"""Why a trial was suggested, and why it was stopped: what the search and the rules left of it."""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

from sweepd.engine.sweepviews import definition_of
from sweepd.engine.views import RunView
from sweepd.spec import Definition, signed
from sweepd.store import Tx
from sweepd.store import tables as t

__all__ = ["DecisionView", "Neighbour", "StopView", "decision_of"]

_ORIGINS = {
    "initial": "It is one of the definition's initial configurations.",
    "filler": "A space-filling point: the search had nothing ready when an agent asked.",
    "canary": "A canary: it finds out whether a place that was in quarantine works again.",
    "promoted": "It was paused by the stop rule and is among the best there: it goes on.",
}
_METHODS = {
    "grid": "The next point of the grid.",
    "random": "A random draw.",
    "qmc": "The next point of a sequence that fills the space evenly.",
}
_MODELS = {
    "space-filling": "One of the first points, spread over the space before there is a model.",
    "model": "The model of the results so far expected the most of it.",
    "doubting model": "The model expected the most of it, though its fit was trusted less.",
}


@dataclass(frozen=True)
class Neighbour:
    """A trial that the search knew, next to the one that it suggested; value as logged."""

    run: str
    title: str
    distance: float
    value: float | None
    is_feasible: bool


@dataclass(frozen=True)
class StopView:
    """Why a rule stopped a run: the band, what the run was compared with, and what it had."""

    rule: str
    at: float
    words: str | None
    band: int | None
    threshold: float | None
    value: float | None


@dataclass(frozen=True)
class DecisionView:
    """Why a trial is what it is. Values are those of the metric, as logged; None if not known.

    Attributes:
        origin: initial, search, filler, enqueued, …
        words: the same in a sentence.
        method: that searched.
        version: of the definition that it came from, of `n_versions`.
        basis_event: that its suggestion was computed from, and when that was.
        mean: expected, with the 90 % interval `low` to `high`.
        value: what came out.
        log_ei: logarithm of the expected improvement, in standard deviations of the results.
        p_feasible: probability that the run would not fail.
        nearest: trials that the search knew, the nearest first.
        stop: why it was stopped by a rule.
    """

    origin: str
    words: str
    method: str
    metric: str | None
    goal: str
    version: int
    n_versions: int
    basis_event: int | None
    basis_at: float | None
    mean: float | None
    low: float | None
    high: float | None
    value: float | None
    log_ei: float | None
    p_feasible: float | None
    nearest: tuple[Neighbour, ...]
    stop: StopView | None


def decision_of(tx: Tx, *, run: RunView) -> DecisionView | None:
    """Return why a run was suggested and stopped; None for one that is no trial.

    The caller has checked who asks.
    """
    found = tx.conn.execute(
        select(
            t.trial,
            t.sweep.c.definition,
            t.sweep.c.method,
            t.sweep.c.version.label("n_versions"),
        )
        .join(t.sweep, t.sweep.c.id == t.trial.c.sweep_id)
        .where(t.trial.c.run_id == run.id)
    ).one_or_none()
    if found is None:
        return None
    definition = definition_of(found.definition)
    why = _read(found.why)
    low, mean, high = (_logged(why.get(name), definition) for name in ("low", "mean", "high"))
    if definition.goal == "maximize":
        low, high = high, low
    basis_at = tx.conn.scalar(select(t.event.c.at).where(t.event.c.id == found.basis_event))
    return DecisionView(
        origin=found.origin,
        words=_words(tx, found, why),
        method=found.method,
        metric=definition.metric_name,
        goal=definition.goal,
        version=found.version,
        n_versions=found.n_versions,
        basis_event=found.basis_event,
        basis_at=basis_at,
        mean=mean,
        low=low,
        high=high,
        value=_logged(found.objective, definition),
        log_ei=_number(why.get("log_ei")),
        p_feasible=_number(why.get("p_feasible")),
        nearest=tuple(_nearest(tx, found, why, definition)),
        stop=_stop(tx, run),
    )


def _read(text: str | None) -> Mapping[str, Any]:
    found = json.loads(text or "{}")
    return found if isinstance(found, dict) else {}


def _number(value: Any) -> float | None:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(value) if is_number and math.isfinite(value) else None


def _logged(value: Any, definition: Definition) -> float | None:
    number = _number(value)
    return None if number is None else signed(number, definition.goal)


def _words(tx: Tx, trial: Any, why: Mapping[str, Any]) -> str:
    if trial.origin == "enqueued":
        made = (t.event.c.run_id == trial.run_id) & (t.event.c.kind == "trial.enqueued")
        actor = tx.conn.scalar(select(t.event.c.actor).where(made).limit(1))
        return f"{actor or 'A person'} enqueued it."
    if trial.origin != "search":
        return _ORIGINS.get(trial.origin, f"It comes from: {trial.origin}.")
    by_model = _MODELS.get(str(why.get("origin")))
    return by_model or _METHODS.get(trial.method, f"The search ({trial.method}) suggested it.")


def _nearest(
    tx: Tx, trial: Any, why: Mapping[str, Any], definition: Definition
) -> Iterator[Neighbour]:
    """Yield the neighbours that are trials of the sweep; `index` counts those that had ended.

    Prior runs come first there and have no trial, and an edit may have left some out since, so that
    an entry counts only if its objective is the trial's.
    """
    entries = [one for one in why.get("nearest") or () if isinstance(one, dict)]
    if not entries:
        return
    known = tx.conn.execute(
        select(t.trial.c.objective, t.run.c.name, t.run.c.display_name)
        .join(t.run, t.run.c.id == t.trial.c.run_id)
        .where(t.trial.c.sweep_id == trial.sweep_id, t.trial.c.ended_at.is_not(None))
        .where(t.trial.c.ended_at <= trial.created_at)
        .order_by(t.trial.c.ended_at, t.trial.c.number)
    ).all()
    for entry in entries:
        row = _match(known, entry)
        if row is not None:
            yield Neighbour(
                run=row.name,
                title=row.display_name or row.name,
                distance=_number(entry.get("distance")) or 0.0,
                value=_logged(row.objective, definition),
                is_feasible=bool(entry.get("is_feasible", True)),
            )


def _match(known: Any, entry: Mapping[str, Any]) -> Any:
    index, objective = entry.get("index"), entry.get("objective")
    if isinstance(index, int) and 0 <= index < len(known) and known[index].objective == objective:
        return known[index]
    if objective is None:
        return None
    alike = [row for row in known if row.objective == objective]
    return alike[0] if len(alike) == 1 else None


def _stop(tx: Tx, run: RunView) -> StopView | None:
    asked = (t.event.c.run_id == run.id) & (t.event.c.kind == "trial.stop_requested")
    event = tx.conn.execute(
        select(t.event.c.at, t.event.c.data).where(asked).order_by(t.event.c.id.desc()).limit(1)
    ).one_or_none()
    if event is None:
        return None
    data = _read(event.data)
    band = data.get("band")
    return StopView(
        rule=str(data.get("rule", "a rule")),
        at=event.at,
        words=run.stop_requested,
        band=band if isinstance(band, int) else None,
        threshold=_number(data.get("threshold")),
        value=_number(data.get("value")),
    )
