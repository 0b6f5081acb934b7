"""Parameter importance of a sweep, computed in other processes and kept until a run ends."""

import asyncio
import json
import math
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar

from sqlalchemy import Select, func, select

from sweepd.engine import curves
from sweepd.engine.access import Need
from sweepd.engine.sweepviews import definition_of, sweep_for
from sweepd.engine.views import Account
from sweepd.errors import InvalidInput, ProcessDied, Reason
from sweepd.search.importance import ENOUGH, Importance, has_shares, measure
from sweepd.spec import Config, signed
from sweepd.store import Tx
from sweepd.store import tables as t
from sweepd.worker import Worker

__all__ = [
    "MOST_WAIT_S",
    "Computing",
    "ImportanceJob",
    "ImportanceView",
    "Importances",
    "compute",
    "read_job",
]

#: A request for importance is answered after so many seconds, if only with "computing".
MOST_WAIT_S = 15.0

A = TypeVar("A")
R = TypeVar("R")

_TIMEOUT_S = 120.0
_IDLE_S = 60.0  # after which the process that computes is let go
_MOST_KEPT = 64  # answers
_MOST_NAMES = 200  # runs whose summaries are looked through for metrics to choose from
_GOALS = ("minimize", "maximize")
_NO_SHARES = (
    "The service runs without Optuna, so that only the trend is known: install sweepd[optuna] for "
    "each parameter's importance."
)

#: Runs a use case that reads: of a page's visit, or of a request's context.
Read = Callable[..., Awaitable[Any]]
#: What changes whenever the importance may; the definition's version is the first of it.
Stamp = tuple[Any, ...]
#: Whose importance: of a sweep, for a metric, with a goal; those that were asked for.
Place = tuple[int, str | None, str | None]
Answer = Callable[["ImportanceJob", "ImportanceView"], Awaitable["ImportanceView"]]


@dataclass(frozen=True)
class ImportanceJob:
    """Everything that one computation needs; picklable. Objectives are signed, lower is better."""

    definition: str
    configs: tuple[Config, ...]
    objectives: tuple[float, ...]
    seed: int


@dataclass(frozen=True)
class ImportanceView:
    """What a sweep's parameters mean for a metric. Trends are those of the metric as logged.

    Attributes:
        metric: whose importance it is; None if the sweep names none and none was asked for.
        goal: minimize or maximize.
        has_goal: whether the definition says so.
        n: finished runs that have the metric.
        n_needed: of them, before anything is said.
        note: what a person should know, in words.
        metrics: what can be asked for, the sweep's own first.
        parameters: in the definition's order.
        is_computing: it is not known yet: there are no parameters, and to ask again is to wait.
    """

    metric: str | None
    goal: str
    has_goal: bool
    n: int
    n_needed: int
    note: str | None
    metrics: tuple[str, ...]
    parameters: tuple[Importance, ...]
    is_computing: bool = False


def compute(job: ImportanceJob) -> list[Importance]:
    """Measure; meant for another process."""
    space = definition_of(job.definition).space
    return measure(space, job.configs, job.objectives, seed=job.seed)


def stamp_of(tx: Tx, *, actor: Account, sweep_id: int, need: Need) -> tuple[Any, ...]:
    """Return what changes whenever the importance may: the definition, and the finished runs.

    Raises:
        NotFound, Forbidden: as for the sweep.
    """
    sweep = sweep_for(
        tx, t.sweep.c.id == sweep_id, actor=actor, need=need, label=f"with id {sweep_id}"
    )
    ended = select(func.count(), func.max(t.trial.c.ended_at)).where(*_finished(sweep_id))
    return (sweep.version, *tx.conn.execute(ended).one())


def read_job(
    tx: Tx, *, actor: Account, sweep_id: int, need: Need, metric: str | None, goal: str | None
) -> tuple[ImportanceJob, ImportanceView]:
    """Return what to compute, and the answer as far as it is known without that.

    Raises:
        InvalidInput: if the goal is none.
        NotFound, Forbidden: as for the sweep.
    """
    if goal is not None and goal not in _GOALS:
        raise InvalidInput(f"goal: must be minimize or maximize, not {goal[:40]!r}")
    sweep = sweep_for(
        tx, t.sweep.c.id == sweep_id, actor=actor, need=need, label=f"with id {sweep_id}"
    )
    definition = definition_of(sweep.definition)
    goals = {one.name: one.goal for one in definition.objectives}
    wanted = metric or next(iter(goals), None)
    is_kept = wanted == definition.metric_name
    aim: str = goals.get(wanted or "") or goal or "minimize"
    configs, objectives = [], []
    for row in tx.conn.execute(_rows(sweep_id, with_summary=not is_kept)):
        value = row.objective
        if not is_kept:
            logged = curves.summary_value(row.summary, wanted, goal=aim) if wanted else None
            value = None if logged is None else signed(logged, aim)
        if value is not None and math.isfinite(value):
            configs.append(json.loads(row.config))
            objectives.append(float(value))
    job = ImportanceJob(sweep.definition, tuple(configs), tuple(objectives), seed=sweep.seed)
    names = _metrics(tx, sweep_id, tuple(goals))
    has_goal = wanted in goals
    return job, ImportanceView(wanted, aim, has_goal, len(configs), ENOUGH, None, names, ())


class Computing(Protocol):
    """What computes elsewhere, one call at a time: see `sweepd.worker.Worker`."""

    async def call(self, function: Callable[[A], R], argument: A, *, timeout_s: float) -> R:
        """Return what the function makes of the argument; raise ProcessDied if nothing."""

    def stop(self) -> None:
        """End the process; the next call starts another."""


class _Work:
    """One answer in the making, for all that ask for it.

    Attributes:
        begun: what is known before it is made.
        task: makes it.
        stamp: of the runs that it is made of.
    """

    def __init__(self, stamp: Stamp, read: Awaitable[Any], answer: Answer) -> None:
        self.stamp = stamp
        self.begun: asyncio.Future[ImportanceView] = asyncio.get_running_loop().create_future()
        self.task = asyncio.create_task(self._do(read, answer))
        for one in (self.begun, self.task):  # whose asker may have left
            one.add_done_callback(lambda done: done.cancelled() or done.exception())

    async def _do(self, read: Awaitable[Any], answer: Answer) -> ImportanceView:
        try:
            job, view = await read
        except asyncio.CancelledError:
            self.begun.cancel()
            raise
        except Exception as error:
            self.begun.set_exception(error)
            raise
        self.begun.set_result(view)
        return await answer(job, view)


class Importances:
    """Answers for importance: two computations at a time, each in a process of its own.

    All who ask for the same wait for the same; nobody who leaves stops it.

    Args:
        workers: that compute; as many computations run at a time.
    """

    def __init__(self, workers: Sequence[Computing] = ()) -> None:
        self._workers = list(workers or (Worker(), Worker()))
        self._free = list(self._workers)
        self._turns = asyncio.Semaphore(len(self._workers))
        self._running: dict[Place, _Work] = {}
        self._kept: OrderedDict[Place, tuple[Stamp, ImportanceView]] = OrderedDict()
        self._rest: asyncio.TimerHandle | None = None

    async def of(
        self,
        read: Read,
        *,
        actor: Account,
        sweep_id: int,
        need: Need,
        metric: str | None = None,
        goal: str | None = None,
        wait_s: float | None = None,
    ) -> ImportanceView:
        """Return a sweep's importances; nothing else waits while they are computed.

        After `wait_s` seconds the answer is the one before, of fewer runs, or that they are being
        computed; None waits for them.

        Raises:
            InvalidInput, NotFound, Forbidden: as `read_job`.
        """
        asked = {"actor": actor, "sweep_id": sweep_id, "need": need}
        stamp = await read(stamp_of, **asked)
        place = (sweep_id, metric, goal)
        ends_at = None if wait_s is None else asyncio.get_running_loop().time() + wait_s
        before = self._running.get(place)  # may be of fewer runs
        while True:
            known, kept = self._kept.get(place, (None, None))
            if kept is not None and known == stamp:
                self._kept.move_to_end(place)
                return kept
            if place not in self._running:
                reading = read(read_job, **asked, metric=metric, goal=goal)
                self._start(place, _Work(stamp, reading, self._answer))
            work = self._running[place]
            view = await asyncio.shield(work.begun)
            left_s = None if ends_at is None else ends_at - asyncio.get_running_loop().time()
            done, _ = await asyncio.wait({work.task}, timeout=left_s)
            if done and (work is not before or work.stamp == stamp):
                return work.task.result()
            if not done:
                is_of_it = known is not None and known[0] == stamp[0]  # of the same definition
                has_found = kept is not None and bool(kept.parameters)
                return kept if kept and is_of_it and has_found else replace(view, is_computing=True)

    def stop(self) -> None:
        """End the processes that compute."""
        if self._rest is not None:
            self._rest.cancel()
        for work in list(self._running.values()):
            work.task.cancel()
        for worker in self._workers:
            worker.stop()

    async def _answer(self, job: ImportanceJob, view: ImportanceView) -> ImportanceView:
        """Compute; a failure is an answer too, until the next run ends."""
        note, found = None, []
        if view.n >= ENOUGH and len(set(job.objectives)) == 1:
            note = (
                f"All {view.n} runs came to the same {view.metric}: no parameter made a difference."
            )
        elif view.n >= ENOUGH:
            try:
                found = await self._compute(job)
                note = None if has_shares() else _NO_SHARES
            except ProcessDied as error:
                note = f"The importance could not be computed: {error}."
            self._rest_later()
        logged = tuple(_as_logged(one, view.goal) for one in found)
        return replace(view, note=note, parameters=logged)

    async def _compute(self, job: ImportanceJob) -> list[Importance]:
        async with self._turns:
            worker = self._free.pop()
            try:
                return await worker.call(compute, job, timeout_s=_TIMEOUT_S)
            finally:
                self._free.append(worker)

    def _start(self, place: Place, work: _Work) -> None:
        self._running[place] = work

        def settle(done: asyncio.Task[ImportanceView]) -> None:
            del self._running[place]
            if done.cancelled() or done.exception() is not None:
                return  # a refusal is none for the next who asks
            self._kept[place] = (work.stamp, done.result())
            self._kept.move_to_end(place)
            while len(self._kept) > _MOST_KEPT:
                self._kept.popitem(last=False)

        work.task.add_done_callback(settle)

    def _rest_later(self) -> None:
        if self._rest is not None:
            self._rest.cancel()
        self._rest = asyncio.get_running_loop().call_later(_IDLE_S, self._let_go)

    def _let_go(self) -> None:
        for worker in self._free:
            worker.stop()


def _finished(sweep_id: int) -> tuple[Any, ...]:
    return (t.trial.c.sweep_id == sweep_id, t.trial.c.reason == Reason.FINISHED)


def _rows(sweep_id: int, *, with_summary: bool) -> Select[Any]:
    query = select(t.trial.c.config, t.trial.c.objective).where(*_finished(sweep_id))
    if with_summary:
        query = query.add_columns(t.run.c.summary).join(t.run, t.run.c.id == t.trial.c.run_id)
    return query.order_by(t.trial.c.number)


def _metrics(tx: Tx, sweep_id: int, own: tuple[str, ...]) -> tuple[str, ...]:
    """Return the numbers that runs logged, by name; the sweep's own metrics first."""
    query = (
        select(t.run.c.summary)
        .join(t.trial, t.trial.c.run_id == t.run.c.id)
        .where(*_finished(sweep_id))
        .order_by(t.trial.c.number.desc())
        .limit(_MOST_NAMES)
    )
    names: set[str] = set()
    for text in tx.conn.scalars(query):
        summary = json.loads(text or "{}")
        names |= {name for name in summary if _is_metric(name, summary)}
    return (*own, *sorted(names.difference(own)))


def _is_metric(name: str, summary: Mapping[str, Any]) -> bool:
    value = curves.value_in(summary, name)
    return not name.startswith("_") and value is not None and math.isfinite(value)


def _as_logged(one: Importance, goal: str) -> Importance:
    """Return an importance whose trend is that of the metric, not of the signed objective."""
    if goal == "minimize" or one.trend is None:
        return one
    low, high = one.trend_low, one.trend_high
    return Importance(
        one.name,
        one.n,
        one.share,
        one.share_low,
        one.share_high,
        -one.trend,
        None if high is None else -high,
        None if low is None else -low,
        one.best,
    )
