"""A run's whole state, to go on from in another process, maybe on another machine.

It is a file of the run: whoever takes the run over gets it from the server. Weights, optimiser,
random numbers, the order of the rows, what was logged: on a CPU the resumed run ends with the same
bits.
"""

import hashlib
import json
import random
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
import wandb

from sweepd.errors import DataError, InvalidInput
from sweepd_trainer.checkpoint import Best, load_plain, write_plain
from sweepd_trainer.config import Training
from sweepd_trainer.data import Data
from sweepd_trainer.fingerprint import fingerprint, other_part
from sweepd_trainer.loop import Trainer
from sweepd_trainer.tracking import Log, after_finish

__all__ = ["RESUME", "Resumable"]

#: The run file's name. It begins like a checkpoint's: the service removes it with those.
RESUME = "checkpoint-resume.pt"
VERSION = 1
#: What may differ between two attempts of one run.
_FREE = frozenset({"checkpoint_s", "cuda_graph", "deterministic", "stop_diverged"})


class Resumable:
    """Saves a run's state now and then, and takes it up again.

    Args:
        run: whose file it becomes.
        trainer, best, log: whose state it is.
        config: how the model is trained; a state of another one is refused.
        data: what it trains on; a state of other rows is refused.
        values: the run's whole config.
        clock: seconds.
    """

    def __init__(
        self,
        run: wandb.Run,
        *,
        trainer: Trainer,
        best: Best,
        log: Log,
        config: Training,
        data: Data,
        values: Mapping[str, Any],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._run, self._trainer, self._best, self._log = run, trainer, best, log
        self._every_s, self._clock = config.checkpoint_s, clock
        self._config, self._data = _hash(values), data
        self._path = Path(run.dir) / RESUME
        self._saved_at, self._is_saved = clock(), False

    def save_if_due(self) -> None:
        """Save the state if the last one is `checkpoint_s` old."""
        if self._clock() - self._saved_at >= self._every_s:
            self.save()

    def save(self) -> None:
        """Save the state, and send it to the server in the background."""
        content = {
            "version": VERSION,
            "config": self._config,
            "rows": self._rows,
            "trainer": self._trainer.state_dict(),
            "random": _random_state(),
            "best": self._best.content(),
            "log": self._log.state_dict(),
        }
        write_plain(self._path, content)
        self._run.save(str(self._path), base_path=self._run.dir, policy="now")
        self._saved_at, self._is_saved = self._clock(), True

    @cached_property
    def _rows(self) -> dict[str, Any]:
        return fingerprint(self._data)

    def take_up(self) -> bool:
        """Go on from the state that an earlier attempt left; return whether there was one.

        Raises:
            InvalidInput: the state is that of another config.
            DataError: it is damaged, or the rows or the model's code have changed.
        """
        if not self._run.resumed:
            return False
        with tempfile.TemporaryDirectory() as folder:
            path = _fetch(self._run, Path(folder))
            if path is None:
                return False
            device = next(self._trainer.model.parameters()).device
            state = load_plain(path, device=device)
        if state.get("version") != VERSION:
            raise DataError(f"{RESUME} has the format {state.get('version')}, not {VERSION}")
        if state.get("config") != self._config:
            raise InvalidInput(
                f"{RESUME} of the run {self._run.id} is of another config, which cannot be resumed"
            )
        self._is_saved = True
        try:
            self._check_rows(state.get("rows"))
            self._trainer.load_state_dict(state["trainer"])
            if state["best"] is not None:
                self._best.put_back(state["best"])
            _set_random_state(state["random"])
            self._log.load_state_dict(state["log"])
        except DataError as error:
            raise DataError(f"{RESUME} of the run {self._run.id}: {error}") from error
        except (AttributeError, KeyError, TypeError, RuntimeError) as error:
            raise DataError(f"{RESUME} of the run {self._run.id} is incomplete: {error}") from error
        return True

    def _check_rows(self, saved: Mapping[str, Any] | None) -> None:
        """Refuse other rows than those of a state; one of an earlier version does not tell."""
        part = None if saved is None else other_part(saved, self._rows)
        if part is not None:
            raise DataError(
                f"its {part} rows are not those of this attempt: a split or a draw must be the "
                "same each time, by a seed of its own"
            )

    def clear(self) -> None:
        """Remove the state once it has arrived, on the server too: the run is over."""
        path = None if self._run.offline or self._run.disabled else self._run.path
        if self._is_saved:
            after_finish(self._run, lambda: self._remove(path))

    def _remove(self, run_path: str | None) -> None:
        self._path.unlink(missing_ok=True)
        if run_path is None:
            return
        try:
            with _as_served(run_path) as run:
                for file in run.files(names=[RESUME]):
                    file.delete()
        except (wandb.Error, ValueError, OSError) as error:
            print(f"{RESUME} stays on the server, which does no harm: {error}")


def _fetch(run: wandb.Run, folder: Path) -> Path | None:
    """Return the state that the server has, None if it has none."""
    with _as_served(run.path) as served:
        for file in served.files(names=[RESUME]):
            if file.size:
                file.download(root=str(folder), replace=True)
                return folder / RESUME
    return None


@contextmanager
def _as_served(run_path: str) -> Iterator[Any]:
    """Read a run from the server, without the folders that the client makes for it.

    They are ENTITY/PROJECT/RUN beside the program, empty, and not used.
    """
    run = wandb.Api().run(run_path)
    try:
        yield run
    finally:
        made = Path(run.dir)
        with suppress(OSError):  # another trial's are in it, or something of the user's
            for folder in (made, *made.parents[:2]):
                folder.rmdir()


def _hash(values: Mapping[str, Any]) -> str:
    kept = {key: value for key, value in values.items() if key not in _FREE and key[:1] != "_"}
    return hashlib.sha256(json.dumps(kept, sort_keys=True, default=str).encode()).hexdigest()


def _random_state() -> dict[str, Any]:
    """Return the state of python's, numpy's and torch's random numbers as plain data."""
    name, keys, *rest = np.random.get_state()
    return {
        "python": random.getstate(),
        "numpy": (name, torch.from_numpy(np.array(keys, dtype=np.int64)), *rest),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state() if torch.cuda.is_available() else None,
    }


def _set_random_state(state: Mapping[str, Any]) -> None:
    random.setstate(state["python"])
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, keys.cpu().numpy().astype(np.uint32), *rest))
    torch.set_rng_state(state["torch"].cpu())
    if state["cuda"] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"].cpu())
