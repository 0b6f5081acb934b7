"""The layers of a pack's model, as a GPU computes many of them at once.

K   models;  b   rows;  c   channels that come out
"""

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["as_product", "for_packs"]

#: Numbers that a convolution as a product may lay out for each that comes out.
_MOST_LAID_OUT = 2


def for_packs(model: nn.Module) -> nn.Module:
    """Return a copy of a model, to be called with the weights of any: the same up to rounding.

    In a context of autocast its layers compute in the lower precision, and so does what follows
    them, as they do outside of `vmap`: inside of it torch casts what a convolution multiplies, but
    adds its bias in float32, in which all the rest is computed and kept then. And on a GPU a
    convolution of one channel is a product of matrices: K of them would be one with K groups of
    one channel each, for which there are slow kernels alone.
    """
    own = copy.deepcopy(model)
    for layer in own.modules():
        if type(layer) in _OURS:
            layer.__class__ = _OURS[type(layer)]
    return own


def as_product(
    rows: Tensor, weight: Tensor, bias: Tensor | None, *, stride: int, padding: tuple[int, int]
) -> Tensor:
    """Return the convolution of rows of one channel, (b, 1, h, w), as (b, c, h', w').

    Args:
        rows: what is convolved.
        weight: (c, 1, height, width).
        bias: (c,), or None.
        stride: both ways.
        padding: zeros above and below, and at both sides.
    """
    height, width = weight.shape[-2:]
    padded = F.pad(rows, (padding[1], padding[1], padding[0], padding[0]))
    patches = padded.squeeze(1).unfold(1, height, stride).unfold(2, width, stride)
    return F.linear(patches.flatten(3), weight.flatten(1), bias).movedim(3, 1)


def _lowered(
    rows: Tensor, weight: Tensor, bias: Tensor | None
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return all in the type that autocast asks for here, if it does."""
    kind = rows.device.type
    if not torch.is_autocast_enabled(kind):
        return rows, weight, bias
    lower = torch.get_autocast_dtype(kind)
    return rows.to(lower), weight.to(lower), None if bias is None else bias.to(lower)


class _Conv2d(nn.Conv2d):  # type: ignore[misc]
    def forward(self, input: Tensor) -> Tensor:
        rows, weight, bias = _lowered(input, self.weight, self.bias)
        if rows.is_cuda and rows.dim() == 4 and self._can_be_product():
            assert not isinstance(self.padding, str)
            return as_product(rows, weight, bias, stride=self.stride[0], padding=self.padding)
        return self._conv_forward(rows, weight, bias)

    def _can_be_product(self) -> bool:
        height, width = self.kernel_size
        return (
            self.in_channels == 1
            and self.dilation == (1, 1)
            and self.stride[0] == self.stride[1]
            and self.padding_mode == "zeros"
            and not isinstance(self.padding, str)
            and height * width <= _MOST_LAID_OUT * self.out_channels
        )


class _Linear(nn.Linear):  # type: ignore[misc]
    def forward(self, input: Tensor) -> Tensor:
        return F.linear(*_lowered(input, self.weight, self.bias))


_OURS: dict[type[nn.Module], type[nn.Module]] = {nn.Conv2d: _Conv2d, nn.Linear: _Linear}
