"""The models: each a function of what the data look like and the config.

A model takes normalised float images of shape (n, channels, height, width) and returns logits of
shape (n, classes).
"""

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn

from sweepd.errors import InvalidInput
from sweepd.names import MODELS
from sweepd.registry import Registry
from sweepd_trainer.config import Config
from sweepd_trainer.data import DataSpec

__all__ = ["build_model", "convnet", "lenet", "mlp", "resnet9", "resnet18"]


def build_model(spec: DataSpec, config: Config) -> nn.Module:
    """Return the config's model for the data that `spec` describes, with fresh weights.

    Raises:
        UnknownName: there is no such model.
        InvalidInput: torchvision has no such model, or the model cannot take images of this size.
    """
    form, _, name = config.model.partition(":")
    if name and form == "torchvision":
        model = _from_torchvision(name, spec)
    else:
        build: Callable[[DataSpec, Config], nn.Module]
        build = Registry("model", MODELS).load(config.model)
        model = build(spec, config)
    _try(model, spec, config.model)
    return model


def _try(model: nn.Module, spec: DataSpec, name: str) -> None:
    """Refuse a model that cannot take one image of these."""
    is_training = model.training
    try:
        with torch.no_grad():
            logits = model.eval()(torch.zeros(1, *spec.shape))
    except (RuntimeError, AssertionError, ValueError, IndexError) as error:
        channels, height, width = spec.shape
        reason = str(error).strip().splitlines()[0] if str(error).strip() else "it fails"
        raise InvalidInput(
            f"{name} cannot take images of {height}x{width} with {channels} channels: {reason}"
        ) from error
    finally:
        model.train(is_training)
    if tuple(logits.shape) != (1, len(spec.classes)):
        raise InvalidInput(
            f"{name} returns {tuple(logits.shape)} for one image of {len(spec.classes)} classes"
        )


def convnet(spec: DataSpec, config: Config) -> nn.Module:
    """Return two convolutions of 5x5, each with a pooling by two, and a linear head.

    `config.kernels` gives the channels of the two. The images are at least 4x4.
    """
    channels, height, width = spec.shape
    first, second = config.kernels
    return nn.Sequential(
        nn.Conv2d(channels, first, kernel_size=5, padding=2),
        nn.MaxPool2d(2),
        nn.ReLU(),  # after the pooling: the same numbers, a quarter of the work
        nn.Conv2d(first, second, kernel_size=5, padding=2),
        nn.MaxPool2d(2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Dropout(config.dropout),
        nn.Linear(second * (height // 4) * (width // 4), len(spec.classes)),
    )


def lenet(spec: DataSpec, config: Config) -> nn.Module:
    """Return LeNet-5 as it is built today: two convolutions with poolings, three linear layers.

    Images of 28x28 get a border of two pixels, by which both they and those of 32x32 are 5x5 after
    the second pooling, as in the paper. Smaller ones, of at least 4x4, get what they need.

    Source: LeCun et al. 1998, "Gradient-based learning applied to document recognition", figure 2,
    with max pooling and ReLU for subsampling and tanh.
    """
    channels, *sides = spec.shape
    border = 0 if min(sides) >= 32 else 2
    inner = 0 if min(sides) >= 12 else 2
    height, width = (((side + 2 * border - 4) // 2 + 2 * inner - 4) // 2 for side in sides)
    return nn.Sequential(
        *(nn.Conv2d(channels, 6, kernel_size=5, padding=border), nn.MaxPool2d(2), nn.ReLU()),
        *(nn.Conv2d(6, 16, kernel_size=5, padding=inner), nn.MaxPool2d(2), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(16 * height * width, 120), nn.ReLU()),
        *(nn.Linear(120, 84), nn.ReLU(), nn.Dropout(config.dropout)),
        nn.Linear(84, len(spec.classes)),
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


def resnet9(spec: DataSpec, config: Config) -> nn.Module:
    """Return a ResNet of nine layers for small images, of at least 8x8: quick and accurate.

    Two of its three stages have a residual block of two convolutions. `config.width` gives the
    channels of the first layer; they double in each stage.

    Source: the shape is that of David Page, "How to train your ResNet", 2018.
    """
    width = config.width
    return nn.Sequential(
        _convolution(spec.shape[0], width),
        *(_convolution(width, 2 * width), nn.MaxPool2d(2)),
        _Residual(nn.Sequential(*(_convolution(2 * width, 2 * width) for _ in range(2)))),
        *(_convolution(2 * width, 4 * width), nn.MaxPool2d(2)),
        *(_convolution(4 * width, 8 * width), nn.MaxPool2d(2)),
        _Residual(nn.Sequential(*(_convolution(8 * width, 8 * width) for _ in range(2)))),
        *(_GlobalMax(), nn.Flatten(), nn.Dropout(config.dropout)),
        nn.Linear(8 * width, len(spec.classes)),
    )


def resnet18(spec: DataSpec, config: Config) -> nn.Module:
    """Return ResNet-18 with the first layer that small images need: 3x3, no pooling after it.

    `config.width` gives the channels of the first stage, which double in each of the others.

    Source: He et al. 2015, arXiv:1512.03385, table 1; the first layer as in its section 4.2.
    """
    widths = [config.width << stage for stage in range(4)]
    blocks = [
        _basic_block(n_in, n_out, stride=2 if is_first and stage else 1)
        for stage, (before, n_out) in enumerate(pairwise((widths[0], *widths)))
        for n_in, is_first in ((before, True), (n_out, False))
    ]
    return nn.Sequential(
        _convolution(spec.shape[0], widths[0]),
        *blocks,
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(config.dropout)),
        nn.Linear(widths[-1], len(spec.classes)),
    )


class _Residual(nn.Module):  # type: ignore[misc]  # torch is not typed here
    """Adds what a block makes of its input to a shortcut of it."""

    def __init__(
        self,
        block: nn.Module,
        *,
        shortcut: nn.Module | None = None,
        after: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.block = block
        self.shortcut = shortcut or nn.Identity()
        self.after = after or nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.after(self.shortcut(x) + self.block(x))


class _GlobalMax(nn.Module):  # type: ignore[misc]  # torch is not typed here
    """Returns the largest number of each channel, (n, c, 1, 1)."""

    def forward(self, x: Tensor) -> Tensor:
        if torch.are_deterministic_algorithms_enabled():  # the usual one's gradient is not, on CUDA
            return x.amax((2, 3), keepdim=True)
        return nn.functional.adaptive_max_pool2d(x, 1)


def _convolution(n_in: int, n_out: int, *, stride: int = 1) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(n_in, n_out, kernel_size=3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(n_out),
        nn.ReLU(),
    )


def _basic_block(n_in: int, n_out: int, *, stride: int) -> nn.Module:
    block = nn.Sequential(
        _convolution(n_in, n_out, stride=stride),
        nn.Conv2d(n_out, n_out, kernel_size=3, padding=1, bias=False),
        nn.BatchNorm2d(n_out),
    )
    shortcut = None
    if stride != 1 or n_in != n_out:
        shortcut = nn.Sequential(
            nn.Conv2d(n_in, n_out, kernel_size=1, stride=stride, bias=False),
            nn.BatchNorm2d(n_out),
        )
    return _Residual(block, shortcut=shortcut, after=nn.ReLU())


def _from_torchvision(name: str, spec: DataSpec) -> nn.Module:
    """Return torchvision's model with fresh weights; grey images become three equal channels."""
    from torchvision import models

    known = models.list_models(module=models)
    if name not in known:
        raise InvalidInput(f"torchvision has no classifier {name!r}, but {', '.join(known)}")
    more = {"init_weights": True} if name in ("googlenet", "inception_v3") else {}
    if more:
        more["aux_logits"] = False
    model = models.get_model(name, weights=None, num_classes=len(spec.classes), **more)
    return nn.Sequential(_Colours(), model) if spec.shape[0] == 1 else model


class _Colours(nn.Module):  # type: ignore[misc]  # torch is not typed here
    """Repeats a grey image's one channel three times."""

    def forward(self, x: Tensor) -> Tensor:
        return x.expand(-1, 3, -1, -1)
