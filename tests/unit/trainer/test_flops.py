"""How much of its device's peak a training uses."""

import copy

import pytest
import torch
from torch import nn

from sweepd_trainer.data import Rows
from sweepd_trainer.flops import count_flops, peak_of, utilisation
from sweepd_trainer.step import Problem
from sweepd_trainer.task import as_floats, classification


@pytest.fixture
def problem() -> Problem:
    """Return images of 28x28 in grey, in ten classes."""
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(20, 1, 28, 28, generator=generator)
    return Problem(Rows(images, torch.arange(20) % 10), classification(), as_floats)


@pytest.fixture
def convnet() -> nn.Module:
    """Return the network of W&B's notebook, with a dropout and a norm."""
    return nn.Sequential(
        *(nn.Conv2d(1, 16, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(16, 32, 5, padding=2), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Dropout(0.5), nn.Flatten(), nn.Linear(1568, 10)),
    )


def test_the_flops_of_the_notebooks_network_are_those_of_its_layers(convnet, problem):
    first, second, head = 28 * 28 * 16 * 25, 14 * 14 * 32 * 16 * 25, 1568 * 10
    forward = first + second + head
    backward = first + 2 * second + 2 * head  # nothing asks for the gradient of the images

    assert count_flops(convnet, problem) == 2 * (forward + backward)


def test_counting_leaves_the_training_as_it_was(convnet, problem):
    before, random = copy.deepcopy(convnet.state_dict()), torch.get_rng_state()

    count_flops(convnet.eval(), problem)

    assert all(torch.equal(value, before[name]) for name, value in convnet.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)
    assert not convnet.training
    assert all(weight.grad is None for weight in convnet.parameters())


@pytest.mark.parametrize(
    ("name", "peak"),
    [
        ("NVIDIA H200", 989.4e12),
        ("NVIDIA H100 80GB HBM3", 989.4e12),
        ("NVIDIA H100 PCIe", 756e12),
        ("NVIDIA A100-SXM4-80GB", 312e12),
        ("NVIDIA A100 80GB PCIe", 312e12),
        ("NVIDIA A100-SXM4-40GB MIG 3g.20gb", None),
        ("NVIDIA RTX A1000", None),
        ("NVIDIA GH200 480GB", None),
        ("NVIDIA GeForce GTX 1660 Ti", None),
        ("CPU, 2 threads", None),
    ],
)
def test_a_device_that_is_not_known_has_no_peak(name, peak):
    assert peak_of(name) == peak


def test_nothing_is_counted_where_the_peak_is_not_known(problem):
    assert utilisation(nn.Linear(1, 1), problem, batch_size=8) is None


@pytest.fixture
def h200(monkeypatch):
    monkeypatch.setattr("sweepd_trainer.flops.device_name", lambda device: "NVIDIA H200")


def test_a_model_that_cannot_be_counted_ends_no_trial_and_that_is_told(h200, problem):
    class Once(nn.Linear):
        def __deepcopy__(self, memo):
            raise RuntimeError("there is one of it\nand no other")

    said = []

    assert utilisation(Once(1, 1), problem, batch_size=8, tell=said.append) is None
    assert said == [
        "perf/mfu is not logged, the model's FLOPs cannot be counted: there is one of it"
    ]


@pytest.mark.parametrize(("batch_size", "n_rows"), [(1, 2), (4, 4), (128, 8)])
def test_no_more_rows_are_counted_than_a_model_may_take(h200, problem, batch_size, n_rows):
    class Sized(nn.Linear):
        def forward(self, x):
            sizes.append(len(x))
            return super().forward(x.flatten(1))

    sizes = []
    model = Sized(784, 10)

    one = utilisation(model, problem, batch_size=batch_size)

    assert sizes == [n_rows]
    assert one == 2 * 2 * 7840 / 989.4e12  # forward, and the gradient of the weights


def test_the_step_that_is_counted_computes_as_training_does(h200, problem, monkeypatch):
    class Kernel(nn.Linear):
        def forward(self, x):
            kinds.append(super().forward(x.flatten(1)).dtype)
            return super().forward(x.flatten(1))

    kinds = []
    monkeypatch.setattr("sweepd_trainer.flops.has_fast_bfloat16", lambda device: True)

    utilisation(Kernel(784, 10), problem, batch_size=8)

    assert kinds == [torch.bfloat16]
