"""Time the work of W&B's PyTorch tutorial with our training function and with the tutorial's code.

    SWEEP_DATA=DIR python bench/trainer.py      MNIST, 12,000 images, 5 epochs, three times each
    python bench/trainer.py --random            images of noise: needs no data set
    python bench/trainer.py --threads 1 --repeats 5 --json
    python bench/trainer.py --smoke             seconds: fails on errors only

Both run one after the other, in processes of their own, with the same threads, the same images and
a W&B run that is recorded offline. The clock starts when data and libraries are loaded and stops
after the last test; processor time is that of the process and of its loader's workers. Ours
evaluates on as many images as the tutorial tests on. The bars, on 2 cores: at least 1.7 times
faster and at most half of the processor time, where the processor computes in bfloat16. Exit code 1
where one is missed.
"""

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

BAR_WALL, BAR_CPU = 1.7, 2.0
N_TRAIN, N_TEST = 12_000, 2_000
KINDS = ("ours", "tutorial")


def work(kind: str, *, epochs: int, is_random: bool) -> dict[str, float]:
    """Do the work once in this process; return seconds of wall and processor time, and accuracy."""
    import torch
    import wandb

    from sweepd.errors import DataError
    from sweepd_trainer.data import DataSpec, Rows, load
    from training import notebook, ours

    sys.path.insert(0, str(Path(__file__).parents[1] / "trainer"))

    threads = int(os.environ["OMP_NUM_THREADS"])
    torch.set_num_threads(threads)
    if is_random:
        generator = torch.Generator().manual_seed(0)
        pixels = torch.randint(0, 256, (N_TRAIN + N_TEST, 1, 28, 28), generator=generator)
        rows = Rows(pixels.byte(), torch.randint(0, 10, (len(pixels),), generator=generator))
        spec = DataSpec("noise", tuple("0123456789"), (1, 28, 28), 255.0, (0.1307,), (0.3081,))
        trained, tested = (
            rows.take(torch.arange(N_TRAIN)),
            rows.take(torch.arange(N_TRAIN, len(rows))),
        )
    else:
        try:
            data = load("mnist")
        except DataError as error:
            sys.exit(f"{error}; or measure on random images: --random")
        assert data.test is not None
        assert data.spec is not None
        every = torch.arange(0, len(data.train), len(data.train) // N_TRAIN)[:N_TRAIN]
        trained, tested, spec = data.train.take(every), data.test, data.spec
        tested = tested.take(torch.arange(0, len(tested), len(tested) // N_TEST)[:N_TEST])
    run = wandb.init(mode="offline", settings=wandb.Settings(silent=True))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    begun, used = time.perf_counter(), _processor_s()
    if kind == "tutorial":
        accuracy = notebook.train(run, trained, tested, epochs=epochs, device=device)
    else:
        best = ours.train(run, trained, tested, spec, epochs=epochs)
        assert best is not None
        accuracy = best
    found = {
        "wall_s": time.perf_counter() - begun,
        "processor_s": _processor_s() - used,
        "accuracy": accuracy,
    }
    run.finish()
    return found


def _processor_s() -> float:
    """Return the processor time of this process and of its children that have ended."""
    times = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(used.ru_utime + used.ru_stime for used in times)


def measure(kind: str, arguments: argparse.Namespace) -> dict[str, float]:
    """Do the work once in a process of its own."""
    threads = {name: str(arguments.threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    command = [sys.executable, __file__, "--work", kind, "--epochs", str(arguments.epochs)]
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            command + (["--random"] if arguments.random else []),
            env={**os.environ, **threads, "WANDB_DIR": folder, "OMP_WAIT_POLICY": "passive"},
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
    if done.returncode != 0:  # it has said why
        sys.exit(1)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> int:
    """Measure, print, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--random", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--work", choices=KINDS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work:
        found = work(arguments.work, epochs=arguments.epochs, is_random=arguments.random)
        print(json.dumps(found))
        return 0
    if arguments.smoke:
        arguments.random, arguments.repeats, arguments.epochs = True, 1, 1
    from sweepd_trainer.device import has_fast_bfloat16, pick_device

    load = os.getloadavg()[0]
    runs = [{kind: measure(kind, arguments) for kind in KINDS} for _ in range(arguments.repeats)]
    ratios = {
        name: statistics.median(pair["tutorial"][name] / pair["ours"][name] for pair in runs)
        for name in ("wall_s", "processor_s")
    }
    found = {
        "work": f"{N_TRAIN:,} images x {arguments.epochs} epochs, {N_TEST:,} evaluated in each",
        "threads": arguments.threads,
        "bfloat16": has_fast_bfloat16(pick_device()),
        "python": platform.python_version(),
        "load": round(load, 1),
        "ratio": {name: round(value, 2) for name, value in ratios.items()},
        "runs": [
            {kind: {k: round(v, 3) for k, v in one.items()} for kind, one in pair.items()}
            for pair in runs
        ],
    }
    if arguments.json:
        print(json.dumps(found))
    else:
        for pair in runs:
            for kind, one in pair.items():
                print(
                    f"{kind:9s} {one['wall_s']:7.2f} s, {one['processor_s']:7.2f} s of processor "
                    f"time, accuracy {one['accuracy']:.4f}"
                )
        print(
            f"{found['work']}; {arguments.threads} threads, bfloat16 {found['bfloat16']}, load "
            f"{load:.1f}: {ratios['wall_s']:.2f} x faster, {ratios['processor_s']:.2f} x less "
            "processor time (medians)"
        )
    is_met = ratios["wall_s"] >= BAR_WALL and ratios["processor_s"] >= BAR_CPU
    return 0 if is_met or arguments.smoke or not found["bfloat16"] else 1


if __name__ == "__main__":
    sys.exit(main())
