"""What runs on a machine with a GPU that has torch, numpy and pytest, and nothing of ours."""

import os
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
OURS = {"sweepd", "sweepd_agent", "sweepd_trainer"}
#: Leaves modules, and our folders, out of what the code that comes after it can find.
WITHOUT = """
import sys
from importlib.machinery import PathFinder

find = PathFinder.find_spec

def find_known(cls, name, path=None, target=None):
    return None if name.partition(".")[0] in {unknown} else find(name, path, target)

PathFinder.find_spec = classmethod(find_known)
sys.path[:] = [path for path in sys.path if path not in {folders}]
"""
TESTS = """
import pytest
options = ["-o", "addopts=", "-o", "filterwarnings=default", "--import-mode=importlib", "-q"]
sys.exit(pytest.main([*options, "-p", "no:cacheprovider", "tests/gpu"]))
"""
BENCHMARKS = """
sys.path[:0] = ["service", "trainer", "bench"]  # as bench/gpu_all.py has it
import gpu_packs, gpu_trainer
"""


def plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def unknown_modules() -> set[str]:
    """Return what is installed here, not ours, and not needed by torch, numpy or pytest."""
    there, asked = set(), ["torch", "numpy", "pytest"]
    while asked:
        name = plain(asked.pop())
        if name in there:
            continue
        there.add(name)
        try:
            needed = metadata.requires(name) or []
        except metadata.PackageNotFoundError:  # of another platform
            continue
        asked += [re.split(r"[^\w.-]", line)[0] for line in needed if "extra ==" not in line]
    owners = metadata.packages_distributions()
    return {m for m, names in owners.items() if not there & set(map(plain, names))} - OURS


@pytest.mark.parametrize("program", [TESTS, BENCHMARKS], ids=["tests/gpu", "bench"])
def test_torch_numpy_and_pytest_are_enough(program):
    unknown = unknown_modules()
    assert {"wandb", "yaml", "sklearn", "torchvision"} <= unknown
    folders = [str(ROOT / name) for name in ("service", "agent", "trainer")]
    environment = {
        **os.environ,
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "PYTHONPATH": "",
    }

    done = subprocess.run(
        [sys.executable, "-c", WITHOUT.format(unknown=unknown, folders=folders) + program],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )

    assert done.returncode == 0, done.stdout
    assert program is BENCHMARKS or re.search(r"^\d+ skipped", done.stdout, re.MULTILINE)
