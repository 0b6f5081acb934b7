"""How much of what a device can do a training uses: its model FLOP utilisation."""

import copy

import torch
from torch import nn

from sweepd_trainer.device import device_name
from sweepd_trainer.step import Problem

__all__ = ["count_flops", "peak_of", "utilisation"]

#: Dense bfloat16 FLOP/s of devices, by what their names contain, as NVIDIA's data sheets have them.
_PEAKS = {
    "H200 NVL": 835.5e12,
    "H200": 989.4e12,
    "H100 NVL": 835.5e12,
    "H100 PCIe": 756.0e12,
    "H100": 989.4e12,
    "A100": 312.0e12,
    "L40S": 362.05e12,
}
#: Rows of the step that is counted: a norm over a batch needs two, and few fit into any memory.
_N_ROWS = 8


def peak_of(name: str) -> float | None:
    """Return a device's peak in FLOP/s, dense and in bfloat16; None: not known, and not guessed."""
    return next((peak for part, peak in _PEAKS.items() if part in name), None)


def count_flops(model: nn.Module, problem: Problem) -> float:
    """Return the FLOPs of training on one row: forward and backward, a multiply-add counted as two.

    One step of a copy of the model is counted, on the first rows; nothing of the training changes.

    Args:
        model: on the device of the rows.
        problem: what is learnt.
    """
    from torch.utils.flop_counter import FlopCounterMode  # takes long to import: it loads triton

    rows = problem.rows
    device = rows.targets.device
    own = copy.deepcopy(model).train()
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        inputs, targets = rows.inputs[:_N_ROWS], rows.targets[:_N_ROWS]
        with FlopCounterMode(display=False) as counter:
            problem.task.loss(own(problem.prepare(inputs)), targets).backward()
    return float(counter.get_total_flops()) / len(targets)


def utilisation(model: nn.Module, problem: Problem) -> float | None:
    """Return what part of its device's peak training uses at one row a second; None: not known."""
    peak = peak_of(device_name(problem.rows.targets.device))
    return None if peak is None else count_flops(model, problem) / peak
