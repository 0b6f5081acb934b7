"""The search without each of its parts: what each is worth."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from regret.engines import Ours
from regret.problem import Problem
from regret.searches import measure
from sweepd.search.bayes import Bayes
from sweepd.search.gp import Array, Prior
from sweepd.search.model import Settings
from sweepd.spec import Space

__all__ = ["PARTS", "SEEDS", "TUNED", "run_ablation"]

SEEDS = 10
#: Cheap problems, one of each character.
TUNED = ("hartmann6", "ackley5", "mixed-failing", "memory", "rosenbrock4", "noisy-levy4")


class _Unsnapped(Space):
    """A space whose candidates stay where they fall, whatever would really run there."""

    def snap(self, u: Array) -> Array:
        return u


def _unsnapped(problem: Problem, seed: int) -> Ours:
    engine = Ours(Bayes(), problem, seed)
    engine.space = _Unsnapped(problem.space.parameters)
    return engine


def _with(**parts: Any) -> Callable[[Problem, int], Ours]:
    return lambda problem, seed: Ours(Bayes(Settings(**parts)), problem, seed)


#: Searches by what they lack.
PARTS: dict[str, Callable[[Problem, int], Ours]] = {
    "bayes, all of it": _with(),
    "one length scale for all parameters": _with(prior=Prior(is_tied=True)),
    "prior centred twenty times higher": _with(prior=Prior(scale=4.0)),
    "no doubting": _with(doubt_every=0),
    "four rounds of steps, not twelve": _with(n_rounds=4),
    "running trials not believed": _with(believes=False),
    "candidates not snapped": _unsnapped,
    "objectives not made symmetric": _with(has_power=False),
    "failures not learnt": _with(learns_failures=False),
    "random start": _with(has_sobol=False),
}


def run_ablation(path: Path, *, seeds: int) -> None:
    """Append the searches that the file does not hold yet."""
    jobs = {"problems": TUNED, "parallels": (1, 8), "n_trials": 50}
    measure(path, engines=PARTS, seeds=range(seeds), **jobs)
