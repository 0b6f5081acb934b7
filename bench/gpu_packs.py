"""Time packs of trials on a GPU beside the same trials one after another.

    python bench/gpu_packs.py                       packs of 1 to 64, a few minutes on one GPU
    python bench/gpu_packs.py --sizes 1 8           these alone
    python bench/gpu_packs.py --smoke               seconds on a CPU: fails on errors only

Each trial does the work of W&B's PyTorch tutorial: 12,000 images for 5 epochs, with a test of 2,000
and histograms in each; the images are random, learning rates and seeds differ. Packs of one size
and trials by themselves take turns, after one of either that warms up. One line of JSON for each
size is printed and appended to packs.jsonl in the folder $OUT, or else in bench/results:
milliseconds a trial, mean ± standard deviation, throughput over that of trials by themselves, peak
memory, the device. The bar, on a CUDA device: 32 trials together at 8 times the throughput of one
after another, or else exit code 1.
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

from sweepd_trainer.config import Config
from sweepd_trainer.data import Data
from sweepd_trainer.device import device_name, has_fast_bfloat16, let_hurry, pick_device
from sweepd_trainer.pack import Pack
from sweepd_trainer.watch import Watcher
from training.timed import GREY, TUTORIAL, Bench, clock, make, noise, train

RESULTS = Path(os.environ.get("OUT") or Path(__file__).parent / "results") / "packs.jsonl"
SIZES = (1, 2, 4, 8, 16, 32, 64)
#: By the size of a pack, how many times the throughput of trials one after another it is to have.
BARS = {32: 8.0}


def configs(size: int, bench: Bench) -> list[Config]:
    """Return the configs of a pack: rates from 0.001 to 0.01, and a seed each."""
    rates = [0.001 * 10 ** (number / max(1, size - 1)) for number in range(size)]
    return [
        bench.config({**TUTORIAL, "learning_rate": rate, "seed": seed})
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
        taken = watcher.take([trainer.model for trainer in trainers])
        pack.evaluate(data.validation)
        taken.read()
        for trainer in trainers:
            trainer.end_epoch()
    return clock(device) - begun, pack.mode


def alone_s(config: Config, data: Data, device: torch.device) -> float:
    """Return the seconds of training one trial by itself."""
    trainer = make(config, data)
    begun = clock(device)
    train(trainer, epochs=config.epochs, held_out=data.validation)
    return clock(device) - begun


def is_met(size: int, ratio: float, bench: Bench) -> bool | None:
    """Return whether a pack has the throughput that it is to have; None: it is not judged."""
    return ratio >= BARS[size] if size in BARS and bench.is_judged else None


def measure(size: int, data: Data, bench: Bench) -> dict[str, Any]:
    """Return the line of one size."""
    own, device = configs(size, bench), bench.device
    packed, alone, mode = [], [], ""
    peak = None
    for number in range(bench.n + 1):
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
    ratio = statistics.mean(alone) * size / statistics.mean(packed)
    return {
        "work": f"{len(data.train):,} images x {own[0].epochs} epochs, convnet, "
        f"batch {own[0].batch_size}",
        "trials": size,
        "device": device_name(device),
        "torch": str(torch.__version__),
        "bfloat16": has_fast_bfloat16(device),
        "mode": mode,
        "n": bench.n,
        "ms_per_trial_mean": round(statistics.mean(each), 2),
        "ms_per_trial_std": round(statistics.stdev(each), 2) if bench.n > 1 else None,
        "ms_alone_mean": round(1000 * statistics.mean(alone), 2),
        "throughput_ratio": round(ratio, 3),
        "bar_ratio": BARS.get(size),
        "peak_bytes": peak,
        "load": round(os.getloadavg()[0], 1),
        "is_met": is_met(size, ratio, bench),
    }


def main() -> int:
    """Measure, print, append, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--smoke", action="store_true", help="little work, on the CPU")
    options = parser.parse_args()
    if options.smoke:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
        torch.set_num_threads(1)
    device = pick_device()
    if device.type != "cuda" and not options.smoke:
        parser.error("there is no CUDA device here; --smoke runs without one")
    let_hurry(device)
    sizes, repeats = (options.sizes, options.repeats) if not options.smoke else ([1, 3], 1)
    bench = Bench(device, repeats, options.smoke)
    held_out = noise(GREY, bench.count(2_000)).to(device)
    data = Data(noise(GREY, bench.count(12_000)).to(device), held_out, held_out, GREY)
    verdicts = []
    for size in sizes:
        found = measure(size, data, bench)
        verdicts.append(found["is_met"])
        line = json.dumps(found)
        print(line, flush=True)
        if not options.smoke:
            RESULTS.parent.mkdir(parents=True, exist_ok=True)
            with RESULTS.open("a") as file:
                file.write(line + "\n")
    return 1 if False in verdicts else 0


if __name__ == "__main__":
    sys.exit(main())
