"""Rows that stay on the host and come to the device as they are needed."""

from types import SimpleNamespace

import pytest
import torch

from sweepd_trainer.config import Config, read_config
from sweepd_trainer.data import Data, Rows
from sweepd_trainer.device import seed_everything
from sweepd_trainer.feed import Streamed, has_room
from sweepd_trainer.images import image_problem
from sweepd_trainer.loop import Trainer
from sweepd_trainer.models import build_model
from sweepd_trainer.optim import build_optimizer

CPU = torch.device("cpu")
VALUES = {"kernels": [4, 8], "epochs": 2, "learning_rate": 0.01, "dropout": 0.3, "ema": 0.9}
MOVED = {"shift": 1, "flip": True, "cutout": 2}


def make_trainer(data: Data, config: Config, *, streams_to: torch.device | None) -> Trainer:
    order = seed_everything(config.seed)
    model = build_model(data.spec, config)
    return Trainer(
        model,
        build_optimizer(model, config),
        image_problem(data, config),
        config=config,
        order=order,
        streams_to=streams_to,
    )


def trained(trainer: Trainer, data: Data) -> list[float]:
    losses = []
    while trainer.step < trainer.n_steps:
        losses += [progress.loss for progress in trainer.epoch()]
        trainer.end_epoch()
        losses.append(trainer.evaluate(data.validation).loss)
    return losses


@pytest.mark.parametrize("more", [{}, MOVED], ids=["as they are", "moved"])
@pytest.mark.parametrize("batch_size", [7, 13, 32, 150, 1000])
def test_numbers_are_those_of_rows_that_lie_on_the_device(few_digits, batch_size, more):
    config = read_config({**VALUES, **more, "batch_size": batch_size})

    wanted = trained(make_trainer(few_digits, config, streams_to=None), few_digits)
    streamed = make_trainer(few_digits, config, streams_to=CPU)

    assert trained(streamed, few_digits) == wanted
    assert streamed.mode == "eager, rows streamed"


def test_a_run_goes_on_where_rows_come_in_another_way(few_digits):
    config = read_config({**VALUES, **MOVED, "batch_size": 13})
    whole = make_trainer(few_digits, config, streams_to=None)
    wanted = trained(whole, few_digits)
    first = make_trainer(few_digits, config, streams_to=CPU)
    first._should_stop = lambda: first.step >= 9
    list(first.epoch())
    state, numbers = first.state_dict(), torch.get_rng_state()

    second = make_trainer(few_digits, config, streams_to=None)
    second.load_state_dict(state)
    torch.set_rng_state(numbers)

    assert trained(second, few_digits) == wanted


def test_the_device_has_the_rows_of_a_few_batches_at_the_same_places():
    rows = Rows(torch.arange(20), torch.arange(20) * 10)
    feed = Streamed(rows, CPU, size=3)
    before = feed.rows.inputs.data_ptr()
    order = torch.arange(20).flip(0)
    places = [slice(first, min(first + 3, 20)) for first in range(0, 20, 3)]

    found = [
        (feed.rows.inputs[batch].tolist(), feed.rows.targets[batch].tolist())
        for batch, _ in feed.batches(order, None, places)
    ]

    assert [number for batch, _ in found for number in batch] == order.tolist()
    assert [number for _, batch in found for number in batch] == (order * 10).tolist()
    assert len(feed.rows) == 12
    assert feed.rows.inputs.data_ptr() == before


@pytest.mark.parametrize(("room", "wanted"), [(100, True), (99, False), (None, True)])
def test_data_that_need_more_than_their_room_stay_on_the_host(room, wanted):
    def part(n_rows):
        return Rows(torch.zeros(n_rows, 2, dtype=torch.uint8), torch.zeros(n_rows))

    data = Data(part(10), part(4), SimpleNamespace(inputs=torch.zeros(4), targets=torch.zeros(0)))

    assert has_room(data, CPU, room_bytes=room) is wanted


@pytest.mark.parametrize(
    ("free", "fraction", "wanted"), [(1000, "", True), (300, "", False), (1000, "0.1", False)]
)
def test_data_may_take_a_third_of_the_memory_that_is_free(monkeypatch, free, fraction, wanted):
    monkeypatch.setenv("SWEEPD_MEMORY_FRACTION", fraction)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, 2000))
    rows = Rows(torch.zeros(25, dtype=torch.uint8), torch.zeros(25))  # 250 bytes with the others

    data = Data(rows, rows)

    assert has_room(data, torch.device("cuda")) is wanted
