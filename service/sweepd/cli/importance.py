"""Which parameters matter, as `sweep status --importance` tells it."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sweepd.cli.console import note, print_table, say
from sweepd.errors import InvalidInput, NotFound
from sweepd.spec.words import nearest

if TYPE_CHECKING:
    from sweepd.cli.api import Api

__all__ = ["read_importance", "show_importance"]

_MOST_NAMES = 20
_FIELDS = (
    "metric goal runs runsNeeded note metrics isComputing parameters "
    "{ name runs share shareLow shareHigh trend trendLow trendHigh best }"
)


def read_importance(
    api: "Api", sweep: Mapping[str, Any], metric: str | None, goal: str | None = None
) -> dict[str, Any]:
    """Return a sweep's importances; wait for them in words.

    Args:
        api: of the server.
        sweep: as the server tells of it.
        metric: that runs logged; None for the sweep's own.
        goal: minimize or maximize; None for the sweep's own.

    Raises:
        InvalidInput: if the server is not ours.
        NotFound: if a metric was named that no finished run has logged.
    """
    if not api.is_ours:
        raise InvalidInput(f"{api.server.url} tells the importance of parameters on its pages only")
    document = (
        "query($s: String!, $m: String, $g: String) { sweepdSweep(name: $s) "
        f"{{ sweepdImportance(metric: $m, goal: $g) {{ {_FIELDS} }} }} }}"
    )
    has_said = False
    while True:  # each answer but the last comes after seconds; the service gives up by itself
        answer = api.execute(document, s=sweep["name"], m=metric, g=goal)
        found: dict[str, Any] = answer["sweepdSweep"]["sweepdImportance"]
        if not found.pop("isComputing"):
            break
        if not has_said:
            note(f"computing the importance of the parameters from {found['runs']} runs …")
        has_said = True
    missed = _missed(found)
    if metric is not None and missed is not None:
        raise NotFound(missed)
    return found


def _missed(found: Mapping[str, Any]) -> str | None:
    """Return in words that nobody has logged the metric, None where runs have."""
    metric, logged = found["metric"], found["metrics"]
    if found["runs"] or metric is None or not logged or metric in logged:
        return None
    hint, names = nearest(metric, logged), ", ".join(logged[:_MOST_NAMES])
    return f"no finished run has logged {metric} as a number, only {names}{hint}"


def show_importance(found: Mapping[str, Any]) -> None:
    """Print a table, the most important parameter first, or why there is none."""
    if found["metric"] is None:
        say("  the sweep names no metric: name one of those that its runs logged")
        return
    if (missed := _missed(found)) is not None:
        say(f"  {missed}")
        return
    if found["runs"] < found["runsNeeded"]:
        say(
            f"  importance for {found['metric']} needs {found['runsNeeded']} finished runs; "
            f"there are {found['runs']}"
        )
        return
    if found["note"]:
        say(f"  {found['note']}")
    rows = sorted(
        found["parameters"],
        key=lambda one: (-(one["share"] or 0), -abs(one["trend"] or 0), one["name"]),
    )
    better = "higher" if found["goal"] == "maximize" else "lower"
    say(f"importance for {found['metric']} ({better} is better), {found['runs']} runs")
    table = [
        [
            one["name"],
            _interval(one, "share", ".0%"),
            _trend(one, needed=found["runsNeeded"]),
            one["runs"],
        ]
        for one in rows
    ]
    print_table(["parameter", "share", "trend", "runs"], table)


def _interval(one: Mapping[str, Any], name: str, form: str) -> str | None:
    if one[name] is None:
        return None
    low, high = one[f"{name}Low"], one[f"{name}High"]
    return f"{one[name]:{form}} ({low:{form}} to {high:{form}})"


def _trend(one: Mapping[str, Any], *, needed: int) -> str | None:
    if one["runs"] < needed:
        return f"needs {needed} runs that have it"
    return _interval(one, "trend", "+.2f") if one["trend"] is not None else _best(one)


def _best(one: Mapping[str, Any]) -> str | None:
    return f"best {one['best']}" if one["best"] is not None else None
