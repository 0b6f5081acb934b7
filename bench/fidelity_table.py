"""Train every configuration of a small net once, and record its learning curve.

    python bench/fidelity_table.py            # bench/results/digits_curves.npz, resumable
    python bench/fidelity_table.py fashion    # another task: fashion_curves.npz
    python bench/fidelity_table.py --check    # trains the last of its nets again and compares

Fashion-MNIST is read from $SWEEP_DATA/FashionMNIST/raw, and downloaded if it is nowhere.

The space is a grid, so that a search over it is a search of a finite space: what a method suggests
is a row of the table, and nothing need be rounded to one. Each row is the validation loss after
each of 27 epochs; a net that diverged has NaN from there on.
"""

import argparse
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from curves.nets import train
from curves.table import Table, path_of, save
from curves.tasks import TASKS, Task
from sweepd.errors import DataError


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the table, or check it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("task", nargs="?", choices=list(TASKS), default="digits")
    parser.add_argument("--table", type=Path, help="another file")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--backwards", action="store_true", help="from the end: a second process")
    options = parser.parse_args(arguments)
    task, path = TASKS[options.task], options.table or path_of(options.task)
    torch.set_num_threads(1)
    try:
        return check(task, path) if options.check else make(task, path, options.backwards)
    except DataError as error:
        print(error, file=sys.stderr)
        return error.exit_code


def make(task: Task, path: Path, backwards: bool) -> int:
    """Train what is not in the folder of parts yet; write the table once all is."""
    parts = path.with_suffix(".parts")
    images, started, groups = task.images(), time.process_time(), list(task.groups())
    parts.mkdir(parents=True, exist_ok=True)
    for number, members in reversed(groups) if backwards else groups:
        part = parts / f"{number}.npy"
        if not part.exists():
            np.save(part, train(task, members, images, number))
            print(f"part {number}, {time.process_time() - started:.0f} s of CPU", flush=True)
    table = np.concatenate([np.load(parts / f"{number}.npy") for number, _ in groups])
    save(path, table, grid=task.grid, seed=task.seed, precision=task.precision)
    shutil.rmtree(parts, ignore_errors=True)
    size, n_lost = path.stat().st_size, int(np.isnan(table[:, -1]).sum())
    print(f"{path}: {len(table)} nets, {n_lost} of them lost, {size} bytes")
    return 0


def check(task: Task, path: Path) -> int:
    """Return 0 if the last group's nets come out as recorded, 1 if not."""
    number, members = list(task.groups())[-1]
    found = train(task, members, task.images(), number)
    same = np.isclose(Table(path).loss[-len(found) :], found, rtol=6e-3, equal_nan=True).mean()
    print(f"{100 * same:.1f} % of the last {len(found)} nets' losses are as recorded")
    return 0 if same > 0.95 else 1


if __name__ == "__main__":
    sys.exit(main())
