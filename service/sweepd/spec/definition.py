"""A parsed definition: what a sweep is, in the form that the rest of the service reads."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from sweepd.errors import InvalidInput
from sweepd.spec.fields import Argument, Flag, Real, Text, Whole, at_least, at_most, refuse
from sweepd.spec.goals import Goal, check_rule
from sweepd.spec.outcomes import Bounds
from sweepd.spec.space import Config, Space
from sweepd.spec.stops import NanStop, Stop
from sweepd.spec.words import show

__all__ = ["Budget", "Definition", "EarlyTerminate", "Metric", "OwnBlock", "Searcher", "Timeout"]

Searcher = Literal["us", "scheduler", "controller", "nobody"]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", arbitrary_types_allowed=True)


def _off(value: Any) -> Any:
    return "false" if value is False else value


def _rule(value: str) -> str:
    try:
        return check_rule(value)
    except InvalidInput as error:
        raise refuse(str(error)) from None


def _reference(value: str) -> str:
    parts = value.split("/")
    if len(parts) not in (1, 3) or not all(parts) or len(value) > 500:
        raise refuse(f"must be a sweep's id or entity/project/id, not {show(value)}")
    return value


class Metric(_Model):
    """The metric that is optimised. `impute` is None unless the definition names it."""

    name: Annotated[Text, at_least(1)]
    goal: Goal = "minimize"
    target: Real | None = None
    impute: Literal["worst", "latest", "best"] | None = None
    impute_while_running: Annotated[
        Literal["false", "latest", "best", "worst"], BeforeValidator(_off)
    ] = "false"


class EarlyTerminate(_Model):
    """Hyperband. Either `min_iter` is set, or `max_iter` and `s` are; never both."""

    type: Text
    min_iter: Annotated[Whole, at_least(1)] | None = None
    max_iter: Annotated[Whole, at_least(1)] | None = None
    s: Annotated[Whole, at_least(1)] | None = None
    eta: Annotated[Real, at_least(1, exclusive=True)] = 3
    strict: Flag = True


class Budget(_Model):
    """What a sweep may spend; the first that is used up ends it. None: no such limit."""

    runs: Annotated[Whole, at_least(1), at_most(2**31 - 1)] | None = None
    hours: Annotated[Real, at_least(0, exclusive=True)] | None = None
    gpu_hours: Annotated[Real, at_least(0, exclusive=True)] | None = None
    plateau: Annotated[Whole, at_least(1)] | None = None


class Timeout(_Model):
    """How long an attempt may take, and how long it may log nothing. None: no such limit."""

    minutes: Annotated[Real, at_least(0, exclusive=True)] | None = None
    silent_minutes: Annotated[Real, at_least(0, exclusive=True)] | None = None


class Confirms(_Model):
    """Which sweep's leaders a sweep runs again, and the parameter that has fresh values.

    `parameters` are those by which its runs are told apart, at the top level of a config;
    `leaders` is how many configurations the plan runs again, in this sweep and its siblings.
    """

    sweep: Annotated[Text, AfterValidator(_reference)]
    seed_key: Annotated[Text, at_least(1)] = "seed"
    parameters: tuple[Text, ...] = ()
    leaders: Annotated[Whole, at_least(1)] | None = None


class OwnBlock(_Model):
    """The `sweepd:` block: what W&B has no word for.

    `initial` holds whole flat configs. `retries`, further attempts of a trial after infrastructure
    failures, is None unless the definition says it. `quarantine` is how many failures in a row put
    a slot aside, 0 for never. `outcome_constraints` has the bounds of metrics by name.
    """

    seed: Annotated[Whole, at_least(0)] | None = None
    initial: tuple[Config, ...] = ()
    objective: Annotated[Text, AfterValidator(_rule)] = "best"
    warm_start: tuple[Annotated[Text, AfterValidator(_reference)], ...] = ()
    stop: tuple[Stop, ...] = (NanStop(),)
    retries: Annotated[Whole, at_least(0), at_most(20)] | None = None
    quarantine: Annotated[Whole, at_least(0), at_most(1000)] = 3
    budget: Budget = Budget()
    timeout: Timeout = Timeout()
    outcome_constraints: dict[str, Bounds] = Field(default_factory=dict)
    confirms: Confirms | None = None


class Definition(_Model):
    """A sweep's definition, checked."""

    method: str
    space: Space
    raw: dict[str, Any]
    parameters: dict[str, Any] = Field(default_factory=dict)
    metric: Metric | None = None
    metrics: tuple[Metric, ...] = ()  # two or more, where there is no `metric`
    program: Annotated[Text, at_least(1)] | None = None
    command: tuple[Argument, ...] | None = None  # empty means the default too
    early_terminate: EarlyTerminate | None = None
    run_cap: Annotated[Whole, at_least(1), at_most(2**31 - 1)] | None = None
    name: Text | None = None
    description: Text | None = None
    project: Text | None = None
    entity: Text | None = None
    controller: dict[str, Any] | None = None
    scheduler: dict[str, Any] | None = None
    own: OwnBlock = OwnBlock()

    @property
    def goal(self) -> Goal:
        """Return whether the metric is minimised or maximised; minimize without a metric."""
        return self.metric.goal if self.metric else "minimize"

    @property
    def metric_name(self) -> str | None:
        """Return the one metric's name, None without one; `metrics` are in `objectives`."""
        return self.metric.name if self.metric else None

    @property
    def objectives(self) -> tuple[Metric, ...]:
        """Return every metric that the search goes by: none, `metric`, or `metrics`."""
        return self.metrics or ((self.metric,) if self.metric is not None else ())

    @property
    def cap(self) -> int | None:
        """Return how many trials are handed out at most: `run_cap`, or `budget.runs` if smaller."""
        return min((n for n in (self.run_cap, self.own.budget.runs) if n), default=None)

    @property
    def searcher(self) -> Searcher:
        """Return who suggests: `us`, a `scheduler` or `controller` of a client, or `nobody`."""
        if "engine" in (self.scheduler or {}):
            return "scheduler"
        if (self.controller or {}).get("type") == "local":
            return "controller"
        return "nobody" if self.method == "custom" else "us"

    @property
    def uses_own_keys(self) -> bool:
        """Return whether there is a `sweepd:` block, which W&B's own servers pass over."""
        return bool(self.raw.get("sweepd"))

    @property
    def uses_own_method(self) -> bool:
        """Return whether W&B's own servers do not know the method."""
        return self.method not in ("grid", "random", "bayes", "custom")

    def to_yaml(self) -> str:
        """Return the definition as YAML that any W&B server takes, keys in the file's order."""
        return dump(self.raw)


class _Dumper(yaml.SafeDumper):
    """Writes no anchors: W&B's server and people read the text."""

    def ignore_aliases(self, data: Any) -> bool:
        """Return True: write every value out."""
        return True


def dump(raw: Mapping[str, Any]) -> str:
    """Return a plain mapping as YAML, keys in their order."""
    return yaml.dump(dict(raw), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)
