"""Histograms of weights and gradients."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from sweepd_trainer import watch
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


@pytest.mark.parametrize("row", [1, 7, 1024])
@pytest.mark.parametrize("size", [1, 7, 100, 605, 10_000])
def test_histograms_are_the_same_however_many_numbers_are_looked_at_at_a_time(
    monkeypatch, size, row
):
    model = _trained_once()
    model[0].weight.data = model[0].weight.data.t().contiguous().t()  # and in whatever order
    wanted = Watcher(model).histograms()
    monkeypatch.setattr(watch, "_SIZES", (size,))
    monkeypatch.setattr(watch, "_ROW", row)

    found = Watcher(model).histograms()

    assert found.keys() == wanted.keys()
    for name, histogram in found.items():
        assert histogram.counts.tolist() == wanted[name].counts.tolist()
        assert histogram.edges.tolist() == wanted[name].edges.tolist()


@pytest.mark.parametrize("scale", [1e-38, 1e-6, 1.0, 1e30], ids=str)
@pytest.mark.parametrize("n", [1, 1023, 1024, 3000])
def test_each_bin_has_what_float32_puts_there_and_edges_are_numpys(n, scale):
    values = scale * torch.randn(n, generator=torch.Generator().manual_seed(n))
    values[::50] = scale * 0.25
    model = nn.ParameterDict({"beside": torch.zeros(5), "own": values})
    low, high = values.min().numpy(), values.max().numpy()
    width = np.maximum(high - low, np.finfo(np.float32).tiny)
    share = (values.numpy() - low) / width
    bins = (share * np.float32(64)).astype(np.int64).clip(0, 63)

    histogram = Watcher(model).histograms()["parameters/own"]

    if n == 1:
        assert histogram.counts.tolist() == [1]
    else:
        assert histogram.counts.tolist() == np.bincount(bins, minlength=64).tolist()
        assert histogram.edges.tolist() == np.linspace(float(low), float(high), 65).tolist()


@pytest.mark.parametrize("size", [10, 10_000])
def test_histograms_are_those_of_the_moment_at_which_they_are_taken(monkeypatch, size):
    monkeypatch.setattr(watch, "_SIZES", (size,))
    model = _trained_once()
    wanted = Watcher(model).histograms()

    taken = Watcher(model).take()
    with torch.no_grad():
        for weight in model.parameters():
            weight.zero_()
            weight.grad.zero_()

    (found,) = taken.read()
    assert found.keys() == wanted.keys()
    assert all((found[name].counts == wanted[name].counts).all() for name in found)


def test_a_watcher_follows_a_model_whose_gradients_come_and_go():
    model = _trained_once()
    watcher = Watcher(model)
    n_keys = [len(watcher.histograms())]
    model.zero_grad()
    n_keys.append(len(watcher.histograms()))
    model(torch.randn(8, 20)).sum().backward()
    n_keys.append(len(watcher.histograms()))

    assert n_keys == [8, 4, 8]


def test_a_weight_without_numbers_has_no_histogram():
    model = nn.Linear(3, 1, bias=False)
    model.weight.data = torch.zeros(0, 3)

    assert Watcher(model).histograms() == {}


def test_fewer_numbers_are_looked_at_where_memory_is_short(monkeypatch):
    monkeypatch.setattr(watch, "_ROW", 10)
    model, whole = _trained_once(), watch._joined
    wanted = Watcher(model).histograms()
    monkeypatch.setattr(watch, "_SIZES", (1000, 50))

    def joined(pieces):
        if sum(len(piece) for piece in pieces) > 50:
            raise torch.OutOfMemoryError("too many numbers")
        return whole(pieces)

    monkeypatch.setattr(watch, "_joined", joined)

    assert Watcher(model).histograms().keys() == wanted.keys()


def test_histograms_that_need_too_much_memory_are_left_out_and_that_is_told_once(monkeypatch):
    def joined(pieces):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB.\nAnd more")

    monkeypatch.setattr(watch, "_joined", joined)
    said = []
    watcher = Watcher(_trained_once(), tell=said.append)

    assert watcher.histograms() == {}
    assert watcher.take([nn.Linear(1, 1), nn.Linear(1, 1)]).read() == [{}, {}]
    assert said == [
        "no histograms where memory is short: CUDA out of memory. Tried to allocate 9 GiB."
    ]
