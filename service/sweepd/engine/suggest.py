"""Suggestions prepared ahead: what to compute, the computing, the storing.

Methods that take time run in another process: `next_job` says what is wanted, `compute` is pure,
`store` takes the result. A trial is never held up by it: where nothing is prepared, `handouts`
gives a space-filling point. Instant methods (grid, random) are called in place, a batch at a time.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from sqlalchemy import delete, func, insert, select, update

from sweepd.engine import notices
from sweepd.engine.observed import observe
from sweepd.engine.prior_runs import configs_of
from sweepd.engine.services import Limits
from sweepd.engine.sweepviews import definition_of
from sweepd.names import METHODS
from sweepd.registry import Registry
from sweepd.search import Memo, Method, Scalarised, Trial, filler
from sweepd.spec import Config, Definition
from sweepd.states import AgentState, SweepState
from sweepd.store import Tx
from sweepd.store import tables as t

__all__ = [
    "SuggestJob",
    "compute",
    "instant_batch",
    "is_instant",
    "load_method",
    "method_of",
    "next_job",
    "restock",
    "set_exhausted",
    "store",
    "taken_keys",
]

_DEFAULT = Limits()
_PREPARED = ("search", "filler")  # origins of rows that a computation replaces
_TOPIC = "search"
_TROUBLE = "the search failed, so that trials get space-filling points for now"


@dataclass(frozen=True)
class SuggestJob:
    """Everything that one call of a search method needs; picklable."""

    sweep_id: int
    method: str
    definition: str
    trials: tuple[Trial, ...]
    pending: tuple[Config, ...]
    n: int
    seed: tuple[int, ...]
    memo: Memo
    basis_event: int


@lru_cache(maxsize=64)
def load_method(name: str) -> Method:
    """Return a search method by its name in a definition."""
    method: Method = Registry("method", METHODS).load(name)()
    return method


def method_of(definition: Definition) -> Method:
    """Return a definition's search method, one that knows what to make of its `metrics`."""
    method = load_method(definition.method)
    knows_several = method.is_instant or getattr(method, "ranks_fronts", False)
    return method if knows_several or not definition.metrics else Scalarised(method)


def is_instant(method: str) -> bool:
    """Return whether a method is cheap enough to be called while an agent waits."""
    return load_method(method).is_instant


def compute(job: SuggestJob) -> tuple[list[Config], Memo]:
    """Run a search method. Pure, and meant for another process; whatever it raises is a failure."""
    definition = definition_of(job.definition)
    rng = np.random.default_rng(job.seed)
    method = method_of(definition)
    return method.suggest(definition.space, job.trials, job.pending, job.n, rng, job.memo)


def next_job(tx: Tx, *, limits: Limits = _DEFAULT) -> SuggestJob | None:
    """Return the most wanted computation, None if every sweep has what it needs.

    A sweep wants one suggestion for each live agent, and new ones when a trial has ended since.
    """
    wanted: list[tuple[int, int, Any, int]] = []
    live = t.sweep.c.state.in_((SweepState.PENDING, SweepState.RUNNING))
    for sweep in tx.conn.execute(
        select(t.sweep).where(live, t.sweep.c.is_exhausted == 0, t.sweep.c.stop_reason.is_(None))
    ):
        if definition_of(sweep.definition).searcher != "us" or is_instant(sweep.method):
            continue
        n = _wanted(tx, sweep, limits)
        prepared, basis = _stock(tx, sweep.id)
        latest = _latest_result(tx, sweep.id)
        if prepared < n or (n > 0 and basis < latest):
            wanted.append((prepared, basis, sweep, n))
    if not wanted:
        return None
    *_, sweep, n = min(wanted, key=lambda one: (one[0] > 0, one[1], one[2].id))
    observed = observe(tx, sweep.id, definition_of(sweep.definition))
    return SuggestJob(
        sweep_id=sweep.id,
        method=sweep.method,
        definition=sweep.definition,
        trials=observed.trials,
        pending=(*observed.pending, *_initial(tx, sweep.id)),
        n=n,
        seed=(sweep.seed, sweep.n_issued, len(observed.trials)),
        memo=json.loads(sweep.memo or "{}"),
        basis_event=tx.conn.scalar(select(func.max(t.event.c.id))) or 0,
    )


def store(
    tx: Tx,
    *,
    job: SuggestJob,
    configs: Sequence[Config],
    memo: Memo | None,
    error: str | None = None,
) -> None:
    """Put a computation's suggestions in the place of the older ones.

    With an error, or configs outside the space, the sweep gets space-filling points and a notice,
    and the search is asked again after the next result.

    Args:
        tx: the transaction.
        job: what was computed.
        configs: its suggestions, flat; fewer than asked for means that the space is exhausted.
        memo: the method's memo; None keeps the old one.
        error: why there are none, in words.
    """
    sweep = tx.conn.execute(select(t.sweep).where(t.sweep.c.id == job.sweep_id)).one_or_none()
    if sweep is None or sweep.definition != job.definition or sweep.stop_reason is not None:
        return
    space = definition_of(sweep.definition).space
    rubbish = [config for config in configs if not space.contains(config)]
    if rubbish and error is None:
        error = (
            f"{job.method} suggested {json.dumps(rubbish[0], default=str)[:200]}, not in the space"
        )
    _clear(tx, sweep.id)
    if error is None:
        n_new = _add(tx, sweep, configs, origin="search", basis=job.basis_event)
        if configs and not n_new:
            error = f"{job.method} suggested only what was handed out before"
    if error is not None:
        fillers = list(_fillers(tx, sweep, job.n))
        _add(tx, sweep, fillers, origin="filler", basis=job.basis_event)
        notices.post(tx, sweep.id, topic=_TOPIC, text=f"{_TROUBLE} ({error[:300]})")
        return
    if len(configs) < job.n:
        set_exhausted(tx, sweep.id)
    tx.conn.execute(
        update(t.sweep)
        .where(t.sweep.c.id == sweep.id)
        .values(
            memo=sweep.memo if memo is None else json.dumps(memo),
            n_suggested=sweep.n_suggested + len(configs),
        )
    )
    notices.withdraw(tx, sweep.id, topic=_TOPIC)


def restock(tx: Tx, sweep_id: int) -> None:
    """Let an instant method prepare more where nothing is left, so that an end is known in time."""
    sweep = tx.conn.execute(select(t.sweep).where(t.sweep.c.id == sweep_id)).one()
    is_capped = sweep.run_cap is not None and sweep.n_issued >= sweep.run_cap
    definition = definition_of(sweep.definition)
    if sweep.is_exhausted or is_capped or definition.searcher != "us":
        return
    if not is_instant(sweep.method):
        return
    stock = select(t.suggestion.c.id).where(t.suggestion.c.sweep_id == sweep_id).limit(1)
    if tx.conn.scalar(stock) is not None:
        return
    observed = observe(tx, sweep_id, definition)
    configs, n = instant_batch(
        definition,
        trials=observed.trials,
        pending=observed.pending,
        n_known=sweep.n_issued,
        seed=sweep.seed,
    )
    basis = tx.conn.scalar(select(func.max(t.event.c.id))) or 0
    _add(tx, sweep, configs, origin="search", basis=basis)
    if len(configs) < n:
        set_exhausted(tx, sweep_id)


def instant_batch(
    definition: Definition,
    *,
    trials: Sequence[Trial],
    pending: Sequence[Config],
    n_known: int,
    seed: int,
) -> tuple[list[Config], int]:
    """Return what an instant method gives after `n_known` configs, and how many were asked for.

    More of them the more there are, so that reading all trials costs little per trial.
    """
    n = min(max(8, n_known // 4), 256)
    rng = np.random.default_rng((seed, n_known))
    method = load_method(definition.method)
    configs, _ = method.suggest(definition.space, trials, pending, n, rng, {})
    return configs, n


def set_exhausted(tx: Tx, sweep_id: int) -> None:
    """Note that the space has no config that is not prepared or handed out."""
    tx.conn.execute(update(t.sweep).where(t.sweep.c.id == sweep_id).values(is_exhausted=1))


def taken_keys(tx: Tx, sweep_id: int) -> set[str]:
    """Return the key of every config that was handed out, is prepared, or was a prior run's."""
    tables = (t.trial, t.suggestion)
    taken = {
        key
        for table in tables
        for key in tx.conn.scalars(select(table.c.config_key).where(table.c.sweep_id == sweep_id))
    }
    text = tx.conn.scalar(select(t.sweep.c.definition).where(t.sweep.c.id == sweep_id))
    definition = definition_of(text or "")
    return taken.union(map(definition.space.key, configs_of(tx, sweep_id, definition)))


def _wanted(tx: Tx, sweep: Any, limits: Limits) -> int:
    """Return how many suggestions of the search a sweep should have ready."""
    alive = tx.conn.scalar(
        select(func.count()).where(
            t.agent.c.sweep_id == sweep.id, t.agent.c.state == AgentState.RUNNING
        )
    )
    n = min(max(alive or 0, 1), limits.max_prepared)
    if sweep.run_cap is None:
        return n
    n_initial = sum(1 for _ in _initial(tx, sweep.id))
    left: int = sweep.run_cap - sweep.n_issued - n_initial
    return max(0, min(n, left))


def _stock(tx: Tx, sweep_id: int) -> tuple[int, int]:
    """Return how many prepared suggestions there are, and the event that the oldest builds on."""
    count, basis = tx.conn.execute(
        select(func.count(), func.coalesce(func.min(t.suggestion.c.basis_event), 0)).where(
            t.suggestion.c.sweep_id == sweep_id, t.suggestion.c.origin.in_(_PREPARED)
        )
    ).one()
    return int(count), int(basis)


def _latest_result(tx: Tx, sweep_id: int) -> int:
    ended = (t.event.c.sweep_id == sweep_id) & (t.event.c.kind == "trial.ended")
    latest = select(t.event.c.id).where(ended).order_by(t.event.c.id.desc()).limit(1)
    return int(tx.conn.scalar(latest) or 0)


def _initial(tx: Tx, sweep_id: int) -> Iterator[Config]:
    """Yield the initial configs that were not handed out yet."""
    for text in tx.conn.scalars(
        select(t.suggestion.c.config).where(
            t.suggestion.c.sweep_id == sweep_id, t.suggestion.c.origin == "initial"
        )
    ):
        yield json.loads(text)


def _fillers(tx: Tx, sweep: Any, n: int) -> Iterator[Config]:
    space = definition_of(sweep.definition).space
    taken = taken_keys(tx, sweep.id)
    for index in range(sweep.n_issued, sweep.n_issued + n):
        config = filler(space, taken, index, sweep.seed)
        if config is None:
            set_exhausted(tx, sweep.id)
            return
        taken.add(space.key(config))
        yield config


def _clear(tx: Tx, sweep_id: int) -> None:
    is_old = t.suggestion.c.origin.in_(_PREPARED)
    tx.conn.execute(delete(t.suggestion).where(t.suggestion.c.sweep_id == sweep_id, is_old))


def _add(tx: Tx, sweep: Any, configs: Sequence[Config], *, origin: str, basis: int) -> int:
    """Store suggestions that were not handed out meanwhile, none twice; return how many."""
    if not configs:
        return 0
    key = definition_of(sweep.definition).space.key
    taken = taken_keys(tx, sweep.id)
    rows = []
    for config in configs:
        config_key = key(config)
        if config_key not in taken:
            taken.add(config_key)
            text = json.dumps(config, ensure_ascii=False)
            rows.append({"sweep_id": sweep.id, "config": text, "config_key": config_key})
    if rows:
        shared = {"origin": origin, "basis_event": basis}
        tx.conn.execute(insert(t.suggestion), [{**row, **shared} for row in rows])
    return len(rows)
