"""How much of what a device can do a training uses: its model FLOP utilisation."""

import copy
import re
from collections.abc import Callable

import torch
from torch import nn

from sweepd_trainer.device import device_name, has_fast_bfloat16, untuned
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
#: Rows of the step that is counted, at most: few fit into any memory.
_N_ROWS = 8


def peak_of(name: str) -> float | None:
    """Return a device's peak in FLOP/s, dense and in bfloat16; None: not known, and not guessed.

    A MIG slice has a part of its GPU's peak, of which its name does not tell all.
    """
    if re.search(r"\bMIG\b", name):
        return None
    return next((peak for part, peak in _PEAKS.items() if re.search(rf"\b{part}\b", name)), None)


def count_flops(model: nn.Module, problem: Problem, *, n_rows: int = _N_ROWS) -> float:
    """Return the FLOPs of training on one row: forward and backward, a multiply-add counted as two.

    One step of a copy of the model is counted, on the first rows, computed as in training; nothing
    of the training changes.

    Args:
        model: on the device of the rows.
        problem: what is learnt.
        n_rows: of that step.
    """
    from torch.utils.flop_counter import FlopCounterMode  # takes long to import: it loads triton

    rows = problem.rows
    device = rows.targets.device
    own = copy.deepcopy(model).train()
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        inputs, targets = rows.inputs[:n_rows], rows.targets[:n_rows]
        with untuned(), FlopCounterMode(display=False) as counter:
            with torch.autocast(device.type, torch.bfloat16, enabled=has_fast_bfloat16(device)):
                outputs = own(problem.prepare(inputs))
            problem.task.loss(outputs, targets).backward()
    return float(counter.get_total_flops()) / len(targets)


def utilisation(
    model: nn.Module, problem: Problem, *, batch_size: int, tell: Callable[[str], None] = print
) -> float | None:
    """Return what part of its device's peak training uses at one row a second; None: not known.

    Args:
        model: on the device of the rows.
        problem: what is learnt.
        batch_size: of training; a model may want no more rows, and a norm over a batch wants two.
        tell: is told in words why a model cannot be counted.
    """
    peak = peak_of(device_name(problem.rows.targets.device))
    if peak is None:
        return None
    n_rows = min(_N_ROWS, max(2, batch_size))
    try:
        return count_flops(model, problem, n_rows=n_rows) / peak
    except Exception as error:  # whatever a copy of any model may raise: it ends no trial
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        tell(f"perf/mfu is not logged, the model's FLOPs cannot be counted: {reason}")
        return None
