"""A problem to search: its space, its function, and the scale of its regret."""

import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from sweepd.spec import Categorical, IntUniform, LogUniform, Space, read_definition

Values = Mapping[str, Any]
Function = Callable[[Values], float]


@dataclass(frozen=True, eq=False)
class Problem:
    """A function to minimise.

    Args:
        name: what the tables call it.
        parameters: its space, as in a definition.
        function: of a config; NaN where a run would fail.
        optimum: its lowest value; None if nobody knows it.
        truth: the function without its noise, where it has some.
    """

    name: str
    parameters: dict[str, dict[str, Any]]
    function: Function
    optimum: float | None
    truth: Function | None = None

    @property
    def definition(self) -> dict[str, Any]:
        """Return the sweep definition that searches it."""
        metric = {"name": "loss", "goal": "minimize"}
        return {"method": "bayes", "metric": metric, "parameters": self.parameters}

    @property
    def space(self) -> Space:
        """Return the space of the definition."""
        return _space(self)

    def value(self, config: Values) -> float:
        """Return what a config is really worth: without noise, inf where it fails."""
        value = (self.truth or self.function)(config)
        return math.inf if math.isnan(value) else value

    def regret(self, value: float, *, lowest: float = math.inf) -> float:
        """Return the normalised regret of a value: 0 the optimum, 100 the median random config.

        Args:
            value: of the config that a search found.
            lowest: what any search has found; stands for an optimum that nobody knows.
        """
        best = lowest if self.optimum is None else self.optimum
        return 100.0 * (min(value, self.median) - best) / (self.median - best)

    @property
    def median(self) -> float:
        """Return the median value of random configs; failed ones are the worst."""
        return _median(self)

    def axes(self) -> list[dict[str, Any]]:
        """Return the searched parameters as any engine can read them, ready for JSON."""
        return [_axis(parameter.name, parameter.distribution) for parameter in self.space.searched]


def floats(bounds: Iterable[tuple[float, float]]) -> dict[str, dict[str, Any]]:
    """Return parameters x0, x1, ... that are uniform between bounds."""
    return {f"x{i}": {"min": low, "max": high} for i, (low, high) in enumerate(bounds)}


def vector(config: Values) -> np.ndarray:
    """Return x0, x1, ... of a config."""
    return np.array([config[f"x{i}"] for i in range(len(config))])


def log_uniform(low: float, high: float) -> dict[str, Any]:
    """Return a parameter that is uniform on a log scale."""
    return {"distribution": "log_uniform_values", "min": low, "max": high}


@cache
def _space(problem: Problem) -> Space:
    return read_definition(json.dumps(problem.definition)).definition.space


@cache
def _median(problem: Problem) -> float:
    rng = np.random.default_rng(0)
    count = 4001 if problem.name in _CHEAP else 301
    return float(np.median([problem.value(problem.space.sample(rng)) for _ in range(count)]))


#: Problems whose median was always taken of so many draws; more would change old results.
_CHEAP = ("branin", "hartmann6", "ackley5", "mixed")


def _axis(name: str, law: Any) -> dict[str, Any]:
    if isinstance(law, Categorical):
        numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in law.values)
        kind = "ordered" if numbers else "category"
        return {"name": name, "kind": kind, "values": list(law.values)}
    kind = "int" if isinstance(law, IntUniform) else "float"
    is_log = isinstance(law, LogUniform)
    return {"name": name, "kind": kind, "low": law.low, "high": law.high, "log": is_log}
