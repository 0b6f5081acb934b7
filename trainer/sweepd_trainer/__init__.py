"""The training function that the sample definitions share, and `fit`, which trains anything.

Names are loaded when they are asked for: importing the package costs no torch.
"""

from importlib import import_module
from typing import Any

__all__ = ["Data", "Fitted", "Rows", "fit", "rebuilt_by", "split"]

_HOMES = {
    "Data": "sweepd_trainer.data",
    "Fitted": "sweepd_trainer.fitting",
    "Rows": "sweepd_trainer.data",
    "fit": "sweepd_trainer.fitting",
    "rebuilt_by": "sweepd_trainer.rebuilding",
    "split": "sweepd_trainer.data",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
