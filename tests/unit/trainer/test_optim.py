"""Optimisers and schedules."""

import copy

import pytest
import torch
from torch import nn

from sweepd_trainer.config import OPTIMIZERS, read_config
from sweepd_trainer.muon import orthogonalise
from sweepd_trainer.optim import build_optimizer, learning_rate_at, set_learning_rate


def _steps(optimizer: torch.optim.Optimizer, model: nn.Module, *, count: int = 5) -> None:
    inputs = torch.linspace(-1, 1, 12).reshape(4, 3)
    for _ in range(count):
        optimizer.zero_grad()
        model(inputs).square().sum().backward()
        optimizer.step()


@pytest.mark.parametrize("name", sorted(set(OPTIMIZERS) - {"muon"}))
def test_fused_steps_equal_torchs_plain_ones(name):
    torch.manual_seed(0)
    ours, theirs = nn.Linear(3, 2), nn.Linear(3, 2)
    theirs.load_state_dict(copy.deepcopy(ours.state_dict()))
    values = {"optimizer": name, "learning_rate": 0.01, "momentum": 0.8, "weight_decay": 0.1}
    plain = {
        "sgd": lambda w: torch.optim.SGD(w, lr=0.01, momentum=0.8, weight_decay=0.1),
        "adam": lambda w: torch.optim.Adam(w, lr=0.01, betas=(0.8, 0.999), weight_decay=0.1),
        "adamw": lambda w: torch.optim.AdamW(w, lr=0.01, betas=(0.8, 0.999), weight_decay=0.1),
        "rmsprop": lambda w: torch.optim.RMSprop(w, lr=0.01, momentum=0.8, weight_decay=0.1),
    }[name](theirs.parameters())

    _steps(build_optimizer(ours, read_config(values)), ours)
    _steps(plain, theirs)

    assert torch.allclose(ours.weight, theirs.weight, atol=1e-6)


@pytest.mark.parametrize("nesterov", [False, True])
def test_muon_moves_inner_matrices_as_torchs_does_and_the_rest_as_adamw_does(nesterov):
    torch.manual_seed(0)
    ours = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 5), nn.Tanh(), nn.Linear(5, 2))
    theirs = copy.deepcopy(ours)
    config = {"learning_rate": 0.01, "momentum": 0.8, "weight_decay": 0.1, "nesterov": nesterov}
    inner = [theirs[0].weight, theirs[2].weight]
    others = [w for w in theirs.parameters() if all(w is not x for x in inner)]
    muon = torch.optim.Muon(
        inner,
        lr=0.01,
        momentum=0.8,
        weight_decay=0.1,
        nesterov=nesterov,
        adjust_lr_fn="match_rms_adamw",
    )
    adamw = torch.optim.AdamW(others, lr=0.01, betas=(0.8, 0.999), weight_decay=0.1)

    _steps(build_optimizer(ours, read_config({"optimizer": "muon", **config})), ours)
    inputs = torch.linspace(-1, 1, 12).reshape(4, 3)
    for _ in range(5):
        theirs.zero_grad()
        theirs(inputs).square().sum().backward()
        muon.step()
        adamw.step()

    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.allclose(mine, other, atol=1e-4)


def test_muons_count_of_steps_moves_with_a_state_to_the_weights_device():
    def make(device):
        model = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 1)).to(device)
        return model, build_optimizer(model, read_config({"optimizer": "muon"}))

    model, before = make("cpu")
    _steps(before, model)
    _, optimizer = make("meta")  # stands for a GPU
    ours = optimizer.state_dict()["param_groups"]

    optimizer.load_state_dict({**before.state_dict(), "param_groups": ours})

    counts = [state["step"] for state in optimizer.state.values() if "step" in state]
    assert [count.device.type for count in counts] == ["meta"] * 3


def test_muon_makes_singular_values_alike():
    torch.manual_seed(0)
    matrices = torch.randn(2, 6, 10) * torch.tensor([1.0, 1e-3])[:, None, None]

    values = torch.linalg.svdvals(orthogonalise(matrices).float())

    assert values.min() > 0.6
    assert values.max() < 1.3


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimiser_goes_on_from_its_saved_state(name, tmp_path):
    torch.manual_seed(0)
    config = read_config({"optimizer": name, "learning_rate": 0.01})
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    optimizer = build_optimizer(model, config)
    _steps(optimizer, model)
    other = copy.deepcopy(model)
    torch.save(optimizer.state_dict(), tmp_path / "state.pt")
    resumed = build_optimizer(other, config)

    resumed.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    _steps(optimizer, model)
    _steps(resumed, other)

    for one, two in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(one, two)


@pytest.mark.parametrize(
    ("schedule", "warmup", "peak_at"),
    [("warmup_linear", 0.2, 1), ("onecycle", 0.0, 2), ("onecycle", 0.5, 4)],
)
def test_a_warmed_up_schedule_rises_to_the_peak_and_falls_towards_zero(schedule, warmup, peak_at):
    config = read_config({"schedule": schedule, "warmup": warmup, "learning_rate": 0.1})

    rates = [learning_rate_at(step, 10, config) for step in range(10)]

    assert rates[peak_at] == max(rates) == pytest.approx(0.1)
    assert rates[: peak_at + 1] == sorted(rates[: peak_at + 1])
    assert rates[peak_at:] == sorted(rates[peak_at:], reverse=True)
    assert rates[-1] < 0.02
    assert min(rates) > 0


def test_constant_schedule_never_changes():
    config = read_config({"schedule": "constant", "learning_rate": 0.1})

    assert {learning_rate_at(step, 10, config) for step in range(10)} == {0.1}


def test_cosine_schedule_falls_from_the_peak_to_zero():
    config = read_config({"schedule": "cosine", "learning_rate": 0.1})

    rates = [learning_rate_at(step, 10, config) for step in range(11)]

    assert rates[0] == 0.1
    assert rates[5] == pytest.approx(0.05)
    assert rates[10] == pytest.approx(0)
    assert rates == sorted(rates, reverse=True)


def test_the_rate_reaches_the_optimiser():
    model = nn.Linear(3, 2)
    optimizer = build_optimizer(model, read_config({"optimizer": "sgd", "momentum": 0}))
    before = model.weight.detach().clone()

    set_learning_rate(optimizer, 0.0)
    _steps(optimizer, model)

    assert torch.equal(model.weight, before)
