"""The tutorial's own code beside the training function: same images, same device, same log."""

import statistics
import sys
import tempfile
from collections.abc import Callable
from contextlib import redirect_stdout
from functools import partial
from importlib.util import find_spec
from typing import Any

from sweepd_trainer.data import Rows
from training.timed import GREY, Bench, clock

__all__ = ["beside_the_notebook"]

_MOST_REPEATS = 3


class Mute:
    """Stands in for a W&B run where wandb is not installed: what is logged goes nowhere."""

    def watch(self, *models: object, **options: object) -> None:
        """Do nothing."""

    def unwatch(self, *models: object) -> None:
        """Do nothing."""

    def log(self, values: object, **options: object) -> None:
        """Do nothing."""


def beside_the_notebook(
    train_rows: Rows, test_rows: Rows, bench: Bench, *, epochs: int, bare_s: float
) -> dict[str, Any]:
    """Return how long the tutorial's code takes for its work, and how many times as long as ours.

    Both write to W&B runs that are recorded offline, ours by the training function with all that a
    trial does. Where wandb is not installed neither logs anything, and ours is the loop alone.

    Args:
        train_rows: in the host's memory, where the tutorial's loader reads them.
        test_rows: there too.
        bench: where, and how often.
        epochs: of training.
        bare_s: what the loop alone has taken, in seconds.
    """
    if bench.is_smoke:
        return {"notebook": "left out of a smoke, that of bench/trainer.py has it", "ratio": None}
    missing = [name for name in ("PIL", "torchvision") if find_spec(name) is None]
    if missing:
        return {"notebook": f"left out, it needs {' and '.join(missing)}", "ratio": None}
    from training import notebook

    rows = (train_rows, test_rows)
    theirs = partial(notebook.train, device=bench.device)
    n = min(bench.n, _MOST_REPEATS)
    if find_spec("wandb") is None:
        seconds = _repeated(lambda e: theirs(Mute(), *rows, epochs=e), bench, n, epochs)
        ours_s, logged = bare_s, "nothing, wandb is not installed"
    else:
        from training import ours

        seconds = _logged(lambda run, e: theirs(run, *rows, epochs=e), bench, n, epochs)
        own = _logged(lambda run, e: ours.train(run, *rows, GREY, epochs=e), bench, n, epochs)
        ours_s, logged = statistics.mean(own), "W&B runs, offline"
    theirs_s = statistics.mean(seconds)
    return {
        "logged": logged,
        "notebook_s": round(theirs_s, 4),
        "ours_beside_it_s": round(ours_s, 4),
        "ratio": round(theirs_s / ours_s, 2),
    }


def _repeated(work: Callable[[int], object], bench: Bench, n: int, epochs: int) -> list[float]:
    """Return the seconds of n times of so many epochs, after one epoch that warms up."""
    work(1)
    seconds = []
    for _ in range(n):
        begun = clock(bench.device)
        work(epochs)
        seconds.append(clock(bench.device) - begun)
    return seconds


def _logged(work: Callable[[Any, int], object], bench: Bench, n: int, epochs: int) -> list[float]:
    """Return the same of work that logs to a run of its own, which begins before the clock does."""
    import wandb

    seconds = []
    with tempfile.TemporaryDirectory() as folder:
        settings = wandb.Settings(silent=True)
        for number in range(-1, n):
            run = wandb.init(mode="offline", dir=folder, reinit="create_new", settings=settings)
            begun = clock(bench.device)
            with redirect_stdout(sys.stderr):  # where the lines of a run's progress go
                work(run, 1 if number < 0 else epochs)
            taken = clock(bench.device) - begun
            run.finish()
            if number >= 0:
                seconds.append(taken)
    return seconds
