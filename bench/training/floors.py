"""How quickly an epoch of the tutorial's network could go on a device: what bounds it.

No epoch is quicker than its arithmetic at the device's peak, nor than reading each image once. Two
more bounds hold as long as kernels are what they are: the reads and writes of layers that are not
fused, and launching the kernels of each step as one CUDA graph. Peaks come from data sheets;
bandwidth and launches are measured here. A fifth number is the captured step of the trainer by
itself, replayed as often as the epoch does.
"""

import time
from typing import Any

import torch

from sweepd_trainer.device import device_name
from sweepd_trainer.flops import count_flops, peak_of
from sweepd_trainer.loop import Trainer

__all__ = ["floors"]

#: An image as it is stored, read once, with all else in the cache.
_BYTES_FUSED = 28 * 28
#: Reads and writes of each layer's tensors in bfloat16, forward and backward, one after the other,
#: with the biases in their convolutions: the tutorial's layers, in its order, for one image.
_BYTES_BY_LAYER = 326_000
#: Kernels of a step of the tutorial's network, about.
_N_KERNELS = 25
_N_REPLAYS = 200


def floors(trainer: Trainer, *, epoch_s: float) -> dict[str, Any]:
    """Return each bound in milliseconds an epoch, and how many times as long an epoch has taken.

    The trainer is of no use afterwards. A bound is None where it cannot be told.

    Args:
        trainer: that has been trained for some epochs.
        epoch_s: what an epoch has taken.
    """
    rows = trainer.problem.rows
    device, n_images, n_steps = rows.targets.device, len(rows), trainer.steps_per_epoch
    peak = peak_of(device_name(device))
    bytes_per_s = bandwidth(device)
    kernels_s, replay_s = None, None
    if device.type == "cuda":
        kernels_s = _mean_s(_graph_of_small_kernels(device))
        captured = getattr(trainer._step, "_graph", None)
        replay_s = None if captured is None else _mean_s(captured)
    seconds = {
        "arithmetic": peak and count_flops(trainer.model, trainer.problem) * n_images / peak,
        "each_image_once": _BYTES_FUSED * n_images / bytes_per_s,
        "layer_by_layer": _BYTES_BY_LAYER * n_images / bytes_per_s,
        "launches": kernels_s and kernels_s * n_steps,
        "captured_steps": replay_s and replay_s * n_steps,
    }
    return {
        "floors_ms": {name: s and round(1000 * s, 3) for name, s in seconds.items()},
        "times_its_floor": {name: s and round(epoch_s / s, 2) for name, s in seconds.items()},
        "peak_teraflops_per_s": peak and peak / 1e12,
        "gigabytes_per_s": round(bytes_per_s / 1e9, 1),
    }


def bandwidth(device: torch.device) -> float:
    """Return bytes read and written a second by copying a tensor that no cache holds: the best."""
    size = 1 << (30 if device.type == "cuda" else 22)
    source = torch.zeros(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    best = float("inf")
    for _ in range(5):
        _wait(device)
        begun = time.perf_counter()
        for _ in range(4):
            target.copy_(source)
        _wait(device)
        best = min(best, (time.perf_counter() - begun) / 4)
    return 2 * size / best


def _graph_of_small_kernels(device: torch.device) -> "torch.cuda.CUDAGraph":
    """Return a graph of as many kernels as a step has, each of which adds to one number."""
    number, stream = torch.zeros(1, device=device), torch.cuda.Stream()
    with torch.cuda.stream(stream):
        number.add_(1)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, pool=torch.cuda.graph_pool_handle(), stream=stream):
        for _ in range(_N_KERNELS):
            number.add_(1)
    return graph


def _mean_s(graph: "torch.cuda.CUDAGraph") -> float:
    """Return the seconds of a replay, one right after the other."""
    graph.replay()
    torch.cuda.synchronize()
    begun = time.perf_counter()
    for _ in range(_N_REPLAYS):
        graph.replay()
    torch.cuda.synchronize()
    return (time.perf_counter() - begun) / _N_REPLAYS


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
