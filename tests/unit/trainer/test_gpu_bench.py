"""What the benchmark of the trainer on a GPU judges, and what it does without data."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest
import torch

from sweepd.errors import DataError

SCRIPT = Path(__file__).parents[3] / "bench" / "gpu_trainer.py"


@pytest.fixture(scope="module")
def bench():
    spec = importlib.util.spec_from_file_location("gpu_trainer", SCRIPT)
    module = sys.modules["gpu_trainer"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    del sys.modules["gpu_trainer"]


@pytest.mark.parametrize(
    ("seconds", "told", "is_met"),
    [
        pytest.param([0.1, 0.4], {}, True, id="quick"),
        pytest.param([0.2, 0.6], {}, False, id="slow"),
        pytest.param([0.1], {"share_of_steps": 0.019, "bar_share": 0.02}, True, id="small"),
        pytest.param([0.1], {"share_of_steps": 0.03, "bar_share": 0.02}, False, id="large"),
        pytest.param([0.1], {"test_accuracy": 0.95, "bar_accuracy": 0.94}, True, id="accurate"),
        pytest.param([0.1], {"test_accuracy": 0.93, "bar_accuracy": 0.94}, False, id="wrong"),
    ],
)
def test_every_number_that_has_a_bar_is_judged(bench, seconds, told, is_met):
    assert bench.Result("work", seconds, 0.3, told).is_met is is_met


def test_a_work_without_its_data_is_left_out_and_that_is_told(bench, monkeypatch, capsys):
    def absent(device, n):
        raise DataError("fashion_mnist is not in $SWEEP_DATA")

    works = {"fashion": absent, "mnist": lambda device, n: bench.Result("an epoch", [0.1])}
    monkeypatch.setattr(bench, "WORKS", works)
    monkeypatch.setattr(bench, "pick_device", lambda: torch.device("cpu"))
    monkeypatch.setattr(sys, "argv", ["gpu_trainer.py"])

    assert bench.main() == 0

    told = capsys.readouterr()
    assert json.loads(told.out)["work"] == "an epoch"
    assert told.err == "fashion is left out: fashion_mnist is not in $SWEEP_DATA\n"
