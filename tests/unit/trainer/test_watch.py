"""Histograms of weights and gradients."""

import math

import numpy as np
import torch
from torch import nn

from sweepd_trainer.watch import Watcher


def _trained_once() -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(20, 30), nn.ReLU(), nn.Linear(30, 5))
    model(torch.randn(8, 20)).square().sum().backward()
    return model


def test_keys_are_those_of_wandb_watch():
    model = _trained_once()

    keys = set(Watcher(model).histograms())

    names = {name for name, _ in model.named_parameters()}
    assert keys == {f"{kind}/{name}" for kind in ("parameters", "gradients") for name in names}


def test_counts_agree_with_torch_histc():
    model = _trained_once()

    found = Watcher(model).histograms()

    for name, weight in model.named_parameters():
        for kind, values in (("parameters", weight.detach()), ("gradients", weight.grad)):
            histogram = found[f"{kind}/{name}"]
            wanted = torch.histc(values, 64, values.min().item(), values.max().item()).numpy()
            assert histogram.counts.sum() == values.numel()
            assert np.abs(histogram.counts - wanted).sum() <= 2  # rounding at a bin's edge
            assert histogram.edges[0] == np.float64(values.min().item())
            assert len(histogram.edges) == 65


def test_no_gradient_no_histogram():
    keys = Watcher(nn.Linear(2, 2)).histograms()

    assert set(keys) == {"parameters/weight", "parameters/bias"}


def test_equal_values_share_one_bin():
    model = nn.Linear(3, 2)
    nn.init.constant_(model.bias, 0.5)

    histogram = Watcher(model).histograms()["parameters/bias"]

    assert histogram.counts.tolist() == [2]
    assert histogram.edges.tolist() == [0.5, 0.5]


def test_what_is_not_finite_is_left_out():
    model = nn.Linear(2, 2)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[1.0, math.nan], [math.inf, 3.0]]))
        model.bias.fill_(math.nan)

    found = Watcher(model).histograms()

    assert "parameters/bias" not in found
    assert found["parameters/weight"].counts.sum() == 2
    assert found["parameters/weight"].edges[[0, -1]].tolist() == [1.0, 3.0]


def test_a_model_without_weights_has_none():
    assert Watcher(nn.ReLU()).histograms() == {}
