"""What trials tell the agent that finds out how many to run at once: their speed, their memory."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sweepd_trainer.device import PeakMemory
from sweepd_trainer.loop import Trainer
from sweepd_trainer.pack import Pack
from sweepd_trainer.whole_file import whole_file

__all__ = ["MEASURED", "Measuring", "PackMeasuring"]

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
        n_rows = self._trainer.examples - self._n_before
        work = _Work(n_rows, time.perf_counter() - self._began_at)
        measured = _told(work, self._trainer.memory)
        try:
            with whole_file(Path(self._file), prefix=".measured-") as file:
                file.write(json.dumps(measured).encode())
        except OSError as error:
            print(f"the agent is not told what this trial takes: {error}")


class PackMeasuring:
    """Measures the steps of a pack that start nothing up.

    Left out are the steps before its first report, in which the step is captured and libraries look
    for their best algorithms, and those before the end of its first epoch, whose last batch has
    another size. So a short epoch says nothing, and the second one does; where there is one epoch
    alone, all of it is measured.

    Args:
        pack: which trains.
    """

    def __init__(self, pack: Pack) -> None:
        self._pack, self._lead = pack, pack.trainers[0]
        self._n_reports = self._n_ends = 0
        self._warm, self._cold = _Work(), _Work()
        self._examples, self._at = 0, 0.0

    def begin(self) -> None:
        """Note that an epoch begins, or goes on from its midst."""
        self._examples, self._at = self._lead.examples, time.perf_counter()

    def report(self) -> None:
        """Note that the steps up to a report have been done."""
        now, is_end = time.perf_counter(), self._lead.is_epoch_done
        is_cold = self._n_reports == 0 or (is_end and self._n_ends == 0)
        work = self._cold if is_cold else self._warm
        work.n_rows += (self._lead.examples - self._examples) * len(self._pack.trainers)
        work.seconds += now - self._at
        self._n_reports += 1
        self._n_ends += is_end
        self._examples, self._at = self._lead.examples, now

    def measured(self) -> dict[str, Any] | None:
        """Return what the agent is told, None as long as there is nothing to be told."""
        work = self._warm
        if work.n_rows == 0 and self._lead.config.epochs == 1:
            work = self._cold
        if work.n_rows == 0:
            return None
        return _told(work, self._pack.memory)


@dataclass
class _Work:
    """Rows that were trained on, and for how long."""

    n_rows: int = 0
    seconds: float = 0.0


def _told(work: _Work, memory: PeakMemory) -> dict[str, Any]:
    return {
        "rows_per_s": round(work.n_rows / max(work.seconds, 1e-9), 3),
        "peak_bytes": memory.reserved(),
        "total_bytes": memory.total(),
    }
