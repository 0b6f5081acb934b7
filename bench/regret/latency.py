"""The time that a suggestion takes, its share of the fits included."""

import time
from collections.abc import Sequence

import numpy as np

from regret.engines import Ours
from regret.problem import Problem, floats, vector
from sweepd.search import Trial

__all__ = ["latency_table"]

#: Trials, parameters and the number of suggestions that are timed. Where fits are due at every
#: 5 % more trials, so many suggestions hold at least one.
_CASES = tuple(
    (n, d, n_asked) for n, n_asked in ((100, 12), (1_000, 52), (10_000, 10)) for d in (5, 8, 20, 60)
)


def latency_table(cases: Sequence[tuple[int, int, int]] = _CASES) -> str:
    """Return the table of CPU times, as markdown."""
    lines = [
        "| trials | parameters | mean | with a fit | without a memo |",
        "|---|---|---|---|---|",
    ]
    for n, d, n_asked in cases:
        used, cold = _times(n, d, n_asked)
        lines.append(
            f"| {n:,} | {d} | {np.mean(used):.0f} ms | {max(used):.0f} ms | {cold:.0f} ms |"
        )
        print(lines[-1], flush=True)
    return "\n".join([*lines, ""])


def _times(n: int, d: int, n_asked: int) -> tuple[list[float], float]:
    """Return the CPU times of suggestions in ms, and that of the first, which has no memo.

    A fit is due among them, since trials grow by 5 % or are made to: at 10,000 trials one in ten
    calls is told of as many trials as bring the next fit.
    """
    problem = Problem("bowl", floats([(0.0, 1.0)] * d), _bowl, 0.0)
    engine, rng = Ours("bayes", problem, 0), np.random.default_rng(0)

    def tell(count: int) -> None:
        for _ in range(count):
            config = problem.space.sample(rng)
            engine.trials.append(Trial(config, problem.function(config)))

    tell(n)
    started = time.process_time()
    engine.tell(engine.ask(), 1.0)
    cold, used = 1e3 * (time.process_time() - started), []
    for i in range(n_asked):
        if i == 0 and n_asked < 0.05 * n:
            tell(round(0.05 * n))
        started = time.process_time()
        config = engine.ask()
        used.append(1e3 * (time.process_time() - started))
        engine.tell(config, problem.function(config))
    return used, cold


def _bowl(config: dict[str, float]) -> float:
    return float(((vector(config) - 0.3) ** 2).sum())
