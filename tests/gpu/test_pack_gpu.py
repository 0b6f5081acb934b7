"""Packs on CUDA: several trials as one model, their steps as one graph."""

import pytest
import torch
from signs import CONFIG, losses_of, make_trainer

from sweepd_trainer.checkpoint import load_plain, write_plain
from sweepd_trainer.config import read_config
from sweepd_trainer.device import exact_float32, pick_device
from sweepd_trainer.pack import Pack
from sweepd_trainer.pack_optim import RULES

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.fixture
def float32(monkeypatch):
    """Compute in float32 without TF32: a pack rounds otherwise, of which RMSprop makes much."""
    monkeypatch.setattr("sweepd_trainer.step.has_fast_bfloat16", lambda device: False)
    with exact_float32():
        yield


#: In what the trials of a pack may differ.
OWN = (
    {"momentum": 0.9},
    {"momentum": 0.5, "weight_decay": 0.01, "schedule": "onecycle", "ema": 0.9, "seed": 1},
    {"grad_clip": 0.3, "label_smoothing": 0.1, "schedule": "cosine", "seed": 2},
)


def pack_of(optimizer: str):
    values = {**CONFIG.to_dict(), "optimizer": optimizer, "learning_rate": 1e-3}
    made = [make_trainer(pick_device(), read_config({**values, **own})) for own in OWN]
    return made[0][0], [trainer for _, trainer in made]


@pytest.mark.usefixtures("float32")
@pytest.mark.parametrize("optimizer", sorted(RULES))
def test_a_packed_step_is_captured_and_each_trial_has_the_losses_that_it_has_alone(optimizer):
    data, alone = pack_of(optimizer)
    wanted = [losses_of(trainer, epochs=3) for trainer in alone]
    scores = [trainer.evaluate(data.validation) for trainer in alone]
    _, trainers = pack_of(optimizer)
    pack = Pack(trainers)
    found = [[] for _ in trainers]
    for _ in range(3):
        for reports in pack.epoch():
            for own, progress in zip(found, reports, strict=True):
                own.append(progress.loss)
        for trainer in trainers:
            trainer.end_epoch()

    assert pack.mode == "cuda graph, pack of 3"
    for one, two in zip(found, wanted, strict=True):
        assert one == pytest.approx(two, rel=0.05)
    for one, two in zip(pack.evaluate(data.validation), scores, strict=True):
        assert one.accuracy == pytest.approx(two.accuracy, abs=0.05)


def test_each_replay_of_a_pack_drops_other_features_in_each_trial():
    config = read_config({**CONFIG.to_dict(), "dropout": 0.5, "learning_rate": 1e-12, "shift": 0})
    pack = Pack([make_trainer(pick_device(), config)[1] for _ in range(2)])
    batch = torch.arange(config.batch_size, device=pick_device()).expand(2, -1)
    losses = []
    for _ in range(8):
        pack._step(batch, None)
        losses += pack._step.loss_sum.tolist()
        pack._step.loss_sum.zero_()

    assert pack.mode == "cuda graph, pack of 2"
    assert len({round(loss, 4) for loss in losses}) == len(losses)


@pytest.mark.usefixtures("float32")
def test_a_pack_goes_on_in_captured_steps_once_one_trial_has_left():
    _, alone = pack_of("adam")
    wanted = losses_of(alone[2], epochs=4)
    _, trainers = pack_of("adam")
    found = []
    for own in (trainers, trainers[1:]):
        pack = Pack(own)  # which lays out the weights of now
        for _ in range(2):
            found += [reports[-1].loss for reports in pack.epoch()]
            for trainer in pack.trainers:
                trainer.end_epoch()
        assert pack.mode.startswith("cuda graph")

    assert found == pytest.approx(wanted, rel=0.05)


@pytest.mark.usefixtures("float32")
@pytest.mark.parametrize("n_trials", [1, 3])
@pytest.mark.parametrize("optimizer", sorted(RULES))
def test_a_trial_of_a_pack_goes_on_alone_in_captured_steps(optimizer, n_trials, tmp_path):
    _, alone = pack_of(optimizer)
    wanted = losses_of(alone[0], epochs=4)
    _, trainers = pack_of(optimizer)
    pack = Pack(trainers[:n_trials])
    for _ in range(2):
        list(pack.epoch())
        for trainer in pack.trainers:
            trainer.end_epoch()
    write_plain(tmp_path / "state.pt", trainers[0].state_dict())
    _, (single, *_) = pack_of(optimizer)
    single.load_state_dict(load_plain(tmp_path / "state.pt", device=pick_device()))

    found = losses_of(single, epochs=2)

    assert single.mode == "cuda graph"
    assert found == pytest.approx(wanted[len(wanted) // 2 :], rel=0.05)
    steps = {int(state.get("step", single.step)) for state in single.optimizer.state.values()}
    assert steps == {single.step}
