"""The tests of the trainer on CUDA: they need torch, numpy and pytest, and no installation of ours.

    python -m pytest -o addopts= -o filterwarnings=default --import-mode=importlib tests/gpu

On a machine that has only those three, `-o` leaves out what pyproject.toml asks of plugins. A test
that needs more skips itself, `pytest.importorskip("wandb")`: `test_bare_machine.py` keeps it so.
"""

import sys
from pathlib import Path

_ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(_ROOT / "service"), str(_ROOT / "trainer"), str(Path(__file__).parent)]
