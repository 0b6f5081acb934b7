"""Rows that stay on the host, memory that is told, and bits that repeat, on CUDA."""

import pytest
import torch

from sweepd_trainer.config import read_config
from sweepd_trainer.data import Data, DataSpec, Rows, split
from sweepd_trainer.device import determinism, let_hurry, pick_device
from sweepd_trainer.images import Normalise, augmentation
from sweepd_trainer.job import Job, Learner, build_trainer
from sweepd_trainer.loop import Trainer
from sweepd_trainer.models import build_model

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")

SPEC = DataSpec("noise", tuple("0123456789"), (3, 16, 16), 255.0, (0.5,) * 3, (0.3,) * 3)
VALUES = {"kernels": [8, 16], "width": 8, "epochs": 3, "batch_size": 50, "shift": 1, "flip": True}


@pytest.fixture(scope="module")
def noise() -> Data:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (1230, 3, 16, 16), generator=generator).to(torch.uint8)
    return split(Rows(images, torch.randint(0, 10, (1230,), generator=generator)), spec=SPEC)


def make_trainer(data: Data, values: dict, *, is_streamed: bool) -> Trainer:
    config, device = read_config({**VALUES, **values}), pick_device()
    learner = Learner(
        build=lambda: build_model(SPEC, config),
        prepare=Normalise(SPEC),
        augment=augmentation(config),
    )
    rows = data if is_streamed else data.to(device)
    job = Job(config, data, learner, config.to_dict())
    return build_trainer(job, rows, streams_to=device if is_streamed else None)


def losses_of(trainer: Trainer, rows: Rows) -> list[float]:
    losses = []
    while trainer.step < trainer.n_steps:
        losses += [progress.loss for progress in trainer.epoch()]
        losses.append(trainer.evaluate(rows).loss)
        trainer.end_epoch()
    return losses


@pytest.mark.parametrize("is_captured", [True, False], ids=["graph", "eager"])
def test_rows_that_are_streamed_give_the_numbers_of_rows_that_lie_there(noise, is_captured):
    values = {"cuda_graph": is_captured, "deterministic": True}
    with determinism(is_wanted=True):
        let_hurry(pick_device())
        usual = make_trainer(noise, values, is_streamed=False)
        wanted = losses_of(usual, noise.validation.to(pick_device()))
        streamed = make_trainer(noise, values, is_streamed=True)
        found = losses_of(streamed, noise.validation)

    assert found == wanted
    assert streamed.mode == f"{'cuda graph' if is_captured else 'eager'}, rows streamed"


@pytest.mark.parametrize("model", ["convnet", "lenet", "resnet9", "resnet18"])
def test_a_deterministic_run_repeats_its_bits(noise, model):
    values = {"model": model, "epochs": 2}
    with determinism(is_wanted=True):
        let_hurry(pick_device())
        first, second = (
            losses_of(make_trainer(noise, values, is_streamed=True), noise.validation)
            for _ in range(2)
        )

    assert first == second


@pytest.mark.parametrize("is_captured", [True, False], ids=["graph", "eager"])
def test_each_report_says_how_much_memory_was_taken(noise, is_captured):
    trainer = make_trainer(noise, {"cuda_graph": is_captured}, is_streamed=False)

    taken = [progress.gpu_mem for _ in range(2) for progress in epoch_of(trainer)]

    assert all(0 < mib < 4000 for mib in taken)  # cuBLAS has some of it, on each stream
    assert taken[-1] * (1 << 20) <= torch.cuda.max_memory_reserved()


def epoch_of(trainer: Trainer):
    yield from trainer.epoch()
    trainer.end_epoch()
