"""Between our spaces and trials and Optuna's: what its samplers are told, and what they answer.

A parameter keeps its own law: what Optuna has no distribution for (normal, beta, `q`, uneven
chances, …) it sees as a position on the law's unit interval, where it is uniform. Categories
without an order are known by their index, so that lists, None and False are values like others.
"""

import copy
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from typing import Any

import numpy as np

from sweepd.errors import SearchError
from sweepd.registry import install_command
from sweepd.search.pareto import best_first
from sweepd.search.protocols import Trial
from sweepd.spec import Categorical, Config, Distribution, IntUniform, Space, canonical

__all__ = ["Axis", "Study", "Told", "axes_of", "is_of", "load", "optuna", "told_of"]

#: Beyond this size a whole number is as good as a position on the unit interval.
_MOST_WHOLE = 2**31


def load(module: str) -> Any:
    """Return a module that the extra `optuna` brings.

    Raises:
        SearchError: with the command that installs it, if it is not there.
    """
    try:
        return import_module(module)
    except ImportError as error:
        words = f"needs the package {module} where it searches: {install_command('optuna')}"
        raise SearchError(words) from error


def optuna() -> Any:
    """Return the module `optuna`, told to be silent; raise as `load` does."""
    found = load("optuna")
    found.logging.set_verbosity(found.logging.ERROR)
    return found


@dataclass(frozen=True)
class Axis:
    """One searched parameter as Optuna sees it."""

    name: str
    law: Distribution

    @property
    def is_category(self) -> bool:
        """Whether its values have no order."""
        return self.law.is_categorical

    @cached_property
    def distribution(self) -> Any:
        """Return Optuna's distribution."""
        d = optuna().distributions
        if self.is_category:
            return d.CategoricalDistribution(tuple(range(len(self._values))))
        if self._n_ranks:
            return d.IntDistribution(0, self._n_ranks - 1)
        return d.FloatDistribution(0.0, 1.0)

    def inward(self, value: Any) -> int | float:
        """Return what Optuna knows a value of the law by."""
        if self.is_category:
            return self._index[canonical(value)]
        unit = self.law.unit(value)
        return min(int(unit * self._n_ranks), self._n_ranks - 1) if self._n_ranks else unit

    def outward(self, known: int | float) -> Any:
        """Return the value that will run."""
        if self.is_category:
            return copy.deepcopy(self._values[int(known)])
        return self.law.ppf((known + 0.5) / self._n_ranks if self._n_ranks else float(known))

    @property
    def nowhere(self) -> int | float:
        """Return what stands for the parameter where it does not exist."""
        if self.is_category:
            return 0
        return self._n_ranks // 2 if self._n_ranks else 0.5

    def contains(self, value: Any) -> bool:
        """Return whether the value is of the law and can be drawn from it."""
        if not self.law.contains(value):
            return False
        return not self.is_category or canonical(value) in self._index

    @cached_property
    def _n_ranks(self) -> int:
        """Return how many values there are, each as likely and in order; 0 if it is not so."""
        is_even = isinstance(self.law, Categorical) and self.law.probabilities is None
        size = self.law.size or 0
        return size if (isinstance(self.law, IntUniform) or is_even) and size <= _MOST_WHOLE else 0

    @cached_property
    def _values(self) -> list[Any]:
        values = list(self.law.grid())
        chances = self.law.probabilities if isinstance(self.law, Categorical) else None
        if chances is None:
            return values
        return [value for value, chance in zip(values, chances, strict=True) if chance > 0.0]

    @cached_property
    def _index(self) -> dict[str, int]:
        return {canonical(value): i for i, value in enumerate(self._values)}


def axes_of(space: Space) -> list[Axis]:
    """Return the searched parameters of a space."""
    return [Axis(parameter.name, parameter.distribution) for parameter in space.searched]


@dataclass(frozen=True)
class Told:
    """A trial that tells something: a config of the space, and a finite value per objective.

    One whose config made it fail, or broke a constraint, stands as bad as the worst.
    """

    config: Config
    values: tuple[float, ...]


def told_of(space: Space, trials: Sequence[Trial], *, most: int | None = None) -> list[Told]:
    """Return what the trials tell, in their order.

    Args:
        space: configs that are not of it tell nothing.
        trials: ended ones.
        most: of more trials than this the better half is kept, and a fixed sample of the others.
    """
    axes = axes_of(space)
    known = [trial for trial in trials if _is_of(space, axes, trial.config)]
    values = [_values(trial) for trial in known]
    n_objectives = max((len(own) for own in values if own is not None), default=1)
    good = [own for own in values if own is not None and len(own) == n_objectives]
    worst = tuple(np.max(good, axis=0).tolist()) if good else (0.0,) * n_objectives
    told = []
    for trial, own in zip(known, values, strict=True):
        if own is not None and len(own) == n_objectives:
            told.append(Told(trial.config, own))
        elif own is None and not trial.is_feasible:
            told.append(Told(trial.config, worst))
    if most is None or len(told) <= most:
        return told
    best = best_first(np.array([one.values for one in told]), least=most // 2)
    others = np.delete(np.arange(len(told)), best)
    # a trial keeps its chance for good, so that the sample changes little as trials come in
    chance = np.random.default_rng(0).random(len(told))
    drawn = others[np.argsort(chance[others], kind="stable")[: most - len(best)]]
    return [told[i] for i in np.sort(np.concatenate([best, drawn]))]


def is_of(space: Space, config: Config) -> bool:
    """Return whether a config's searched parameters have values of the space."""
    return _is_of(space, axes_of(space), config)


def _is_of(space: Space, axes: Sequence[Axis], config: Config) -> bool:
    there = space.existing(config)
    return all(
        axis.name in there and axis.contains(there[axis.name])
        for axis in axes
        if space[axis.name].exists_in(there)
    )


def _values(trial: Trial) -> tuple[float, ...] | None:
    """Return a trial's objectives; None if it has none, or was not feasible."""
    values = trial.objectives or (() if trial.objective is None else (trial.objective,))
    if not trial.is_feasible or not values or not np.isfinite(values).all():
        return None
    return tuple(float(value) for value in values)


class Study:
    """A study of Optuna's that holds what is known, to ask samplers what they make of it.

    Args:
        space: where to search.
        told: trials that ended.
        pending: configs that run, for samplers which look at those.
        notes: what the sampler itself would have written on each ended trial.
    """

    def __init__(
        self,
        space: Space,
        told: Sequence[Told],
        *,
        pending: Sequence[Config] = (),
        notes: dict[str, Any] | None = None,
    ) -> None:
        self._tool, self._space, self._axes = optuna(), space, axes_of(space)
        self._distributions = {axis.name: axis.distribution for axis in self._axes}
        n_objectives = len(told[0].values) if told else 1
        trials = [self._trial(one.config, values=one.values, system_attrs=notes) for one in told]
        with _quiet():
            self._study = self._tool.create_study(directions=["minimize"] * n_objectives)
            self._study.add_trials(trials)
        self._n_running = 0
        self.run(pending)

    def run(self, configs: Sequence[Config]) -> None:
        """Take it that these are all that run: those before are the first of them."""
        running = self._tool.trial.TrialState.RUNNING
        new = [c for c in configs[self._n_running :] if _is_of(self._space, self._axes, c)]
        with _quiet():
            self._study.add_trials([self._trial(config, state=running) for config in new])
        self._n_running = len(configs)

    def ask(self, sampler: Any) -> Iterator[Config]:
        """Yield what a sampler of Optuna's, seeded, suggests, without end."""
        failed = self._tool.trial.TrialState.FAIL
        while True:
            with _quiet():
                self._study.sampler = sampler
                trial = self._study.ask(self._distributions)
                self._study.tell(trial, state=failed)  # it does not run unless `run` says so
            yield self._config(trial.params)

    def _trial(self, config: Config, **state: Any) -> Any:
        there = self._space.existing(config)
        params = {a.name: a.inward(there[a.name]) for a in self._axes if a.name in there}
        for axis in self._axes:  # one that does not exist always stands at the same place
            params.setdefault(axis.name, axis.nowhere)
        return self._tool.trial.create_trial(
            params=params, distributions=self._distributions, **state
        )

    def _config(self, params: Mapping[str, Any]) -> Config:
        """Return the config that Optuna's params stand for, constants included."""
        outward = {axis.name: axis.outward(params[axis.name]) for axis in self._axes}
        return self._space.existing(
            {
                p.name: outward[p.name] if p.name in outward else p.distribution.ppf(0.5)
                for p in self._space.parameters
            }
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """Leave out that a part of Optuna is experimental."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
