"""What is taken from a function that rebuilds a model, and what is refused in words."""

from pathlib import Path

import torch
from torch import nn

from sweepd.results.hooks import rebuild


def taken(returned):
    """Return what is taken of what a function returned."""
    return rebuild(lambda config, checkpoint: returned, {}, Path("checkpoint.pt"))


def test_a_function_may_return_labels_as_a_third():
    rebuilt = taken((nn.Linear(2, 3), torch.rand(4, 2), torch.tensor([0, 1, 2, 0])))

    assert rebuilt.labels.tolist() == [0, 1, 2, 0]
