"""What an edit of a definition changes, in words: for the person who is about to make it."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from sweepd.spec.definition import Definition
from sweepd.spec.distributions import canonical
from sweepd.spec.space import Parameter

__all__ = ["changes_of", "must_stay"]

_BLOCKS = ("metric", "sweepd", "early_terminate")
_LONGEST = 120  # characters of a value in words


def must_stay(old: Definition, new: Definition) -> list[str]:
    """Return what an edit changes that must stay once trials were handed out.

    What they ran and how they were judged: `program`, `command`, the metric's name and goal,
    `sweepd.objective`, `sweepd.outcome_constraints`, and who searches.
    """
    what = [key for key in ("program", "command") if getattr(old, key) != getattr(new, key)]
    metrics = [[(one.name, one.goal) for one in each.objectives] for each in (old, new)]
    if metrics[0] != metrics[1]:
        what.append("the metric's name and goal")
    if old.own.objective != new.own.objective:
        what.append("sweepd.objective")
    if old.own.outcome_constraints != new.own.outcome_constraints:
        what.append("sweepd.outcome_constraints")
    if old.searcher != new.searcher or old.scheduler != new.scheduler:
        what.append("who searches")
    return what


def changes_of(old: Definition, new: Definition) -> list[str]:
    """Return each thing that an edit changes, as a line: `run_cap: 60 → 200`."""
    lines: list[str] = []
    for key in [*old.raw, *(key for key in new.raw if key not in old.raw)]:
        before, after = old.raw.get(key), new.raw.get(key)
        if before == after:
            continue
        if key == "parameters":
            lines += list(_parameters(old, new)) or ["parameters are written differently"]
        elif key in _BLOCKS:
            lines += _block(key, before, after)
        else:
            lines.append(f"{key}: {_show(before)} → {_show(after)}")
    return lines


def _block(name: str, old: Any, new: Any) -> Iterator[str]:
    if not isinstance(old or {}, Mapping) or not isinstance(new or {}, Mapping):
        if old != new:
            yield f"{name}: {_show(old)} → {_show(new)}"
        return
    before, after = old or {}, new or {}
    for key in [*before, *(key for key in after if key not in before)]:
        if before.get(key) != after.get(key):
            yield f"{name}.{key}: {_show(before.get(key))} → {_show(after.get(key))}"


def _parameters(old: Definition, new: Definition) -> Iterator[str]:
    before = {parameter.name: parameter for parameter in old.space.parameters}
    after = {parameter.name: parameter for parameter in new.space.parameters}
    for name, parameter in before.items():
        if name not in after:
            yield f"{name} is gone: it was {_allowed(parameter)}"
        elif parameter.distribution != after[name].distribution:
            yield f"{name}: {_allowed(parameter)} → {_allowed(after[name])}"
    for name, parameter in after.items():
        if name not in before:
            yield f"{name} is new: {_allowed(parameter)}"


def _allowed(parameter: Parameter) -> str:
    return parameter.distribution.allowed[:_LONGEST]


def _show(value: Any) -> str:
    if value is None:
        return "nothing"
    whole = json.loads(canonical(value))  # 1.0 as 1
    return json.dumps(whole, ensure_ascii=False, separators=(",", ":"))[:_LONGEST]
