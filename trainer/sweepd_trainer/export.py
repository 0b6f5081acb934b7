"""Rebuilds a run's model from its checkpoint for `sweepd.results`: the hook of EXPORTERS."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from sweepd.errors import DataError, ExportError, InvalidInput
from sweepd_trainer.checkpoint import Checkpoint, load_checkpoint
from sweepd_trainer.config import read_config
from sweepd_trainer.data import DataSpec, load
from sweepd_trainer.images import Normalise
from sweepd_trainer.models import build_model

__all__ = ["Classifier", "Rebuilt", "rebuild"]


class Classifier(nn.Module):  # type: ignore[misc]  # torch is not typed here
    """A trained model with its normalisation inside: raw uint8 pixels in, logits out."""

    def __init__(self, model: nn.Module, spec: DataSpec) -> None:
        super().__init__()
        self.normalise = Normalise(spec)
        self.model = model

    def forward(self, image: Tensor) -> Tensor:
        """Return logits, float32 (n, classes), of uint8 images, (n, channels, height, width)."""
        return self.model(self.normalise(image))


@dataclass(frozen=True)
class Rebuilt:
    """What an export needs of a run: the model, and held-out data to prove the file on."""

    model: nn.Module
    inputs: Tensor  # held-out inputs, first axis the batch
    labels: Tensor | None
    calibration: Tensor | None  # other inputs, by which an int8 file finds its ranges
    input_name: str
    output_name: str
    metadata: Mapping[str, str]


def rebuild(config: Mapping[str, Any], checkpoint: Path) -> Rebuilt:
    """Return the model of a run, in float32 on the CPU, and the test images of its data set.

    Args:
        config: the run's config as the server has it; it must say the same as the checkpoint.
        checkpoint: the run's checkpoint file.

    Raises:
        ExportError: in words: the checkpoint is missing, damaged or of another architecture, or
            the data set to prove the file on is not there.
    """
    try:
        saved = load_checkpoint(checkpoint)
        _check_same(config, saved)
        data = load(saved.config.dataset, every=saved.config.slice)
    except (DataError, InvalidInput) as error:
        raise ExportError(str(error)) from error
    test = data.test
    assert test is not None, "a data set of images has test images"
    model = build_model(saved.spec, saved.config)
    try:
        model.load_state_dict(saved.weights)
    except RuntimeError as error:
        reason = "; ".join(line.strip() for line in str(error).splitlines()[1:3])
        raise ExportError(
            f"the checkpoint does not fit the model of its config: {reason}"
        ) from None
    return Rebuilt(
        model=Classifier(model, saved.spec).eval(),
        inputs=test.inputs,
        labels=test.targets,
        calibration=data.validation.inputs,
        input_name="image",
        output_name="logits",
        metadata={
            "classes": "\n".join(saved.spec.classes),
            "dataset": saved.spec.name,
            "epoch": str(saved.epoch),
            "input": f"uint8 pixels, 0 to {saved.spec.scale:g}",
            "normalisation": _normalisation(saved.spec),
            **{f"version.{name}": version for name, version in saved.versions.items()},
        },
    )


def _normalisation(spec: DataSpec) -> str:
    mean, std = (", ".join(f"{value:g}" for value in values) for values in (spec.mean, spec.std))
    if len(spec.mean) > 1:
        mean, std = f"({mean})", f"({std})"
    return f"(pixel / {spec.scale:g} - {mean}) / {std}"


def _check_same(config: Mapping[str, Any], saved: Checkpoint) -> None:
    """Refuse a checkpoint whose config is not the run's."""
    ours = saved.config.to_dict()
    theirs = read_config({key: config[key] for key in ours if key in config}).to_dict()
    different = [key for key in ours if key in config and ours[key] != theirs[key]]
    if different:
        said = ", ".join(f"{k} is {ours[k]!r}, not {theirs[k]!r}" for k in different)
        raise ExportError(f"the checkpoint is not of this run's config: {said}")
