"""What a trial tells of its speed and its memory, in a file that SWEEPD_MEASURED names."""

import json
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from sweepd_trainer import Rows, fit, measuring, split
from sweepd_trainer.measuring import Measuring


class FakeTrainer:
    """A trainer of a GPU, as far as it is measured."""

    examples = 0
    is_between_epochs = True
    memory = SimpleNamespace(reserved=lambda: 3 << 30, total=lambda: 80 << 30)


@pytest.fixture
def told(tmp_path):
    """Read what was told."""
    file = tmp_path / "told.json"
    return lambda: json.loads(file.read_text()) if file.exists() else None


@pytest.fixture
def epoch(tmp_path, monkeypatch):
    """Train an epoch of so many rows in so many seconds."""
    trainer, now = FakeTrainer(), [0.0]
    monkeypatch.setattr(measuring, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    measured = Measuring(trainer, {"SWEEPD_MEASURED": str(tmp_path / "told.json")})

    def train(rows, seconds, *, is_whole=True):
        trainer.is_between_epochs = is_whole
        measured.begin()
        trainer.examples += rows
        now[0] += seconds
        measured.end()

    return train


def test_whole_epoch_tells_rows_a_second_and_memory(epoch, told):
    epoch(500, 2.0)

    assert told() == {"rows_per_s": 250.0, "peak_bytes": 3 << 30, "total_bytes": 80 << 30}


def test_second_epoch_counts_since_the_first_one_starts_things_up(epoch, told):
    for seconds in (9.0, 2.0, 5.0):
        epoch(500, seconds)

    assert told()["rows_per_s"] == 250.0


def test_epoch_that_goes_on_from_its_midst_tells_nothing(epoch, told):
    epoch(500, 2.0, is_whole=False)

    assert told() is None


def test_file_that_cannot_be_written_is_said_and_ends_nothing(tmp_path, capsys):
    (tmp_path / "told.json").mkdir()
    measured = Measuring(FakeTrainer(), {"SWEEPD_MEASURED": str(tmp_path / "told.json")})

    measured.begin()
    measured.end()

    assert "the agent is not told what this trial takes: " in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["told.json"]


def test_trial_on_a_cpu_tells_its_speed_alone(told, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    monkeypatch.setenv("SWEEPD_MEASURED", str(tmp_path / "told.json"))
    monkeypatch.chdir(tmp_path)
    inputs = torch.rand(60, 2, generator=torch.Generator().manual_seed(0))

    fit({"epochs": 1}, split(Rows(inputs, inputs[:, :1])), lambda values: nn.Linear(2, 1))

    assert told()["rows_per_s"] > 0
    assert (told()["peak_bytes"], told()["total_bytes"]) == (None, None)
