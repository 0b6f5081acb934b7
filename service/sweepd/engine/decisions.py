"""Why a trial was suggested, and why it was stopped: what the search and the rules left of it."""

import json
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

from sweepd.engine.fronts import as_logged
from sweepd.engine.sweepviews import definition_of
from sweepd.engine.views import RunView
from sweepd.errors import Reason
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
    "taken": "Drawn to fill the space: what the search came to was tried, or breaks a constraint.",
}


#: Methods that keep no model which could say what to expect; numbers come from what they left.
_MODELLESS = {
    "startup": "One of the first {n_first} points, spread over the space before {method} begins.",
    "densities": (
        "TPE suggested it: the {n_good} best trials it knew lie denser around it, against the "
        "{n_bad} others and those that ran. It predicts no value."
    ),
    "normal law": (
        "CMA-ES drew it from a normal law that {n_told} trials have moved in {n_moves} steps. It "
        "predicts no value."
    ),
    "children": (
        "NSGA-II made it of two of the best {n_parents} trials it knew, and of chance. It predicts "
        "no value."
    ),
}


@dataclass(frozen=True)
class Neighbour:
    """A trial that the search knew, next to the one that it suggested; values as logged.

    `values` has those of every metric where the sweep has several; `value` is None then.
    """

    run: str
    title: str
    distance: float
    value: float | None
    is_feasible: bool
    values: Mapping[str, float]


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
        mean: expected, with the 90 % interval `low` to `high`; where metrics were weighed, of their
            weighed distance from the best.
        value: what came out, of a trial that finished.
        weights: of each metric, where the search weighed several for this trial alone.
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
    weights: Mapping[str, float]
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
    weights = _weights(why, definition)
    low, mean, high = (_logged(why.get(name), definition) for name in ("low", "mean", "high"))
    if definition.goal == "maximize":
        low, high = high, low
    # one that a rule or a person stopped had no time to come to what was expected
    is_finished = found.reason == Reason.FINISHED
    basis_at = tx.conn.scalar(select(t.event.c.at).where(t.event.c.id == found.basis_event))
    return DecisionView(
        origin=found.origin,
        words=_words(tx, found, why, weights),
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
        value=_logged(found.objective, definition) if is_finished else None,
        weights=weights,
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


def _weights(why: Mapping[str, Any], definition: Definition) -> dict[str, float]:
    """Return what each of several metrics counted; empty if nothing or nonsense is known of it."""
    found = why.get("weights")
    numbers = [_number(one) for one in found] if isinstance(found, list) else []
    if len(numbers) != len(definition.metrics) or None in numbers:
        return {}
    return {m.name: w for m, w in zip(definition.metrics, numbers, strict=True) if w is not None}


def _words(tx: Tx, trial: Any, why: Mapping[str, Any], weights: Mapping[str, float]) -> str:
    if trial.origin == "enqueued":
        made = (t.event.c.run_id == trial.run_id) & (t.event.c.kind == "trial.enqueued")
        actor = tx.conn.scalar(select(t.event.c.actor).where(made).limit(1))
        return f"{actor or 'A person'} enqueued it."
    if trial.origin != "search":
        return _ORIGINS.get(trial.origin, f"It comes from: {trial.origin}.")
    origin = str(why.get("origin"))
    without = _MODELLESS.get(origin)
    if without is not None:
        counts = defaultdict[str, Any](lambda: "few")
        counts |= {name: n for name, n in why.items() if name[:2] == "n_" and isinstance(n, int)}
        return without.format_map(counts | {"method": trial.method})
    plain = _METHODS.get(trial.method, f"The search ({trial.method}) suggested it.")
    words = _MODELS.get(origin, plain)
    if not weights:
        return words
    shares = ", ".join(f"{name} {100 * weight:.0f} %" for name, weight in weights.items())
    return f"{words} For this trial alone the metrics were weighed: {shares}."


def _nearest(
    tx: Tx, trial: Any, why: Mapping[str, Any], definition: Definition
) -> Iterator[Neighbour]:
    """Yield the neighbours that are trials of the sweep still; a run from before it is none.

    The number of a trial that was deleted may be another's since, which came after the basis event.
    """
    basis = trial.created_event - 1 if trial.basis_event is None else trial.basis_event
    entries = [one for one in why.get("nearest") or () if isinstance(one, dict)]
    numbers = [one.get("number") for one in entries]
    columns = (t.trial.c.number, t.trial.c.objective, t.trial.c.objectives)
    rows = tx.conn.execute(
        select(*columns, t.run.c.name, t.run.c.display_name)
        .join(t.run, t.run.c.id == t.trial.c.run_id)
        .where(t.trial.c.sweep_id == trial.sweep_id)
        .where(t.trial.c.number.in_([one for one in numbers if type(one) is int]))
        .where(t.trial.c.created_event <= basis)
    )
    known = {row.number: row for row in rows}
    for number, entry in zip(numbers, entries, strict=True):
        row = known.get(number) if type(number) is int else None
        if row is not None:
            is_feasible = bool(entry.get("is_feasible", True))
            yield Neighbour(
                run=row.name,
                title=row.display_name or row.name,
                distance=_number(entry.get("distance")) or 0.0,
                value=_logged(row.objective, definition) if is_feasible else None,
                is_feasible=is_feasible,
                values=as_logged(definition, row.objectives) if is_feasible else {},
            )


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
