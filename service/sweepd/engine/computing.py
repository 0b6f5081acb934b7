"""What one call of a search method is given and gives back. Pure: it runs in another process."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import islice
from typing import Any

import numpy as np

from sweepd.engine.sweepviews import definition_of
from sweepd.errors import SearchError
from sweepd.names import INSTANT, METHODS
from sweepd.registry import Registry
from sweepd.search import Instant, Memo, Method, Scalarised, Taken, Trial
from sweepd.search.space_filling import spread
from sweepd.spec import Config, Definition, Space

__all__ = [
    "Answer",
    "Kept",
    "SuggestJob",
    "compute",
    "compute_in",
    "instant",
    "is_instant",
    "load_method",
    "prepare",
    "rehearse",
]

_MAX_WHY = 10_000  # characters of an explanation
_N_REHEARSED = 12  # trials that every method of ours learns from


@dataclass(frozen=True)
class Kept:
    """A method's memo with what it was made of: the first `n` trials that tell something.

    Attributes:
        n: how many.
        digest: of those trials; a memo of others is of no use.
        memo: the method's own.
    """

    n: int = 0
    digest: str = ""
    memo: Memo = field(default_factory=dict)

    @classmethod
    def read(cls, text: str | None) -> "Kept":
        """Return what `text` holds, nothing if it holds none."""
        return cls(**json.loads(text)) if text else cls()

    def is_of(self, told: Sequence[Trial]) -> bool:
        """Return whether these trials begin with those that the memo was made of."""
        return self.n <= len(told) and _digest(told[: self.n]) == self.digest

    def text(self) -> str:
        """Return it as JSON."""
        return json.dumps({"n": self.n, "digest": self.digest, "memo": self.memo})


@dataclass(frozen=True)
class SuggestJob:
    """Everything that one call of a search method needs; picklable.

    Attributes:
        sweep_id: the sweep.
        method: its search method.
        definition: its definition, as text.
        trials: that have ended, in that order; prior runs first.
        pending: that have not, in a fixed order; last those that the same event gave before.
        n: how many suggestions are wanted.
        start: how many the same event gave before.
        seed: the sweep's.
        kept: the memo.
        basis_event: the event that the search is to know of, and nothing later.
        running: what it looked at of running trials.
    """

    sweep_id: int
    method: str
    definition: str
    trials: tuple[Trial, ...]
    pending: tuple[Config, ...]
    n: int
    seed: int
    basis_event: int
    start: int = 0
    kept: Kept = Kept()
    running: Any = field(default_factory=dict)


@dataclass(frozen=True)
class Answer:
    """A call's suggestions; fewer than asked for mean that the space is exhausted.

    Attributes:
        configs: flat.
        kept: the memo, None to keep the old one.
        why: JSON for each config, or None where the method does not say.
    """

    configs: tuple[Config, ...] = ()
    kept: Kept | None = None
    why: tuple[str | None, ...] = ()


@lru_cache(maxsize=64)
def load_method(name: str) -> Method:
    """Return a search method by its name in a definition."""
    method: Method = Registry("method", METHODS).load(name)()
    return method


def method_of(definition: Definition) -> Method:
    """Return a definition's search method, one that knows what to make of its `metrics`."""
    method = load_method(definition.method)
    knows_several = method.is_instant or getattr(method, "ranks_fronts", False)
    return method if knows_several or not definition.metrics else Scalarised(method)


def is_instant(method: str) -> bool:
    """Return whether the service makes a method's configs itself, when an agent asks.

    That is asked at each hand-out, so no method is imported for it: one that a package adds is
    computed in the other process whatever it is, where it can do no harm, and one whose package is
    gone fails there, in words.
    """
    return method in INSTANT


def instant(name: str) -> Instant:
    """Return a method that is instant."""
    method: Any = load_method(name)
    found: Instant = method
    return found


def compute(job: SuggestJob) -> Answer:
    """Run a search method for a sweep; see `compute_in`."""
    return compute_in(definition_of(job.definition), job)


def compute_in(definition: Definition, job: SuggestJob) -> Answer:
    """Run a search method; a function of the definition and the job alone.

    A memo that was made of other trials than these begin with is not used: an outcome was put
    right, or runs from before the sweep came in.

    Raises:
        SearchError: if what the method returns is no answer. Whatever else it raises is a
            failure too.
    """
    space, method = definition.space, method_of(definition)
    told = [trial for trial in job.trials if _tells(trial)]
    rng = np.random.default_rng((job.seed, len(job.trials)))
    memo = job.kept.memo if job.kept.is_of(told) else {}
    answer = method.suggest(space, job.trials, job.pending, job.n, rng, memo)
    configs, memo = _checked(space, job, answer)
    kept = Kept(len(told), _digest(told), memo)
    why = _explained(method, space, job, configs, memo)
    return Answer(tuple(configs), kept, why)


def prepare(method: str) -> None:
    """Import a method if it is ours: what a package adds may do anything, in its own time."""
    if method in METHODS:
        load_method(method)


def rehearse(job: SuggestJob) -> None:
    """Run a job's method once over made-up trials, so that the first real fit finds it imported."""
    definition = definition_of(job.definition)
    points = islice(spread(definition.space, start=1, seed=0), _N_REHEARSED)
    trials = tuple(
        Trial(config, float(i % 5), objectives=(float(i % 5),) * len(definition.metrics))
        for i, config in enumerate(points)
    )
    compute_in(definition, replace(job, trials=trials, pending=(), n=1, start=0, kept=Kept()))


def _tells(trial: Trial) -> bool:
    return trial.objective is not None or bool(trial.objectives) or not trial.is_feasible


def _digest(trials: Sequence[Trial]) -> str:
    rows = [list(vars(one).values()) for one in trials]
    return hashlib.sha256(json.dumps(rows, sort_keys=True).encode()).hexdigest()[:32]


def _checked(space: Space, job: SuggestJob, answer: Any) -> tuple[list[Config], Memo]:
    """Return what a method has returned, if it is what it should be."""
    name = job.method
    if not isinstance(answer, tuple) or len(answer) != 2:
        raise SearchError(f"{name} returned {_show(answer)}, not configs and a memo")
    configs, memo = answer
    if not isinstance(configs, list | tuple) or len(configs) > job.n:
        raise SearchError(f"{name} returned {_show(configs)}, not up to {job.n} configs")
    out = Taken(space, [*(one.config for one in job.trials), *job.pending] if configs else ())
    for config in configs:
        if not isinstance(config, dict) or not _fits(space, config):
            raise SearchError(f"{name} suggested {_show(config)}, not in the space")
        if config in out:
            raise SearchError(f"{name} suggested {_show(config)} again, which was given before")
        out.add(config)
    try:
        json.dumps(memo, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise SearchError(f"{name} returned a memo that is not JSON: {error}") from None
    if not isinstance(memo, dict):
        raise SearchError(f"{name} returned the memo {_show(memo)}, not an object")
    return list(configs), memo


def _fits(space: Space, config: Any) -> bool:
    try:
        json.dumps(config, allow_nan=False)
        return space.contains(config)
    except (TypeError, ValueError):
        return False


def _show(value: Any) -> str:
    try:
        return json.dumps(value, default=repr)[:200]
    except (TypeError, ValueError):
        return repr(value)[:200]


def _explained(
    method: Any, space: Space, job: SuggestJob, configs: Sequence[Config], memo: Memo
) -> tuple[str | None, ...]:
    """Return what the method says of each config, None where it says nothing or fails to."""
    explain = getattr(method, "explain", None)
    nothing: tuple[str | None, ...] = (None,) * len(configs)
    if explain is None or not configs:
        return nothing
    try:
        found = explain(space, job.trials, job.pending, list(configs), memo)
        texts = [json.dumps(one, ensure_ascii=False, allow_nan=False) for one in found]
    except Exception as error:  # an edge: no suggestion is lost for want of an explanation
        text = json.dumps({"failure": f"{type(error).__name__}: {error}"[:500]})
        return (text,) * len(configs)
    if len(texts) != len(configs):
        return nothing
    return tuple(text if len(text) <= _MAX_WHY else None for text in texts)
