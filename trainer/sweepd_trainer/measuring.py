"""What a trial tells the agent that finds out how many to run at once: its speed, its memory."""

import json
import time
from collections.abc import Mapping
from pathlib import Path

from sweepd_trainer.loop import Trainer
from sweepd_trainer.whole_file import whole_file

__all__ = ["MEASURED", "Measuring"]

#: Names the file that a trial writes what it has measured to.
MEASURED = "SWEEPD_MEASURED"
#: The first whole epoch is told for trials that have no other; a second one starts nothing up.
_N_TOLD = 2


class Measuring:
    """Measures the first epochs that one process trains whole, and tells of each.

    Args:
        trainer: what trains.
        environ: the environment; where it names no file nothing is told.
    """

    def __init__(self, trainer: Trainer, environ: Mapping[str, str]) -> None:
        self._trainer = trainer
        self._file = environ.get(MEASURED)
        self._n_told = 0
        self._began_at, self._n_before, self._is_whole = 0.0, 0, False

    def begin(self) -> None:
        """Note that an epoch begins, or goes on from its midst."""
        self._began_at, self._n_before = time.perf_counter(), self._trainer.examples
        self._is_whole = self._trainer.is_between_epochs

    def end(self) -> None:
        """Tell of an epoch whose last step has been done; say so where that fails."""
        if self._file is None or not self._is_whole or self._n_told == _N_TOLD:
            return
        self._n_told += 1
        elapsed_s = max(time.perf_counter() - self._began_at, 1e-9)
        memory = self._trainer.memory
        measured = {
            "rows_per_s": round((self._trainer.examples - self._n_before) / elapsed_s, 3),
            "peak_bytes": memory.reserved(),
            "total_bytes": memory.total(),
        }
        try:
            with whole_file(Path(self._file), prefix=".measured-") as file:
                file.write(json.dumps(measured).encode())
        except OSError as error:
            print(f"the agent is not told what this trial takes: {error}")
