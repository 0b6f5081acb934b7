"""The checkpoint of a run's best epoch: a plain dictionary, safe to load from anywhere."""

import os
import platform
import tempfile
from collections.abc import Mapping
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
from sweepd_trainer.loop import Score

__all__ = ["CHECKPOINT", "Best", "Checkpoint", "load_checkpoint", "save_checkpoint"]

#: The run file's name. The service knows it: it keeps those of a sweep's best trials.
CHECKPOINT = "checkpoint.pt"
#: Names the row of `sweepd.names.EXPORTERS` that rebuilds the model.
EXPORTER = "sweepd_trainer"
VERSION = 1


@dataclass(frozen=True)
class Checkpoint:
    """The weights after one epoch, and all that it takes to use them."""

    config: Config
    spec: DataSpec
    weights: Mapping[str, Tensor]
    epoch: int
    score: Score
    versions: Mapping[str, str]


class Best:
    """Keeps the checkpoint of the best epoch: the highest accuracy, then the lowest loss."""

    def __init__(self, path: Path, *, config: Config, spec: DataSpec) -> None:
        self.path, self._config, self._spec = path, config, spec
        self.epoch, self.score = 0, Score(float("inf"), -1.0)

    def offer(self, model: nn.Module, *, epoch: int, score: Score) -> bool:
        """Save the model if it scores better than all before; return whether it did."""
        if (score.accuracy, -score.loss) <= (self.score.accuracy, -self.score.loss):
            return False
        self.epoch, self.score = epoch, score
        weights = {name: w.detach().cpu().clone() for name, w in model.state_dict().items()}
        checkpoint = Checkpoint(self._config, self._spec, weights, epoch, score, _versions())
        save_checkpoint(self.path, checkpoint)
        return True

    def restore(self, model: nn.Module) -> None:
        """Give `model` the best epoch's weights back."""
        model.load_state_dict(load_checkpoint(self.path).weights)


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint whole or not at all: to a temporary file, flushed, then renamed."""
    content = {
        "exporter": EXPORTER,
        "version": VERSION,
        "config": checkpoint.config.to_dict(),
        "data": asdict(checkpoint.spec),
        "weights": {name: weight.contiguous() for name, weight in checkpoint.weights.items()},
        "epoch": checkpoint.epoch,
        "score": asdict(checkpoint.score),
        "versions": dict(checkpoint.versions),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".checkpoint-", delete=False) as file:
        try:
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())
            Path(file.name).replace(path)
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint onto the CPU; nothing in the file is run.

    Raises:
        DataError: in words: it is missing, damaged, or was written by another program.
        InvalidInput: its config is not one that this trainer knows.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist") from error
    except UnpicklingError as error:
        raise DataError(f"{path} is damaged, or holds more than plain data") from error
    except (OSError, EOFError, RuntimeError, ValueError) as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise DataError(f"{path} is damaged or cut short: {reason[0]}") from error
    if not isinstance(content, dict) or content.get("exporter") != EXPORTER:
        raise DataError(f"{path} was not written by this trainer")
    if content.get("version") != VERSION:
        version = content.get("version")
        raise DataError(f"{path} has the format {version}, this trainer reads {VERSION}")
    try:
        return _parse(content)
    except (KeyError, TypeError) as error:
        raise DataError(f"{path} is incomplete: {error}") from error


def _parse(content: Mapping[str, Any]) -> Checkpoint:
    data = content["data"]
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
