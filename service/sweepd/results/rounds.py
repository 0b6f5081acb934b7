"""Reads the confirmations of a sweep: which runs with fresh seeds count for which leader.

A round is what one call of `sweep confirm` plans: the same seeds for each leader, in one sweep on
our service, in a grid for each leader elsewhere.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sweepd.results.confirmed import Confirmation, Confirmed, in_order, is_idle
from sweepd.results.judging import Excluded, Ranked, came_to, runs_of
from sweepd.results.server import in_words, open_api
from sweepd.spec import Bounds, canonical

__all__ = [
    "configuration_key",
    "configuration_of",
    "confirmation_of",
    "n_waiting_for",
    "read_confirmed",
    "rounds_of",
]

_ENDED = frozenset({"finished", "failed", "crashed", "killed", "preempted"})
_SWEEP_ENDED = frozenset({"finished", "failed", "crashed", "canceled", "cancelled", "stopped"})


@dataclass
class _Round:
    """The runs of one plan that have ended, and how many have not."""

    seed_key: str
    n_leaders: int  # that were to be run again; 1 where the plan is of a version that did not say
    n_waiting: int = 0
    tried: set[str] = field(default_factory=set)  # configurations of which a run has ended
    ended: list[tuple[Ranked, Any, float | None]] = field(default_factory=list)  # seed, value

    @property
    def is_whole(self) -> bool:
        return not self.n_waiting and len(self.tried) >= self.n_leaders

    def values(self) -> dict[str, list[float]]:
        """Return the values of each leader, by its path."""
        found: dict[str, list[float]] = {}
        for leader, _, value in self.ended:
            if value is not None:
                found.setdefault(leader.path, []).append(value)
        return found


def confirmation_of(config: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return which sweep a definition confirms, and by which seed parameter; None for others."""
    own = config.get("sweepd")
    confirms = own.get("confirms") if isinstance(own, Mapping) else None
    if not isinstance(confirms, Mapping):
        return None
    return str(confirms.get("sweep")), str(confirms.get("seed_key"))


def rounds_of(api: Any, sweep: Any) -> Iterator[tuple[Any, str]]:
    """Yield the sweeps that confirm a sweep, and by which seed parameter."""
    for other in api.project(sweep.project, sweep.entity).sweeps():
        known = confirmation_of(other.config)
        if known is not None and known[0] == sweep.id:
            yield other, known[1]


def configuration_of(
    config: Mapping[str, Any], *, parameters: Iterable[str], seed_key: str
) -> dict[str, Any]:
    """Return what a config has of these parameters but for the seed."""
    return {name: config[name] for name in parameters if name in config and name != seed_key}


def configuration_key(config: Mapping[str, Any]) -> str:
    """Return the text by which two configurations are the same."""
    return canonical(dict(config))


def read_confirmed(
    api: Any,
    sweep: Any,
    ranking: Sequence[Ranked],
    *,
    metric: str,
    goal: str,
    rule: str,
    bounds: Mapping[str, Bounds],
) -> Confirmation:
    """Return what the confirmations of a sweep came to; an empty one if there are none.

    Rounds that have not ended count only where none has.

    Args:
        api: a `wandb.Api`.
        sweep: the sweep whose leaders they are.
        ranking: its runs, best first; a confirmation counts for the best run of its configuration.
        metric: what they are compared by.
        goal: minimize or maximize.
        rule: what stands for a run.
        bounds: those that a run must satisfy, by the metric.
    """
    present = sweep.config.get("parameters") or {}
    names: list[str] = []
    rounds: dict[tuple[str, str], _Round] = {}
    n_strangers = 0
    for again, seed_key in rounds_of(api, sweep):
        confirms = again.config["sweepd"]["confirms"]
        # Those of the plan: an edit may have removed some from the definition since, or before.
        parameters = confirms.get("parameters") or list(present)
        names.append(f"{again.entity}/{again.project}/{again.id}")
        leaders: dict[str, Ranked] = {}
        for run in ranking:
            own = configuration_of(run.config, parameters=parameters, seed_key=seed_key)
            leaders.setdefault(configuration_key(own), run)
        seeds = (again.config.get("parameters") or {}).get(seed_key) or {}
        made = _Round(seed_key, int(confirms.get("leaders") or 1))
        round_ = rounds.setdefault((seed_key, canonical(seeds)), made)
        runs = list(runs_of(api, again))
        for run in runs:
            if run.state not in _ENDED:
                continue
            own = configuration_of(dict(run.config), parameters=parameters, seed_key=seed_key)
            key = configuration_key(own)
            round_.tried.add(key)
            leader = leaders.get(key)
            n_strangers += leader is None and run.state == "finished"
            if leader is not None:
                judged = came_to(run, metric=metric, goal=goal, rule=rule, bounds=bounds)
                value = None if isinstance(judged, Excluded) else judged.value
                round_.ended.append((leader, run.config.get(seed_key), value))
        round_.n_waiting += _n_waiting(again, runs, seed_key)
    whole = [one for one in rounds.values() if one.is_whole]
    told, seeds_of = _joined(_telling(whole or list(rounds.values())), goal)
    return Confirmation(
        told,
        tuple(names),
        sum(one.n_waiting for one in rounds.values()),
        seeds_of,
        n_strangers,
        is_settled=bool(whole) or not rounds,
    )


def n_waiting_for(sweep_path: str, *, api: Any = None) -> int:
    """Return how many runs of a sweep's confirmations have not ended; it reads no history.

    Args:
        sweep_path: the sweep's, as `wandb.Api().sweep` takes it.
        api: a `wandb.Api` to read through; None opens one.

    Raises:
        NotFound: there is no such sweep.
        Unauthorized, ServerUnreachable: the server's answer, in words.
    """
    api = api or open_api()
    with in_words(f"the confirmations of the sweep {sweep_path}"):
        sweep = api.sweep(sweep_path)
        return sum(_n_waiting(one, runs_of(api, one), key) for one, key in rounds_of(api, sweep))


def _n_waiting(again: Any, runs: Iterable[Any], seed_key: str) -> int:
    if str(again.state).lower() in _SWEEP_ENDED:
        return 0
    law = (again.config.get("parameters") or {}).get(seed_key) or {}
    n_planned = int(again.config.get("run_cap") or len(law.get("values", [0])))
    return max(0, n_planned - sum(run.state in _ENDED for run in runs))


def _telling(rounds: Sequence[_Round]) -> list[_Round]:
    """Return the rounds but those of a seed parameter that nobody reads, where another one is read.

    Their values are one value again and again, and no evidence of what seeds do.
    """
    by_key: dict[str, dict[str, list[float]]] = {}
    for one in rounds:
        for path, values in one.values().items():
            by_key.setdefault(one.seed_key, {}).setdefault(path, []).extend(values)
    idle = {key for key, values in by_key.items() if is_idle(list(values.values()))}
    telling = [one for one in rounds if one.seed_key not in idle]
    return telling if any(one.values() for one in telling) else list(rounds)


def _joined(rounds: Sequence[_Round], goal: str) -> tuple[tuple[Confirmed, ...], tuple[Any, ...]]:
    """Return the leaders of rounds, best first, and the seeds that came to a value."""
    found: dict[str, Confirmed] = {}
    seeds: dict[str, Any] = {}
    for one in rounds:
        for leader, seed, value in one.ended:
            before = found.setdefault(leader.path, Confirmed(leader, (), goal))
            if value is None:
                found[leader.path] = replace(before, n_without=before.n_without + 1)
                continue
            name = f"{one.seed_key}={canonical(seed)}"
            seeds.setdefault(name, seed)
            found[leader.path] = replace(
                before, values=(*before.values, value), seeds=(*before.seeds, name)
            )
    return in_order(list(found.values()), goal), tuple(seeds.values())
