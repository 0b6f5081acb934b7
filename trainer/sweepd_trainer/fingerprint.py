"""What data are recognised by: whether an attempt has the rows of the one before.

Whole numbers are the same to the bit. Values may differ in their last digits, as another machine
works them out.
"""

import hashlib
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from sweepd_trainer.data import Data

__all__ = ["fingerprint", "other_part"]

PARTS = ("train", "validation", "test")
#: As many numbers are looked at: of targets, of inputs, and of either where they are values.
_N_TARGETS, _N_INPUTS, _N_VALUES = 1 << 24, 1 << 16, 1 << 10
#: Values of so many rows at least.
_N_ROWS = 64
#: Values are the same that differ by this much of their mean size.
_SAME = 1e-3


def fingerprint(data: Data) -> dict[str, Any]:
    """Return, as plain data, what each part of the data is recognised by."""
    found: dict[str, Any] = {}
    for part in PARTS:
        rows = getattr(data, part)
        found[part] = rows and {
            "inputs": _looks(rows.inputs, _N_INPUTS),
            "targets": _looks(rows.targets, _N_TARGETS),
        }
    return found


def other_part(one: Mapping[str, Any], two: Mapping[str, Any]) -> str | None:
    """Return the first part in which two fingerprints are of other rows; None if in no part."""
    return next((part for part in PARTS if not _is_same(one.get(part), two.get(part))), None)


def _is_same(one: Mapping[str, Any] | None, two: Mapping[str, Any] | None) -> bool:
    if one is None or two is None:
        return one is two
    return all(_look_alike(one[name], two[name]) for name in ("inputs", "targets"))


def _looks(rows: Tensor, limit: int) -> dict[str, Any]:
    """Return the shape of rows, and numbers spread over them or, of whole ones, their hash."""
    if rows.is_complex():
        rows = torch.view_as_real(rows)
    known: dict[str, Any] = {"shape": list(rows.shape)}
    if rows.is_floating_point():
        return {**known, "values": _spread(rows, _N_VALUES).float()}
    content = _spread(rows, limit).contiguous().view(torch.uint8).numpy()
    return {**known, "sha256": hashlib.sha256(content).hexdigest()}


def _spread(rows: Tensor, limit: int) -> Tensor:
    """Return numbers spread over the rows, on the CPU, shape (k,): all, or about `limit`."""
    size = max(1, rows.shape[1:].numel())
    taken = rows[:: max(1, -(-len(rows) // max(_N_ROWS, limit // size)))].cpu()
    flat = taken.reshape(len(taken), size)
    return flat[:, :: max(1, -(-flat.numel() // limit))].reshape(-1)


def _look_alike(one: Mapping[str, Any], two: Mapping[str, Any]) -> bool:
    if (one["shape"], one.get("sha256")) != (two["shape"], two.get("sha256")):
        return False
    if "values" not in one or "values" not in two:
        return "values" not in one and "values" not in two
    mine, other = one["values"].cpu(), two["values"].cpu()
    size = mine[mine.isfinite()].abs().mean().nan_to_num().item()
    return bool(torch.allclose(mine, other, rtol=_SAME, atol=_SAME * size, equal_nan=True))
