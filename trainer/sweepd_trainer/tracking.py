"""A run's W&B side: how it starts, how it ends, and what SIGTERM means to it."""

import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import wandb

from sweepd.errors import InvalidInput, SweepdError
from sweepd_trainer.config import HELP, read_flags
from sweepd_trainer.device import has_lease
from sweepd_trainer.pack_folder import PACK, PackFolder
from sweepd_trainer.watch import Histogram

__all__ = [
    "Log",
    "Stop",
    "Stopped",
    "after_finish",
    "as_wandb",
    "ask_for_another_machine",
    "begin",
    "by_section",
    "check_not_over",
    "end",
    "run_script",
    "start",
]

#: Any of these says where a run is to be recorded.
_CHOICES = ("WANDB_API_KEY", "WANDB_BASE_URL", "WANDB_MODE", "WANDB_SWEEP_ID", "WANDB_RUN_ID")


#: Trials that this process has ended.
_ended: set[str] = set()

#: Each run that `begin` has begun, by its identity: its trial, what is to be done at its end.
_afterwards: dict[int, tuple[str | None, list[Callable[[], None]]]] = {}

#: Rows that may be on their way to the server at any moment.
_N_RECENT = 4096


class Stopped(SweepdError):
    """The run was told to stop by SIGTERM."""

    exit_code = 128 + signal.SIGTERM


class Stop:
    """Turns true when SIGTERM arrives; the loop asks after each step."""

    def __init__(self) -> None:
        self._is_set = False

    def __call__(self) -> bool:
        """Return whether the run is to stop."""
        return self._is_set

    def request(self, number: int = signal.SIGTERM, frame: FrameType | None = None) -> None:
        """Ask the run to stop; it has the form of a signal handler."""
        self._is_set = True

    @contextmanager
    def on_sigterm(self) -> Iterator["Stop"]:
        """Listen to SIGTERM meanwhile; only a main thread can, elsewhere this does nothing."""
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        before = signal.signal(signal.SIGTERM, self.request)
        try:
            yield self
        finally:
            signal.signal(signal.SIGTERM, before)


class Log:
    """Logs rows to a run, each once, however often the run is resumed.

    A row's number is its step at the server. A run that goes on from an earlier state logs some
    rows a second time, which the server has: they are left out. Some that were on their way when
    the process was killed it does not have: they are sent again.

    Args:
        run: where they go.
        unit: what a row of the data is, in the plural.
    """

    def __init__(self, run: wandb.Run, *, unit: str = "samples") -> None:
        self._run, self._unit = run, unit
        self._first = run.starting_step  # the server has those before it
        self._n_rows = 0
        self._recent: deque[dict[str, Any]] = deque(maxlen=_N_RECENT)

    def __call__(self, row: Mapping[str, Any]) -> None:
        """Log a row."""
        if self._n_rows >= self._first:
            self._run.log(by_section(row, unit=self._unit))
        self._n_rows += 1
        self._recent.append({key: v for key, v in row.items() if isinstance(v, int | float)})

    def state_dict(self) -> dict[str, Any]:
        """Return how many rows there are, and the numbers in the last of them."""
        return {"n_rows": self._n_rows, "recent": list(self._recent)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on after the rows of another process; send those that the server lacks."""
        recent = state["recent"]
        self._n_rows = state["n_rows"] - len(recent)
        for row in recent:
            self(row)


def by_section(row: Mapping[str, Any], *, unit: str = "samples") -> dict[str, Any]:
    """Return a row with the names that group charts by section, `val/loss`, beside the plain ones.

    Those of the test rows have none: `sweep best` shows each of these once, beside the ranking.
    """
    named = {}
    for name, value in row.items():
        part, _, rest = name.partition("_")
        if name == "loss":
            named["train/loss"] = value
        elif part == "val" and rest:
            named[f"val/{rest}"] = value
        elif name == "samples_per_s":
            named[f"perf/{unit}_per_s"] = value
        elif name in ("step_ms", "mfu", "gpu_mem"):
            named[f"perf/{name}"] = value
            continue
        named[name] = value
    return named


@contextmanager
def start(values: Mapping[str, Any]) -> Iterator[wandb.Run]:
    """Start a W&B run, and finish it with the exit code that the process will have.

    In a sweep the sweep's values come first. With no server chosen the run is recorded offline: a
    key that is merely lying about never sends anything. A run that is already there is used as it
    is, with these values in its config, and is not finished: whoever began it does that.

    SIGTERM does not break the finish off: a trial is over by then, and its outcome stands; another
    process gets the signal again afterwards.

    Args:
        values: the config to record, as far as no sweep says otherwise.

    Raises:
        InvalidInput: this process has ended the trial already.
    """
    if wandb.run is not None:
        wandb.run.config.update(dict(values), allow_val_change=True)
        _define_metrics(wandb.run)
        yield wandb.run
        return
    trial = os.environ.get("WANDB_RUN_ID")
    run = begin(values, trial=trial)
    exit_code = 1
    try:
        yield run
        exit_code = 0
    except SweepdError as error:
        exit_code = error.exit_code
        raise
    finally:
        with Stop().on_sigterm() as is_told:
            end(run, exit_code=exit_code)
        if is_told() and not trial:
            signal.raise_signal(signal.SIGTERM)


def check_not_over(trial: str | None) -> None:
    """Refuse a trial that this process has ended.

    Raises:
        InvalidInput: it has.
    """
    if trial in _ended:
        raise InvalidInput(f"the trial {trial} is over: a trial is one run, trained once")


def begin(values: Mapping[str, Any], *, trial: str | None, **options: Any) -> wandb.Run:
    """Begin a W&B run, which `end` ends.

    Args:
        values: the config to record, as far as no sweep says otherwise.
        trial: its id in a sweep.
        options: of `wandb.init`, as those of one run among several.

    Raises:
        InvalidInput: this process has ended the trial already.
    """
    check_not_over(trial)
    is_chosen = any(os.environ.get(name) for name in _CHOICES) or _has_server()
    if not is_chosen:
        print("no W&B server is chosen (WANDB_BASE_URL): recording offline under wandb/")
    run = wandb.init(
        config=dict(values),
        mode=None if is_chosen else "offline",
        # A trial that was preempted or lost is started again under its run id.
        resume="allow" if os.environ.get("WANDB_SWEEP_ID") else None,
        **options,
    )
    _define_metrics(run)
    _afterwards[id(run)] = (trial, [])
    return run


def end(run: wandb.Run, *, exit_code: int) -> None:
    """Finish a run that `begin` began, once all its files are sent; do what was to come after."""
    run.finish(exit_code=exit_code)
    trial, acts = _afterwards.pop(id(run))
    if trial:
        _ended.add(trial)
    for act in acts if exit_code == 0 else ():
        act()


def after_finish(run: wandb.Run, act: Callable[[], None]) -> None:
    """Do something once a run has ended well and sent all its files; at once in a run not ours."""
    if id(run) in _afterwards:
        _afterwards[id(run)][1].append(act)
    else:
        act()


def ask_for_another_machine(run: wandb.Run) -> None:
    """Tell the server that the run is about to lose its machine, so that it is queued again.

    It is as soon as it ends with another exit code than 0. `sweep agent` tells it of its trials by
    itself: nothing is done for a run that has a lease, nor for one that no server hears of.
    """
    if not (run.offline or run.disabled or has_lease(os.environ)):
        run.mark_preempting()


def _define_metrics(run: wandb.Run) -> None:
    run.define_metric("examples", hidden=True)
    run.define_metric("*", step_metric="examples")


def as_wandb(histograms: Mapping[str, Histogram]) -> dict[str, wandb.Histogram]:
    """Return histograms as W&B logs them."""
    return {
        name: wandb.Histogram(np_histogram=(histogram.counts, histogram.edges))
        for name, histogram in histograms.items()
    }


def run_script(main: Callable[[Mapping[str, Any]], object], arguments: Sequence[str]) -> int:
    """Run `main` with the flags of a command line; return the exit code.

    Wrong input, missing data and the like end in one sentence on stderr, not in a traceback.
    """
    if {"--help", "-h"} & set(arguments):
        print(f"usage: train.py [--name=value …]\n\n{HELP}")
        return 0
    try:
        main(_without_trial(read_flags(arguments)))
    except KeyboardInterrupt:
        return 130
    except (SweepdError, wandb.Error) as error:
        print(f"train.py: {error}", file=sys.stderr)
        return getattr(error, "exit_code", 1)
    return 0


def _without_trial(flags: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a command line's flags without those of a pack's first trial, which are no others'.

    Each trial of a pack has its values from its own file.
    """
    pack = os.environ.get(PACK)
    own = PackFolder(Path(pack)).members()[0].values() if pack else {}
    return {name: value for name, value in flags.items() if name not in own}


def _has_server() -> bool:
    """Return whether wandb's own settings files name a server other than W&B's cloud."""
    return bool(wandb.setup().settings.base_url != wandb.Settings().base_url)
