"""Configs that a person enqueues: completed, checked against the space, and put into the sweep.

The one thread that writes is to do no more than write: `check` does the rest beforehand.
"""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import bindparam, select

from sweepd.engine import enqueued
from sweepd.engine.access import Need
from sweepd.engine.enqueued import Entry, Queue
from sweepd.engine.sweepviews import definition_of, may_be_best, sweep_for
from sweepd.engine.texts import clean, clean_all
from sweepd.engine.views import Account
from sweepd.errors import InvalidInput, NotFound
from sweepd.spec import Config, Definition, Space, nearest
from sweepd.store import Prepared, Tx
from sweepd.store import tables as t

__all__ = ["Checked", "Enqueued", "base_config", "check", "enqueue"]

_MOST_AT_ONCE = 1_000
_MOST_WORDS = 50  # warnings of one request
#: Instead of a run's id: the best run of the sweep so far.
_BEST = "best"

#: The trial that has had a config, the first if there are several.
_TWIN = Prepared(
    select(t.run.c.display_name)
    .join(t.trial, t.trial.c.run_id == t.run.c.id)
    .where(t.trial.c.sweep_id == bindparam("sweep"), t.trial.c.config_key == bindparam("key"))
    .order_by(t.trial.c.id)  # not number, whose index SQLite would walk
    .limit(1)
)


@dataclass(frozen=True)
class Enqueued:
    """The ids of the runs that were made, and what a person should know of their configs."""

    runs: tuple[str, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Checked:
    """Configs as they will be written, and the definition (its text) that they are right for.

    `entries` holds each with whether the space knows all of it, and what is odd about it.
    """

    definition: str
    entries: tuple[tuple[Entry, bool, tuple[str, ...]], ...]


def check(
    tx: Tx,
    *,
    actor: Account,
    sweep_id: int,
    configs: Sequence[Mapping[str, Any]],
    like: str | None = None,
) -> Checked:
    """Complete these configs and hold them against the space; nothing is written.

    Constants are filled in. A value that the space does not have is taken, with a warning: it runs,
    and teaches the search nothing.

    Args:
        tx: the transaction.
        actor: who asks.
        sweep_id: the sweep.
        configs: flat ("opt.lr") or nested.
        like: a run of the sweep, or `best`, that gives what the configs leave out.

    Raises:
        InvalidInput: if a config leaves a parameter out, or is none.
        NotFound: if there is no such run.
        NotFound, Forbidden: as for the sweep.
    """
    return _check(tx, _sweep(tx, actor, sweep_id), configs, like)


def enqueue(
    tx: Tx,
    *,
    actor: Account,
    sweep_id: int,
    configs: Sequence[Mapping[str, Any]],
    like: str | None = None,
    display_name: str | None = None,
    checked: Checked | None = None,
) -> Enqueued:
    """Put runs of these configs into a sweep, all of them or none; agents take them next.

    Args:
        tx: the transaction.
        actor: who asks.
        sweep_id: the sweep.
        configs: as `check` takes them.
        like: likewise.
        display_name: the runs'; numbered if there are several.
        checked: what `check` returned of the same configs: it is not done again, unless the
            sweep has been given another definition meanwhile.

    Raises:
        InvalidInput, NotFound, Forbidden: as `check`.
        Conflict: if the sweep takes no more runs.
    """
    sweep = _sweep(tx, actor, sweep_id)
    if checked is None or checked.definition != sweep.definition:
        checked = _check(tx, sweep, configs, like)
    n = len(checked.entries)
    queue = Queue(tx, sweep_id=sweep_id, n=n, actor=actor.name)
    made: list[str] = []
    warnings: list[str] = []
    for number, (entry, is_known, odd) in enumerate(checked.entries, 1):
        warnings += odd
        twin = _TWIN.row(tx, sweep=sweep_id, key=entry.key) if is_known else None
        warnings += [f"{_label(number, n)}{twin[0]} has had this configuration"] if twin else []
        name = f"{display_name} {number}" if display_name and n > 1 else display_name
        made.append(queue.add(entry, display_name=name)[1])
    if (n_left := queue.n_beyond_cap) > 0:
        cap = f"run_cap is {sweep.run_cap}, of which {sweep.n_issued} are taken"
        warnings.insert(0, f"{cap}: no agent will get {n_left} of the {queue.n_waiting} that wait")
    more = len(warnings) - _MOST_WORDS
    if more > 0:
        warnings[_MOST_WORDS:] = [f"and {more} more warnings"]
    return Enqueued(tuple(made), tuple(warnings))


def _sweep(tx: Tx, actor: Account, sweep_id: int) -> Any:
    is_it = t.sweep.c.id == sweep_id
    return sweep_for(tx, is_it, actor=actor, need=Need.WRITE, label=f"with id {sweep_id}")


def _label(number: int, n: int) -> str:
    return f"config {number}: " if n > 1 else ""


def _check(tx: Tx, sweep: Any, configs: Sequence[Mapping[str, Any]], like: str | None) -> Checked:
    if not 0 < len(configs) <= _MOST_AT_ONCE:
        raise InvalidInput(f"{len(configs)} configs: must be 1 to {_MOST_AT_ONCE:,} at a time")
    definition = definition_of(sweep.definition)
    space = definition.space
    if like == _BEST and definition.metrics:
        raise InvalidInput("a sweep of several metrics has a front, not one best: name a run of it")
    base = base_config(tx, sweep_id=sweep.id, space=space, like=like) if like else {}
    entries = tuple(
        _entry(definition, given, base, _label(number, len(configs)))
        for number, given in enumerate(configs, 1)
    )
    return Checked(sweep.definition, entries)


def _entry(
    definition: Definition, given: Mapping[str, Any], base: Config, label: str
) -> tuple[Entry, bool, tuple[str, ...]]:
    space = definition.space
    config, odd = _checked(space, given, base, label)
    try:
        nested = space.nest(config)
    except InvalidInput as error:
        raise InvalidInput(f"{label}{error}") from None
    values = enqueued.values_of({k: {"value": v} for k, v in nested.items()})
    is_known = all(name in space for name in config)
    return enqueued.entry_of(definition, values), is_known, tuple(odd)


def base_config(tx: Tx, *, sweep_id: int, space: Space, like: str) -> Config:
    """Return what a run of the sweep ran, as far as the space knows its parameters.

    Raises:
        NotFound: if the sweep has no such run, or none with a value for `best`.
    """
    query = select(t.trial.c.config).join(t.run, t.run.c.id == t.trial.c.run_id)
    of_sweep = query.where(t.trial.c.sweep_id == sweep_id)
    if like == _BEST:
        known = of_sweep.where(may_be_best())
        found = tx.conn.scalar(known.order_by(t.trial.c.objective, t.trial.c.number).limit(1))
        missing = "no trial of the sweep has a value yet, so that none is the best"
    else:
        found = tx.conn.scalar(of_sweep.where(t.run.c.name == like))
        missing = f"the sweep has no run {like!r}"
    if found is None:
        raise NotFound(missing)
    return {name: value for name, value in json.loads(found).items() if name in space}


def _checked(
    space: Space, given: Mapping[str, Any], base: Config, label: str
) -> tuple[Config, list[str]]:
    """Return a whole flat config, and what is odd about it.

    Raises:
        InvalidInput: if it leaves out a parameter that has more than one value, or gives one twice.
    """
    flat = {clean(name): clean_all(value) for name, value in _flat(space, given, label).items()}
    config, odd = {**base, **flat}, []
    missing = []
    for parameter in space.ordered:
        law = parameter.distribution
        if not parameter.exists_in(config):
            if parameter.name in flat:
                words = "does not exist in this configuration by sweepd.when: it is left out"
                odd.append(f"{label}{parameter.name} {words}")
            config.pop(parameter.name, None)
        elif parameter.name not in config:
            if law.size == 1:
                config[parameter.name] = law.ppf(0.5)
            else:
                missing.append(f"{parameter.name} ({law.allowed})")
        elif law.contains(config[parameter.name]):
            config[parameter.name] = law.normalise(config[parameter.name])
        else:
            value = json.dumps(config[parameter.name], ensure_ascii=False, default=str)[:60]
            odd.append(
                f"{label}{parameter.name} is {value}, not {law.allowed}: it runs, and the search "
                "learns nothing from it"
            )
    if missing:
        raise InvalidInput(
            f"{label}needs {', '.join(missing)}; give them, or take what is left out from a run "
            f"(--like best){''.join(_misspelt(flat, space))}"
        )
    odd += [
        f"{label}{constraint.text} is not so: it runs, and the search learns nothing from it"
        for constraint in space.constraints
        if not constraint.is_satisfied(config)
    ]
    known = [parameter.name for parameter in space.parameters]
    odd += [
        f"{label}the definition has no parameter {name!r}{nearest(name, known)}: it runs, and "
        "the search learns nothing from it"
        for name in _unknown(flat, space)
    ]
    return config, odd


def _misspelt(flat: Config, space: Space) -> Iterator[str]:
    """Yield what is said of each name that the space lacks but nearly has."""
    known = [parameter.name for parameter in space.parameters]
    for name in _unknown(flat, space):
        if hint := nearest(name, known):
            yield f"; there is no parameter {name[:60]!r}{hint}"


def _unknown(flat: Config, space: Space) -> Iterator[str]:
    """Yield the names that the space lacks; of what is in a group of parameters, the full ones."""
    groups = {parameter.path[0] for parameter in space.parameters}
    for name, value in flat.items():
        if name not in space:
            yield from _names(name, value) if name in groups else (name,)


def _names(name: str, value: Any) -> Iterator[str]:
    if not isinstance(value, Mapping) or not value:
        yield name
        return
    for step, inner in value.items():
        yield from _names(f"{name}.{step}", inner)


def _flat(space: Space, given: Mapping[str, Any], label: str) -> Config:
    """Return a config by the space's flat names; what it does not know stays as it is."""
    flat: Config = {}
    for name, value in given.items():
        inner = space.flatten({name: value}) if name not in space else {}
        if twice := sorted((inner.keys() | {name}) & flat.keys()):
            raise InvalidInput(f"{label}{twice[0]} is given both flat and nested")
        flat.update(inner)
        flat.update(_without({name: value}, {space[known].path for known in inner}))
    return flat


def _without(nested: Mapping[str, Any], paths: Collection[tuple[str, ...]]) -> dict[str, Any]:
    """Return what is left of a nested config without these values; no group that has no more."""
    left: dict[str, Any] = {}
    for step, value in nested.items():
        below = [path[1:] for path in paths if path[0] == step]
        if () not in below:
            kept = _without(value, below) if below else value
            if kept or not below:
                left[step] = kept
    return left
