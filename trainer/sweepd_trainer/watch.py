"""Histograms of weights and gradients under wandb.watch's own keys, at a fraction of its cost.

wandb.watch reads every tensor back several times, each a wait for the device. Here all weights and
gradients are binned together, in a few operations that a GPU does beside the next steps. One small
tensor is copied to the host, and read when the device has been waited for anyway.

S   tensors;  R   rows of `_ROW` numbers, each of one tensor: a tensor's last one is filled up
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

__all__ = ["Histogram", "Taken", "Watcher"]

#: A power of two: dividing by it does not round.
_N_BINS = 64
#: Of a table of counts: the bins, then the largest number, then what is not finite.
_N_COLUMNS = _N_BINS + 2
#: Numbers that have counters of their own, so that few of them meet at one.
_ROW = 1024
#: Numbers that are looked at at a time, each about 24 bytes; fewer where memory is short.
_SIZES = (1 << 22, 1 << 17)


@dataclass(frozen=True)
class Histogram:
    """Counts, shape (bins,), and edges, shape (bins + 1,), as `wandb.Histogram(np_histogram=…)`."""

    counts: NDArray[np.int64]
    edges: NDArray[np.float64]


@dataclass(frozen=True)
class Taken:
    """Histograms of several models at one moment, which the device may still be counting.

    Args:
        names: of each model's tensors.
        numbers: the lowest of each tensor, the highest, the counts, end to end; on the host.
        wait: returns when they have come.
    """

    names: Sequence[Sequence[str]]
    numbers: Tensor
    wait: Callable[[], None] = lambda: None

    def read(self) -> list[dict[str, Histogram]]:
        """Return the histograms of each model, by name."""
        self.wait()
        n = sum(len(own) for own in self.names)
        bounds, table = self.numbers[: 2 * n].numpy(), self.numbers[2 * n :].numpy()
        low, high = bounds.view(np.float32).astype(np.float64).reshape(2, n)
        made = iter(_histograms(low, high, table.reshape(n, _N_COLUMNS)))
        pairs = [[(name, next(made)) for name in own] for own in self.names]
        return [{name: found for name, found in own if found is not None} for own in pairs]


class Watcher:
    """Takes histograms of models' weights and of the gradients that their last step left.

    It needs up to a hundred MB of the device for a moment. Where they are not to be had there are
    no histograms that time, which is told once.

    Args:
        models: those of `take` and `histograms`, unless others are named.
        tell: is told in words.
    """

    def __init__(self, *models: nn.Module, tell: Callable[[str], None] = print) -> None:
        self._models, self._tell = models, tell
        self._has_told = False
        self._layout: _Layout | None = None
        self._stream: torch.cuda.Stream | None = None

    def histograms(self) -> dict[str, Histogram]:
        """Return `parameters/<name>` and, where a gradient is there, `gradients/<name>`.

        Bins are even between a tensor's smallest and largest finite value; what is not finite is
        left out, as wandb.watch does. A tensor without a finite value has no histogram.
        """
        return self.take().read()[0]

    def take(self, models: Sequence[nn.Module] | None = None) -> Taken:
        """Begin the histograms of models as they are now, whatever becomes of them.

        On a GPU nothing is waited for: what is returned is for later, when the device has been
        waited for.
        """
        named = [_named(model) for model in (self._models if models is None else models)]
        tensors = [tensor for own in named for _, tensor in own]
        for size in _SIZES if tensors else ():
            try:
                numbers, wait = self._begin(tensors, size)
                return Taken([[name for name, _ in own] for own in named], numbers, wait)
            except torch.OutOfMemoryError as error:
                reason = str(error).strip().splitlines()[0]
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
        if tensors and not self._has_told:
            self._has_told = True
            self._tell(f"no histograms where memory is short: {reason}")
        return Taken([[] for _ in named], torch.zeros(0, dtype=torch.int32))

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def _begin(self, tensors: Sequence[Tensor], size: int) -> tuple[Tensor, Callable[[], None]]:
        """Begin to count; return where the numbers come to, on the host, and what waits for them.

        One portion is copied, and counted beside what the device does next; several it reads one
        after the other, before that.
        """
        device = tensors[0].device
        form = (tuple(tensor.numel() for tensor in tensors), device, size)
        if self._layout is None or self._layout.form != form:
            self._layout = _Layout(*form)
        layout = self._layout
        if device.type != "cuda":
            return layout.count(tensors), lambda: None
        stream, copied = torch.cuda.current_stream(device), None
        if layout.is_one_portion:
            copied = layout.values(tensors, 0)
            self._stream = self._stream or torch.cuda.Stream(device)
            self._stream.wait_stream(stream)
            copied.record_stream(self._stream)
            stream = self._stream
        with torch.cuda.stream(stream):
            counted = layout.count(tensors, copied)
            numbers = torch.empty(counted.shape, dtype=counted.dtype, pin_memory=True)
            numbers.copy_(counted, non_blocking=True)
            has_come = torch.cuda.Event()
            has_come.record(stream)
        return numbers, has_come.synchronize


class _Layout:
    """Where tensors lie in rows, and what is counted of them.

    Args:
        sizes: how many numbers each tensor has, (S,); none is empty.
        device: theirs.
        size: numbers that are looked at at a time.
    """

    def __init__(self, sizes: tuple[int, ...], device: torch.device, size: int) -> None:
        self.form = (sizes, device, size)
        self._device, self._n_tensors = device, len(sizes)
        self._n_rows = np.array([-(-n // _ROW) for n in sizes])
        self._portions = list(_portions(sizes, max(1, size // _ROW)))
        self._filling = torch.full((_ROW,), torch.inf, device=device)

    @property
    def is_one_portion(self) -> bool:
        """Return whether all numbers are looked at at once."""
        return len(self._portions) == 1

    @cached_property
    def _tables(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return what is the same each time; it is made where it is used, in a GPU's order.

        The tensor of each row, (R,); where each tensor's rows begin, and all end, (S + 1,); where
        the counters of each row of a portion begin, (rows, 1); one.
        """
        n_rows = max(sum(_n_rows(part) for _, part in portion) for portion in self._portions)
        tables = (
            np.repeat(np.arange(self._n_tensors), self._n_rows),
            np.concatenate([[0], self._n_rows.cumsum()]),
            np.arange(n_rows)[:, None] * _N_COLUMNS,
            np.ones(1, dtype=np.int32),
        )
        owners, begins, counters, one = (torch.from_numpy(t).to(self._device) for t in tables)
        return owners, begins, counters, one

    def values(self, tensors: Sequence[Tensor], number: int) -> Tensor:
        """Return a copy of a portion of the tensors' numbers, (rows, _ROW)."""
        pieces: list[Tensor] = []
        for place, part in self._portions[number]:
            pieces.append(_flat(tensors[place])[part].float())
            n_missing = (part.start - part.stop) % _ROW
            if n_missing:
                pieces.append(self._filling[:n_missing])
        return _joined(pieces)

    def count(self, tensors: Sequence[Tensor], copied: Tensor | None = None) -> Tensor:
        """Return the lowest of each tensor, the highest and the counts, end to end, as int32.

        Args:
            tensors: of this layout.
            copied: their values, where they are one portion and there already.
        """
        owners, begins, _, _ = self._tables
        if copied is None and self.is_one_portion:
            copied = self.values(tensors, 0)
        once = None if copied is None else _finite(copied)
        lows, highs = [], []
        for values in self._all(tensors, once):
            lows.append(values.amin(1))
            highs.append(values.nan_to_num(posinf=-torch.inf).amax(1))
        low, high = (
            torch.segment_reduce(
                rows[0] if once is not None else torch.cat(rows), kind, offsets=begins, unsafe=True
            )
            for rows, kind in ((lows, "min"), (highs, "max"))
        )
        limits = torch.finfo(low.dtype)
        width = (high - low).clamp_(limits.tiny, limits.max).div_(_N_BINS)
        counts = low.new_zeros((self._n_tensors, _N_COLUMNS), dtype=torch.int32)
        first = 0
        for values in self._all(tensors, once):
            part = owners[first : first + len(values)]
            self._add(counts, values, part, low=low[part], width=width[part])
            first += len(values)
        return torch.cat([low.view(torch.int32), high.view(torch.int32), counts.view(-1)])

    def _all(self, tensors: Sequence[Tensor], once: Tensor | None) -> Iterator[Tensor]:
        """Yield each portion, with infinity for what is not finite."""
        if once is not None:
            yield once
            return
        for number in range(len(self._portions)):
            yield _finite(self.values(tensors, number))

    def _add(
        self, counts: Tensor, values: Tensor, owners: Tensor, *, low: Tensor, width: Tensor
    ) -> None:
        """Add a portion, (rows, _ROW), to the counts of each tensor, (S, columns).

        Of each row are known its tensor, the lowest number of that, and how wide a bin of it is.
        """
        _, _, counters, one = self._tables
        columns = (values - low[:, None]).div_(width[:, None])
        columns.nan_to_num_(nan=0.0, posinf=_N_COLUMNS - 1, neginf=0.0)
        places = columns.long().add_(counters[: len(values)]).view(-1)
        own = counts.new_zeros(len(values) * _N_COLUMNS)
        own.scatter_add_(0, places, one.expand(len(places)))
        counts.index_add_(0, owners, own.view(len(values), _N_COLUMNS))


def _named(model: nn.Module) -> list[tuple[str, Tensor]]:
    """Return what there are histograms of: weights that are trained, and their gradients."""
    weights = [(n, w) for n, w in model.named_parameters() if w.requires_grad and w.numel()]
    gradients = [(f"gradients/{n}", w.grad) for n, w in weights if w.grad is not None]
    return [*((f"parameters/{n}", w.detach()) for n, w in weights), *gradients]


def _portions(sizes: Sequence[int], n_rows: int) -> Iterator[list[tuple[int, slice]]]:
    """Yield what to look at at a time: parts of tensors, of so many rows together at most.

    Args:
        sizes: how many numbers each tensor has.
        n_rows: of a portion.
    """
    portion: list[tuple[int, slice]] = []
    n_left = n_rows
    for place, size in enumerate(sizes):
        first = 0
        while first < size:
            part = slice(first, min(size, first + n_left * _ROW))
            portion.append((place, part))
            first, n_left = part.stop, n_left - _n_rows(part)
            if n_left == 0:
                yield portion
                portion, n_left = [], n_rows
    if portion:
        yield portion


def _n_rows(part: slice) -> int:
    """Return how many rows part of a tensor takes."""
    return -int((part.start - part.stop) // _ROW)


def _finite(values: Tensor) -> Tensor:
    """Return values in place, with infinity for all that is not finite."""
    return values.nan_to_num_(nan=torch.inf, posinf=torch.inf, neginf=torch.inf)


def _flat(tensor: Tensor) -> Tensor:
    """Return a tensor's numbers end to end, in any order: a view if they lie without gaps."""
    if tensor.is_contiguous():
        return tensor.view(-1)
    return tensor.permute(sorted(range(tensor.ndim), key=tensor.stride, reverse=True)).reshape(-1)


def _joined(pieces: Sequence[Tensor]) -> Tensor:
    return torch.cat(list(pieces)).view(-1, _ROW)


def _histograms(
    low: NDArray[np.float64], high: NDArray[np.float64], table: NDArray[np.int32]
) -> list[Histogram | None]:
    """Return the histogram of each tensor, None of those without a finite number.

    Known are the bounds of what is finite, (S,), and how many are in each column, (S, columns).
    """
    counts = table[:, :_N_BINS].astype(np.int64)
    counts[:, -1] += table[:, _N_BINS]
    is_finite, is_wide = np.isfinite(low), np.isfinite(low) & (low < high)
    edges = np.zeros((len(low), _N_BINS + 1))
    edges[is_wide] = np.linspace(low[is_wide], high[is_wide], _N_BINS + 1, axis=1)
    found: list[Histogram | None] = []
    for row in range(len(low)):
        if not is_finite[row]:
            found.append(None)
        elif is_wide[row]:
            found.append(Histogram(counts[row], edges[row]))
        else:  # as wandb.watch: all values are equal, one bin says so
            found.append(Histogram(counts[row].sum(keepdims=True), np.array([low[row], high[row]])))
    return found
