"""What the benchmarks of the trainer on a GPU share: noise to train on, the clock, what is told."""

import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from sweepd_trainer.config import Config, read_config
from sweepd_trainer.data import Data, DataSpec, Rows
from sweepd_trainer.device import device_name, has_fast_bfloat16, seed_everything
from sweepd_trainer.images import image_problem
from sweepd_trainer.loop import Trainer
from sweepd_trainer.models import build_model
from sweepd_trainer.optim import build_optimizer
from sweepd_trainer.watch import Watcher

__all__ = ["GREY", "TUTORIAL", "Bench", "Result", "clock", "make", "noise", "train"]

GREY = DataSpec("noise", tuple("0123456789"), (1, 28, 28), 255.0, (0.1307,), (0.3081,))
TUTORIAL = {"kernels": [16, 32], "batch_size": 128, "learning_rate": 0.005, "epochs": 5}
#: Of work that is only to be seen to run: images, and what stands in for a config's values.
_N_FEW = 80
_LITTLE = {"epochs": 1, "batch_size": 32, "width": 4}
#: What is judged, by what: numbers that are to be at least, and at most, as large as their bars.
_AT_LEAST = {"test_accuracy": "bar_accuracy", "throughput_ratio": "bar_ratio"}
_AT_MOST = {"share_of_steps": "bar_share", "seconds_mean": "bar_s"}


@dataclass(frozen=True)
class Bench:
    """Where and how much is measured.

    Args:
        device: in use.
        n: repeats.
        is_smoke: little of everything, on noise, to see that it runs.
    """

    device: torch.device
    n: int
    is_smoke: bool = False

    @property
    def is_judged(self) -> bool:
        """Return whether all of the work is done, on a GPU; without one little of it is."""
        return self.device.type == "cuda" and not self.is_smoke

    def count(self, n_images: int) -> int:
        """Return how many images to take in place of so many."""
        return n_images if self.is_judged else min(n_images, _N_FEW)

    def config(self, values: Mapping[str, Any]) -> Config:
        """Return the config of these values, or of little work."""
        return read_config(values if self.is_judged else {**values, **_LITTLE})


@dataclass(frozen=True)
class Result:
    """Seconds of each repeat, the bar, and whatever else is to be told."""

    work: str
    seconds: list[float]
    bar_s: float | None = None
    told: Mapping[str, Any] | None = None

    def line(self, bench: Bench) -> dict[str, Any]:
        """Return what is printed; `is_met` is None where nothing is judged."""
        several = len(self.seconds) > 1
        return {
            "work": self.work,
            "device": device_name(bench.device),
            "torch": str(torch.__version__),
            "bfloat16": has_fast_bfloat16(bench.device),
            "n": len(self.seconds),
            "seconds_mean": round(statistics.mean(self.seconds), 4),
            "seconds_std": round(statistics.stdev(self.seconds), 4) if several else None,
            "seconds_best": round(min(self.seconds), 4),
            "bar_s": self.bar_s,
            **(self.told or {}),
            "is_met": self.is_met if bench.is_judged else None,
        }

    @property
    def is_met(self) -> bool:
        """Return whether every number that has a bar is on the right side of it."""
        told = {"seconds_mean": statistics.mean(self.seconds), "bar_s": self.bar_s}
        told |= self.told or {}
        pairs = [(told[name], told[bar]) for name, bar in _AT_LEAST.items() if bar in told]
        pairs += [
            (told[bar], told[name]) for name, bar in _AT_MOST.items() if told.get(bar) is not None
        ]
        return all(more >= less for more, less in pairs)


def noise(spec: DataSpec, count: int) -> Rows:
    """Return random images and labels, in the host's memory."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (count, *spec.shape), generator=generator, dtype=torch.uint8)
    return Rows(pixels, torch.randint(0, len(spec.classes), (count,), generator=generator))


def make(config: Config, data: Data) -> Trainer:
    """Return a trainer of the config's model on data that are on their device."""
    assert data.spec is not None
    order = seed_everything(config.seed)
    model = build_model(data.spec, config).to(data.train.inputs.device)
    model = model.to(memory_format=torch.channels_last)
    optimizer = build_optimizer(model, config)
    return Trainer(model, optimizer, image_problem(data, config), config=config, order=order)


def clock(device: torch.device) -> float:
    """Return the time when the device is done, in seconds."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def train(trainer: Trainer, *, epochs: int, held_out: Rows | None = None) -> None:
    """Train, with a histogram and an evaluation after each epoch if there is something held out."""
    watcher = Watcher(trainer.model)
    for _ in range(epochs):
        for _ in trainer.epoch():
            pass
        trainer.end_epoch()
        if held_out is not None:
            taken = watcher.take()
            trainer.evaluate(held_out)
            taken.read()
