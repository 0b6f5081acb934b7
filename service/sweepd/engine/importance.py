"""Parameter importance of a sweep, computed in another process and kept until a run ends."""

import asyncio
import json
import math
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

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

__all__ = ["ImportanceJob", "ImportanceView", "Importances", "compute", "read_job"]

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
    """

    metric: str | None
    goal: str
    has_goal: bool
    n: int
    n_needed: int
    note: str | None
    metrics: tuple[str, ...]
    parameters: tuple[Importance, ...]


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
            logged = curves.summary_value(row.summary, wanted) if wanted else None
            value = None if logged is None else signed(logged, aim)
        if value is not None and math.isfinite(value):
            configs.append(json.loads(row.config))
            objectives.append(float(value))
    job = ImportanceJob(sweep.definition, tuple(configs), tuple(objectives), seed=sweep.seed)
    names = _metrics(tx, sweep_id, tuple(goals))
    has_goal = wanted in goals
    return job, ImportanceView(wanted, aim, has_goal, len(configs), ENOUGH, None, names, ())


class Importances:
    """Answers for importance: one computation at a time, in a process of its own."""

    def __init__(self) -> None:
        self._worker = Worker()
        self._turn = asyncio.Lock()
        self._kept: OrderedDict[tuple[Any, ...], ImportanceView] = OrderedDict()
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
    ) -> ImportanceView:
        """Return a sweep's importances; nothing else waits while they are computed.

        Raises:
            InvalidInput, NotFound, Forbidden: as `read_job`.
        """
        asked = {"actor": actor, "sweep_id": sweep_id, "need": need}
        stamp = await read(stamp_of, **asked)
        key = (sweep_id, metric, goal, *stamp)
        if key not in self._kept:
            async with self._turn:  # who asked for the same meanwhile finds the answer
                if key not in self._kept:
                    job, view = await read(read_job, **asked, metric=metric, goal=goal)
                    self._keep(key, await self._answer(job, view))
        self._kept.move_to_end(key)
        return self._kept[key]

    def stop(self) -> None:
        """End the process that computes."""
        if self._rest is not None:
            self._rest.cancel()
        self._worker.stop()

    async def _answer(self, job: ImportanceJob, view: ImportanceView) -> ImportanceView:
        """Compute; a failure is an answer too, until the next run ends."""
        note, found = None, []
        if view.n >= ENOUGH:
            try:
                found = await self._worker.call(compute, job, timeout_s=_TIMEOUT_S)
                note = None if has_shares() else _NO_SHARES
            except ProcessDied as error:
                note = f"The importance could not be computed: {error}."
            self._rest_later()
        return ImportanceView(
            view.metric,
            view.goal,
            view.has_goal,
            view.n,
            view.n_needed,
            note,
            view.metrics,
            tuple(_as_logged(one, view.goal) for one in found),
        )

    def _keep(self, key: tuple[Any, ...], view: ImportanceView) -> None:
        self._kept[key] = view
        while len(self._kept) > _MOST_KEPT:
            self._kept.popitem(last=False)

    def _rest_later(self) -> None:
        if self._rest is not None:
            self._rest.cancel()
        self._rest = asyncio.get_running_loop().call_later(_IDLE_S, self._let_go)

    def _let_go(self) -> None:
        if not self._turn.locked():
            self._worker.stop()


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
