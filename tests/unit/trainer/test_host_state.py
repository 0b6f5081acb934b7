"""What a step changes on the host."""

import random

import numpy as np
import pytest
import torch
from torch import nn

from sweepd_trainer.host_state import HostState


class Model(nn.Module):
    """A model with a buffer, a counter and a part of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(2, 2)
        self.register_buffer("mean", torch.zeros(2))
        self.register_buffer("nothing", None)
        self.register_buffer("sparse", torch.eye(2).to_sparse())
        self.n_calls = 0


def replace_buffer(model: Model) -> None:
    model.mean = model.mean * 0.9 + 1


def replace_weight(model: Model) -> None:
    model.inner.weight = nn.Parameter(torch.ones(2, 2))


def move_weight(model: Model) -> None:
    model.inner.weight.data = torch.ones(2, 2)


def add_buffer(model: Model) -> None:
    model.register_buffer("more", torch.zeros(1))


def fill_buffer(model: Model) -> None:
    model.nothing = torch.zeros(1)


def count(model: Model) -> None:
    model.n_calls += 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (replace_buffer, "mean, which is another tensor now"),
        (replace_weight, "inner.weight, which is another tensor now"),
        (move_weight, "inner.weight, which is another tensor now"),
        (add_buffer, "more, which is another tensor now"),
        (fill_buffer, "nothing, which is another tensor now"),
        (count, "n_calls, which was 0 and is 1"),
        (lambda model: random.random(), "random numbers of the CPU"),
        (lambda model: np.random.rand(), "random numbers of the CPU"),
        (lambda model: torch.rand(1), "random numbers of the CPU"),
    ],
)
def test_a_change_is_told_in_words_and_put_back(change, words):
    model = Model()
    weight, mean, numbers = model.inner.weight, model.mean, model.inner.weight.detach().clone()
    before = HostState([model])

    change(model)

    assert before.change() == words
    before.put_back()
    assert before.change() is None
    assert model.inner.weight is weight
    assert torch.equal(weight, numbers)
    assert model.mean is mean


def test_what_a_step_changes_in_place_is_no_change():
    model = Model()
    before = HostState([model, nn.BatchNorm1d(2)])

    model.mean.add_(1)
    model.inner.weight.data.mul_(2)
    model.inner(torch.ones(3, 2)).sum().backward()

    assert before.change() is None
