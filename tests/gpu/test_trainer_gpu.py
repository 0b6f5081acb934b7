"""The trainer on CUDA: the same code as on the CPU."""

import json
import math
import random
from dataclasses import replace

import pytest
import torch
from signs import CONFIG, losses_of, make_trainer, signs
from torch import nn

from sweepd_trainer.checkpoint import Best, image_header, load_checkpoint
from sweepd_trainer.config import OPTIMIZERS, Training, read_config
from sweepd_trainer.data import Rows
from sweepd_trainer.device import device_name, pick_device, seed_everything
from sweepd_trainer.images import image_problem
from sweepd_trainer.loop import Trainer
from sweepd_trainer.measuring import Measuring
from sweepd_trainer.optim import build_optimizer
from sweepd_trainer.step import Captured, Problem
from sweepd_trainer.task import as_floats, task_for

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.fixture
def trained():
    data, trainer = make_trainer(pick_device())
    losses = losses_of(trainer, epochs=CONFIG.epochs)
    return data, trainer, losses


def test_the_first_cuda_device_is_taken_and_named():
    assert pick_device() == torch.device("cuda", 0)
    assert device_name(pick_device()) == torch.cuda.get_device_name(0)


def test_signs_are_learnt(trained):
    data, trainer, losses = trained

    assert losses[-1] < 0.2 * losses[0]
    assert trainer.evaluate(data.validation).accuracy > 0.9


def test_weights_images_and_steps_stay_on_the_device(trained):
    data, trainer, _ = trained

    tensors = [data.train.inputs, *trainer.model.state_dict().values()]
    assert {tensor.device.type for tensor in tensors} == {"cuda"}


def test_a_checkpoint_of_the_gpu_serves_on_the_cpu(trained, tmp_path):
    data, trainer, _ = trained
    score = trainer.evaluate(data.test)
    best = Best(tmp_path / "checkpoint.pt", header=image_header(CONFIG, data.spec))
    best.offer(trainer.model, epoch=1, score=score)

    on_cpu, cpu_trainer = make_trainer(torch.device("cpu"))
    cpu_trainer.model.load_state_dict(load_checkpoint(best.path).weights)

    assert cpu_trainer.evaluate(on_cpu.test).accuracy == pytest.approx(score.accuracy, abs=0.006)


def test_evaluation_is_in_float32_where_training_may_use_tf32(trained, monkeypatch):
    data, trainer, _ = trained
    usual = torch.get_float32_matmul_precision()
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    torch.set_float32_matmul_precision("high")
    on_cpu, cpu_trainer = make_trainer(torch.device("cpu"))
    cpu_trainer.model.load_state_dict(trainer.model.state_dict())

    try:
        found = trainer.evaluate(data.validation)
    finally:
        torch.set_float32_matmul_precision(usual)

    assert found.loss == pytest.approx(cpu_trainer.evaluate(on_cpu.validation).loss, rel=1e-5)


def test_cpu_and_cuda_see_the_same_images_in_the_same_order(trained):
    _, _, losses = trained
    _, cpu_trainer = make_trainer(torch.device("cpu"))

    first = next(cpu_trainer.epoch()).loss

    assert losses[0] == pytest.approx(first, rel=0.05)


def test_whole_batches_run_as_one_graph_and_the_last_one_by_itself(trained):
    data, trainer, _ = trained

    assert len(data.train) % CONFIG.batch_size != 0
    assert trainer.mode == "cuda graph"


def run_eagerly(trainer: Trainer) -> Trainer:
    """Make a trainer take its steps one by one."""
    assert isinstance(trainer._step, Captured)
    trainer._step = trainer._step._step
    return trainer


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_captured_step_does_what_an_eager_one_does(optimizer):
    values = {
        **CONFIG.to_dict(),
        "optimizer": optimizer,
        # What bfloat16 rounds otherwise in its small gradients is as large as any other to RMSprop.
        "learning_rate": 1e-4 if optimizer == "rmsprop" else 1e-3,
        "schedule": "onecycle",
        "grad_clip": 1.0,
        "ema": 0.9,
    }
    config = read_config(values)
    _, eager = make_trainer(pick_device(), config)
    wanted = losses_of(run_eagerly(eager), epochs=3)
    _, captured = make_trainer(pick_device(), config)
    found = losses_of(captured, epochs=3)

    assert captured.mode == "cuda graph"
    assert found == pytest.approx(wanted, rel=0.02)
    for one, two in zip(
        captured.best_model.parameters(), eager.best_model.parameters(), strict=True
    ):
        assert torch.allclose(one, two, atol=0.02)


def test_each_replay_drops_other_features():
    config = read_config({**CONFIG.to_dict(), "dropout": 0.5, "learning_rate": 1e-12, "shift": 0})
    data, trainer = make_trainer(pick_device(), config)
    batch = torch.arange(config.batch_size, device=data.train.targets.device)
    losses = []
    for _ in range(8):
        trainer._step(batch, None)
        losses.append(trainer._step.loss_sum.item())
        trainer._step.loss_sum.zero_()

    assert trainer.mode == "cuda graph"
    assert len({round(loss, 4) for loss in losses}) == len(losses)


def test_another_process_goes_on_from_a_saved_state(tmp_path):
    config = read_config({**CONFIG.to_dict(), "ema": 0.9, "optimizer": "adamw"})
    _, whole = make_trainer(pick_device(), config)
    wanted = losses_of(whole, epochs=4)
    _, first = make_trainer(pick_device(), config)
    found = losses_of(first, epochs=2)
    torch.save(first.state_dict(), tmp_path / "state.pt")
    _, second = make_trainer(pick_device(), config)
    second.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    found += losses_of(second, epochs=2)

    assert second.mode == "cuda graph"
    assert found == pytest.approx(wanted, rel=0.02)


def test_a_step_that_cannot_be_captured_runs_eagerly_and_says_why(capsys):
    class Waits(torch.nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def forward(self, x):
            logits = self.inner(x)
            return logits + 0 * logits.sum().item()  # which waits for the device

    data, usual = make_trainer(pick_device())
    model = Waits(usual.model)
    trainer = Trainer(
        model,
        build_optimizer(model, CONFIG),
        image_problem(data, CONFIG),
        config=CONFIG,
        order=seed_everything(0),
    )

    losses = losses_of(trainer, epochs=4)

    assert trainer.mode == "eager"
    assert "cannot be captured as a CUDA graph" in capsys.readouterr().out
    assert losses[-1] < losses[0]


def test_a_batch_that_does_not_fit_into_the_devices_memory_is_halved(monkeypatch):
    device = pick_device()
    values = {"model": "resnet9", "batch_size": 1024, "epochs": 1, "width": 64}
    data = signs().to(device)
    config = read_config(values)

    def peak(parts: int) -> int:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        _, trainer = make_trainer(device, config)
        trainer._step._step.n_parts = parts
        trainer._step._step(torch.arange(1024, device=device), None)
        return torch.cuda.max_memory_reserved()

    whole, halved = peak(1), peak(2)
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(device).total_memory
    torch.cuda.set_per_process_memory_fraction((halved + 0.75 * (whole - halved)) / total)
    try:
        _, trainer = make_trainer(device, config)
        trainer._step(torch.arange(1024, device=data.train.targets.device), None)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)

    assert trainer.mode == "eager in 2 parts"


class ReadsBack(nn.Module):
    """A model whose step cannot be captured: it reads a number back from the device."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.2), nn.Linear(8, 2))

    def forward(self, x):
        return self.layers(x) * (1.0 + 0.0 * x.sum().item())


def test_a_step_that_cannot_be_captured_runs_eagerly_with_dropout(capsys):
    device = pick_device()
    order = seed_everything(0)
    inputs = torch.rand(200, 4, generator=torch.Generator().manual_seed(0)).to(device)
    rows = Rows(inputs, (inputs[:, 0] > 0.5).long())
    config = Training(batch_size=10, epochs=2)
    model = ReadsBack().to(device)
    problem = Problem(rows, task_for(rows.targets), as_floats)
    trainer = Trainer(model, build_optimizer(model, config), problem, config=config, order=order)

    reports = list(trainer.epoch())

    assert trainer.mode == "eager"
    assert trainer.step == 20
    assert all(math.isfinite(report.loss) for report in reports)
    assert "cannot be captured" in capsys.readouterr().out


def test_after_a_capture_that_failed_memory_is_freed_and_numbers_are_drawn(capsys):
    def loss(outputs, targets):
        if torch.cuda.is_current_stream_capturing():
            outputs.sum().item()
        return nn.functional.cross_entropy(outputs, targets)

    _, trainer = make_trainer(pick_device())
    step, stream = trainer._step._step, torch.cuda.current_stream()
    step.problem = replace(step.problem, task=replace(step.problem.task, loss=loss))

    losses_of(trainer, epochs=1)
    torch.cuda.empty_cache()

    assert trainer.mode == "eager"
    assert torch.cuda.current_stream() == stream
    assert 0 <= torch.rand(1, device="cuda").item() <= 1
    assert "it runs eagerly" in capsys.readouterr().out


class Changes(nn.Module):
    """A model whose step changes something on the host."""

    def __init__(self, change) -> None:
        super().__init__()
        self.layer, self.change = nn.Linear(4, 2), change
        self.register_buffer("mean", torch.zeros(()))

    def forward(self, x):
        self.change(self)
        return self.layer(x)


def take_another_mean(model):
    model.mean = model.mean * 0.5 + 1


def train_rows(model, config):
    device = pick_device()
    order = seed_everything(0)
    inputs = torch.rand(200, 4, generator=torch.Generator().manual_seed(0)).to(device)
    rows = Rows(inputs, (inputs[:, 0] > 0.5).long())
    problem = Problem(rows, task_for(rows.targets), as_floats)
    model = model.to(device)
    trainer = Trainer(model, build_optimizer(model, config), problem, config=config, order=order)
    return trainer, list(trainer.epoch())


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (take_another_mean, "it changes mean"),
        (lambda model: random.random(), "it changes random numbers of the CPU"),
        (lambda model: model.mean.item(), "it waits for the device (test_trainer_gpu.py, line"),
    ],
)
def test_a_step_that_a_graph_would_freeze_runs_eagerly(capsys, change, reason):
    trainer, reports = train_rows(Changes(change), Training(batch_size=10, epochs=2))

    assert trainer.mode == "eager"
    assert reason in capsys.readouterr().out
    assert all(math.isfinite(report.loss) for report in reports)
    if change is take_another_mean:
        assert trainer.model.mean.item() == pytest.approx(2 - 0.5**19)


def test_no_step_is_captured_where_the_config_wants_none():
    model = nn.Linear(4, 2)

    trainer, _ = train_rows(model, Training(batch_size=10, epochs=2, cuda_graph=False))

    assert trainer.mode == "eager"


def test_a_step_of_all_rows_is_captured():
    trainer, _ = train_rows(nn.Linear(4, 2), Training(batch_size=500, epochs=9))
    for _ in range(8):
        trainer.end_epoch()
        list(trainer.epoch())

    assert trainer.mode == "cuda graph"


def test_a_graph_whose_memory_is_in_the_way_goes():
    trainer, _ = train_rows(nn.Linear(4, 2), Training(batch_size=30, epochs=2))
    assert trainer.mode == "cuda graph"
    step = trainer._step._step
    run = step.run

    def lacks_memory(batch, drawn):
        if trainer.mode == "cuda graph":
            raise torch.OutOfMemoryError("the graph holds it")
        run(batch, drawn)

    step.run = lacks_memory
    trainer.end_epoch()
    losses = [report.loss for report in trainer.epoch()]

    assert trainer.mode == "eager"
    assert math.isfinite(losses[-1])


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_state_of_a_cpu_goes_on_in_captured_steps_at_the_rate_of_the_day(optimizer):
    inputs = torch.rand(200, 4, generator=torch.Generator().manual_seed(0))
    config = Training(batch_size=10, epochs=2, optimizer=optimizer, schedule="cosine")

    def make(device):
        order = seed_everything(0)
        rows = Rows(inputs, inputs[:, :1]).to(device)
        model = nn.Linear(4, 1).to(device)
        problem = Problem(rows, task_for(rows.targets), as_floats)
        return Trainer(model, build_optimizer(model, config), problem, config=config, order=order)

    before = make(torch.device("cpu"))
    list(before.epoch())
    before.end_epoch()
    trainer = make(pick_device())
    trainer.load_state_dict(before.state_dict())
    list(trainer.epoch())

    assert trainer.mode == "cuda graph"
    assert all(isinstance(group["lr"], torch.Tensor) for group in trainer.optimizer.param_groups)


def test_trial_takes_no_more_of_the_memory_than_its_slots_part(monkeypatch):
    monkeypatch.setenv("SWEEPD_MEMORY_FRACTION", "0.25")

    device = pick_device()

    try:
        assert torch.cuda.get_per_process_memory_fraction(device) == 0.25
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, device)


def test_a_trial_tells_the_agent_its_rows_a_second_and_its_memory(tmp_path):
    _, trainer = make_trainer(pick_device())
    file = tmp_path / "told.json"
    measuring = Measuring(trainer, {"SWEEPD_MEASURED": str(file)})

    measuring.begin()
    for _ in trainer.epoch():
        pass
    measuring.end()

    told = json.loads(file.read_text())
    total = torch.cuda.get_device_properties(0).total_memory
    assert told["rows_per_s"] > 0
    assert 0 < told["peak_bytes"] <= told["total_bytes"] == total
