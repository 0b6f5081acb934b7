"""The course of a run, to its end."""

import random

import numpy as np
import pytest
import torch
from torch import nn

from sweepd.errors import InvalidInput
from sweepd_trainer import Data, Rows, fit, rebuilt_by, split
from sweepd_trainer.checkpoint import load_weights


@pytest.fixture(autouse=True)
def _no_server(monkeypatch, tmp_path):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    monkeypatch.chdir(tmp_path)


class Later:
    """A measure that is worse each time."""

    def __init__(self):
        self.n_calls = 0

    def __call__(self, outputs, targets):
        self.n_calls += 1
        return torch.tensor(float(self.n_calls))


def build(values):
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8, momentum=0.5), nn.Linear(8, 2))


@pytest.mark.parametrize("ema", [0.0, 0.5])
def test_what_is_tested_and_returned_is_the_best_epochs_checkpoint(ema):
    inputs = torch.randn(300, 4, generator=torch.Generator().manual_seed(0))
    classes = (inputs.sum(1) > 0).long()
    data = split(Rows(inputs[:200], classes[:200]), Rows(inputs[200:], classes[200:]))
    values = {"epochs": 4, "batch_size": 16, "learning_rate": 0.1, "ema": ema}

    fitted = fit(
        values,
        data,
        build,
        measures={"age": Later()},
        metric={"name": "val_age", "goal": "minimize"},
    )

    kept = build({}).eval()
    kept.load_state_dict(load_weights(fitted.checkpoint))
    with torch.no_grad():
        loss = nn.functional.cross_entropy(kept(inputs[200:]), classes[200:])
    assert fitted.epoch == 1
    assert fitted.test.loss == pytest.approx(loss.item(), rel=1e-5)
    for name, tensor in fitted.model.state_dict().items():
        assert torch.equal(tensor, kept.state_dict()[name]), name


def test_rows_drawn_without_a_seed_are_the_same_in_each_trial_and_the_export():
    numbers, drawn = torch.rand(40, 4), []

    def data(values):
        order = torch.from_numpy(np.random.permutation(40))
        drawn.append((order.tolist(), torch.rand(3).tolist(), random.random()))
        rows = Rows(numbers[order], (numbers[order, 0] > 0.5).long())
        return Data(rows.take(torch.arange(30)), rows.take(torch.arange(30, 40)))

    for seed in (1, 2):
        np.random.seed()  # as a process that is forked has it
        fitted = fit({"epochs": 1, "seed": seed}, data, build)
    rebuilt_by(build, data)({}, fitted.checkpoint)

    assert drawn[0] == drawn[1] == drawn[2]


@pytest.mark.parametrize("part", ["validation", "test"])
def test_a_class_that_the_model_has_not_is_named_before_it_is_trained(part, capsys):
    rows = Rows(torch.rand(20, 4), torch.arange(20) % 2)
    parts = {"train": rows, "validation": rows, "test": rows}
    parts[part] = Rows(rows.inputs, torch.arange(20) % 4)

    with pytest.raises(InvalidInput, match="classes up to 3, the model has 2"):
        fit({"epochs": 1}, Data(**parts), build)

    assert "epoch" not in capsys.readouterr().out
