"""Time packs of trials on a GPU beside the same trials one after another.

    python bench/gpu_packs.py                       packs of 1 to 64, a few minutes on one GPU
    python bench/gpu_packs.py --sizes 1 8           these alone
    python bench/gpu_packs.py --device cpu --smoke  little work, to see that it runs

Each trial does the work of W&B's PyTorch tutorial: 12,000 images for 5 epochs, with a test of 2,000
and histograms in each; the images are random, learning rates and seeds differ. Packs of one size
and trials by themselves take turns, after one of either that warms up. One line of JSON for each
size is printed and appended to packs.jsonl in the folder $OUT, or else in bench/results:
milliseconds a trial, mean ± standard deviation, throughput over that of trials by themselves, peak
memory, the device.
"""

import argparse
import json
import os
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from gpu_trainer import GREY, TUTORIAL, clock, make, noise, train
from sweepd_trainer.config import Config, read_config
from sweepd_trainer.data import Data
from sweepd_trainer.device import device_name, has_fast_bfloat16, let_hurry, pick_device
from sweepd_trainer.pack import Pack
from sweepd_trainer.watch import Watcher

RESULTS = Path(os.environ.get("OUT") or Path(__file__).parent / "results") / "packs.jsonl"
SIZES = (1, 2, 4, 8, 16, 32, 64)


def configs(size: int, *, epochs: int) -> list[Config]:
    """Return the configs of a pack: rates from 0.001 to 0.01, and a seed each."""
    rates = [0.001 * 10 ** (number / max(1, size - 1)) for number in range(size)]
    return [
        read_config({**TUTORIAL, "epochs": epochs, "learning_rate": rate, "seed": seed})
        for seed, rate in enumerate(rates)
    ]


def pack_s(own: Sequence[Config], data: Data, device: torch.device) -> tuple[float, str]:
    """Return the seconds of training a pack, and how its steps ran."""
    trainers = [make(config, data) for config in own]
    begun = clock(device)
    pack, watcher = Pack(trainers), Watcher()
    for _ in range(own[0].epochs):
        for _ in pack.epoch():
            pass
        watcher.of([trainer.model for trainer in trainers])
        pack.evaluate(data.validation)
        for trainer in trainers:
            trainer.end_epoch()
    return clock(device) - begun, pack.mode


def alone_s(config: Config, data: Data, device: torch.device) -> float:
    """Return the seconds of training one trial by itself."""
    trainer = make(config, data)
    begun = clock(device)
    train(trainer, epochs=config.epochs, held_out=data.validation)
    return clock(device) - begun


def measure(
    size: int, data: Data, device: torch.device, *, epochs: int, repeats: int
) -> dict[str, Any]:
    """Return the line of one size."""
    own = configs(size, epochs=epochs)
    packed, alone, mode = [], [], ""
    peak = None
    for number in range(repeats + 1):
        one = alone_s(own[number % size], data, device)
        if device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(device)
        together, mode = pack_s(own, data, device)
        if device.type == "cuda":
            peak = torch.cuda.max_memory_reserved(device)
        if number:  # the first warms up
            alone.append(one)
            packed.append(together)
    each = [1000 * seconds / size for seconds in packed]
    return {
        "work": f"{len(data.train):,} images x {epochs} epochs, convnet, batch 128",
        "trials": size,
        "device": device_name(device),
        "torch": str(torch.__version__),
        "bfloat16": has_fast_bfloat16(device),
        "mode": mode,
        "n": repeats,
        "ms_per_trial_mean": round(statistics.mean(each), 2),
        "ms_per_trial_std": round(statistics.stdev(each), 2) if repeats > 1 else None,
        "ms_alone_mean": round(1000 * statistics.mean(alone), 2),
        "throughput_ratio": round(statistics.mean(alone) * size / statistics.mean(packed), 3),
        "peak_bytes": peak,
        "load": round(os.getloadavg()[0], 1),
    }


def main() -> int:
    """Measure, print and append."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--smoke", action="store_true", help="little work; nothing is appended")
    options = parser.parse_args()
    device = torch.device("cpu") if options.device == "cpu" else pick_device()
    if device.type != options.device:
        parser.error("there is no CUDA device here; --device cpu runs without one")
    let_hurry(device)
    n_images, n_test, epochs = (12_000, 2_000, 5) if not options.smoke else (512, 128, 1)
    sizes, repeats = (options.sizes, options.repeats) if not options.smoke else ([1, 3], 1)
    held_out = noise(GREY, n_test, device)
    data = Data(noise(GREY, n_images, device), held_out, held_out, GREY)
    for size in sizes:
        line = json.dumps(measure(size, data, device, epochs=epochs, repeats=repeats))
        print(line, flush=True)
        if not options.smoke:
            RESULTS.parent.mkdir(parents=True, exist_ok=True)
            with RESULTS.open("a") as file:
                file.write(line + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
