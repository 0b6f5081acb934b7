"""When a loss that is still a number says that training is lost."""

import math

import pytest
import torch

from sweepd_trainer.config import Training
from sweepd_trainer.divergence import bound_for, n_warm_up
from sweepd_trainer.task import Guess, task_for

TEN = Guess(math.log(10), 10)


@pytest.mark.parametrize(
    ("start", "bound", "said"),
    [
        pytest.param(2.3, 3 * math.log(10), "three times ln(10)", id="fresh"),
        pytest.param(0.01, 3 * math.log(10), "three times ln(10)", id="trained before"),
        pytest.param(40.0, 40.0, "what it began with", id="from far above"),
        pytest.param(math.nan, 3 * math.log(10), "three times ln(10)", id="not known"),
    ],
)
def test_a_classifier_is_lost_far_above_guessing_and_where_it_began(start, bound, said):
    found = bound_for(start, TEN)

    assert found.loss == pytest.approx(bound)
    assert said in found.reason


@pytest.mark.parametrize(
    ("start", "guess", "bound"),
    [
        pytest.param(5.0, Guess(2.0), 50.0, id="fresh"),
        pytest.param(1e-6, Guess(2.0), 20.0, id="trained before"),
        pytest.param(math.nan, Guess(2.0), 20.0, id="start not known"),
        pytest.param(0.7, None, 7.0, id="a loss of one's own"),
    ],
)
def test_values_are_lost_at_ten_times_the_start_or_their_variance(start, guess, bound):
    assert bound_for(start, guess).loss == pytest.approx(bound)


@pytest.mark.parametrize("start", [0.0, 1e-3, -4.0, math.nan, math.inf])
def test_a_loss_of_ones_own_that_begins_near_nothing_has_no_bound(start):
    assert bound_for(start, None) is None


@pytest.mark.parametrize(
    ("n_steps", "values", "wanted"),
    [
        pytest.param(50, {}, 100, id="short"),
        pytest.param(5000, {}, 500, id="a tenth"),
        pytest.param(5000, {"schedule": "onecycle"}, 1500, id="onecycle"),
        pytest.param(5000, {"schedule": "warmup_linear", "warmup": 0.5}, 2500, id="warmup"),
        pytest.param(5000, {"schedule": "cosine", "warmup": 0.5}, 500, id="no rise"),
    ],
)
def test_the_warm_up_is_a_tenth_of_the_run_and_all_of_the_rise(n_steps, values, wanted):
    assert n_warm_up(n_steps, Training(**values)) == wanted


@pytest.mark.parametrize(
    ("targets", "loss", "wanted"),
    [
        pytest.param(torch.tensor([0, 2, 1]), None, Guess(math.log(3), 3), id="classes"),
        pytest.param(torch.tensor([0, -100]), None, Guess(math.log(2), 2), id="one class"),
        pytest.param(torch.tensor([1.0, 3.0]), None, Guess(1.0), id="values"),
        pytest.param(torch.tensor([1.0, math.inf]), None, None, id="no finite values"),
        pytest.param(torch.tensor([1.0]), lambda outputs, values: outputs.mean(), None, id="own"),
    ],
)
def test_what_guessing_costs_follows_from_the_targets(targets, loss, wanted):
    assert task_for(targets, loss=loss).guess == wanted
