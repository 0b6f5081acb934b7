"""What one training run is told: the same names as the parameters of a sweep definition."""

import ast
import difflib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from sweepd.errors import InvalidInput
from sweepd.names import DATASETS, MODELS

__all__ = ["HELP", "OPTIMIZERS", "SCHEDULES", "Config", "read_config", "read_flags"]

OPTIMIZERS = ("adam", "adamw", "sgd")
SCHEDULES = ("constant", "cosine")


def _option(default: Any, text: str, rule: Any = None) -> Any:
    return field(default=default, metadata={"help": text, "rule": rule})


@dataclass(frozen=True)
class _Between:
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
class Config:
    """The hyperparameters of one run; every field has a default, a unit and a range."""

    dataset: str = _option("digits", "data set", tuple(DATASETS))
    slice: int = _option(1, "train on every n-th training image", _Between(1, 1000))
    model: str = _option("convnet", "model", tuple(MODELS))
    kernels: tuple[int, ...] = _option(
        (16, 32), "convnet: channels of its two convolutions", _Between(1, 1024)
    )
    hidden: tuple[int, ...] = _option(
        (128,), "mlp: width of each hidden layer; a number is one layer", _Between(1, 16384)
    )
    epochs: int = _option(5, "passes over the training images", _Between(1, 10_000))
    batch_size: int = _option(128, "images in an optimiser step", _Between(1, 65_536))
    learning_rate: float = _option(0.005, "peak learning rate", _Between(0, 1e3, is_open=True))
    optimizer: str = _option("adam", "optimiser", OPTIMIZERS)
    momentum: float = _option(0.9, "sgd: momentum; adam, adamw: beta 1", _Between(0, 0.9999))
    weight_decay: float = _option(0.0, "weight decay per step, times the rate", _Between(0, 10))
    schedule: str = _option("constant", "learning rate over the run", SCHEDULES)
    dropout: float = _option(0.0, "share of features dropped before the head", _Between(0, 0.95))
    label_smoothing: float = _option(0.0, "share of the target spread evenly", _Between(0, 0.95))
    shift: int = _option(0, "training images move by up to n pixels", _Between(0, 8))
    seed: int = _option(0, "seed of weights, order and dropout", _Between(0, 2**32 - 1))

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON-able values, lists for tuples."""
        values = asdict(self)
        return {key: list(v) if isinstance(v, tuple) else v for key, v in values.items()}


_FIELDS = {entry.name: entry for entry in fields(Config)}


def read_config(values: Mapping[str, Any]) -> Config:
    """Return the config that `values` describe; what is absent keeps its default.

    Raises:
        InvalidInput: one sentence naming every unknown, mistyped or out-of-range field.
    """
    read: dict[str, Any] = {}
    problems: list[str] = []
    for name, value in values.items():
        if name not in _FIELDS:
            problems.append(_unknown(name))
            continue
        try:
            read[name] = _coerce(name, value)
        except InvalidInput as error:
            problems.append(str(error))
    if problems:
        raise InvalidInput("; ".join(problems))
    return Config(**read)


def read_flags(arguments: Sequence[str]) -> dict[str, Any]:
    """Return the values of `--name=value` or `--name value` flags, as W&B's `${args}` spells them.

    A value is JSON or Python text where it can be read as such, otherwise the text itself.

    Raises:
        InvalidInput: for anything that is not a flag of a known field with a value.
    """
    values: dict[str, Any] = {}
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        name, equals, text = word.removeprefix("--").partition("=")
        if not word.startswith("--") or not name:
            raise InvalidInput(f"expected --name=value, not {word!r}; --help lists the names")
        name = name.replace("-", "_")
        if name not in _FIELDS:
            raise InvalidInput(f"{_unknown(name)}; --help lists them")
        if not equals:
            if not rest:
                raise InvalidInput(f"--{name} needs a value, as in --{name}={_shown(name)}")
            text = rest.pop(0)
        values[name] = _literal(text)
    return values


def _literal(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        pass
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text


def _coerce(name: str, value: Any) -> Any:
    """Return `value` as the field's type, checked against its range."""
    entry = _FIELDS[name]
    rule = entry.metadata["rule"]
    if isinstance(entry.default, str):
        if value not in rule:
            near = difflib.get_close_matches(str(value), rule, n=1)
            hint = f" (did you mean {near[0]}?)" if near else ""
            raise InvalidInput(f"{name} must be one of {', '.join(rule)}, not {value!r}{hint}")
        return value
    if isinstance(entry.default, tuple):
        items = [value] if _is_number(value) else value
        if not isinstance(items, Sequence) or isinstance(items, str) or not items:
            raise InvalidInput(f"{name} must be a list like {list(entry.default)}, not {value!r}")
        if name == "kernels" and len(items) != 2:
            raise InvalidInput(f"kernels must be two numbers like [16, 32], not {value!r}")
        return tuple(_number(name, item, rule, is_whole=True) for item in items)
    return _number(name, value, rule, is_whole=isinstance(entry.default, int))


def _number(name: str, value: Any, rule: _Between, *, is_whole: bool) -> int | float:
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


def _unknown(name: str) -> str:
    near = difflib.get_close_matches(name, _FIELDS, n=1)
    hint = f" (did you mean {near[0]}?)" if near else ""
    return f"unknown parameter {name!r}{hint}"


def _shown(name: str) -> str:
    default = _FIELDS[name].default
    return json.dumps(list(default)) if isinstance(default, tuple) else str(default)


def _describe(name: str) -> str:
    meta = _FIELDS[name].metadata
    rule = meta["rule"]
    allowed = " | ".join(rule) if isinstance(rule, tuple) else str(rule)
    return f"  --{name}={_shown(name):<12}".ljust(32) + f"{meta['help']}: {allowed}"


#: The fields with defaults, units and ranges, one a line.
HELP = "\n".join(_describe(name) for name in _FIELDS)
