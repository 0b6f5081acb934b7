"""Several trainers at once: each does what it does alone."""

import math

import pytest
import torch

from sweepd_trainer.checkpoint import load_plain, write_plain
from sweepd_trainer.config import Config, read_config
from sweepd_trainer.data import Data
from sweepd_trainer.device import seed_everything
from sweepd_trainer.evaluation import Diverged
from sweepd_trainer.images import image_problem
from sweepd_trainer.loop import Trainer
from sweepd_trainer.models import build_model
from sweepd_trainer.optim import build_optimizer
from sweepd_trainer.pack import Pack
from sweepd_trainer.pack_optim import RULES
from sweepd_trainer.watch import Watcher

SMALL = {"kernels": [4, 8], "batch_size": 32}
EPOCHS = 2
RATES = {"sgd": 0.05, "rmsprop": 0.0005, "adam": 0.003, "adamw": 0.003}
#: In what the trials of a pack may differ.
OWN = [
    {"momentum": 0.9},
    {
        **{"momentum": 0.5, "weight_decay": 0.01, "schedule": "onecycle", "warmup": 0.5},
        **{"ema": 0.9, "label_smoothing": 0.1, "seed": 1},
    },
    {"momentum": 0.0, "grad_clip": 0.3, "schedule": "cosine", "seed": 2},
]


@pytest.fixture(autouse=True)
def _float32(monkeypatch):
    monkeypatch.setattr("sweepd_trainer.step.has_fast_bfloat16", lambda device: False)


def make_trainer(data: Data, config: Config) -> Trainer:
    order = seed_everything(config.seed)
    model = build_model(data.spec, config).to(memory_format=torch.channels_last)  # as a run's is
    optimizer = build_optimizer(model, config)
    return Trainer(model, optimizer, image_problem(data, config), config=config, order=order)


def configs(**values) -> list[Config]:
    rate = RATES[values.get("optimizer", "adam")]
    return [
        read_config(
            {**SMALL, "epochs": EPOCHS, **values, "learning_rate": rate * (number + 1), **own}
        )
        for number, own in enumerate(OWN)
    ]


def trainers(data: Data, **values) -> list[Trainer]:
    return [make_trainer(data, config) for config in configs(**values)]


def losses_alone(trainer: Trainer, data: Data, *, epochs: int = EPOCHS) -> list[float]:
    losses = []
    for _ in range(epochs):
        losses += [progress.loss for progress in trainer.epoch()]
        losses.append(trainer.evaluate(data.validation).loss)
        trainer.end_epoch()
    return losses


def losses_packed(pack: Pack, data: Data, *, epochs: int = EPOCHS) -> list[list[float]]:
    losses = [[] for _ in pack.trainers]
    for _ in range(epochs):
        for reports in pack.epoch():
            for own, progress in zip(losses, reports, strict=True):
                own.append(progress.loss)
        for own, score in zip(losses, pack.evaluate(data.validation), strict=True):
            own.append(math.nan if isinstance(score, Diverged) else score.loss)
        for trainer in pack.trainers:
            trainer.end_epoch()
    return losses


@pytest.mark.parametrize("model", ["convnet", "mlp"])
@pytest.mark.parametrize("optimizer", sorted(RULES))
def test_each_has_the_losses_that_it_has_alone(few_digits, optimizer, model):
    values = {"optimizer": optimizer, "model": model, "shift": 1, "nesterov": True}

    alone = [losses_alone(one, few_digits) for one in trainers(few_digits, **values)]
    packed = losses_packed(Pack(trainers(few_digits, **values)), few_digits)

    for one, two in zip(packed, alone, strict=True):
        assert one == pytest.approx(two, abs=1e-3)


def test_each_reports_what_it_reports_alone(few_digits):
    alone = [list(one.epoch())[-1] for one in trainers(few_digits)]
    pack = Pack(trainers(few_digits))

    reports = list(pack.epoch())[-1]

    assert pack.mode == "eager, pack of 3"
    for one, two in zip(reports, alone, strict=True):
        assert (one.epoch, one.examples, one.lr) == (two.epoch, two.examples, two.lr)
        assert one.samples_per_s > 0


def test_a_loss_that_is_no_number_does_not_touch_the_others(few_digits):
    alone = [losses_alone(one, few_digits) for one in trainers(few_digits)]
    own = trainers(few_digits)
    with torch.no_grad():
        next(own[1].model.parameters()).fill_(math.nan)

    packed = losses_packed(Pack(own), few_digits)

    assert all(math.isnan(loss) for loss in packed[1])
    assert packed[0] == pytest.approx(alone[0], abs=1e-3)
    assert packed[2] == pytest.approx(alone[2], abs=1e-3)


def test_those_that_are_left_go_on_when_one_has_ended(few_digits):
    alone = [losses_alone(one, few_digits) for one in trainers(few_digits)]
    own = trainers(few_digits)

    begun = losses_packed(Pack(own), few_digits, epochs=1)
    ended = losses_packed(Pack([own[0], own[2]]), few_digits, epochs=1)

    assert begun[0] + ended[0] == pytest.approx(alone[0], abs=1e-3)
    assert begun[2] + ended[1] == pytest.approx(alone[2], abs=1e-3)


@pytest.mark.parametrize("n_trials", [1, 3])
@pytest.mark.parametrize("optimizer", sorted(RULES))
def test_one_that_was_stopped_half_way_goes_on_alone(few_digits, tmp_path, optimizer, n_trials):
    values = {"optimizer": optimizer, "shift": 1}
    alone = trainers(few_digits, **values)[:n_trials]
    wanted = [losses_alone(one, few_digits)[-1] for one in alone]
    pack = Pack(trainers(few_digits, **values)[:n_trials])
    lead = pack.trainers[0]
    pack._should_stop = lambda: lead.step >= 13

    losses_packed(pack, few_digits, epochs=1)
    list(pack.epoch())

    assert not lead.is_epoch_done
    for number, loss in enumerate(wanted):
        path = tmp_path / f"{number}.pt"
        write_plain(path, pack.trainers[number].state_dict())
        single = make_trainer(few_digits, configs(**values)[number])
        single.load_state_dict(load_plain(path))
        assert (single.step, single.examples) == (13, 396)
        assert losses_alone(single, few_digits, epochs=1)[-1] == pytest.approx(loss, abs=1e-3)
        assert {int(state.get("step", 20)) for state in single.optimizer.state.values()} == {20}


@pytest.mark.parametrize("optimizer", sorted(RULES))
def test_what_the_optimiser_keeps_lies_as_the_weights_of_who_goes_on_do(few_digits, optimizer):
    pack, single = (trainers(few_digits, optimizer=optimizer) for _ in range(2))
    list(Pack(pack).epoch())

    single[0].load_state_dict(pack[0].state_dict())

    kept = [
        (weight, value)
        for weight, state in single[0].optimizer.state.items()
        for name, value in state.items()
        if name != "step"
    ]
    assert any(weight.ndim == 4 for weight, _ in kept)
    assert all(value.stride() == weight.stride() for weight, value in kept)


def test_a_saved_state_is_that_of_one_model(few_digits, tmp_path):
    alone, pack = trainers(few_digits)[0], Pack(trainers(few_digits))
    list(alone.epoch())
    list(pack.epoch())

    for name, trainer in (("alone", alone), ("packed", pack.trainers[0])):
        write_plain(tmp_path / name, trainer.state_dict())

    one, two = ((tmp_path / name).stat().st_size for name in ("packed", "alone"))
    assert one == pytest.approx(two, rel=0.1)
    state, other = pack.trainers[0].state_dict(), alone.state_dict()
    assert state.keys() == other.keys()
    assert state["optimizer"]["state"].keys() == other["optimizer"]["state"].keys()


def test_one_that_was_saved_alone_goes_on_in_a_pack(few_digits):
    wanted = [losses_alone(one, few_digits) for one in trainers(few_digits)]
    own, others = trainers(few_digits), trainers(few_digits)
    for trainer in own:
        losses_alone(trainer, few_digits, epochs=1)
    for trainer, other in zip(own, others, strict=True):
        other.load_state_dict(trainer.state_dict())

    found = losses_packed(Pack(others), few_digits, epochs=1)

    for one, two in zip(found, wanted, strict=True):
        assert one == pytest.approx(two[len(two) // 2 :], abs=1e-3)


def test_each_drops_features_of_its_own(few_digits):
    config = read_config({**SMALL, "dropout": 0.5, "learning_rate": 1e-12})
    pack = Pack([make_trainer(few_digits, config) for _ in range(2)])

    (one, two) = next(pack.epoch())

    assert one.loss != two.loss


def test_a_batch_that_does_not_fit_is_halved_and_the_step_is_the_same(few_digits, monkeypatch):
    wanted = losses_packed(Pack(trainers(few_digits)), few_digits, epochs=1)
    pack = Pack(trainers(few_digits))
    run, sizes = pack._packed.run, []

    def narrow(batch, drawn):
        sizes.append(pack._step.n_parts)
        if batch.shape[1] // pack._step.n_parts > 20:
            raise torch.OutOfMemoryError("too many rows")
        run(batch, drawn)

    monkeypatch.setattr(pack._packed, "run", narrow)
    found = losses_packed(pack, few_digits, epochs=1)

    assert sizes[:3] == [1, 2, 2]
    assert pack.mode == "eager in 2 parts, pack of 3"
    for one, two in zip(found, wanted, strict=True):
        assert one == pytest.approx(two, abs=1e-3)


def test_all_are_evaluated_in_float32(few_digits, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    pack, seen = Pack(trainers(few_digits)), []
    sums = pack._packed.sums

    def noted(inputs, targets):
        seen.append(torch.backends.cudnn.allow_tf32)
        return sums(inputs, targets)

    monkeypatch.setattr(pack._packed, "sums", noted)
    pack.evaluate(few_digits.validation)

    assert set(seen) == {False}
    assert torch.backends.cudnn.allow_tf32


def test_a_step_whose_optimiser_has_begun_is_not_taken_again(few_digits, monkeypatch):
    pack, taken = Pack(trainers(few_digits)), []

    def short(gradients):
        taken.append(pack._step.n_parts)
        raise torch.OutOfMemoryError("no room to update")

    monkeypatch.setattr(pack._packed.optimizer, "step", short)

    with pytest.raises(torch.OutOfMemoryError, match="no room to update"):
        list(pack.epoch())

    assert taken == [1]


def test_histograms_are_those_of_each_model(few_digits):
    pack = Pack(trainers(few_digits))
    list(pack.epoch())

    found = Watcher().take([trainer.model for trainer in pack.trainers]).read()

    for trainer, own in zip(pack.trainers, found, strict=True):
        wanted = Watcher(trainer.model).histograms()
        assert "gradients/0.weight" in wanted
        assert own.keys() == wanted.keys()
        for name, histogram in own.items():
            assert (histogram.counts == wanted[name].counts).all()
