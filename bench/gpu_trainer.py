"""Time the notebook's work, 12,000 training images for 5 epochs, after a warm-up.

    python bench/gpu_trainer.py              on the first CUDA device, else on the CPU
    python bench/gpu_trainer.py --repeats 9

The images are random: only time is measured, so no data set and no network is needed. One line of
JSON goes to stdout: device, versions, n, mean ± standard deviation.
"""

import argparse
import json
import statistics
import time

import torch

from sweepd_trainer.config import Config, read_config
from sweepd_trainer.data import Data, DataSpec, Rows
from sweepd_trainer.device import device_name, has_fast_bfloat16, pick_device, seed_everything
from sweepd_trainer.images import image_problem
from sweepd_trainer.loop import Trainer
from sweepd_trainer.models import build_model
from sweepd_trainer.optim import build_optimizer
from sweepd_trainer.watch import Watcher

N_TRAIN, N_TEST = 12_000, 2_000
SPEC = DataSpec("random", tuple("0123456789"), (1, 28, 28), 255.0, (0.1307,), (0.3081,))
NOTEBOOK = {"kernels": [16, 32], "batch_size": 128, "learning_rate": 0.005, "epochs": 5}


def random_images(count: int, device: torch.device) -> Rows:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (count, *SPEC.shape), generator=generator, dtype=torch.uint8)
    labels = torch.randint(0, 10, (count,), generator=generator)
    return Rows(pixels, labels).to(device)


def time_run(config: Config, train: Rows, test: Rows, device: torch.device) -> float:
    """Return the seconds that one run takes: training, a histogram and a test each epoch."""
    order = seed_everything(config.seed)
    model = build_model(SPEC, config).to(device, memory_format=torch.channels_last)
    optimizer = build_optimizer(model, config)
    problem = image_problem(Data(train, test, test, SPEC), config)
    trainer = Trainer(model, optimizer, problem, config=config, order=order)
    watcher = Watcher(model)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    started = time.perf_counter()
    for _ in range(config.epochs):
        for _ in trainer.epoch():
            pass
        trainer.end_epoch()
        watcher.histograms()
        trainer.evaluate(test)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    device = pick_device()
    config = read_config(NOTEBOOK)
    train, test = random_images(N_TRAIN, device), random_images(N_TEST, device)
    time_run(read_config({**NOTEBOOK, "epochs": 1}), train, test, device)
    times = [time_run(config, train, test, device) for _ in range(repeats)]
    mean = statistics.mean(times)
    print(
        json.dumps(
            {
                "work": "12,000 images x 5 epochs + test of 2,000 and histograms each epoch",
                "device": device_name(device),
                "torch": str(torch.__version__),
                "bfloat16": has_fast_bfloat16(device),
                "n": repeats,
                "seconds_mean": round(mean, 4),
                "seconds_std": round(statistics.stdev(times), 4) if repeats > 1 else None,
                "seconds_best": round(min(times), 4),
                "samples_per_s": round(N_TRAIN * config.epochs / mean),
            }
        )
    )


if __name__ == "__main__":
    main()
