"""The trainer on CUDA: the same code as on the CPU."""

import pytest
import torch

from sweepd_trainer.checkpoint import Best, image_header, load_checkpoint
from sweepd_trainer.config import read_config
from sweepd_trainer.data import load
from sweepd_trainer.device import device_name, pick_device, seed_everything
from sweepd_trainer.images import image_problem
from sweepd_trainer.loop import Trainer
from sweepd_trainer.models import build_model
from sweepd_trainer.optim import build_optimizer
from sweepd_trainer.watch import Watcher

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")

CONFIG = read_config({"kernels": [8, 16], "epochs": 8, "batch_size": 64, "shift": 1})


def make_trainer(device: torch.device):
    order = seed_everything(CONFIG.seed)
    data = load("digits").to(device)
    model = build_model(data.spec, CONFIG).to(device, memory_format=torch.channels_last)
    trainer = Trainer(
        model,
        build_optimizer(model, CONFIG),
        image_problem(data, CONFIG),
        config=CONFIG,
        order=order,
    )
    return data, trainer


@pytest.fixture
def trained():
    data, trainer = make_trainer(pick_device())
    losses = [progress.loss for _ in range(CONFIG.epochs) for progress in trainer.epoch()]
    return data, trainer, losses


def test_the_first_cuda_device_is_taken_and_named():
    assert pick_device() == torch.device("cuda", 0)
    assert device_name(pick_device()) == torch.cuda.get_device_name(0)


def test_digits_are_learnt(trained):
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


def test_cpu_and_cuda_see_the_same_images_in_the_same_order(trained):
    _, _, losses = trained
    _, cpu_trainer = make_trainer(torch.device("cpu"))

    first = next(cpu_trainer.epoch()).loss

    assert losses[0] == pytest.approx(first, rel=0.05)


def test_histograms_count_every_weight(trained):
    _, trainer, _ = trained

    found = Watcher(trainer.model).histograms()

    for name, weight in trainer.model.named_parameters():
        assert found[f"parameters/{name}"].counts.sum() == weight.numel()
        assert found[f"gradients/{name}"].counts.sum() == weight.numel()
