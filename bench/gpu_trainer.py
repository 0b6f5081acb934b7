"""Time the training function on a GPU, after a warm-up.

    python bench/gpu_trainer.py                     all of it, a few minutes on one GPU
    python bench/gpu_trainer.py --only tutorial mnist
    SWEEP_DATA=DIR python bench/gpu_trainer.py --only fashion      needs Fashion-MNIST

Images are random where only time is measured. One line of JSON for each work goes to stdout, to be
quoted with the device's name: seconds, mean ± standard deviation over n repeats, beside the bar.
Exit code 1 where a bar is missed on a CUDA device; without one nothing is judged. A work whose data
are not to be had is left out, with a line on stderr.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from sweepd.errors import DataError
from sweepd_trainer.config import Config, read_config
from sweepd_trainer.data import Data, DataSpec, Rows, load
from sweepd_trainer.device import (
    device_name,
    has_fast_bfloat16,
    let_hurry,
    pick_device,
    seed_everything,
)
from sweepd_trainer.images import image_problem
from sweepd_trainer.loop import Trainer
from sweepd_trainer.models import build_model
from sweepd_trainer.optim import build_optimizer
from sweepd_trainer.watch import Watcher

GREY = DataSpec("noise", tuple("0123456789"), (1, 28, 28), 255.0, (0.1307,), (0.3081,))
COLOUR = DataSpec("noise", tuple("0123456789"), (3, 32, 32), 255.0, (0.5,) * 3, (0.25,) * 3)
TUTORIAL = {"kernels": [16, 32], "batch_size": 128, "learning_rate": 0.005, "epochs": 5}
#: A recipe for Fashion-MNIST that is meant to reach 94 % of the test images.
FASHION = {
    "model": "resnet9",
    "epochs": 15,
    "batch_size": 512,
    "optimizer": "muon",
    "learning_rate": 0.01,
    "weight_decay": 0.05,
    "schedule": "onecycle",
    "label_smoothing": 0.1,
    "shift": 2,
    "flip": True,
    "cutout": 8,
    "ema": 0.99,
}
#: Backwards costs twice what forwards does.
_PASSES = 3


@dataclass(frozen=True)
class Result:
    """Seconds of each repeat, the bar, and whatever else is to be told."""

    work: str
    seconds: list[float]
    bar_s: float | None = None
    told: Mapping[str, Any] | None = None

    def line(self, device: torch.device) -> dict[str, Any]:
        """Return what is printed."""
        several = len(self.seconds) > 1
        return {
            "work": self.work,
            "device": device_name(device),
            "torch": str(torch.__version__),
            "bfloat16": has_fast_bfloat16(device),
            "n": len(self.seconds),
            "seconds_mean": round(statistics.mean(self.seconds), 4),
            "seconds_std": round(statistics.stdev(self.seconds), 4) if several else None,
            "seconds_best": round(min(self.seconds), 4),
            "bar_s": self.bar_s,
            **(self.told or {}),
        }

    @property
    def is_met(self) -> bool:
        """Return whether every number that has a bar is on the right side of it."""
        told = self.told or {}
        is_accurate = told.get("test_accuracy", 1.0) >= told.get("bar_accuracy", 0.0)
        is_small = told.get("share_of_steps", 0.0) <= told.get("bar_share", 1.0)
        is_quick = self.bar_s is None or statistics.mean(self.seconds) <= self.bar_s
        return is_accurate and is_small and is_quick


def noise(spec: DataSpec, count: int, device: torch.device) -> Rows:
    """Return random images and labels."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (count, *spec.shape), generator=generator, dtype=torch.uint8)
    labels = torch.randint(0, len(spec.classes), (count,), generator=generator)
    return Rows(pixels, labels).to(device)


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
            watcher.histograms()
            trainer.evaluate(held_out)


def repeated(
    config: Config, data: Data, device: torch.device, *, n: int, held_out: Rows | None = None
) -> tuple[list[float], Trainer]:
    """Return the seconds of n runs after one that warms up, and the last trainer."""
    seconds = []
    for number in range(n + 1):
        trainer = make(config, data)
        begun = clock(device)
        train(trainer, epochs=config.epochs, held_out=held_out)
        if number:
            seconds.append(clock(device) - begun)
    return seconds, trainer


def tutorial(device: torch.device, n: int) -> Result:
    """Time the tutorial's whole work: 12,000 images, 5 epochs, evaluation in each."""
    train_rows, test_rows = noise(GREY, 12_000, device), noise(GREY, 2_000, device)
    data = Data(train_rows, test_rows, test_rows, GREY)
    seconds, trainer = repeated(read_config(TUTORIAL), data, device, n=n, held_out=test_rows)
    work = "12,000 images x 5 epochs, test of 2,000 and histograms in each"
    return Result(work, seconds, 0.3, {"mode": trainer.mode})


def mnist(device: torch.device, n: int) -> Result:
    """Time one epoch of as many images as MNIST has."""
    rows = noise(GREY, 60_000, device)
    config = read_config({**TUTORIAL, "epochs": 1})
    trainer = make(config, Data(rows, rows, rows, GREY))
    train(trainer, epochs=1)  # warm, and captured
    seconds = []
    for _ in range(n):
        begun = clock(device)
        train(trainer, epochs=1)
        seconds.append(clock(device) - begun)
    told = {"mode": trainer.mode, "us_per_step": round(1e6 * min(seconds) / 469, 1)}
    return Result("one epoch of 60,000 images, convnet, batch 128", seconds, 0.06, told)


def histograms(device: torch.device, n: int) -> Result:
    """Time the histograms of all tensors each 10 steps, as a share of the steps."""
    rows = noise(GREY, 12_800, device)
    trainer = make(read_config({**TUTORIAL, "epochs": 1000}), Data(rows, rows, rows, GREY))
    train(trainer, epochs=2)
    watcher, seconds, shares = Watcher(trainer.model), [], []
    for _ in range(n):
        begun = clock(device)
        train(trainer, epochs=1)
        plain = clock(device) - begun
        begun = clock(device)
        for _ in range(10):
            watcher.histograms()
        seconds.append(clock(device) - begun)
        shares.append(seconds[-1] / plain)
    told = {"share_of_steps": round(statistics.median(shares), 4), "bar_share": 0.02}
    return Result("10 histograms of all tensors, as in 100 steps", seconds, None, told)


def resnet9(device: torch.device, n: int) -> Result:
    """Time one epoch of resnet9 on random images of CIFAR-10's shape, and its rate."""
    count = 50_000 if device.type == "cuda" else 512
    rows = noise(COLOUR, count, device)
    config = read_config(
        {"model": "resnet9", "batch_size": 512, "epochs": 1000, "shift": 2, "flip": True}
    )
    trainer = make(config, Data(rows, rows, rows, COLOUR))
    per_image = _flops(trainer.model, device)
    train(trainer, epochs=1)
    seconds = []
    for _ in range(n):
        begun = clock(device)
        train(trainer, epochs=1)
        seconds.append(clock(device) - begun)
    rate = per_image * _PASSES * count / statistics.mean(seconds)
    told = {"mode": trainer.mode, "teraflops_per_s": round(rate / 1e12, 2)}
    return Result(f"one epoch of {count:,} images of 3x32x32, resnet9", seconds, None, told)


def fashion(device: torch.device, n: int) -> Result:
    """Train resnet9 on Fashion-MNIST; the captured step is warm, as a compiled one would be."""
    data = load("fashion_mnist").to(device)
    assert data.test is not None
    config = read_config(FASHION if device.type == "cuda" else {**FASHION, "width": 4, "epochs": 1})
    train(make(read_config({**config.to_dict(), "epochs": 1}), data), epochs=1)
    seconds, accuracies = [], []
    for seed in range(n):
        trainer = make(read_config({**config.to_dict(), "seed": seed}), data)
        begun = clock(device)
        train(trainer, epochs=config.epochs)
        accuracies.append(trainer.evaluate(data.test).accuracy)
        seconds.append(clock(device) - begun)
    told = {
        "test_accuracy": round(statistics.mean(accuracies), 4),
        "each": [round(accuracy, 4) for accuracy in accuracies],
        "bar_accuracy": 0.94,
    }
    return Result(f"Fashion-MNIST, resnet9, {config.epochs} epochs", seconds, 15.0, told)


def _flops(model: nn.Module, device: torch.device) -> float:
    """Return the floating-point operations of one image, forwards, two for a multiply-add."""
    from torch.utils.flop_counter import FlopCounterMode

    model.eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.zeros(1, *COLOUR.shape, device=device))
    return float(counter.get_total_flops())


WORKS: Mapping[str, Callable[[torch.device, int], Result]] = {
    "tutorial": tutorial,
    "mnist": mnist,
    "histograms": histograms,
    "resnet9": resnet9,
    "fashion": fashion,
}


def main() -> int:
    """Measure, print, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=sorted(WORKS), nargs="+", default=list(WORKS))
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    device = pick_device()
    let_hurry(device)
    is_met = True
    for name in arguments.only:
        try:
            result = WORKS[name](device, arguments.repeats)
        except DataError as error:
            print(f"{name} is left out: {error}", file=sys.stderr, flush=True)
            continue
        print(json.dumps(result.line(device)), flush=True)
        is_met = is_met and (result.is_met or device.type != "cuda")
    return 0 if is_met else 1


if __name__ == "__main__":
    sys.exit(main())
