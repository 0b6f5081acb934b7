"""Plans the confirmation of a sweep's leaders: their configurations again, with fresh seeds.

It is a sweep of its own in the same project, so that the search that found the leaders learns
nothing from it and its run_cap, target and end are as they were. It works on a sweep in any state.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sweepd.errors import InvalidInput
from sweepd.results.judging import Ranked, runs_of
from sweepd.results.rounds import (
    configuration_key,
    configuration_of,
    confirmation_of,
    rounds_of,
)
from sweepd.results.select import Selection
from sweepd.results.server import in_words, open_api
from sweepd.spec import canonical

__all__ = ["DEFAULT_SEED_KEY", "Plan", "plan_confirmation"]

DEFAULT_SEED_KEY = "seed"
#: What of a definition says how its trials run; the rest is about the search.
_KEPT = ("program", "command")
_KEPT_OWN = ("objective", "outcome_constraints", "timeout", "retries", "quarantine")
_MOST_RUNS = 1_000


@dataclass(frozen=True)
class Plan:
    """The definitions that run the leaders again, and with which seeds."""

    leaders: tuple[Ranked, ...]
    seed_key: str
    seeds: tuple[int, ...]
    definitions: tuple[Mapping[str, Any], ...]


def plan_confirmation(
    selection: Selection,
    *,
    top: int,
    n_seeds: int,
    seed_key: str | None = None,
    is_ours: bool,
    handed_out: Mapping[str, Mapping[str, Any]] | None = None,
    api: Any = None,
) -> Plan:
    """Return the definitions that run the `top` leaders with `n_seeds` fresh seeds each.

    The seeds are the same for each leader, so that what they share is compared away, and none of
    them is of a run before. On our service it is one sweep; elsewhere a grid for each leader.

    Args:
        selection: the sweep's ranking, by the rule that chooses the leaders.
        top: how many configurations; runs of one configuration count once.
        n_seeds: how often each is run.
        seed_key: the parameter that is the seed; None is `seed`, which the definition must have.
        is_ours: whether the server knows `sweepd.initial`.
        handed_out: what the trials were given, by run id, where the server tells: their runs'
            configs may hold other values since, and parameters that an edit has removed.
        api: a `wandb.Api` to read through; None opens one.

    Raises:
        InvalidInput: the definition has no seed and none is named, the one that is named is inside
            of a parameter, the sweep is itself of confirmations, or it would be more than a
            thousand runs.
    """
    api = api or open_api()
    with in_words(f"the sweep {selection.sweep}"):
        sweep = api.sweep(selection.sweep)
        config = sweep.config
    known = confirmation_of(config)
    if known is not None:
        raise InvalidInput(f"the sweep {selection.sweep} confirms {known[0]} itself; name that one")
    parameters = config.get("parameters") or {}
    key = _seed_key(parameters, seed_key, selection.sweep)
    if top * n_seeds > _MOST_RUNS:
        raise InvalidInput(f"{top} × {n_seeds} are {top * n_seeds} runs: at most {_MOST_RUNS}")
    by_config: dict[str, tuple[Ranked, dict[str, Any]]] = {}
    for run in selection.by_value:
        given = (handed_out or {}).get(run.name)
        own = configuration_of(
            run.config if given is None else given,
            parameters=parameters if given is None else given,
            seed_key=key,
        )
        by_config.setdefault(configuration_key(own), (run, own))
    chosen = list(by_config.values())[:top]
    seeds = _fresh_seeds(api, sweep, key, n_seeds)
    configs = [own for _, own in chosen]
    is_one = is_ours and len({frozenset(own) for own in configs}) == 1
    told_apart = sorted({name for _, own in by_config.values() for name in own})
    base = _base(selection, config, key, told_apart, len(chosen))
    made = [_listed(configs, key, seeds)] if is_one else [_grid(own, key, seeds) for own in configs]
    definitions = [_joined(base, one) for one in made]
    return Plan(tuple(run for run, _ in chosen), key, seeds, tuple(definitions))


def _seed_key(parameters: Mapping[str, Any], named: str | None, sweep: str) -> str:
    if named is not None:
        _check_is_outer(parameters, named, sweep)
        return named
    if DEFAULT_SEED_KEY in parameters:
        return DEFAULT_SEED_KEY
    raise InvalidInput(
        f"the definition of {sweep} has no parameter seed to give fresh values: name the one that "
        "is with --seed-key NAME, or, if the program reads one from its config all the same, "
        "--seed-key seed; in the next definition add `seed: {value: 0}` to the parameters"
    )


def _check_is_outer(parameters: Mapping[str, Any], name: str, sweep: str) -> None:
    """Refuse the name of a value inside of a parameter, which is run again as one whole."""
    steps = name.split(".")
    heads = [".".join(steps[:n]) for n in range(1, len(steps))]
    outer = next((head for head in heads if head in parameters), None)
    if outer is None or name in parameters:
        return
    raise InvalidInput(
        f"{name} would be a parameter of its own beside {outer} of {sweep}, and the seed inside of "
        f"{outer} stays as it is: read the seed from a parameter at the top, such as "
        "`seed: {value: 0}`, and name that"
    )


def _fresh_seeds(api: Any, sweep: Any, key: str, n: int) -> tuple[int, ...]:
    """Return the first whole numbers above zero that are nobody's seed.

    Neither of a run of the sweep nor of its confirmations.
    """
    with in_words(f"the runs of the sweep {sweep.id}"):
        again = [other for other, _ in rounds_of(api, sweep)]
        used = {
            canonical(run.config.get(key)) for one in (sweep, *again) for run in runs_of(api, one)
        }
        for one in again:  # also those that have not begun
            law = (one.config.get("parameters") or {}).get(key) or {}
            used |= set(map(canonical, law.get("values") or []))
    seeds: list[int] = []
    number = 1
    while len(seeds) < n:
        if canonical(number) not in used:
            seeds.append(number)
        number += 1
    return tuple(seeds)


def _base(
    selection: Selection,
    config: Mapping[str, Any],
    key: str,
    told_apart: Sequence[str],
    n_leaders: int,
) -> dict[str, Any]:
    name = selection.sweep.rpartition("/")[2]
    own = config.get("sweepd") or {}
    return {
        **{part: config[part] for part in _KEPT if part in config},
        "name": f"confirm {name}",
        "description": f"the leaders of {selection.sweep} with fresh seeds",
        "metric": {"name": selection.metric, "goal": selection.goal},
        "sweepd": {
            **{part: own[part] for part in _KEPT_OWN if part in own},
            "confirms": {
                "sweep": name,
                "seed_key": key,
                "parameters": list(told_apart),
                "leaders": n_leaders,
            },
        },
    }


def _joined(base: Mapping[str, Any], made: Mapping[str, Any]) -> dict[str, Any]:
    return {**base, **made, "sweepd": {**base["sweepd"], **made.get("sweepd", {})}}


def _listed(configs: Sequence[Mapping[str, Any]], key: str, seeds: Sequence[int]) -> dict[str, Any]:
    """Return one definition whose initial configs are all of its trials."""
    laws: dict[str, Any] = {}
    for name in configs[0]:
        distinct = {canonical(config[name]): config[name] for config in configs}
        values = list(distinct.values())
        laws[name] = {"value": values[0]} if len(values) == 1 else {"values": values}
    varied = [name for name, law in laws.items() if "values" in law]
    trials = [
        {**{name: config[name] for name in varied}, key: seed}
        for seed in seeds  # a seed of each first: what is there early is fair to all
        for config in configs
    ]
    return {
        "method": "random",
        "run_cap": len(trials),
        "parameters": {**laws, key: {"values": list(seeds)}},
        "sweepd": {"initial": trials},
    }


def _grid(config: Mapping[str, Any], key: str, seeds: Sequence[int]) -> dict[str, Any]:
    laws = {name: {"value": value} for name, value in config.items()}
    return {"method": "grid", "parameters": {**laws, key: {"values": list(seeds)}}}
