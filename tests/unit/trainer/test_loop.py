"""Training and evaluation on a few digits."""

import copy
import math
from dataclasses import replace

import pytest
import torch

from sweepd.errors import DataError
from sweepd_trainer.config import OPTIMIZERS, Config, read_config
from sweepd_trainer.data import Data, Rows
from sweepd_trainer.device import seed_everything
from sweepd_trainer.images import Normalise, image_problem
from sweepd_trainer.loop import Diverged, Progress, Trainer
from sweepd_trainer.models import build_model
from sweepd_trainer.optim import build_optimizer
from sweepd_trainer.task import task_for

SMALL = {"kernels": [4, 8], "batch_size": 32, "epochs": 3, "learning_rate": 0.01}


def make_trainer(data: Data, config: Config, **kwargs) -> Trainer:
    order = seed_everything(config.seed)
    model = build_model(data.spec, config)
    return Trainer(
        model,
        build_optimizer(model, config),
        image_problem(data, config),
        config=config,
        order=order,
        **kwargs,
    )


def train(data: Data, values: dict) -> list[Progress]:
    config = read_config({**SMALL, **values})
    trainer = make_trainer(data, config)
    progress = []
    for _ in range(config.epochs):
        progress += trainer.epoch()
        trainer.end_epoch()
    return progress


@pytest.mark.parametrize("values", [{}, {"shift": 1, "dropout": 0.3}, {"model": "mlp"}])
def test_same_seed_gives_the_same_losses(few_digits, values):
    first = [(p.examples, p.loss, p.lr) for p in train(few_digits, values)]
    torch.rand(7)  # what ran before must not matter
    second = [(p.examples, p.loss, p.lr) for p in train(few_digits, values)]

    assert first == second


def test_another_seed_gives_other_losses(few_digits):
    assert train(few_digits, {"seed": 1})[-1].loss != train(few_digits, {"seed": 2})[-1].loss


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_the_loss_falls(few_digits, optimizer):
    rate = {"sgd": 0.1, "rmsprop": 0.001}.get(optimizer, 0.01)
    progress = train(few_digits, {"optimizer": optimizer, "learning_rate": rate, "epochs": 6})

    assert progress[-1].loss < 0.5 * progress[0].loss


def test_every_image_is_seen_once_an_epoch(few_digits):
    config = read_config({**SMALL, "batch_size": 7})
    trainer = make_trainer(few_digits, config)

    last = list(trainer.epoch())[-1]

    assert last.examples == len(few_digits.train)
    assert last.epoch == 1
    assert trainer.step == math.ceil(len(few_digits.train) / 7)


@pytest.mark.parametrize(("size", "last"), [(13, 14), (7, 6), (1, 1), (300, 300), (299, 300)])
def test_a_last_image_is_not_alone_in_its_batch(few_digits, size, last):
    trainer = make_trainer(few_digits, read_config({**SMALL, "batch_size": size}))
    sizes = []
    trainer._step = Taken(trainer._step, sizes)

    assert list(trainer.epoch())[-1].examples == len(few_digits.train) == sum(sizes)
    assert sizes[-1] == last
    assert len(sizes) == trainer.steps_per_epoch


@pytest.mark.parametrize(
    ("size", "whole"), [(13, 13), (300, 300), (299, 300), (1000, 300)], ids=str
)
def test_the_only_batch_of_an_epoch_is_a_whole_one(few_digits, size, whole):
    assert len(few_digits.train) == 300

    trainer = make_trainer(few_digits, read_config({**SMALL, "batch_size": size}))

    assert trainer.whole_batch == whole


class Taken:
    """Notes how many rows each step takes."""

    def __init__(self, step, sizes: list[int]) -> None:
        self._step, self._sizes, self.loss_sum = step, sizes, step.loss_sum
        self.mode = step.mode

    def __call__(self, batch, drawn) -> None:
        self._sizes.append(len(batch))
        self._step(batch, drawn)


def test_what_is_no_target_counts_for_no_accuracy(few_digits):
    trainer = make_trainer(few_digits, read_config(SMALL))
    rows = few_digits.test
    whole = trainer.evaluate(rows)
    is_hit = trainer.model(Normalise(few_digits.spec)(rows.inputs)).argmax(1) == rows.targets

    found = trainer.evaluate(Rows(rows.inputs, rows.targets.where(is_hit, -100)))

    assert whole.accuracy < 1.0
    assert found.accuracy == 1.0


@pytest.fixture
def tf32(monkeypatch):
    """Let a GPU use TF32, as `let_hurry` does; return what says which precisions are allowed."""
    usual = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    yield lambda: (torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32)
    torch.set_float32_matmul_precision(usual)


def test_evaluation_is_in_float32_and_training_may_use_tf32(few_digits, tf32):
    trainer = make_trainer(few_digits, read_config(SMALL))
    seen = []
    trainer.model.register_forward_pre_hook(lambda model, inputs: seen.append(tf32()))

    next(trainer.epoch())
    trained = seen[:]
    seen.clear()
    trainer.evaluate(few_digits.test)

    assert set(trained) == {("high", True)} == {tf32()}
    assert set(seen) == {("highest", False)}


def test_evaluation_that_fails_leaves_tf32_as_it_was(few_digits, tf32):
    trainer = make_trainer(few_digits, read_config(SMALL))

    def fail(model, inputs):
        raise RuntimeError("no such kernel")

    trainer.model.register_forward_pre_hook(fail)
    with pytest.raises(RuntimeError, match="no such kernel"):
        trainer.evaluate(few_digits.test)

    assert tf32() == ("high", True)


def test_evaluation_takes_fewer_rows_at_a_time_where_many_do_not_fit(few_digits):
    trainer = make_trainer(few_digits, read_config(SMALL))
    wanted = trainer.evaluate(few_digits.test)
    asked = []

    def narrow(model, inputs):
        asked.append(len(inputs[0]))
        if asked[-1] > 9:
            raise torch.OutOfMemoryError("too many rows")

    trainer.model.register_forward_pre_hook(narrow)
    found = trainer.evaluate(few_digits.test)

    first = asked[:]
    asked.clear()
    trainer.evaluate(few_digits.test)

    assert first[:3] == [128, 32, 8]
    assert asked[0] == 8  # what did not fit is not tried again
    assert found.accuracy == wanted.accuracy
    assert found.loss == pytest.approx(wanted.loss, rel=1e-5)


def test_a_row_that_does_not_fit_alone_is_out_of_memory(few_digits):
    trainer = make_trainer(few_digits, read_config(SMALL))

    def full(model, inputs):
        raise torch.OutOfMemoryError("not a row")

    trainer.model.register_forward_pre_hook(full)
    with pytest.raises(torch.OutOfMemoryError, match="not a row"):
        trainer.evaluate(few_digits.test)


def test_reports_weigh_each_image_alike(few_digits):
    config = read_config({**SMALL, "batch_size": 2, "learning_rate": 1e-12})
    trainer = make_trainer(few_digits, config)

    reports = list(trainer.epoch())

    assert len(reports) > 1
    assert trainer.epoch_loss == pytest.approx(trainer.evaluate(few_digits.train).loss, rel=0.02)


def test_a_request_to_stop_ends_the_epoch_after_one_step(few_digits):
    trainer = make_trainer(few_digits, read_config(SMALL), should_stop=lambda: True)

    reports = list(trainer.epoch())

    assert reports == []
    assert (trainer.step, trainer.examples, trainer.is_epoch_done) == (1, 32, False)


def test_a_loss_that_is_no_number_ends_the_run(few_digits):
    trainer = make_trainer(few_digits, read_config(SMALL))
    with torch.no_grad():
        next(iter(trainer.model.parameters())).fill_(math.nan)
    epoch = trainer.epoch()

    report = next(epoch)

    assert math.isnan(report.loss)
    with pytest.raises(Diverged, match="nan after 300 examples"):
        next(epoch)


def spoilt(trainer: Trainer, *, after: int):
    """Train an epoch, and make the weights a thousand times as large once; yield the reports."""
    for progress in trainer.epoch():
        yield progress
        if progress.examples == after:
            with torch.no_grad():
                for weight in trainer.model.parameters():
                    weight *= 1000


SHORT = {**SMALL, "batch_size": 2, "epochs": 1, "learning_rate": 1e-4}  # 150 steps, reports of 25


def guessed(few_digits, values=SHORT) -> Trainer:
    """Return a trainer whose task knows what guessing costs, as that of a run does."""
    trainer = make_trainer(few_digits, read_config(values))
    trainer._problem = replace(trainer._problem, task=task_for(few_digits.train.targets))
    return trainer


def test_a_loss_far_above_guessing_ends_the_run_after_the_warm_up(few_digits):
    with pytest.raises(
        Diverged, match=r"after 250 examples, above 6.908: three times ln\(10\).*stop_diverged"
    ):
        list(spoilt(guessed(few_digits), after=200))


@pytest.mark.parametrize(
    "values",
    [
        pytest.param({"schedule": "onecycle", "warmup": 0.9}, id="in the warm-up"),
        pytest.param({"stop_diverged": False}, id="not wanted"),
    ],
)
def test_a_finite_loss_ends_no_run_otherwise(few_digits, values):
    reports = list(spoilt(guessed(few_digits, {**SHORT, **values}), after=200))

    assert reports[-1].examples == 300
    assert reports[-1].loss > 7


def test_what_a_run_began_with_is_kept_for_the_next_process(few_digits):
    first, second, old = (make_trainer(few_digits, read_config(SHORT)) for _ in range(3))
    began_with = next(first.epoch()).loss
    state = first.state_dict()

    second.load_state_dict(state)
    del state["first_loss"]  # as in a state of before there were bounds
    old.load_state_dict(state)
    list(second.epoch())

    assert second.state_dict()["first_loss"] == began_with
    assert math.isnan(old.state_dict()["first_loss"])


def test_evaluation_counts_hits_and_does_not_train(few_digits):
    trainer = make_trainer(few_digits, read_config({**SMALL, "dropout": 0.5}))
    before = [weight.clone() for weight in trainer.model.state_dict().values()]

    first, second = (trainer.evaluate(few_digits.test) for _ in range(2))

    logits = trainer.model(Normalise(few_digits.spec)(few_digits.test.inputs))
    hits = (logits.argmax(1) == few_digits.test.targets).float().mean().item()
    assert first == second
    assert first.accuracy == pytest.approx(hits)
    after = trainer.model.state_dict().values()
    assert all(torch.equal(old, new) for old, new in zip(before, after, strict=True))


def test_evaluation_of_a_broken_model_says_so(few_digits):
    trainer = make_trainer(few_digits, read_config(SMALL))
    with torch.no_grad():
        next(iter(trainer.model.parameters())).fill_(math.nan)

    with pytest.raises(Diverged, match="held-out"):
        trainer.evaluate(Rows(few_digits.test.inputs[:5], few_digits.test.targets[:5]))


def test_images_are_normalised_to_zero_mean_and_unit_variance(few_digits):
    floats = Normalise(few_digits.spec)(few_digits.train.inputs)

    assert abs(floats.mean().item()) < 0.05
    assert floats.std().item() == pytest.approx(1, abs=0.05)


EVERYTHING = {
    "dropout": 0.3,
    "shift": 1,
    "flip": True,
    "ema": 0.9,
    "schedule": "onecycle",
    "grad_clip": 1.0,
    "epochs": 4,
}


def go_on(trainer: Trainer, *, until: int) -> None:
    """Train up to a step, through as many epochs as that takes."""
    trainer._should_stop = lambda: trainer.step >= until
    while trainer.step < until:
        list(trainer.epoch())
        if trainer.is_epoch_done:
            trainer.end_epoch()


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("at", [1, 9, 10, 17, 30])
def test_a_trainer_that_takes_over_at_any_step_ends_with_the_same_bits(
    few_digits, tmp_path, optimizer, at
):
    config = read_config({**SMALL, **EVERYTHING, "optimizer": optimizer, "learning_rate": 1e-3})
    whole = make_trainer(few_digits, config)
    first = make_trainer(few_digits, config)
    assert whole.steps_per_epoch == 10

    go_on(first, until=at)
    state = {"trainer": first.state_dict(), "random": torch.get_rng_state()}
    torch.save(state, tmp_path / "state.pt")
    second = make_trainer(few_digits, read_config({**config.to_dict()}))
    torch.rand(5)
    saved = torch.load(tmp_path / "state.pt", weights_only=True)
    second.load_state_dict(saved["trainer"])
    torch.set_rng_state(saved["random"])
    go_on(second, until=whole.n_steps)
    seed_everything(config.seed)
    whole = make_trainer(few_digits, config)
    go_on(whole, until=whole.n_steps)

    assert (second.step, second.examples) == (whole.step, whole.examples)
    for one, two in zip(
        second.best_model.state_dict().values(), whole.best_model.state_dict().values(), strict=True
    ):
        assert torch.equal(one, two)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_state_of_a_gpu_goes_on_here(few_digits, optimizer):
    config = read_config({**SMALL, "optimizer": optimizer, "schedule": "cosine"})
    whole, first, second = (make_trainer(few_digits, config) for _ in range(3))
    go_on(first, until=3)
    state = copy.deepcopy(first.state_dict())
    for group in state["optimizer"]["param_groups"]:  # as they are on CUDA
        group |= {"capturable": True, "lr": torch.tensor(group["lr"])}

    second.load_state_dict(state)
    go_on(whole, until=8)
    go_on(second, until=8)

    for one, two in zip(whole.model.parameters(), second.model.parameters(), strict=True):
        assert torch.equal(one, two)
    assert not any(isinstance(group["lr"], torch.Tensor) for group in second.optimizer.param_groups)


def test_a_state_of_other_rows_or_another_model_is_refused_in_words(few_digits):
    trainer = make_trainer(few_digits, read_config(SMALL))
    other = make_trainer(few_digits, read_config({**SMALL, "kernels": [4, 9]}))
    fewer = replace(few_digits, train=few_digits.train.take(torch.arange(200)))

    with pytest.raises(DataError, match="does not fit the model"):
        other.load_state_dict(trainer.state_dict())
    with pytest.raises(DataError, match="300 training rows, now there are 200"):
        make_trainer(fewer, read_config(SMALL)).load_state_dict(trainer.state_dict())
    state = trainer.state_dict()
    del state["order"]
    with pytest.raises(DataError, match="does not fit the model: 'order'"):
        trainer.load_state_dict(state)


def test_reports_after_a_change_of_process_are_those_of_one_that_never_changed(few_digits):
    config = read_config({**SMALL, "batch_size": 2, "epochs": 2})
    whole, first, second = (make_trainer(few_digits, config) for _ in range(3))
    wanted = [(p.examples, p.loss) for p in whole.epoch()]

    first._should_stop = lambda: first.step >= 40
    found = [(p.examples, p.loss) for p in first.epoch()]
    second.load_state_dict(first.state_dict())
    found += [(p.examples, p.loss) for p in second.epoch()]

    assert found == wanted
    assert second.epoch_loss == whole.epoch_loss


def test_seconds_of_training_go_on_after_a_change_of_process(few_digits):
    first, second = (make_trainer(few_digits, read_config(SMALL)) for _ in range(2))
    list(first.epoch())
    first.end_epoch()

    second.load_state_dict(first.state_dict())
    before = second.stopwatch.seconds
    list(second.epoch())

    assert before == first.stopwatch.seconds > 0
    assert second.state_dict()["seconds"] > before


def test_averaged_weights_follow_the_trained_ones(few_digits):
    trainer = make_trainer(few_digits, read_config({**SMALL, "ema": 0.5}))
    start = {n: w.clone() for n, w in trainer.model.named_parameters()}
    trainer._should_stop = lambda: True

    list(trainer.epoch())

    averaged = dict(trainer.best_model.named_parameters())
    for name, weight in trainer.model.named_parameters():
        assert torch.allclose(averaged[name], (start[name] + weight) / 2, atol=1e-6)


def test_gradients_are_no_longer_than_the_clip(few_digits):
    values = {**SMALL, "optimizer": "sgd", "momentum": 0.0, "learning_rate": 1.0}
    trainer = make_trainer(few_digits, read_config({**values, "grad_clip": 0.01}))
    before = torch.cat([w.detach().flatten() for w in trainer.model.parameters()])
    trainer._should_stop = lambda: True

    list(trainer.epoch())

    after = torch.cat([w.detach().flatten() for w in trainer.model.parameters()])
    assert (after - before).norm() == pytest.approx(0.01, rel=1e-3)
