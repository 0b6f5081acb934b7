"""Time the training function on a GPU, after a warm-up.

    python bench/gpu_trainer.py                     all of it, a few minutes on one GPU
    python bench/gpu_trainer.py --only tutorial mnist
    SWEEP_DATA=DIR python bench/gpu_trainer.py --only fashion cifar10     need these data sets
    python bench/gpu_trainer.py --smoke             seconds on a CPU: fails on errors only

Images are random where only time is measured. One line of JSON for each work goes to stdout, to be
quoted with the device's name: seconds, mean ± standard deviation over n repeats, beside the bar.
Exit code 1 where a bar is missed on a CUDA device; without one only a little of each work is done
and nothing is judged. A work whose data are not to be had is left out, with a line on stderr.
"""

import argparse
import json
import os
import socket
import statistics
import sys
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from sweepd.errors import DataError
from sweepd_trainer.config import Config
from sweepd_trainer.data import Data, DataSpec, Rows, load
from sweepd_trainer.device import device_name, let_hurry, pick_device
from sweepd_trainer.flops import count_flops, peak_of
from sweepd_trainer.loop import Trainer
from sweepd_trainer.watch import Taken, Watcher
from training.beside import beside_the_notebook
from training.floors import floors
from training.timed import GREY, TUTORIAL, Bench, Result, clock, make, noise, train

COLOUR = DataSpec("noise", tuple("0123456789"), (3, 32, 32), 255.0, (0.5,) * 3, (0.25,) * 3)
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
#: The same for CIFAR-10, with the augmentation by which David Page's ResNet-9 ("How to train your
#: ResNet", 2018) gets to 94 % in 24 epochs of SGD; more epochs, for nobody has timed these yet.
CIFAR10 = {**FASHION, "epochs": 40, "shift": 4}
_DOWNLOAD_TIMEOUT_S = 20.0
#: What is published of the quickest training to 94 % of CIFAR-10 that tells its FLOPs.
AIRBENCH = {
    "device": "A100",
    "teraflops_per_s": 112.0,
    "share_of_peak": 0.359,
    "source": "github.com/KellerJordan/cifar10-airbench, README at f1c599c: airbench94_muon, "
    "0.29 PFLOP in 2.59 s; 312 TFLOP/s is the peak",
}


def tutorial(bench: Bench) -> Result:
    """Time the tutorial's whole work: 12,000 images, 5 epochs, evaluation in each."""
    config = bench.config(TUTORIAL)
    train_rows, test_rows = (noise(GREY, bench.count(n)) for n in (12_000, 2_000))
    data = Data(train_rows, test_rows, spec=GREY).to(bench.device)
    seconds = []
    for number in range(bench.n + 1):
        trainer = make(config, data)
        begun = clock(bench.device)
        train(trainer, epochs=config.epochs, held_out=data.validation)
        if number:  # the first warms up
            seconds.append(clock(bench.device) - begun)
    told = f"tutorial: {statistics.mean(seconds):.4f} s; now the tutorial's own code"
    print(told, file=sys.stderr, flush=True)  # in case that one fails
    beside = beside_the_notebook(
        train_rows, test_rows, bench, epochs=config.epochs, bare_s=statistics.mean(seconds)
    )
    work = (
        f"{len(train_rows):,} images x {config.epochs} epochs, test of {len(test_rows):,} and "
        "histograms in each"
    )
    return Result(work, seconds, 0.3, {"mode": trainer.mode, **beside})


def mnist(bench: Bench) -> Result:
    """Time one epoch of as many images as MNIST has, and what bounds it."""
    data = _noisy(GREY, 60_000, bench)
    config = bench.config({**TUTORIAL, "epochs": 1})
    trainer = make(config, data)
    seconds = _epochs_s(trainer, bench)
    told = {
        "mode": trainer.mode,
        "us_per_step": round(1e6 * min(seconds) / trainer.steps_per_epoch, 1),
        **floors(trainer, epoch_s=statistics.mean(seconds)),
    }
    work = f"one epoch of {len(data.train):,} images, convnet, batch {config.batch_size}"
    return Result(work, seconds, 0.06, told)


class Watched:
    """Takes a trainer's steps, and begins histograms of all tensors after every few of them.

    Those before are read then, and logged nowhere.

    Args:
        trainer: whose steps.
        every: so many.
    """

    def __init__(self, trainer: Trainer, *, every: int) -> None:
        self._step, self._watcher = trainer._step, Watcher(trainer.model)
        self._every, self._n_steps = every, 0
        self._taken: Taken | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._step, name)

    def __call__(self, batch: Tensor, drawn: Tensor | None) -> None:
        """Take a step."""
        self._step(batch, drawn)
        self._n_steps += 1
        if self._n_steps % self._every == 0:
            if self._taken is not None:
                self._taken.read()
            self._taken = self._watcher.take()


def histograms(bench: Bench) -> Result:
    """Time epochs with histograms of all tensors each 10 steps, beside epochs without any."""
    trainer = make(bench.config({**TUTORIAL, "epochs": 1000}), _noisy(GREY, 64_000, bench))
    plain, watched = trainer._step, Watched(trainer, every=10 if bench.is_judged else 1)
    seconds: dict[Any, list[float]] = {plain: [], watched: []}
    for number in range(2 * bench.n + 1):
        for step, own in seconds.items():
            trainer._step = step
            begun = clock(bench.device)
            train(trainer, epochs=1)
            if number:  # the first ones warm up
                own.append(clock(bench.device) - begun)
    share = statistics.median(seconds[watched]) / statistics.median(seconds[plain]) - 1
    told = {
        "mode": trainer.mode,
        "plain_s": round(statistics.median(seconds[plain]), 4),
        "share_of_steps": round(share, 4),
        "bar_share": 0.02,
    }
    work = f"one epoch of {trainer.steps_per_epoch} steps, histograms of all tensors each 10"
    return Result(work, seconds[watched], None, told)


def resnet9(bench: Bench) -> Result:
    """Time one epoch of resnet9 on random images of CIFAR-10's shape, and its rate."""
    data = _noisy(COLOUR, 50_000, bench)
    values = {"model": "resnet9", "batch_size": 512, "epochs": 1000, "shift": 2, "flip": True}
    trainer = make(bench.config(values), data)
    seconds = _epochs_s(trainer, bench)
    per_image = count_flops(trainer.model, trainer.problem)
    rate = per_image * len(data.train) / statistics.mean(seconds)
    peak = peak_of(device_name(bench.device))
    told = {
        "mode": trainer.mode,
        "gigaflops_per_image": round(per_image / 1e9, 3),
        "teraflops_per_s": round(rate / 1e12, 2),
        "peak_teraflops_per_s": peak / 1e12 if peak else "not known of this device, so no share",
        "share_of_peak": round(rate / peak, 4) if peak else None,
        "airbench": AIRBENCH,
    }
    return Result(
        f"one epoch of {len(data.train):,} images of 3x32x32, resnet9", seconds, None, told
    )


def fashion(bench: Bench) -> Result:
    """Train resnet9 on Fashion-MNIST to 94 % within 15 s; libraries and kernels are warm."""
    data = _whole("fashion_mnist", GREY, bench)
    return _accuracy("Fashion-MNIST", data, bench.config(FASHION), bench, bar_s=15.0)


def cifar10(bench: Bench) -> Result:
    """Train resnet9 on CIFAR-10 to 94 %."""
    data = _whole("cifar10", COLOUR, bench)
    return _accuracy("CIFAR-10", data, bench.config(CIFAR10), bench, bar_s=None)


def _accuracy(
    name: str, data: Data, config: Config, bench: Bench, *, bar_s: float | None
) -> Result:
    """Train and test n times, each with a seed of its own, after an epoch that warms up."""
    assert data.test is not None
    values = config.to_dict()
    train(make(bench.config({**values, "epochs": 1}), data), epochs=1)
    seconds, accuracies = [], []
    for seed in range(bench.n):
        trainer = make(bench.config({**values, "seed": seed}), data)
        begun = clock(bench.device)
        train(trainer, epochs=config.epochs)
        accuracies.append(trainer.evaluate(data.test).accuracy)
        seconds.append(clock(bench.device) - begun)
    told = {
        "mode": trainer.mode,
        "test_accuracy": round(statistics.mean(accuracies), 4),
        "each": [round(accuracy, 4) for accuracy in accuracies],
        "bar_accuracy": 0.94,
    }
    work = f"{name}, {config.model}, {config.epochs} epochs of {len(data.train):,} images"
    return Result(work, seconds, bar_s, told)


def _epochs_s(trainer: Trainer, bench: Bench) -> list[float]:
    """Return the seconds of n epochs, after one in which the step is captured."""
    train(trainer, epochs=1)
    seconds = []
    for _ in range(bench.n):
        begun = clock(bench.device)
        train(trainer, epochs=1)
        seconds.append(clock(bench.device) - begun)
    return seconds


def _noisy(spec: DataSpec, n_images: int, bench: Bench) -> Data:
    rows = noise(spec, bench.count(n_images)).to(bench.device)
    return Data(rows, rows, rows, spec)


def _whole(name: str, shape: DataSpec, bench: Bench) -> Data:
    """Return a data set on the device, all of its training images to learn from.

    The recipe is fixed and nothing is chosen by images that are held out, so that there need not be
    any; the test images are seen once.

    Raises:
        DataError: it is not to be had, in words.
    """
    if bench.is_smoke:
        return _noisy(shape, 1000, bench)
    data = _loaded(name)
    assert data.test is not None
    parts = (data.train, data.validation)
    every = Rows(torch.cat([p.inputs for p in parts]), torch.cat([p.targets for p in parts]))
    few = [rows.take(torch.arange(bench.count(len(rows)))) for rows in (every, data.test)]
    return Data(few[0], few[1], few[1], data.spec).to(bench.device)


def _loaded(name: str) -> Data:
    """Load a data set; where it has to be downloaded, no part of that may keep us waiting."""
    socket.setdefaulttimeout(_DOWNLOAD_TIMEOUT_S)
    try:
        return load(name)
    finally:
        socket.setdefaulttimeout(None)


WORKS: Mapping[str, Callable[[Bench], Result]] = {
    "tutorial": tutorial,
    "mnist": mnist,
    "histograms": histograms,
    "resnet9": resnet9,
    "fashion": fashion,
    "cifar10": cifar10,
}


def main() -> int:
    """Measure, print, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=sorted(WORKS), nargs="+", default=list(WORKS))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--smoke", action="store_true", help="little of each, on the CPU")
    arguments = parser.parse_args()
    if arguments.smoke:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
        torch.set_num_threads(1)
    device = pick_device()
    let_hurry(device)
    bench = Bench(device, 1 if arguments.smoke else arguments.repeats, arguments.smoke)
    lines: list[dict[str, Any]] = []
    for name in arguments.only:
        try:
            result = WORKS[name](bench)
        except DataError as error:
            print(f"{name} is left out: {error}", file=sys.stderr, flush=True)
            continue
        lines.append({"name": name, **result.line(bench)})
        print(json.dumps(lines[-1]), flush=True)
    return 1 if any(line["is_met"] is False for line in lines) else 0


if __name__ == "__main__":
    sys.exit(main())
