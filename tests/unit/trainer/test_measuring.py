"""What a trial tells of its speed and its memory, in a file that SWEEPD_MEASURED names."""

import json
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from sweepd_trainer import Rows, fit, measuring, split
from sweepd_trainer.config import Training
from sweepd_trainer.measuring import Measuring, PackMeasuring


class FakeTrainer:
    """A trainer of a GPU, as far as it is measured."""

    def __init__(self, epochs=5):
        self.examples, self.is_between_epochs, self.is_epoch_done = 0, True, False
        self.config = Training(epochs=epochs)

    memory = SimpleNamespace(reserved=lambda: 3 << 30, total=lambda: 80 << 30)


@pytest.fixture
def told(tmp_path):
    """Read what was told."""
    file = tmp_path / "told.json"
    return lambda: json.loads(file.read_text()) if file.exists() else None


@pytest.fixture
def now(monkeypatch):
    """The time, in a list."""
    now = [0.0]
    monkeypatch.setattr(measuring, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    return now


@pytest.fixture
def epoch(tmp_path, now):
    """Train an epoch of so many rows in so many seconds."""
    trainer = FakeTrainer()
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


@pytest.fixture
def packed_epochs(now):
    """Train epochs of a pack of four, 100 rows of each a report; return what is known after each.

    An epoch is the seconds of its reports.
    """

    def train(*epochs, n_epochs=5):
        lead = FakeTrainer(n_epochs)
        pack = SimpleNamespace(trainers=[lead] * 4, memory=FakeTrainer.memory)
        measured, known = PackMeasuring(pack), []
        for reports in epochs:
            lead.is_epoch_done = False
            measured.begin()
            for number, seconds in enumerate(reports, 1):
                lead.examples += 100
                lead.is_epoch_done = number == len(reports)
                now[0] += seconds
                measured.report()
            told = measured.measured()
            known.append(told and told["rows_per_s"])
            now[0] += 50.0  # in which it is evaluated
        return known

    return train


def test_steps_that_start_a_pack_up_or_end_its_first_epoch_are_left_out(packed_epochs):
    assert packed_epochs([9.0, 2.0, 2.0, 7.0]) == [200.0]


def test_later_epochs_of_a_pack_count_whole(packed_epochs):
    assert packed_epochs([9.0, 2.0, 7.0], [3.0, 3.0, 2.0]) == [200.0, 160.0]


@pytest.mark.parametrize("first", [[9.0], [9.0, 7.0]])
def test_second_epoch_of_a_pack_counts_where_the_first_one_is_too_short(packed_epochs, first):
    assert packed_epochs(first, [2.0]) == [None, 200.0]


def test_trials_of_one_epoch_are_measured_with_all_that_starts_them_up(packed_epochs):
    assert packed_epochs([5.0, 3.0], n_epochs=1) == [100.0]


def test_pack_tells_what_one_trial_tells(now):
    lead = FakeTrainer(epochs=1)
    pack = SimpleNamespace(trainers=[lead], memory=FakeTrainer.memory)
    measured = PackMeasuring(pack)
    measured.begin()
    lead.examples, now[0] = 500, 2.0
    measured.report()

    assert measured.measured() == {
        "rows_per_s": 250.0,
        "peak_bytes": 3 << 30,
        "total_bytes": 80 << 30,
    }


def test_trial_on_a_cpu_tells_its_speed_alone(told, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    monkeypatch.setenv("SWEEPD_MEASURED", str(tmp_path / "told.json"))
    monkeypatch.chdir(tmp_path)
    inputs = torch.rand(60, 2, generator=torch.Generator().manual_seed(0))

    fit({"epochs": 1}, split(Rows(inputs, inputs[:, :1])), lambda values: nn.Linear(2, 1))

    assert told()["rows_per_s"] > 0
    assert (told()["peak_bytes"], told()["total_bytes"]) == (None, None)
