"""Configs that a person enqueues: completed, checked against the space, and put into the sweep."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

from sweepd.engine import enqueued
from sweepd.engine.access import Need
from sweepd.engine.sweepviews import definition_of, sweep_for
from sweepd.engine.texts import clean, clean_all
from sweepd.engine.views import Account
from sweepd.errors import InvalidInput, NotFound
from sweepd.spec import Config, Space, nearest
from sweepd.store import Tx
from sweepd.store import tables as t

__all__ = ["Enqueued", "base_config", "enqueue"]

_MOST_AT_ONCE = 1_000
_MOST_WORDS = 50  # warnings of one request
#: Instead of a run's id: the best run of the sweep so far.
_BEST = "best"


@dataclass(frozen=True)
class Enqueued:
    """The ids of the runs that were made, and what a person should know of their configs."""

    runs: tuple[str, ...]
    warnings: tuple[str, ...]


def enqueue(
    tx: Tx,
    *,
    actor: Account,
    sweep_id: int,
    configs: Sequence[Mapping[str, Any]],
    like: str | None = None,
    display_name: str | None = None,
) -> Enqueued:
    """Put runs of these configs into a sweep, all of them or none; agents take them next.

    Constants are filled in. A value that the space does not have is taken, with a warning: it runs,
    and teaches the search nothing.

    Args:
        tx: the transaction.
        actor: who asks.
        sweep_id: the sweep.
        configs: flat ("opt.lr") or nested.
        like: a run of the sweep, or `best`, that gives what the configs leave out.
        display_name: the runs'; numbered if there are several.

    Raises:
        InvalidInput: if a config leaves a parameter out, or is none.
        NotFound: if there is no such run.
        Conflict: if the sweep takes no more runs.
        NotFound, Forbidden: as for the sweep.
    """
    is_it = t.sweep.c.id == sweep_id
    sweep = sweep_for(tx, is_it, actor=actor, need=Need.WRITE, label=f"with id {sweep_id}")
    if not 0 < len(configs) <= _MOST_AT_ONCE:
        raise InvalidInput(f"{len(configs)} configs: must be 1 to {_MOST_AT_ONCE} at once")
    definition = definition_of(sweep.definition)
    space = definition.space
    if like == _BEST and definition.metrics:
        raise InvalidInput("a sweep of several metrics has a front, not one best: name a run of it")
    base = base_config(tx, sweep_id=sweep_id, space=space, like=like) if like else {}
    made: list[str] = []
    warnings: list[str] = []
    for number, given in enumerate(configs, 1):
        label = f"config {number}: " if len(configs) > 1 else ""
        config, odd = _checked(space, given, base, label)
        is_known = all(name in space for name in config)
        twin = _twin(tx, sweep_id, space.key(config)) if is_known else None
        odd += [f"{label}{twin} has had this configuration"] if twin else []
        warnings += odd
        values = enqueued.values_of({k: {"value": v} for k, v in space.nest(config).items()})
        name = f"{display_name} {number}" if display_name and len(configs) > 1 else display_name
        _, run = enqueued.add(
            tx, sweep_id=sweep_id, values=values, actor=actor.name, display_name=name
        )
        made.append(run)
    more = len(warnings) - _MOST_WORDS
    if more > 0:
        warnings[_MOST_WORDS:] = [f"and {more} more warnings"]
    return Enqueued(tuple(made), tuple(warnings))


def base_config(tx: Tx, *, sweep_id: int, space: Space, like: str) -> Config:
    """Return what a run of the sweep ran, as far as the space knows its parameters.

    Raises:
        NotFound: if the sweep has no such run, or none with a value for `best`.
    """
    query = select(t.trial.c.config).join(t.run, t.run.c.id == t.trial.c.run_id)
    of_sweep = query.where(t.trial.c.sweep_id == sweep_id)
    if like == _BEST:
        known = of_sweep.where(t.trial.c.objective.is_not(None))
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
        InvalidInput: if it leaves out a parameter that has more than one value.
    """
    flat = {clean(name): clean_all(value) for name, value in _flat(space, given).items()}
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
    for name in flat.keys() - set(known):
        odd.append(
            f"{label}the definition has no parameter {name!r}{nearest(name, known)}: it runs, and "
            "the search learns nothing from it"
        )
    return config, odd


def _misspelt(flat: Config, space: Space) -> Iterator[str]:
    """Yield what is said of each name that the space lacks but nearly has."""
    known = [parameter.name for parameter in space.parameters]
    for name in flat.keys() - set(known):
        if hint := nearest(name, known):
            yield f"; there is no parameter {name[:60]!r}{hint}"


def _flat(space: Space, given: Mapping[str, Any]) -> Config:
    """Return a config by the space's flat names; a name that it does not know stays as it is."""
    flat: Config = {}
    for name, value in given.items():
        inner = space.flatten({name: value}) if isinstance(value, Mapping) else {}
        is_nested = name not in space and inner and space.nest(inner) == {name: value}
        flat.update(inner if is_nested else {name: value})
    return flat


def _twin(tx: Tx, sweep_id: int, key: str) -> str | None:
    """Return the name of a trial that has had a config, None if there is none."""
    query = (
        select(t.run.c.display_name)
        .join(t.trial, t.trial.c.run_id == t.run.c.id)
        .where(t.trial.c.sweep_id == sweep_id, t.trial.c.config_key == key)
    )
    found: str | None = tx.conn.scalar(query.order_by(t.trial.c.number).limit(1))
    return found
