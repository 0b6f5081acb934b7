"""Runs from before a sweep that its search learns from: `prior_runs`, `wandb sweep -R`."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import bindparam, func, literal, select
from sqlalchemy.dialects.sqlite import insert

from sweepd.engine import curves, events
from sweepd.engine.objectives import objectives_of, read_objectives
from sweepd.engine.row_reads import read_rows
from sweepd.engine.run_views import select_runs, view_of
from sweepd.engine.sweepviews import definition_of
from sweepd.engine.texts import read_object
from sweepd.engine.views import RunView
from sweepd.errors import InvalidInput, NotFound, ProtocolError
from sweepd.search import Trial
from sweepd.spec import Definition, Outcome, judge, reduce_curve, signed
from sweepd.states import RunState
from sweepd.store import Prepared, Tx
from sweepd.store import sweep_tables as s
from sweepd.store import tables as t

__all__ = [
    "PriorRow",
    "attach",
    "keep",
    "keys_of",
    "names_in",
    "observed_of",
    "prior_rows",
    "prior_runs_of",
    "taught_by",
    "why_useless",
]

#: W&B takes a thousand and passes over the others without a word.
_MAX_RUNS = 10_000
#: History rows that are read for one request; the summary speaks for the runs beyond.
_MAX_ROWS = 50_000
_MAX_NAMED = 5  # runs that a warning names
_COUNT = Prepared(
    select(func.count(), func.max(s.prior_run.c.event)).where(
        s.prior_run.c.sweep_id == bindparam("sweep")
    )
)


def names_in(filters: str | None) -> list[str]:
    """Return the run ids that the client's filter names; it is `{"$or": [{"name": id}, …]}`.

    Raises:
        ProtocolError: if it is another filter.
        InvalidInput: if it names more than ten thousand runs.
    """
    if (filters or "").strip() in ("", "null", "{}"):
        return []
    found = read_object(filters or "", name="priorRunsFilters")
    members = found.get("$or") if found.keys() == {"$or"} else None
    if not isinstance(members, list) or not all(_is_name(member) for member in members):
        raise ProtocolError('priorRunsFilters: must be {"$or": [{"name": a run id}, …]}')
    names = list(dict.fromkeys(member["name"] for member in members))
    if len(names) > _MAX_RUNS:
        raise InvalidInput(f"{len(names)} prior runs: a sweep learns from at most {_MAX_RUNS:,}")
    return names


def attach(tx: Tx, *, sweep: Any, names: Sequence[str], where: str, actor: str) -> list[str]:
    """Let a sweep learn from runs of its own project, as they are now; return the warnings.

    Args:
        tx: the transaction.
        sweep: the sweep's row.
        names: run ids.
        where: the project, as errors call it.
        actor: who asks.

    Raises:
        NotFound: naming the runs that the project does not have.
    """
    if not names:
        return []
    of_project = (t.run.c.project_id == sweep.project_id) & t.run.c.name.in_(names)
    rows = {row.name: row for row in tx.conn.execute(select(t.run).where(of_project))}
    unknown = [name for name in names if name not in rows]
    if unknown:
        shown = ", ".join(map(repr, unknown[:_MAX_NAMED]))
        raise NotFound(f"there is no run {shown} in {where}: prior runs are of the sweep's project")
    definition = definition_of(sweep.definition)
    bounds = definition.own.outcome_constraints
    useless, left = [], _MAX_ROWS
    event = events.record(
        tx,
        actor=actor,
        kind="sweep.prior_runs",
        project_id=sweep.project_id,
        sweep_id=sweep.id,
        data={"runs": list(names)},
    )
    of_trials = _values_of_trials(tx, [row.id for row in rows.values()], definition)
    found = []
    for name in names:
        row = rows[name]
        summary = json.loads(row.summary or "{}")
        values, several = _values(row.config), None
        has_finished = row.state == RunState.FINISHED
        value = of_trials.get(row.id)
        if value is None:
            left -= row.history_lines
            value = _value(tx, row, definition, with_rows=left >= 0)
            several = _objectives(tx, row, definition, with_rows=left >= 0)
        found.append(
            {
                "sweep_id": sweep.id,
                "run_id": row.id,
                "config": json.dumps(values, ensure_ascii=False),
                "value": value,
                "objectives": json.dumps(several) if several else None,
                "outcome": min((how for how, _, _ in judge(summary, bounds)), default=None),
                "has_finished": int(has_finished),
            }
        )
        is_known = value is not None or several is not None
        why = why_useless(definition, values, is_known=is_known, has_finished=has_finished)
        if why is not None:
            useless.append(f"{name} ({why})")
    keep(tx, found, event=event)
    if not useless or definition.searcher != "us":
        return []
    more = f" and {len(useless) - _MAX_NAMED} more" if len(useless) > _MAX_NAMED else ""
    return [f"prior runs that tell the search nothing: {', '.join(useless[:_MAX_NAMED])}{more}"]


def keep(tx: Tx, rows: Sequence[Mapping[str, Any]], *, event: int) -> None:
    """Store prior runs, in the place of what was known of them before, which is kept for replays.

    Args:
        tx: the transaction.
        rows: the columns of each, its event aside.
        event: that attaches them.
    """
    if not rows:
        return
    of_run = s.prior_run.c.run_id.in_([one["run_id"] for one in rows])
    again = of_run & (s.prior_run.c.sweep_id == rows[0]["sweep_id"])
    names = [column.name for column in s.prior_run.c]
    before = select(*s.prior_run.c, literal(event)).where(again, s.prior_run.c.event < event)
    tx.conn.execute(insert(s.old_prior_run).from_select([*names, "until"], before))
    row = insert(s.prior_run)
    keys = ["sweep_id", "run_id"]
    anew = {name: row.excluded[name] for name in (*rows[0], "event") if name not in keys}
    upsert = row.on_conflict_do_update(index_elements=keys, set_=anew)
    tx.conn.execute(upsert, [{**one, "event": event} for one in rows])


@dataclass(frozen=True)
class PriorRow:
    """A run from before the sweep, as it was when it was attached; config and objectives JSON.

    It holds all that the search is taught of the run, which may have been deleted since.

    `until` is the event that attached it again, None for what is known now.
    """

    config: str
    value: float | None
    objectives: str | None
    has_finished: bool
    event: int
    outcome: str | None = None
    until: int | None = None

    def is_known_at(self, event: int) -> bool:
        """Return whether the search knew this at an event."""
        return self.event <= event and (self.until is None or event < self.until)


def prior_rows(tx: Tx, sweep_id: int, *, with_old: bool = False) -> list[PriorRow]:
    """Return a sweep's prior runs, in the order of their ids.

    Args:
        tx: the transaction.
        sweep_id: the sweep.
        with_old: what was known of them before they were attached again, too.
    """
    found = []
    for table in (s.prior_run, s.old_prior_run) if with_old else (s.prior_run,):
        for row in tx.conn.execute(select(table).where(table.c.sweep_id == sweep_id)).mappings():
            values: dict[str, Any] = {name: row.get(name) for name in PriorRow.__dataclass_fields__}
            one = PriorRow(**values | {"has_finished": bool(row["has_finished"])})
            found.append((row["run_id"], one.event, one))
    return [one for _, _, one in sorted(found, key=lambda entry: entry[:2])]


def taught_by(rows: Sequence[PriorRow], definition: Definition) -> list[Trial]:
    """Return what a search learns from prior runs.

    One whose config is not of the space tells nothing, nor one without a value, unless there is no
    metric: then one that finished counts as tried. A grid takes those alone that finished, for it
    is to try every point that did not.
    """
    found = []
    is_grid = definition.method == "grid"
    for row in rows:
        if is_grid and not row.has_finished:
            continue
        config = definition.space.existing(definition.space.flatten(json.loads(row.config)))
        if not definition.space.contains(config):
            continue
        if row.outcome is not None:
            found.append(Trial(config, None, is_feasible=row.outcome != Outcome.BROKEN))
        elif row.value is not None:
            found.append(Trial(config, signed(row.value, definition.goal)))
        elif row.objectives is not None:
            found.append(Trial(config, None, objectives=objectives_of(row.objectives)))
        elif not definition.objectives and row.has_finished:
            found.append(Trial(config, None))
    return found


def observed_of(tx: Tx, sweep_id: int, definition: Definition) -> list[Trial]:
    """Return what a sweep's search learns from its prior runs, in the order of their ids."""
    return taught_by(prior_rows(tx, sweep_id), definition)


def keys_of(tx: Tx, sweep_id: int, definition: Definition) -> frozenset[str]:
    """Return the key of every config of the space that prior runs have had; kept in memory."""
    ((n, event),) = _COUNT.rows(tx, sweep=sweep_id)
    if not n:
        return frozenset()
    name, stamp = f"prior runs of {sweep_id}", (n, event, definition.raw)
    kept = tx.memory.get(name)
    if kept is None or kept[0] != stamp:
        trials = observed_of(tx, sweep_id, definition)
        keys = frozenset(definition.space.key(trial.config) for trial in trials)
        kept = tx.memory[name] = (stamp, keys)
    found: frozenset[str] = kept[1]
    return found


def prior_runs_of(tx: Tx, sweep_id: int) -> list[RunView]:
    """Return a sweep's prior runs of its own project, in the order of their ids.

    Those of others, which a warm start knows, are not for everybody who may read the sweep; those
    that were deleted since still teach its search, but cannot be shown.
    """
    ids = select(s.prior_run.c.run_id).where(s.prior_run.c.sweep_id == sweep_id)
    home = select(t.sweep.c.project_id).where(t.sweep.c.id == sweep_id).scalar_subquery()
    where = t.run.c.id.in_(ids) & (t.run.c.project_id == home)
    rows = tx.conn.execute(select_runs().where(where).order_by(t.run.c.id))
    return [view_of(row) for row in rows.all()]


def _is_name(member: Any) -> bool:
    is_single = isinstance(member, dict) and member.keys() == {"name"}
    return is_single and isinstance(member["name"], str)


def _values(config: str) -> dict[str, Any]:
    """Return the values of a run's config, nested."""
    return {
        name: item["value"]
        for name, item in json.loads(config).items()
        if name != "_wandb" and isinstance(item, dict) and "value" in item
    }


def _values_of_trials(tx: Tx, run_ids: Sequence[int], definition: Definition) -> dict[int, float]:
    """Return the metric of the runs that are trials judged by it, as logged: no rows are read."""
    if definition.metric_name is None:
        return {}
    rule, goal = definition.own.objective, definition.goal
    query = (
        select(
            t.trial.c.run_id,
            t.trial.c.objective,
            t.trial.c.best,
            t.trial.c.last,
            t.sweep.c.definition,
        )
        .join(t.sweep, t.sweep.c.id == t.trial.c.sweep_id)
        .where(t.trial.c.run_id.in_(run_ids))
    )
    found: dict[int, float] = {}
    for row in tx.conn.execute(query):
        theirs = definition_of(row.definition)
        if (theirs.metric_name, theirs.goal) != (definition.metric_name, goal):
            continue
        value = {"best": row.best, "last": row.last}.get(rule)
        if theirs.own.objective == rule and row.objective is not None:
            value = signed(row.objective, goal)
        if value is not None:
            found[row.run_id] = value
    return found


def _value(tx: Tx, run: Any, definition: Definition, *, with_rows: bool) -> float | None:
    """Return what stands for a run, as logged: out of its rows, else out of its summary."""
    metric = definition.metric_name
    if metric is None:
        return None
    logged: list[float] = []
    if with_rows:
        for row in read_rows(tx, run_id=run.id, keys=[metric]):
            value = curves.read_number(json.loads(row.body).get(metric))
            if value is not None:
                logged.append(value)
    if not logged:
        value = curves.summary_value(run.summary, metric, goal=definition.goal)
        logged = [] if value is None else [value]
    return reduce_curve(logged, rule=definition.own.objective, goal=definition.goal)


def _objectives(
    tx: Tx, run: Any, definition: Definition, *, with_rows: bool
) -> tuple[float, ...] | None:
    """Return what stands for a run in a sweep of several metrics, signed."""
    if not definition.metrics:
        return None
    found = read_objectives(tx, run_id=run.id, definition=definition, with_rows=with_rows)
    return found.values


def why_useless(
    definition: Definition, values: Mapping[str, Any], *, is_known: bool, has_finished: bool = True
) -> str | None:
    """Return why a run with these values (nested) tells the search nothing, None if it does."""
    space = definition.space
    config = space.existing(space.flatten(values))
    for parameter in space.parameters:
        if not parameter.exists_in(config):
            continue
        if parameter.name not in config:
            return f"its config lacks {parameter.name}"
        if not parameter.distribution.contains(config[parameter.name]):
            return f"its {parameter.name} is outside of the search"
    for constraint in space.constraints:
        if not constraint.is_satisfied(config):
            return f"it does not satisfy {constraint.text}"
    if not has_finished and (definition.method == "grid" or not definition.objectives):
        return "it did not finish"
    if definition.objectives and not is_known:
        names = " and ".join(metric.name for metric in definition.objectives)
        return f"it never logged {names}"
    return None
