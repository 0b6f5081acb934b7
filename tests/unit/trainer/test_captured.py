"""Which steps become a CUDA graph, on a CUDA that is played."""

import random
import warnings

import pytest
import torch
from fake_cuda import FakeCuda, waits
from torch import nn

from sweepd_trainer.config import Training
from sweepd_trainer.data import Rows
from sweepd_trainer.optim import build_optimizer
from sweepd_trainer.step import Captured, Problem, Step
from sweepd_trainer.task import regression

#: The first steps run by themselves.
N_EAGER = 4
WHOLE, SHORT = torch.arange(4), torch.arange(3)


@pytest.fixture
def cuda(monkeypatch):
    fake = FakeCuda()
    fake.put_in(monkeypatch)
    return fake


class Model(nn.Module):
    """A linear layer, and what is done at each call."""

    def __init__(self, at_each_call=lambda model: None):
        super().__init__()
        self.layer, self.at_each_call = nn.Linear(3, 1), at_each_call
        self.register_buffer("mean", torch.zeros(()))
        self.n_calls = 0

    def forward(self, x):
        self.at_each_call(self)
        return self.layer(x)


CONFIG = Training(optimizer="sgd", learning_rate=0.01)


def make_step(model: nn.Module) -> Step:
    inputs = torch.rand(8, 3, generator=torch.Generator().manual_seed(0))
    problem = Problem(Rows(inputs, inputs[:, :1]), regression(), lambda x: x)
    return Step(model, build_optimizer(model, CONFIG), problem, CONFIG)


def make(model: nn.Module, said: list[str]) -> Captured:
    return Captured(make_step(model), size=len(WHOLE), tell=said.append)


def take(captured: Captured, n_steps: int, batch: torch.Tensor = WHOLE) -> None:
    for _ in range(n_steps):
        captured(batch, None)


def test_whole_batches_are_replayed_after_the_first_few(cuda):
    said = []
    captured = make(Model(), said)

    take(captured, N_EAGER + 3)
    take(captured, 2, SHORT)

    assert captured.mode == "cuda graph"
    assert cuda.graphs[0].replays == 3
    assert said == []


def test_steps_are_captured_on_cuda_unless_the_config_wants_none(cuda):
    step = make_step(Model())
    assert Captured.where_it_pays(step, CONFIG, size=4) is step

    step.device = torch.device("cuda")

    assert isinstance(Captured.where_it_pays(step, CONFIG, size=4), Captured)
    assert Captured.where_it_pays(step, Training(cuda_graph=False), size=4) is step


def replace(model):
    model.mean = model.mean * 0.9 + 1


def count(model):
    model.n_calls += 1


@pytest.mark.parametrize(
    ("at_each_call", "reason"),
    [
        (replace, "it changes mean, which is another tensor now"),
        (count, "it changes n_calls, which was 4 and is 5"),
        (lambda model: random.random(), "it changes random numbers of the CPU"),
        (lambda model: torch.rand(1), "it changes random numbers of the CPU"),
    ],
)
def test_a_step_that_changes_what_python_holds_runs_eagerly_and_says_why(
    cuda, at_each_call, reason
):
    said = []
    captured = make(Model(at_each_call), said)

    take(captured, N_EAGER + 3)

    assert captured.mode == "eager"
    assert cuda.graphs[0].is_reset
    assert said == [f"the step cannot be captured as a CUDA graph, it runs eagerly: {reason}"]


def test_what_the_step_that_was_recorded_changed_does_not_count(cuda):
    def both(model):
        replace(model)
        count(model)

    model = Model(both)
    captured = make(model, [])

    take(captured, N_EAGER + 1)

    assert model.n_calls == N_EAGER + 1
    assert model.mean.item() == pytest.approx(sum(0.9**n for n in range(N_EAGER + 1)))


def test_a_step_that_waits_for_the_device_is_found_before_it_is_captured(cuda):
    said = []
    captured = make(Model(lambda model: waits()), said)

    take(captured, N_EAGER + 3)

    assert cuda.graphs == []
    assert cuda.mode == 0
    (line,) = said
    assert "it waits for the device (test_captured.py, line" in line


def test_other_warnings_of_the_step_that_is_watched_are_given_on(cuda):
    def warn(model):
        warnings.warn("the model is old", DeprecationWarning, stacklevel=1)

    captured = make(Model(warn), [])

    with pytest.warns(DeprecationWarning, match="the model is old") as told:
        take(captured, N_EAGER)

    assert len(told) == N_EAGER
    assert captured._is_possible


@pytest.mark.parametrize("end_error", [None, "operation failed due to a previous error"])
def test_a_capture_that_fails_says_the_first_reason_and_leaves_the_usual_stream(
    cuda, end_error, monkeypatch
):
    def fails(model):
        if cuda.is_capturing:
            raise RuntimeError("operation not permitted when stream is capturing\nCUDA says more")

    ended = []
    monkeypatch.setattr(
        torch._C, "_cuda_endAllocateToPool", lambda *values: ended.append(values), raising=False
    )
    said = []
    captured = make(Model(fails), said)
    cuda.end_error = end_error
    take(captured, N_EAGER)

    take(captured, 3)

    assert captured.mode == "eager"
    assert cuda.current is cuda.usual
    assert ended == [(0, (0, 1))]
    (line,) = said
    assert line.endswith("it runs eagerly: operation not permitted when stream is capturing")


def test_a_graph_whose_memory_is_in_the_way_goes_before_a_batch_is_halved(cuda):
    def lacks_memory(model):
        if captured.mode == "cuda graph":
            raise torch.OutOfMemoryError("the graph holds it")

    said = []
    captured = make(Model(lambda model: lacks_memory(model)), said)
    take(captured, N_EAGER + 1)
    assert captured.mode == "cuda graph"

    take(captured, 1, SHORT)
    take(captured, 2)

    assert cuda.graphs[0].is_reset
    assert captured.mode == "eager"
    assert captured.n_parts == 1
    (line,) = said
    assert "its memory is needed" in line


def test_a_batch_that_does_not_fit_without_the_graph_either_is_halved(cuda):
    def lacks_memory(model):
        if captured.mode == "cuda graph" or (captured.n_parts == 1 and is_short):
            raise torch.OutOfMemoryError("three rows are too many")

    is_short = False
    captured = make(Model(lambda model: lacks_memory(model)), [])
    take(captured, N_EAGER + 1)
    is_short = True

    take(captured, 1, SHORT)

    assert captured.mode == "eager"
    assert captured.n_parts == 2


def test_a_step_beside_the_graph_whose_optimiser_has_begun_is_not_taken_again(cuda, monkeypatch):
    calls = []
    captured = make(Model(lambda model: calls.append(model)), [])
    take(captured, N_EAGER + 1)
    assert captured.mode == "cuda graph"

    def short():
        raise torch.OutOfMemoryError("no room to update")

    monkeypatch.setattr(captured._step.optimizer, "step", short)

    with pytest.raises(torch.OutOfMemoryError, match="no room to update"):
        take(captured, 1, SHORT)

    assert len(calls) == N_EAGER + 2
