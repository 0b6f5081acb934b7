"""One optimiser step, when memory is short."""

import copy

import pytest
import torch
from torch import nn

from sweepd_trainer.config import Training
from sweepd_trainer.data import Rows
from sweepd_trainer.optim import build_optimizer
from sweepd_trainer.step import Problem, Step
from sweepd_trainer.task import regression


class Small(nn.Module):
    """A model for which a batch of more than `most` rows does not fit into the memory."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.layer, self.most, self.sizes = nn.Linear(3, 1), most, []

    def forward(self, x):
        self.sizes.append(len(x))
        if len(x) > self.most:
            raise torch.OutOfMemoryError(f"{len(x)} rows do not fit")
        return self.layer(x)


@pytest.fixture
def rows():
    generator = torch.Generator().manual_seed(0)
    inputs = torch.rand(8, 3, generator=generator)
    return Rows(inputs, inputs.sum(1, keepdim=True))


def make_step(model: nn.Module, rows: Rows, optimizer: str = "sgd") -> Step:
    config = Training(optimizer=optimizer, momentum=0.0, learning_rate=0.1)
    problem = Problem(rows, regression(), lambda x: x)
    return Step(model, build_optimizer(model, config), problem, config)


def test_a_batch_that_does_not_fit_is_halved_and_the_step_is_the_same(rows, monkeypatch):
    monkeypatch.setattr("sweepd_trainer.step.has_fast_bfloat16", lambda device: False)
    torch.manual_seed(0)
    small = Small(most=4)
    large = copy.deepcopy(small)
    large.most = 8
    step, usual = make_step(small, rows), make_step(large, rows)

    for one in (step, usual):
        one(torch.arange(7), None)
        one(torch.arange(8), None)

    assert small.sizes == [7, 4, 3, 4, 4]
    assert step.n_parts == 2
    assert torch.allclose(small.layer.weight, large.layer.weight, atol=1e-6)
    assert step.loss_sum.item() == pytest.approx(usual.loss_sum.item(), rel=1e-5)


def test_half_a_batch_that_does_not_fit_is_out_of_memory(rows):
    step = make_step(Small(most=3), rows)

    with pytest.raises(torch.OutOfMemoryError, match="4 rows do not fit"):
        step(torch.arange(8), None)


def test_a_single_row_cannot_be_halved(rows):
    with pytest.raises(torch.OutOfMemoryError):
        make_step(Small(most=0), rows)(torch.arange(1), None)


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "muon", "rmsprop"])
def test_a_step_whose_optimiser_has_begun_is_not_taken_again(rows, monkeypatch, optimizer):
    small = Small(most=8)
    step = make_step(small, rows, optimizer)
    zeros_like, made = torch.zeros_like, []

    def short(tensor, **options):
        made.append(tensor)
        if len(made) == 2:
            raise torch.OutOfMemoryError("no room for averages")
        return zeros_like(tensor, **options)

    monkeypatch.setattr(torch, "zeros_like", short)

    with pytest.raises(torch.OutOfMemoryError, match="no room for averages"):
        step(torch.arange(8), None)

    assert small.sizes == [8]


def test_a_batch_is_halved_after_steps_that_were_whole(rows):
    small = Small(most=8)
    step = make_step(small, rows)
    step(torch.arange(8), None)
    small.most = 4

    step(torch.arange(8), None)

    assert small.sizes == [8, 8, 4, 4]
