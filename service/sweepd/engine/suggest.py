"""Suggestions prepared ahead: what to compute next, and the storing of what was computed.

The events up to the newest that the search should know of, its basis, give a sequence of
suggestions without end. More of them are the same sequence, only longer; a newer basis starts
another one. So what is handed out depends on the events, not on how many agents there are or when
the computing was done. `next_job` says what is wanted, `computing.compute` is pure and runs in
another process, `store` takes the answer. Instant methods need none of this: see `handouts`.
"""

import json
from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import bindparam, delete, func, insert, select, update

from sweepd.engine import away, events, notices
from sweepd.engine.computing import Answer, Kept, SuggestJob, is_instant
from sweepd.engine.observed import Told, latest_news, learn, looks_at_running, trials_told
from sweepd.engine.prior_runs import observed_of
from sweepd.engine.services import Limits
from sweepd.engine.sweepviews import definition_of
from sweepd.engine.taken import TakenInStore
from sweepd.search import filler
from sweepd.spec import Config
from sweepd.states import AgentState, SweepState
from sweepd.store import Prepared, Tx
from sweepd.store import tables as t

__all__ = ["next_job", "next_try_in", "set_exhausted", "store"]

_DEFAULT = Limits()
_TOPIC = "search"
_TROUBLE = "the search failed, so that trials get space-filling points for now"
#: Seconds before a search that failed is asked again: doubled each time, up to the longest.
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 60.0
_LOOKED = "search.looked"
_SEARCHES = (
    t.sweep.c.state.in_((SweepState.PENDING, SweepState.RUNNING))
    & (t.sweep.c.is_exhausted == 0)
    & t.sweep.c.stop_reason.is_(None)
)
_SEARCHING = Prepared(select(t.sweep).where(_SEARCHES))
_TRY_AGAIN = Prepared(select(func.min(t.sweep.c.search_again_at)).where(_SEARCHES))
_N_ALIVE = Prepared(
    select(func.count()).where(
        t.agent.c.sweep_id == bindparam("sweep"), t.agent.c.state == AgentState.RUNNING
    )
)
_N_READY = Prepared(
    select(func.count()).where(
        t.suggestion.c.sweep_id == bindparam("sweep"), t.suggestion.c.origin == bindparam("origin")
    )
)


def next_job(
    tx: Tx,
    *,
    limits: Limits = _DEFAULT,
    without: Collection[int] = (),
    is_ailing: bool | None = None,
) -> SuggestJob | None:
    """Return the most wanted computation, None if every sweep has what it needs.

    A sweep wants one suggestion for each live agent, and new ones when its search should know
    more. One that has none comes before one that has old ones, and then the oldest first.

    Args:
        tx: the transaction.
        limits: how many are prepared at most.
        without: sweeps that are left out, since somebody computes for them.
        is_ailing: only sweeps whose search has failed at last, or only others; None: all.
    """
    wanted: list[tuple[bool, int, int]] = []
    found: dict[int, tuple[Any, int, int]] = {}
    for sweep in _SEARCHING.all(tx):
        if sweep.id in without or (sweep.search_again_at or 0.0) > tx.now:
            continue
        if is_ailing is not None and is_ailing != bool(sweep.search_failures):
            continue
        if definition_of(sweep.definition).searcher != "us" or is_instant(sweep.method):
            continue
        n, news = _wanted(tx, sweep, limits), None
        prepared = _n_ready(tx, sweep.id, origin="search")
        if n:
            news = latest_news(tx, sweep)
            n -= prepared if news == sweep.basis_event else 0
        if n > 0 and news is not None:
            wanted.append((prepared > 0, sweep.basis_event, sweep.id))
            found[sweep.id] = (sweep, n, news)
    if not wanted:
        return None
    return _job(tx, *found[min(wanted)[2]])


def next_try_in(tx: Tx) -> float | None:
    """Return in how many seconds the next search that failed is asked again, None if none is."""
    ((at,),) = _TRY_AGAIN.rows(tx)
    return None if at is None else max(0.0, at - tx.now)


def store(
    tx: Tx, *, job: SuggestJob, answer: Answer | None = None, error: str | None = None
) -> None:
    """Put a computation's suggestions behind those of the same basis, or in the place of older.

    With an error the sweep gets space-filling points and a notice, and the search is asked again
    after a pause that grows.

    Args:
        tx: the transaction.
        job: what was computed.
        answer: what came out.
        error: why nothing did, in words.
    """
    sweep = tx.conn.execute(select(t.sweep).where(t.sweep.c.id == job.sweep_id)).one_or_none()
    if sweep is None or sweep.definition != job.definition or sweep.stop_reason is not None:
        return
    is_longer = job.start > 0 and sweep.basis_event == job.basis_event
    if job.start > 0 and not is_longer:
        return
    if not is_longer:
        is_old = (t.suggestion.c.sweep_id == sweep.id) & (t.suggestion.c.origin == "search")
        tx.conn.execute(delete(t.suggestion).where(is_old))
    taken = TakenInStore(tx, sweep, definition_of(sweep.definition))
    if answer is not None and error is None:
        given = _add(tx, job, answer, taken)
        is_short = len(answer.configs) < job.n
        _note_taken(tx, sweep, given)
        if given and len(given) == len(answer.configs) and not _knows_more(tx, job):
            error = f"{job.method} suggested only what was handed out before"
        elif is_short and filler(taken.space, taken, index=0, seed=0) is None:
            set_exhausted(tx, sweep.id)
        elif is_short:
            error = f"{job.method} gave {len(answer.configs)} of {job.n} suggestions"
    if error is not None:
        _fail(tx, sweep, error)
        return
    assert answer is not None
    values: dict[str, Any] = {"basis_event": job.basis_event}
    if answer.kept is not None:
        values["memo"] = answer.kept.text()
    if sweep.search_failures:
        values |= {"search_failures": 0, "search_again_at": None}
    values["n_suggested"] = sweep.n_suggested + len(answer.configs)
    tx.conn.execute(update(t.sweep).where(t.sweep.c.id == sweep.id).values(**values))
    if job.running and not is_longer:
        data = {"basis": job.basis_event, "running": job.running}
        _record(tx, sweep, _LOOKED, data)
    notices.withdraw(tx, sweep.id, topic=_TOPIC)


def set_exhausted(tx: Tx, sweep_id: int) -> None:
    """Note that the space has no config that is not prepared or handed out."""
    tx.conn.execute(update(t.sweep).where(t.sweep.c.id == sweep_id).values(is_exhausted=1))


def _wanted(tx: Tx, sweep: Any, limits: Limits) -> int:
    """Return how many suggestions of the search a sweep should have ready."""
    ((alive,),) = _N_ALIVE.rows(tx, sweep=sweep.id)
    n: int = min(max(alive, 1) + away.n_awaited(tx, sweep.id), limits.max_prepared)
    if sweep.run_cap is None:
        return n
    left: int = sweep.run_cap - sweep.n_issued - _n_ready(tx, sweep.id, origin="initial")
    return max(0, min(n, left))


def _n_ready(tx: Tx, sweep_id: int, *, origin: str) -> int:
    ((n,),) = _N_READY.rows(tx, sweep=sweep_id, origin=origin)
    return int(n)


def _job(tx: Tx, sweep: Any, n: int, news: int) -> SuggestJob:
    """Return the job of n more suggestions of the sequence that these news give."""
    definition = definition_of(sweep.definition)
    trials = trials_told(tx, sweep.id)
    earlier: dict[int, Config] = {}
    running = None
    if news == sweep.basis_event:
        earlier = _sequence(tx, sweep, trials)
        running = _looked(tx, sweep) if looks_at_running(definition) else None
    start = max(earlier, default=-1) + 1
    observed = learn(
        definition,
        trials=trials,
        prior=observed_of(tx, sweep.id, definition),
        version=sweep.version,
        basis=news,
        earlier=[earlier[position] for position in sorted(earlier)],
        running=running,
    )
    return SuggestJob(
        sweep_id=sweep.id,
        method=sweep.method,
        definition=sweep.definition,
        trials=observed.trials,
        pending=observed.pending,
        n=n,
        start=start,
        seed=sweep.seed,
        kept=Kept.read(sweep.memo),
        basis_event=news,
        running=observed.running,
    )


def _sequence(tx: Tx, sweep: Any, trials: Sequence[Told]) -> dict[int, Config]:
    """Return what the present basis has given so far, handed out or not, by position."""
    found = {
        one.position: one.config
        for one in trials
        if one.basis_event == sweep.basis_event
        and one.position is not None
        and one.origin == "search"
    }
    is_ours = (t.suggestion.c.sweep_id == sweep.id) & (t.suggestion.c.origin == "search")
    columns = (t.suggestion.c.position, t.suggestion.c.config)
    for position, config in tx.conn.execute(select(*columns).where(is_ours)):
        found[position] = json.loads(config)
    return found


def _looked(tx: Tx, sweep: Any) -> dict[str, Any]:
    """Return what the present basis has seen of running trials."""
    looked = (t.event.c.sweep_id == sweep.id) & (t.event.c.kind == _LOOKED)
    latest = select(t.event.c.data).where(looked).order_by(t.event.c.id.desc()).limit(1)
    data = json.loads(tx.conn.scalar(latest) or "{}")
    running: dict[str, Any] = data.get("running", {})
    return running if data.get("basis") == sweep.basis_event else {}


def _add(tx: Tx, job: SuggestJob, answer: Answer, taken: TakenInStore) -> list[str]:
    """Store suggestions that were not handed out meanwhile; return the keys of the others."""
    rows, given = [], []
    whys = answer.why or (None,) * len(answer.configs)
    found = zip(answer.configs, whys, taken.new_among(answer.configs), strict=True)
    for position, (config, why, (key, is_new)) in enumerate(found, job.start):
        if is_new:
            row = {
                "sweep_id": job.sweep_id,
                "config": json.dumps(config, ensure_ascii=False),
                "config_key": key,
                "origin": "search",
                "basis_event": job.basis_event,
                "position": position,
                "why": why,
            }
            rows.append(row)
        else:
            given.append(key)
    if rows:
        tx.conn.execute(insert(t.suggestion), rows)
    return given


def _note_taken(tx: Tx, sweep: Any, keys: Sequence[str]) -> None:
    """Let the search know of trials that had its suggestions before it could give them.

    A filler is the very point that most methods begin with, and so is an older suggestion that was
    handed out while this one was computed: without that news the same would be suggested again.
    """
    if keys:
        is_one = (t.trial.c.sweep_id == sweep.id) & t.trial.c.config_key.in_(keys)
        latest = select(func.coalesce(func.max(t.trial.c.created_event), 0)).where(is_one)
        event = func.max(t.sweep.c.unplanned_event, latest.scalar_subquery())
        is_it = t.sweep.c.id == sweep.id
        tx.conn.execute(update(t.sweep).where(is_it).values(unplanned_event=event))


def _knows_more(tx: Tx, job: SuggestJob) -> bool:
    """Return whether there is news that the computation could not know of."""
    sweep = tx.conn.execute(select(t.sweep).where(t.sweep.c.id == job.sweep_id)).one()
    return latest_news(tx, sweep) > job.basis_event


def _fail(tx: Tx, sweep: Any, error: str) -> None:
    """Let a sweep do without its search for a while, and say so."""
    n = sweep.search_failures + 1
    pause_s = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2.0 ** min(n - 1, 10))
    values = {"search_failures": n, "search_again_at": tx.now + pause_s}
    tx.conn.execute(update(t.sweep).where(t.sweep.c.id == sweep.id).values(**values))
    notices.post(tx, sweep.id, topic=_TOPIC, text=f"{_TROUBLE} ({error[:300]})")


def _record(tx: Tx, sweep: Any, kind: str, data: dict[str, Any]) -> None:
    events.record(
        tx,
        actor=events.SERVICE,
        kind=kind,
        project_id=sweep.project_id,
        sweep_id=sweep.id,
        data=data,
    )
