"""Augmentation of images on the device: moved, mirrored, with a square cut out.

What happens to each image is drawn once an epoch, on the CPU, by the run's own generator: the same
numbers on every device, and no host work in a step.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

__all__ = ["Augment"]


@dataclass(frozen=True)
class Augment:
    """What training images go through.

    Args:
        shift: they move by up to so many pixels, zeros moving in.
        flip: half of them are mirrored.
        cutout: side of a square of zeros somewhere, in pixels; its part outside is lost.
    """

    shift: int = 0
    flip: bool = False
    cutout: int = 0

    def draw(self, inputs: Tensor, generator: torch.Generator) -> Tensor | None:
        """Return what happens to each of n images in an epoch, shape (n, 5), or None: nothing.

        Columns: first row and column to keep of the padded image; whether it is mirrored; row and
        column of the square's centre.
        """
        if not (self.shift or self.flip or self.cutout):
            return None
        height, width = inputs.shape[-2:]
        ends = (2 * self.shift + 1, 2 * self.shift + 1, 2 if self.flip else 1, height, width)
        drawn = [torch.randint(0, end, (len(inputs),), generator=generator) for end in ends]
        return torch.stack(drawn, dim=1).to(inputs.device)

    def __call__(self, inputs: Tensor, drawn: Tensor) -> Tensor:
        """Return images, uint8 (b, c, h, w), each changed as its row of `drawn`, (b, 5), says."""
        images = inputs
        if self.shift or self.flip:
            images = self._move(images, drawn)
        if self.cutout:
            images = images.masked_fill(self._square(images, drawn), 0)
        return images

    def _move(self, images: Tensor, drawn: Tensor) -> Tensor:
        count, channels, height, width = images.shape
        padded = pad(images, (self.shift,) * 4)
        rows = drawn[:, :1] + torch.arange(height, device=images.device)  # (b, h)
        along = torch.arange(width, device=images.device)
        mirrored = torch.where(drawn[:, 2:3] == 1, width - 1 - along, along)  # (b, w)
        columns = drawn[:, 1:2] + mirrored
        of_image = torch.arange(count, device=images.device)[:, None, None, None]
        of_channel = torch.arange(channels, device=images.device)[None, :, None, None]
        return padded[of_image, of_channel, rows[:, None, :, None], columns[:, None, None, :]]

    def _square(self, images: Tensor, drawn: Tensor) -> Tensor:
        """Return where the squares are, shape (b, 1, h, w)."""
        height, width = images.shape[-2:]
        before = self.cutout // 2
        inside = []
        for column, size in ((3, height), (4, width)):
            first = drawn[:, column : column + 1] - before
            along = torch.arange(size, device=images.device)
            inside.append((along >= first) & (along < first + self.cutout))
        return (inside[0][:, :, None] & inside[1][:, None, :])[:, None]
