"""How training rows come to the device: they lie there, or come from the host as they are needed.

n   rows;  b   rows of a batch
"""

import os
from collections.abc import Iterator, Sequence
from typing import Protocol

import torch
from torch import Tensor

from sweepd_trainer.data import Data, Rows

__all__ = ["Feed", "Resident", "Streamed", "has_room"]

#: Batches of which the device has the rows at once: the one at hand, and those that come next.
_N_SLOTS = 4
#: Data may take so much of the memory that is free.
_SHARE = 0.3


def has_room(data: Data, device: torch.device, *, room_bytes: int | None = None) -> bool:
    """Return whether data are to lie on a device, where a batch needs no copy.

    Args:
        data: on the host, or there already.
        device: that is to train; the memory of a CPU is the host's.
        room_bytes: that they may take; None is 30 % of what is free.
    """
    parts = [rows for rows in (data.train, data.validation, data.test) if rows is not None]
    if room_bytes is None:
        if device.type != "cuda" or data.train.targets.is_cuda:
            return True
        free, total = torch.cuda.mem_get_info(device)
        own = float(os.environ.get("SWEEPD_MEMORY_FRACTION") or 1) * total  # `pick_device` read it
        room_bytes = int(_SHARE * min(free, own))
    n_bytes = sum(int(rows.inputs.nbytes + rows.targets.nbytes) for rows in parts)
    return n_bytes <= room_bytes


class Feed(Protocol):
    """Gives the rows of one batch after the other.

    Attributes:
        rows: on the device; what is given are places in these.
    """

    rows: Rows

    def batches(
        self, order: Tensor, drawn: Tensor | None, places: Sequence[slice]
    ) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Yield where the rows of each batch lie, (b,), and how all rows are augmented.

        Args:
            order: of the rows in an epoch, (n,), on the CPU.
            drawn: how each row is augmented, (n, …), where the rows are; None: not at all.
            places: of the batches in that order.
        """
        ...


class Resident:
    """Rows that lie on the device, all of them.

    Args:
        rows: of the training.
    """

    def __init__(self, rows: Rows) -> None:
        self.rows = rows

    def batches(
        self, order: Tensor, drawn: Tensor | None, places: Sequence[slice]
    ) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Yield each batch, as `Feed` does."""
        order = order.to(self.rows.targets.device)
        for place in places:
            yield order[place], drawn


class Streamed:
    """Rows on the host, of which the device has those of the batch at hand and of the next few.

    They are gathered into pinned memory and copied while the device computes. Their places on the
    device stay the same, so that a CUDA graph finds them.

    Args:
        rows: of the training, on the host.
        device: that trains.
        size: rows of the largest batch.
    """

    def __init__(self, rows: Rows, device: torch.device, *, size: int) -> None:
        self._host, self._device, self._size = rows, device, size
        self.rows = Rows(self._ring(rows.inputs), self._ring(rows.targets))
        self._drawn: Tensor | None = None
        self._places = torch.arange(_N_SLOTS * size, device=device)
        self._staged: dict[tuple[int, int], Tensor] = {}
        if device.type == "cuda":
            self._stream = torch.cuda.Stream(device)
            self._copied = [torch.cuda.Event() for _ in range(_N_SLOTS)]
            self._used = [torch.cuda.Event() for _ in range(_N_SLOTS)]

    def batches(
        self, order: Tensor, drawn: Tensor | None, places: Sequence[slice]
    ) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Yield each batch, as `Feed` does, when its rows are there for what is computed next."""
        if drawn is not None and self._drawn is None:
            self._drawn = self._ring(drawn)
        pairs = [(self._host.inputs, self.rows.inputs), (self._host.targets, self.rows.targets)]
        if drawn is not None and self._drawn is not None:
            pairs.append((drawn, self._drawn))
        if self._device.type == "cuda":
            self._stream.wait_stream(torch.cuda.current_stream())
        n_ahead = _N_SLOTS - 1
        for number, place in enumerate(places[:n_ahead]):
            self._fill(number, order[place], pairs)
        for number, place in enumerate(places):
            if number + n_ahead < len(places):
                index = order[places[number + n_ahead]]
                self._fill((number + n_ahead) % _N_SLOTS, index, pairs)
            slot = number % _N_SLOTS
            if self._device.type == "cuda":
                torch.cuda.current_stream().wait_event(self._copied[slot])
            first = slot * self._size
            try:
                given = None if drawn is None or self._drawn is None else self._drawn[:]
                yield self._places[first : first + len(order[place])], given
            finally:
                if self._device.type == "cuda":
                    self._used[slot].record()

    def _ring(self, like: Tensor) -> Tensor:
        """Return room for the rows of all slots, on the device."""
        shape = (_N_SLOTS * self._size, *like.shape[1:])
        return torch.zeros(shape, dtype=like.dtype, device=self._device)

    def _fill(self, slot: int, index: Tensor, pairs: Sequence[tuple[Tensor, Tensor]]) -> None:
        """Bring the rows at `index`, (b,), into a slot, once what was in it has been used."""
        place = slice(slot * self._size, slot * self._size + len(index))
        if self._device.type != "cuda":
            for source, ring in pairs:
                torch.index_select(source, 0, index, out=ring[place])
            return
        self._copied[slot].synchronize()  # what was staged for this slot before has gone
        for number, (source, _) in enumerate(pairs):
            torch.index_select(
                source, 0, index, out=self._stage(slot, number, source)[: len(index)]
            )
        with torch.cuda.stream(self._stream):
            self._stream.wait_event(self._used[slot])
            for number, (_, ring) in enumerate(pairs):
                ring[place].copy_(self._staged[slot, number][: len(index)], non_blocking=True)
            self._copied[slot].record(self._stream)

    def _stage(self, slot: int, number: int, like: Tensor) -> Tensor:
        """Return pinned memory for the rows of a slot, made at the first use."""
        if (slot, number) not in self._staged:
            shape = (self._size, *like.shape[1:])
            self._staged[slot, number] = torch.empty(shape, dtype=like.dtype, pin_memory=True)
        return self._staged[slot, number]
