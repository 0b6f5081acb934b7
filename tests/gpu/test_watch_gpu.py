"""Histograms on CUDA: begun beside the steps, read later."""

import copy

import pytest
import torch
from signs import CONFIG, losses_of, make_trainer
from torch import nn

from sweepd_trainer import watch
from sweepd_trainer.config import read_config
from sweepd_trainer.device import determinism, pick_device
from sweepd_trainer.pack import Pack
from sweepd_trainer.watch import Histogram, Watcher

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")

#: So many numbers that one portion is enough, and so few that several are needed.
SIZES = pytest.mark.parametrize("size", [1 << 22, 1 << 12], ids=["one portion", "several"])


@pytest.fixture
def model() -> nn.Module:
    """A network after a step, whose gradients lie in the memory of a graph."""
    _, trainer = make_trainer(pick_device(), read_config({**CONFIG.to_dict(), "kernels": [16, 32]}))
    losses_of(trainer, epochs=2)
    assert trainer.mode == "cuda graph"
    return trainer.model


def on_cpu(model: nn.Module) -> nn.Module:
    there = copy.deepcopy(model).cpu()
    for weight, other in zip(there.parameters(), model.parameters(), strict=True):
        weight.grad = other.grad.cpu()
    return there


def check_same(found: dict[str, Histogram], wanted: dict[str, Histogram]) -> None:
    assert found.keys() == wanted.keys()
    for name, histogram in found.items():
        assert histogram.edges.tolist() == wanted[name].edges.tolist(), name
        assert abs(histogram.counts - wanted[name].counts).sum() <= 2, name


@SIZES
def test_histograms_are_those_of_a_cpu(model, monkeypatch, size):
    wanted = Watcher(on_cpu(model)).histograms()
    monkeypatch.setattr(watch, "_SIZES", (size,))

    check_same(Watcher(model).histograms(), wanted)


@SIZES
def test_histograms_are_those_of_the_moment_though_the_steps_go_on(model, monkeypatch, size):
    wanted = Watcher(on_cpu(model)).histograms()
    monkeypatch.setattr(watch, "_SIZES", (size,))
    watcher, kept = Watcher(model), []
    watcher.histograms()

    taken = watcher.take()
    with torch.no_grad():
        for weight in model.parameters():
            weight.zero_()
            weight.grad.fill_(1.0)
        for _ in range(50):  # what takes the memory that was given back
            kept.append(torch.full((100_000,), torch.nan, device=pick_device()))
            watcher.take()

    check_same(taken.read()[0], wanted)


@pytest.mark.filterwarnings("ignore:Synchronization debug mode")
@SIZES
def test_who_takes_histograms_does_not_wait_for_the_device(model, monkeypatch, size):
    monkeypatch.setattr(watch, "_SIZES", (size,))
    watcher = Watcher(model)
    watcher.histograms()  # the first time, tables are brought there
    torch.cuda.set_sync_debug_mode("error")
    try:
        taken = watcher.take()
    finally:
        torch.cuda.set_sync_debug_mode("default")

    assert taken.read()[0].keys() == watcher.histograms().keys()


def test_histograms_are_the_same_where_bits_must_repeat(model):
    wanted = Watcher(model).histograms()

    with determinism(is_wanted=True):
        found = Watcher(model).histograms()

    for name, histogram in found.items():
        assert histogram.counts.tolist() == wanted[name].counts.tolist()


def test_equal_numbers_and_none_that_are_finite_are_counted():
    layer = nn.Linear(3000, 1000).to(pick_device())
    nn.init.zeros_(layer.weight)
    nn.init.constant_(layer.bias, torch.nan)

    found = Watcher(layer).histograms()

    assert found.keys() == {"parameters/weight"}
    assert found["parameters/weight"].counts.tolist() == [3_000_000]


def test_histograms_of_a_large_model_are_taken_in_portions():
    layer = nn.Linear(4096, 2049).to(pick_device())
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.max_memory_allocated()

    found = Watcher(layer).histograms()

    assert found["parameters/weight"].counts.sum() == layer.weight.numel()
    assert torch.cuda.max_memory_allocated() - before < 200 << 20


def test_histograms_of_a_pack_are_those_of_its_models():
    configs = [read_config({**CONFIG.to_dict(), "seed": seed}) for seed in range(3)]
    pack = Pack([make_trainer(pick_device(), config)[1] for config in configs])
    list(pack.epoch())
    models = [trainer.model for trainer in pack.trainers]

    found = Watcher().take(models).read()

    for model, own in zip(models, found, strict=True):
        check_same(own, Watcher(on_cpu(model)).histograms())
