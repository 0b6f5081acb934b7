"""Training and evaluation on a few digits."""

import math

import pytest
import torch

from sweepd_trainer.config import Config, read_config
from sweepd_trainer.data import Data, Images
from sweepd_trainer.device import seed_everything
from sweepd_trainer.loop import Diverged, Progress, Trainer, _move, normalise
from sweepd_trainer.models import build_model
from sweepd_trainer.optim import build_optimizer

SMALL = {"kernels": [4, 8], "batch_size": 32, "epochs": 3, "learning_rate": 0.01}


def make_trainer(data: Data, config: Config, **kwargs) -> Trainer:
    order = seed_everything(config.seed)
    model = build_model(data.spec, config)
    return Trainer(
        model,
        build_optimizer(model, config),
        images=data.train,
        spec=data.spec,
        config=config,
        order=order,
        **kwargs,
    )


def train(data: Data, values: dict) -> list[Progress]:
    config = read_config({**SMALL, **values})
    trainer = make_trainer(data, config)
    return [progress for _ in range(config.epochs) for progress in trainer.epoch()]


@pytest.mark.parametrize("values", [{}, {"shift": 1, "dropout": 0.3}, {"model": "mlp"}])
def test_same_seed_gives_the_same_losses(few_digits, values):
    first = [(p.examples, p.loss, p.lr) for p in train(few_digits, values)]
    torch.rand(7)  # what ran before must not matter
    second = [(p.examples, p.loss, p.lr) for p in train(few_digits, values)]

    assert first == second


def test_another_seed_gives_other_losses(few_digits):
    assert train(few_digits, {"seed": 1})[-1].loss != train(few_digits, {"seed": 2})[-1].loss


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_the_loss_falls(few_digits, optimizer):
    rate = 0.1 if optimizer == "sgd" else 0.01
    progress = train(few_digits, {"optimizer": optimizer, "learning_rate": rate, "epochs": 6})

    assert progress[-1].loss < 0.5 * progress[0].loss


def test_every_image_is_seen_once_an_epoch(few_digits):
    config = read_config({**SMALL, "batch_size": 7})
    trainer = make_trainer(few_digits, config)

    last = list(trainer.epoch())[-1]

    assert last.examples == len(few_digits.train)
    assert last.epoch == 1
    assert trainer.step == math.ceil(len(few_digits.train) / 7)


def test_reports_weigh_each_image_alike(few_digits):
    config = read_config({**SMALL, "batch_size": 2, "learning_rate": 1e-12})
    trainer = make_trainer(few_digits, config)

    reports = list(trainer.epoch())

    assert len(reports) > 1
    assert trainer.epoch_loss == pytest.approx(trainer.evaluate(few_digits.train).loss, rel=0.02)


def test_a_request_to_stop_ends_the_epoch_after_one_step(few_digits):
    trainer = make_trainer(few_digits, read_config(SMALL), should_stop=lambda: True)

    reports = list(trainer.epoch())

    assert [report.examples for report in reports] == [32]


def test_a_loss_that_is_no_number_ends_the_run(few_digits):
    trainer = make_trainer(few_digits, read_config(SMALL))
    with torch.no_grad():
        next(iter(trainer.model.parameters())).fill_(math.nan)
    epoch = trainer.epoch()

    report = next(epoch)

    assert math.isnan(report.loss)
    with pytest.raises(Diverged, match="nan after 300 examples"):
        next(epoch)


def test_evaluation_counts_hits_and_does_not_train(few_digits):
    trainer = make_trainer(few_digits, read_config({**SMALL, "dropout": 0.5}))
    before = [weight.clone() for weight in trainer.model.state_dict().values()]

    first, second = (trainer.evaluate(few_digits.test) for _ in range(2))

    logits = trainer.model(normalise(few_digits.test.images, few_digits.spec))
    hits = (logits.argmax(1) == few_digits.test.labels).float().mean().item()
    assert first == second
    assert first.accuracy == pytest.approx(hits)
    after = trainer.model.state_dict().values()
    assert all(torch.equal(old, new) for old, new in zip(before, after, strict=True))


def test_evaluation_of_a_broken_model_says_so(few_digits):
    trainer = make_trainer(few_digits, read_config(SMALL))
    with torch.no_grad():
        next(iter(trainer.model.parameters())).fill_(math.nan)

    with pytest.raises(Diverged, match="held-out"):
        trainer.evaluate(Images(few_digits.test.images[:5], few_digits.test.labels[:5]))


def test_images_are_normalised_to_zero_mean_and_unit_variance(few_digits):
    floats = normalise(few_digits.train.images, few_digits.spec)

    assert abs(floats.mean().item()) < 0.05
    assert floats.std().item() == pytest.approx(1, abs=0.05)


def test_images_move_by_their_own_offset():
    images = torch.arange(2 * 9, dtype=torch.uint8).reshape(2, 1, 3, 3) + 1

    moved = _move(images, torch.tensor([[1, 0], [1, 2]]), 1)

    assert torch.equal(moved[0], images[0])  # offset 1 of 0…2 is the middle: no move
    assert moved[1, 0].tolist() == [[0, 0, 0], [11, 12, 0], [14, 15, 0]]
