"""Learning curves of every configuration of a grid, packed into a small file."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from sweepd.spec import Config
from sweepd.spec.reading import read_definition

__all__ = ["N_EPOCHS", "TABLES", "Grid", "Table", "path_of", "save"]

Grid = dict[str, list[Any]]

N_EPOCHS = 27
#: The tables that there are; `curves/tasks.py` says what they are of.
TABLES = ("digits", "fashion")
#: Steps of a file to a factor e, unless it says: 0.5 % each; and what stands for NaN.
_PRECISION, _LOST = 200, 30_000


def path_of(name: str) -> Path:
    """Return the file of a table."""
    return Path(__file__).parents[1] / "results" / f"{name}_curves.npz"


def save(
    path: Path, loss: np.ndarray, *, grid: Grid, seed: int, precision: int = _PRECISION
) -> None:
    """Write losses, shape (rows, epochs): log losses in steps, each less the epoch's before it."""
    known = np.isfinite(loss)
    steps = np.round(precision * np.log(np.where(known, np.maximum(loss, 1e-9), 1.0)))
    steps = np.where(known, steps, _LOST).astype(np.int64)
    high, low = np.divmod(np.diff(steps, axis=1, prepend=0), 256)
    np.savez_compressed(
        path,
        low=low.astype(np.uint8).T,  # by epoch: neighbours are alike
        high=high.astype(np.int16).T,
        grid=np.array(json.dumps(grid)),
        seed=np.array(seed),
        precision=np.array(precision),
    )


class Table:
    """The recorded curves as a finite space, in which every configuration has its own row.

    Args:
        path: what `save` has written.
    """

    def __init__(self, path: Path) -> None:
        held = np.load(path)
        precision = int(held["precision"]) if "precision" in held else _PRECISION
        differences = held["low"].T.astype(np.int64) + 256 * held["high"].T.astype(np.int64)
        steps = np.cumsum(differences, axis=1)
        loss = np.exp(np.where(steps == _LOST, np.nan, steps / precision))
        self.loss = np.round(loss, 6)
        self.grid: Grid = json.loads(str(held["grid"]))
        definition = {
            "method": "bayes",
            "metric": {"name": "loss", "goal": "minimize"},
            "parameters": {name: {"values": values} for name, values in self.grid.items()},
        }
        found = read_definition(json.dumps(definition)).definition
        assert found is not None
        self.space = found.space

    def curve(self, config: Config) -> np.ndarray:
        """Return the validation loss after each epoch, NaN once the net was lost."""
        at = [values.index(config[name]) for name, values in self.grid.items()]
        sizes = [len(values) for values in self.grid.values()]
        return np.asarray(self.loss[np.ravel_multi_index(at, sizes)])
