"""Images of ten signs in noise, and trainers that learn them."""

import functools

import torch

from sweepd_trainer.config import Config, read_config
from sweepd_trainer.data import Data, DataSpec, Rows, split
from sweepd_trainer.device import seed_everything
from sweepd_trainer.images import image_problem
from sweepd_trainer.loop import Trainer
from sweepd_trainer.models import build_model
from sweepd_trainer.optim import build_optimizer

__all__ = ["CONFIG", "losses_of", "make_trainer", "signs"]

SPEC = DataSpec("signs", tuple("0123456789"), (1, 8, 8), 16.0, (0.5,), (0.3,))
CONFIG = read_config({"kernels": [8, 16], "epochs": 8, "batch_size": 64, "shift": 1})


@functools.cache
def signs() -> Data:
    """Return images of ten signs in noise, as many and as large as scikit-learn's digits."""
    generator = torch.Generator().manual_seed(0)
    shapes = torch.randint(0, 17, (10, 1, 8, 8), generator=generator).float()
    labels = torch.randint(0, 10, (1797,), generator=generator)
    noise = 4 * torch.randn(1797, 1, 8, 8, generator=generator)
    images = (shapes[labels] + noise).clamp(0, 16).to(torch.uint8)
    return split(Rows(images[:1437], labels[:1437]), Rows(images[1437:], labels[1437:]), spec=SPEC)


def make_trainer(device: torch.device, config: Config = CONFIG) -> tuple[Data, Trainer]:
    order = seed_everything(config.seed)
    data = signs().to(device)
    model = build_model(data.spec, config).to(device, memory_format=torch.channels_last)
    trainer = Trainer(
        model,
        build_optimizer(model, config),
        image_problem(data, config),
        config=config,
        order=order,
    )
    return data, trainer


def losses_of(trainer: Trainer, *, epochs: int) -> list[float]:
    losses = []
    for _ in range(epochs):
        losses += [progress.loss for progress in trainer.epoch()]
        trainer.end_epoch()
    return losses
