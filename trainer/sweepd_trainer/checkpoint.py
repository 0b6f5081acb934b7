"""The checkpoint of a run's best epoch: a plain dictionary, safe to load from anywhere."""

import platform
import struct
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor, nn

from sweepd import __version__
from sweepd.errors import DataError
from sweepd_trainer.config import Config, read_config
from sweepd_trainer.data import DataSpec
from sweepd_trainer.task import Score
from sweepd_trainer.whole_file import whole_file

__all__ = [
    "CHECKPOINT",
    "Best",
    "Checkpoint",
    "image_header",
    "load_checkpoint",
    "load_plain",
    "load_weights",
    "write_plain",
]

#: The run file's name. The service knows it: it keeps those of a sweep's best trials.
CHECKPOINT = "checkpoint.pt"
#: Names the row of `sweepd.names.EXPORTERS` that rebuilds the model.
EXPORTER = "sweepd_trainer"
VERSION = 1
#: What unpickling a damaged file comes upon, beside what torch says in words.
_UNPICKLING = (AssertionError, AttributeError, LookupError, TypeError, struct.error)


@dataclass(frozen=True)
class Checkpoint:
    """The weights of an image classifier after one epoch, and all that it takes to use them."""

    config: Config
    spec: DataSpec
    weights: Mapping[str, Tensor]
    epoch: int
    score: Score
    versions: Mapping[str, str]


class Best:
    """Keeps the checkpoint of the best epoch: the highest accuracy, then the lowest loss.

    Args:
        path: of the file.
        header: what the file says besides the weights, as plain data.
        rank: what is larger for a better score, in place of that.
    """

    def __init__(
        self,
        path: Path,
        *,
        header: Mapping[str, Any],
        rank: Callable[[Score], tuple[float, ...]] = lambda score: score.rank,
    ) -> None:
        self.path, self._header, self._rank = path, dict(header), rank
        self.epoch, self.score = 0, Score(float("inf"), -1.0)

    def offer(self, model: nn.Module, *, epoch: int, score: Score) -> bool:
        """Save the model if it scores better than all before; return whether it did."""
        if self.epoch and self._rank(score) <= self._rank(self.score):
            return False
        self.epoch, self.score = epoch, score
        weights = {name: w.detach().cpu().clone() for name, w in model.state_dict().items()}
        content = {
            **self._header,
            "version": VERSION,
            "weights": {name: weight.contiguous() for name, weight in weights.items()},
            "epoch": epoch,
            "score": asdict(score),
            "versions": _versions(),
        }
        write_plain(self.path, content)
        return True

    def restore(self, model: nn.Module) -> None:
        """Give `model` the best epoch's weights back."""
        model.load_state_dict(load_weights(self.path))

    def content(self) -> Tensor | None:
        """Return the file's bytes, shape (n,), None if there is none yet."""
        if not self.epoch:
            return None
        return torch.frombuffer(bytearray(self.path.read_bytes()), dtype=torch.uint8)

    def put_back(self, content: Tensor) -> None:
        """Take what `content()` gave, in another process, as the best so far."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_bytes(content.cpu().numpy().tobytes())
        saved = load_plain(self.path)
        self.epoch, self.score = saved["epoch"], Score(**saved["score"])


def image_header(config: Config, spec: DataSpec) -> dict[str, Any]:
    """Return what the checkpoint of an image classifier says besides its weights."""
    return {"exporter": EXPORTER, "config": config.to_dict(), "data": asdict(spec)}


def write_plain(path: Path, content: Mapping[str, Any]) -> None:
    """Write plain data and tensors whole or not at all: to a temporary file, flushed, renamed.

    Of a tensor that is a view of a larger one, only what it shows is written.
    """
    with whole_file(path, prefix=".checkpoint-") as file:
        torch.save(_owned(dict(content)), file)


def _owned(content: Any) -> Any:
    """Return plain data whose tensors hold nothing but their own numbers."""
    if isinstance(content, Tensor):
        is_view = content.untyped_storage().nbytes() > content.nbytes
        return content.clone() if is_view else content
    if isinstance(content, Mapping):
        return {name: _owned(value) for name, value in content.items()}
    if isinstance(content, list | tuple):
        return type(content)(_owned(value) for value in content)
    return content


def load_plain(path: Path, *, device: torch.device | None = None) -> dict[str, Any]:
    """Read plain data and tensors, onto the CPU unless said otherwise; nothing in the file is run.

    Raises:
        DataError: in words: it is missing, damaged, or holds something else.
    """
    try:
        with warnings.catch_warnings(action="ignore"):  # of what torch wonders at in a damaged file
            content = torch.load(path, map_location=device or "cpu", weights_only=True)
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist") from error
    except UnpicklingError as error:
        raise DataError(f"{path} is damaged, or holds more than plain data") from error
    except _UNPICKLING as error:
        raise DataError(f"{path} is damaged: {error}") from error
    except (OSError, EOFError, RuntimeError, ValueError) as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise DataError(f"{path} is damaged or cut short: {reason[0]}") from error
    if not isinstance(content, dict):
        raise DataError(f"{path} was not written by this trainer")
    return content


def load_weights(path: Path) -> Mapping[str, Tensor]:
    """Return the weights of any checkpoint of this trainer, on the CPU.

    Raises:
        DataError: in words: it is missing, damaged, or was written by another program.
    """
    weights = load_plain(path).get("weights")
    if not isinstance(weights, dict):
        raise DataError(f"{path} was not written by this trainer")
    return weights


def load_checkpoint(path: Path) -> Checkpoint:
    """Read the checkpoint of an image classifier onto the CPU; nothing in the file is run.

    Raises:
        DataError: in words: it is missing, damaged, or was written by another program.
        InvalidInput: its config is not one that this trainer knows.
    """
    content = load_plain(path)
    if content.get("exporter") != EXPORTER:
        raise DataError(f"{path} was not written by this trainer")
    if content.get("version") != VERSION:
        version = content.get("version")
        raise DataError(f"{path} has the format {version}, this trainer reads {VERSION}")
    try:
        return _parse(content)
    except (KeyError, TypeError) as error:
        raise DataError(f"{path} is incomplete: {error}") from error


def _parse(content: Mapping[str, Any]) -> Checkpoint:
    data = dict(content["data"])
    for name in ("mean", "std"):  # one number, in files of before there were colours
        data[name] = tuple(data[name]) if isinstance(data[name], list | tuple) else (data[name],)
    spec = DataSpec(**{**data, "classes": tuple(data["classes"]), "shape": tuple(data["shape"])})
    return Checkpoint(
        config=read_config(content["config"]),
        spec=spec,
        weights=content["weights"],
        epoch=content["epoch"],
        score=Score(**content["score"]),
        versions=content["versions"],
    )


def _versions() -> dict[str, str]:
    return {
        "sweepd": __version__,
        "torch": str(torch.__version__),
        "python": platform.python_version(),
    }
