"""The models: each a function of what the data look like and the config.

A model takes normalised float images of shape (n, channels, height, width) and returns logits of
shape (n, classes).
"""

from collections.abc import Callable
from itertools import pairwise

from torch import nn

from sweepd.names import MODELS
from sweepd.registry import Registry
from sweepd_trainer.config import Config
from sweepd_trainer.data import DataSpec

__all__ = ["build_model", "convnet", "mlp"]


def build_model(spec: DataSpec, config: Config) -> nn.Module:
    """Return the config's model for the data that `spec` describes, with fresh weights.

    Raises:
        UnknownName: there is no such model.
    """
    build: Callable[[DataSpec, Config], nn.Module] = Registry("model", MODELS).load(config.model)
    return build(spec, config)


def convnet(spec: DataSpec, config: Config) -> nn.Module:
    """Return two convolutions of 5x5, each with a pooling by two, and a linear head.

    `config.kernels` gives the channels of the two. The images are at least 4x4.
    """
    channels, height, width = spec.shape
    first, second = config.kernels
    return nn.Sequential(
        nn.Conv2d(channels, first, kernel_size=5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(first, second, kernel_size=5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Dropout(config.dropout),
        nn.Linear(second * (height // 4) * (width // 4), len(spec.classes)),
    )


def mlp(spec: DataSpec, config: Config) -> nn.Module:
    """Return fully connected layers of the widths in `config.hidden` and a linear head."""
    channels, height, width = spec.shape
    widths = (channels * height * width, *config.hidden)
    hidden = [
        part for n_in, n_out in pairwise(widths) for part in (nn.Linear(n_in, n_out), nn.ReLU())
    ]
    head = nn.Linear(widths[-1], len(spec.classes))
    return nn.Sequential(nn.Flatten(), *hidden, nn.Dropout(config.dropout), head)
