"""Judges runs one by one: what each came to in a metric, or why it takes no part."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sweepd.errors import InvalidInput
from sweepd.spec import Bounds, Outcome, check_rule, judge, reduce_curve

__all__ = [
    "Excluded",
    "Ranked",
    "came_to",
    "checked",
    "counted_whys",
    "logged_values",
    "rule_of",
    "runs_of",
    "varied",
]

#: Runs read in one request.
_PAGE = 100


@dataclass(frozen=True)
class Ranked:
    """A finished run with the value that ranks it."""

    path: str  # entity/project/run
    name: str
    display_name: str
    value: float
    config: Mapping[str, Any]
    summary: Mapping[str, Any]
    url: str

    @property
    def test_metrics(self) -> dict[str, float]:
        """Return what the run measured on data that the sweep did not choose by."""
        return {
            name: float(value)
            for name, value in sorted(self.summary.items())
            if name.startswith("test") and _is_number(value)
        }

    def as_json(self) -> dict[str, Any]:
        """Return the run as plain JSON values."""
        return {
            "run": self.path,
            "display_name": self.display_name,
            "value": self.value,
            "config": dict(self.config),
            "test_metrics": self.test_metrics,
            "url": self.url,
        }


@dataclass(frozen=True)
class Excluded:
    """A run that takes no part in the ranking, and why."""

    path: str
    display_name: str
    why: str


def counted_whys(excluded: Sequence[Excluded]) -> str:
    """Return how many runs were left out and why, as "2 crashed, 1 killed"; empty without any."""
    whys = Counter(entry.why for entry in excluded)
    return ", ".join(f"{n} {why}" for why, n in sorted(whys.items()))


def runs_of(api: Any, sweep: Any) -> Any:
    """Return the runs of a sweep with all that is known of them, the earliest first."""
    return api.runs(
        f"{sweep.entity}/{sweep.project}",
        filters={"sweep": sweep.id},
        order="+created_at",
        per_page=_PAGE,
        lazy=False,
    )


def rule_of(config: Mapping[str, Any]) -> str:
    """Return the rule that a definition names for what a run came to."""
    return checked((config.get("sweepd") or {}).get("objective", "best"))


def varied(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names of the parameters that a sweep varies, in the definition's order."""
    parameters = config.get("parameters") or {}
    return tuple(name for name, law in parameters.items() if "value" not in law)


def came_to(
    run: Any, *, metric: str, goal: str, rule: str, bounds: Mapping[str, Bounds]
) -> Ranked | Excluded:
    """Return what a run came to in a metric, or why it takes no part."""
    path = "/".join(run.path)
    if run.state != "finished":
        return Excluded(path, run.name, run.state)
    values = logged_values(run, metric)
    summary = dict(run.summary_metrics)
    if not values:
        return Excluded(path, run.name, f"without {metric}")
    if not math.isfinite(values[-1]):
        return Excluded(path, run.name, "diverged")
    for how, name, why in judge(summary, bounds):
        said = f"without {name}" if how is Outcome.MISSING else f"with {name} {why}"
        return Excluded(path, run.name, said)
    value = reduce_curve(values, rule=rule, goal=goal)
    assert value is not None  # the last one is finite
    return Ranked(path, run.id, run.name, value, dict(run.config), summary, run.url)


def logged_values(run: Any, metric: str) -> list[float]:
    """Return the values of a metric that a run logged, in order; else its summary's alone."""
    logged = [
        _as_float(row.get(metric)) for row in run.scan_history(keys=[metric], use_cache=False)
    ]
    values = [value for value in logged if value is not None]
    if not values:  # set on the summary alone, never logged
        value = _as_float(_unwrap(dict(run.summary_metrics).get(metric)))
        values = [] if value is None else [value]
    return values


def _as_float(value: Any) -> float | None:
    """Return a logged number; NaN and infinities also as the strings they travel as."""
    if value in ("NaN", "Infinity", "-Infinity"):
        return float(value)
    return float(value) if _is_number(value) else None


def _unwrap(value: Any) -> Any:
    """Return the number of a summary that define_metric made an object of, such as {max: 1}."""
    if isinstance(value, Mapping):
        numbers = [entry for key, entry in value.items() if key in ("max", "min", "best", "last")]
        return numbers[0] if numbers else None
    return value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def checked(rule: str) -> str:
    """Return a rule; raise InvalidInput, in words, if there is none of the name."""
    try:
        return check_rule(rule)
    except InvalidInput as error:
        raise InvalidInput(f"the rule {error}") from None
