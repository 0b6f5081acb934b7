"""`rebuilt_by`: the export hook of a model of your own, from what `fit` was given."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from sweepd.errors import DataError, ExportError
from sweepd_trainer.checkpoint import load_plain, load_weights
from sweepd_trainer.data import SPLIT_SEED, Data
from sweepd_trainer.device import seed_everything
from sweepd_trainer.export import Rebuilt
from sweepd_trainer.task import as_floats

__all__ = ["rebuilt_by"]

Values = Mapping[str, Any]


class _Prepared(nn.Module):  # type: ignore[misc]  # torch is not typed here
    """A model that takes inputs as they are stored."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the model's outputs, first axis the batch."""
        return self.model(as_floats(inputs))


def rebuilt_by(
    model: Callable[[Values], nn.Module], data: Data | Callable[[Values], Data]
) -> Callable[[Values, Path], Rebuilt]:
    """Return a function for `sweep export --model module:function`.

    The file is judged on the test rows, and an int8 file calibrated on the validation rows; without
    test rows on the validation rows, of which some calibrate.

    Args:
        model: what `fit` was given: makes the model of the values.
        data: what `fit` was given: `Data`, or a function of the values that returns it.
    """

    def rebuild(config: Values, checkpoint: Path) -> Rebuilt:
        """Return the model with the weights of a run's checkpoint, and held-out rows.

        Raises:
            ExportError: in words: the checkpoint is damaged, or of another model or config.
        """
        try:
            weights, saved = load_weights(checkpoint), load_plain(checkpoint)
            _check_same(config, saved.get("config") or {})
            seed_everything(SPLIT_SEED)  # as for `fit`: the rows that are held out are the same
            rows = data if isinstance(data, Data) else data(config)
        except DataError as error:
            raise ExportError(str(error)) from error
        made = model(config)
        try:
            made.load_state_dict(weights)
        except RuntimeError as error:
            reason = "; ".join(line.strip() for line in str(error).splitlines()[1:3])
            raise ExportError(f"the checkpoint does not fit the model: {reason}") from None
        held_out = rows.validation if rows.test is None else rows.test
        versions = saved.get("versions") or {}
        return Rebuilt(
            model=_Prepared(made).float().cpu().eval(),
            inputs=held_out.inputs.cpu(),
            labels=held_out.targets.cpu(),
            calibration=None if rows.test is None else rows.validation.inputs.cpu(),
            input_name="input",
            output_name="output",
            metadata={
                "epoch": str(saved.get("epoch")),
                **{f"version.{name}": str(version) for name, version in versions.items()},
            },
        )

    return rebuild


def _check_same(config: Values, saved: Values) -> None:
    """Refuse a checkpoint whose config is not the run's."""
    different = [
        key for key in saved if key in config and _plain(config[key]) != _plain(saved[key])
    ]
    if different:
        said = ", ".join(f"{key} is {saved[key]!r}, not {config[key]!r}" for key in different)
        raise ExportError(f"the checkpoint is not of this run's config: {said}")


def _plain(value: Any) -> Any:
    """Return a value as it is after a server had it."""
    return json.loads(json.dumps(value, default=str))
