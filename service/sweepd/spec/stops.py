"""The blocks of `sweepd.stop`: one model a stop rule, its keys, defaults and ranges."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict

from sweepd.spec.fields import Flag, Real, Whole, at_least
from sweepd.spec.goals import Goal, signed
from sweepd.spec.problems import Problems
from sweepd.spec.words import Path, nearest, show

__all__ = ["STOPS", "NanStop", "Stop", "read_stops"]

#: The rule that applies unless a definition says otherwise, and the name that turns all others off.
_ALWAYS, _NONE = "nan", "none"


class Stop(BaseModel):
    """One rule of `sweepd.stop`; a key that is not set has the rule's default."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    rule: str

    def arguments(self, goal: Goal) -> dict[str, Any]:
        """Return what the rule is built from."""
        return self.model_dump(exclude={"rule"})


class AshaStop(Stop):
    """Successive halving."""

    rule: Literal["asha"] = "asha"
    min_iter: Annotated[Whole, at_least(1)] = 1
    max_iter: Annotated[Whole, at_least(2)] | None = None
    eta: Annotated[Real, at_least(1, exclusive=True)] = 3
    promote: Flag = False


class MedianStop(Stop):
    """Worse than the usual course of the others."""

    rule: Literal["median"] = "median"
    min_iter: Annotated[Whole, at_least(1)] = 1
    min_trials: Annotated[Whole, at_least(1)] = 5
    interval: Annotated[Whole, at_least(1)] = 1


class ThresholdStop(Stop):
    """Not within a bound by some iteration: `max` where the metric is minimised, else `min`."""

    rule: Literal["threshold"] = "threshold"
    after: Annotated[Whole, at_least(1)] = 1
    max: Real | None = None
    min: Real | None = None

    def arguments(self, goal: Goal) -> dict[str, Any]:
        """Return what the rule is built from, the bound signed."""
        bound = self.max if goal == "minimize" else self.min
        assert bound is not None, "read_stops has checked it"
        return {"after": self.after, "bound": signed(float(bound), goal)}


class PlateauStop(Stop):
    """No improvement for long enough."""

    rule: Literal["plateau"] = "plateau"
    patience: Annotated[Whole, at_least(1)] = 10
    min_delta: Annotated[Real, at_least(0)] = 0
    min_iter: Annotated[Whole, at_least(1)] = 1


class NanStop(Stop):
    """NaN or infinite several times in a row."""

    rule: Literal["nan"] = "nan"
    patience: Annotated[Whole, at_least(0)] = 3


AnyStop: TypeAlias = AshaStop | MedianStop | ThresholdStop | PlateauStop | NanStop

#: Rule -> its block.
STOPS: Mapping[str, type[AnyStop]] = {
    "asha": AshaStop,
    "median": MedianStop,
    "threshold": ThresholdStop,
    "plateau": PlateauStop,
    "nan": NanStop,
}


def read_stops(data: Any, problems: Problems, *, goal: Goal | None) -> tuple[Stop, ...]:
    """Return the rules of `sweepd.stop`: one mapping, or a list of them; NaN is always watched for.

    Args:
        data: as given, None if it is not.
        problems: takes what is wrong.
        goal: of the metric; None without a metric, which every rule but `none` needs.
    """
    path: Path = ("sweepd", "stop")
    entries = [] if data is None else data if isinstance(data, list) else [data]
    if entries and goal is None:
        problems.error(path, "needs a metric: write metric: {name: …, goal: minimize}")
    rules: dict[str, Stop] = {}
    for i, entry in enumerate(entries):
        where = (*path, i) if isinstance(data, list) else path
        found = _rule(entry, where, problems)
        if found is None:
            continue
        if found.rule in rules:
            problems.error(where, f"{found.rule} is given twice")
        if isinstance(found, ThresholdStop):
            _check_bound(found, goal or "minimize", where, problems)
        elif isinstance(found, AshaStop):
            _check_rungs(found, where, problems)
        rules[found.rule] = found
    if _NONE in rules:
        if len(rules) > 1:
            problems.error(path, "none cannot stand beside other rules")
        return ()
    return tuple(({_ALWAYS: NanStop()} | rules).values())


def _rule(entry: Any, path: Path, problems: Problems) -> Stop | None:
    known = [*STOPS, _NONE]
    if not isinstance(entry, Mapping):
        hint = f": write stop: {{rule: {entry}}}" if entry in known else ""
        problems.error(path, f"must be a mapping with rule, not {show(entry)}{hint}")
        return None
    rule = entry.get("rule")
    if rule is None:
        problems.error(path, f"needs rule: {', '.join(known)}")
        return None
    if rule == "hyperband":
        words = "is W&B's own: write early_terminate: {type: hyperband, …} at the top"
        problems.error((*path, "rule"), words)
        return None
    if not isinstance(rule, str) or rule not in known:
        hint = nearest(str(rule), known)
        words = f"must be one of {', '.join(known)}, not {show(rule)}{hint}"
        problems.error((*path, "rule"), words)
        return None
    model = STOPS.get(rule, Stop)
    return problems.read(model, entry, path)


def _check_rungs(block: AshaStop, path: Path, problems: Problems) -> None:
    if block.max_iter is not None and block.min_iter >= block.max_iter:
        words = (
            f"min_iter {block.min_iter} is not below max_iter {block.max_iter}: there is no rung"
        )
        problems.error(path, words)


def _check_bound(block: ThresholdStop, goal: Goal, path: Path, problems: Problems) -> None:
    right, wrong = ("max", "min") if goal == "minimize" else ("min", "max")
    if getattr(block, wrong) is not None:
        words = f"{wrong} has no meaning where the goal is to {goal}: write {right}"
        problems.error((*path, wrong), words)
    elif getattr(block, right) is None:
        problems.error(path, f"needs {right}, the value that a run must reach")
