"""From pixels as they are stored to what a model of images takes, and what it learns."""

import torch
from torch import Tensor, nn

from sweepd_trainer.augment import Augment
from sweepd_trainer.config import Config
from sweepd_trainer.data import Data, DataSpec
from sweepd_trainer.step import Problem
from sweepd_trainer.task import classification

__all__ = ["Normalise", "augmentation", "image_problem"]


class Normalise(nn.Module):  # type: ignore[misc]  # torch is not typed here
    """Makes uint8 images floats of about zero mean and unit variance in each channel."""

    def __init__(self, spec: DataSpec) -> None:
        super().__init__()
        std, mean = torch.tensor(spec.std), torch.tensor(spec.mean)
        self.register_buffer("factor", (1 / (spec.scale * std))[:, None, None], persistent=False)
        self.register_buffer("offset", (mean / std)[:, None, None], persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Return float32 images of the same shape, (n, channels, height, width), channels last."""
        floats = images.float() * self.factor - self.offset
        return floats.contiguous(memory_format=torch.channels_last)


def augmentation(config: Config) -> Augment:
    """Return what the config does to training images."""
    return Augment(shift=config.shift, flip=config.flip, cutout=config.cutout)


def image_problem(data: Data, config: Config) -> Problem:
    """Return what a classifier learns from images, on the device that they are on."""
    assert data.spec is not None, "a data set of images says what they are"
    return Problem(
        data.train,
        classification(config.label_smoothing),
        Normalise(data.spec).to(data.train.inputs.device),
        augmentation(config),
    )
