"""Fields of a config that say what they take: a default, words, and a rule that checks values."""

import difflib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import Field, dataclass, field
from typing import Any

from sweepd.errors import InvalidInput

__all__ = ["Between", "Names", "coerce", "describe", "near", "option", "shown"]


@dataclass(frozen=True)
class Between:
    """A range of numbers; a bound is inclusive unless it is open."""

    low: float
    high: float
    is_open: bool = False

    def __contains__(self, value: float) -> bool:
        above = value > self.low if self.is_open else value >= self.low
        return above and value <= self.high and math.isfinite(value)

    def __str__(self) -> str:
        return f"{'>' if self.is_open else '≥'} {self.low:.10g} and ≤ {self.high:.10g}"


@dataclass(frozen=True)
class Names:
    """Names to choose from, and forms such as `npz:PATH`, of which anything follows the colon."""

    names: Sequence[str]
    forms: Sequence[str] = ()

    def __contains__(self, value: object) -> bool:
        if not isinstance(value, str):
            return False
        return value in self.names or any(
            value.startswith(form.partition(":")[0] + ":") and not value.endswith(":")
            for form in self.forms
        )

    def __str__(self) -> str:
        return " | ".join((*self.names, *self.forms))


def option(default: Any, text: str, rule: Between | Names | None = None) -> Any:
    """Return a dataclass field with its words and its rule; a bool needs no rule."""
    return field(default=default, metadata={"help": text, "rule": rule})


def coerce(entry: "Field[Any]", value: Any) -> Any:
    """Return `value` as the field's type, checked against its rule.

    Raises:
        InvalidInput: it is of another type or out of range, in one sentence.
    """
    rule, default = entry.metadata["rule"], entry.default
    if isinstance(default, bool):
        return _boolean(entry.name, value)
    if isinstance(default, str):
        return _name(entry.name, value, rule)
    if isinstance(default, tuple):
        items = [value] if _is_number(value) else value
        if not isinstance(items, Sequence) or isinstance(items, str) or not items:
            raise InvalidInput(f"{entry.name} must be a list like {list(default)}, not {value!r}")
        return tuple(_number(entry.name, item, rule, is_whole=True) for item in items)
    return _number(entry.name, value, rule, is_whole=isinstance(default, int))


def shown(entry: "Field[Any]") -> str:
    """Return a field's default as a flag spells it."""
    if isinstance(entry.default, tuple):
        return json.dumps(list(entry.default))
    return str(entry.default).lower() if isinstance(entry.default, bool) else str(entry.default)


def describe(entry: "Field[Any]") -> str:
    """Return a field's line of the help: name, default, words, what is allowed."""
    rule = "true | false" if isinstance(entry.default, bool) else entry.metadata["rule"]
    return f"  --{entry.name}={shown(entry):<12}".ljust(32) + f"{entry.metadata['help']}: {rule}"


#: What other trainers' parameters are called here.
_ELSEWHERE = {
    "lr": "learning_rate",
    "optimiser": "optimizer",
    "eta": "learning_rate",
    "bs": "batch_size",
    "wd": "weight_decay",
    "l2": "weight_decay",
    "beta1": "momentum",
    "clip": "grad_clip",
    "max_grad_norm": "grad_clip",
    "smoothing": "label_smoothing",
    "scheduler": "schedule",
    "arch": "model",
    "random_state": "seed",
}


def near(name: str, known: Mapping[str, Any] | Sequence[str], *, is_sure: bool = True) -> str:
    """Return ` (did you mean …?)` where a known name is close, or meant elsewhere, else nothing.

    Args:
        name: that is not known.
        known: names.
        is_sure: it is nobody's; else it may be somebody's own, and being close says nothing.
    """
    elsewhere = [one for one in known if one == _ELSEWHERE.get(name.lower())]
    found = elsewhere or (difflib.get_close_matches(name, list(known), n=1) if is_sure else [])
    return f" (did you mean {found[0]}?)" if found else ""


def _name(name: str, value: Any, rule: Names) -> str:
    if value not in rule:
        hint = near(str(value), rule.names)
        choices = ", ".join((*rule.names, *rule.forms))
        raise InvalidInput(f"{name} must be one of {choices}, not {value!r}{hint}")
    return str(value)


def _boolean(name: str, value: Any) -> bool:
    words = {"true": True, "false": False, "1": True, "0": False}
    found = words.get(str(value).lower())
    if found is None:
        raise InvalidInput(f"{name} must be true or false, not {value!r}")
    return found


def _number(name: str, value: Any, rule: Between, *, is_whole: bool) -> int | float:
    kind = "a whole number" if is_whole else "a number"
    if isinstance(value, str):
        value = _float_text(value)
    if not _is_number(value) or (is_whole and value != int(value)) or value not in rule:
        raise InvalidInput(f"{name} must be {kind} {rule}, not {value!r}")
    return int(value) if is_whole else float(value)


def _float_text(text: str) -> Any:
    """Return the number that YAML left as text, such as 1e-5; other text unchanged."""
    try:
        return float(text)
    except ValueError:
        return text


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
