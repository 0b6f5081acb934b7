"""What one training run is told: the same names as the parameters of a sweep definition."""

import ast
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, TypeVar

from sweepd.errors import InvalidInput
from sweepd.names import DATASETS, MODELS
from sweepd_trainer.options import Between, Names, coerce, describe, near, option, shown

__all__ = [
    "HELP",
    "OPTIMIZERS",
    "SCHEDULES",
    "TRAINING",
    "Config",
    "Training",
    "read_config",
    "read_flags",
    "read_training",
]

OPTIMIZERS = ("adam", "adamw", "muon", "rmsprop", "sgd")
SCHEDULES = ("constant", "cosine", "onecycle", "warmup_linear")

_T = TypeVar("_T", bound="Training")


@dataclass(frozen=True)
class Training:
    """How a model is trained, whatever it is; every field has a default, a unit and a range."""

    epochs: int = option(5, "passes over the training rows", Between(1, 10_000))
    batch_size: int = option(128, "rows in an optimiser step", Between(1, 65_536))
    learning_rate: float = option(0.005, "peak learning rate", Between(0, 1e3, is_open=True))
    optimizer: str = option("adam", "optimiser", Names(OPTIMIZERS))
    momentum: float = option(
        0.9, "sgd, rmsprop, muon: momentum; adam, adamw: beta 1", Between(0, 0.9999)
    )
    nesterov: bool = option(False, "sgd, muon: Nesterov's momentum")
    weight_decay: float = option(
        0.0, "adamw, muon: decoupled; else part of the gradient", Between(0, 10)
    )
    schedule: str = option("constant", "learning rate over the run", Names(SCHEDULES))
    warmup: float = option(0.1, "onecycle, warmup_linear: share of steps", Between(0, 0.99))
    grad_clip: float = option(0.0, "largest norm of the gradients; 0: any", Between(0, 1e6))
    ema: float = option(0.0, "decay of averaged weights; 0: none", Between(0, 0.99999))
    label_smoothing: float = option(0.0, "share of the target spread evenly", Between(0, 0.95))
    patience: int = option(
        0, "end after n epochs without a better one; 0: never", Between(0, 10_000)
    )
    stop_diverged: bool = option(True, "end where the loss has left all bounds, not only at NaN")
    checkpoint_s: float = option(
        30.0, "seconds between two states to resume from", Between(0, 86_400)
    )
    cuda_graph: bool = option(True, "a GPU replays whole steps as one CUDA graph")
    deterministic: bool = option(False, "only algorithms that give the same bits each time")
    seed: int = option(0, "seed of weights, order and dropout", Between(0, 2**32 - 1))

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON-able values, lists for tuples."""
        values = asdict(self)
        return {key: list(v) if isinstance(v, tuple) else v for key, v in values.items()}


@dataclass(frozen=True)
class Config(Training):
    """The hyperparameters of one run of the image classifier."""

    dataset: str = option("digits", "data set", Names(tuple(DATASETS), ("npz:PATH", "folder:PATH")))
    slice: int = option(1, "train on every n-th training image", Between(1, 1000))
    model: str = option("convnet", "model", Names(tuple(MODELS), ("torchvision:NAME",)))
    kernels: tuple[int, ...] = option(
        (16, 32), "convnet: channels of its two convolutions", Between(1, 1024)
    )
    hidden: tuple[int, ...] = option(
        (128,), "mlp: width of each hidden layer; a number is one layer", Between(1, 16384)
    )
    width: int = option(64, "resnet9, resnet18: channels of the first layer", Between(1, 1024))
    dropout: float = option(0.0, "share of features dropped before the head", Between(0, 0.95))
    shift: int = option(0, "training images move by up to n pixels", Between(0, 8))
    flip: bool = option(False, "half of the training images are mirrored")
    cutout: int = option(0, "training images lose a square of n pixels", Between(0, 64))


def read_config(values: Mapping[str, Any]) -> Config:
    """Return the config that `values` describe; what is absent keeps its default.

    Raises:
        InvalidInput: one sentence naming every unknown, mistyped or out-of-range field.
    """
    unknown = [_unknown(name) for name, _ in values.items() if name not in _FIELDS]
    return _read(Config, values, problems=unknown)


def read_training(values: Mapping[str, Any]) -> Training:
    """Return how to train; names that are no fields of `Training` are somebody else's.

    Raises:
        InvalidInput: one sentence naming every mistyped or out-of-range field.
    """
    return _read(Training, values, problems=[])


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
                example = f"--{name}={shown(_FIELDS[name])}"
                raise InvalidInput(f"--{name} needs a value, as in {example}")
            text = rest.pop(0)
        values[name] = _literal(text)
    return values


def _read(kind: type[_T], values: Mapping[str, Any], *, problems: list[str]) -> _T:
    read: dict[str, Any] = {}
    for entry in fields(kind):
        if entry.name not in values:
            continue
        try:
            read[entry.name] = coerce(entry, values[entry.name])
        except InvalidInput as error:
            problems.append(str(error))
    if len(read.get("kernels", (0, 0))) != 2:
        problems.append(f"kernels must be two numbers like [16, 32], not {values['kernels']!r}")
    if problems:
        raise InvalidInput("; ".join(problems))
    return kind(**read)


def _literal(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        pass
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text


def _unknown(name: str) -> str:
    return f"unknown parameter {name!r}{near(name, _FIELDS)}"


_OWN = tuple(f for f in fields(Config) if f.name not in {g.name for g in fields(Training)})
TRAINING = tuple(entry.name for entry in fields(Training))
_FIELDS = {entry.name: entry for entry in (*_OWN, *fields(Training))}

#: The fields with defaults, units and ranges, one a line: of the classifier, then of training.
HELP = "\n".join(describe(entry) for entry in _FIELDS.values())
