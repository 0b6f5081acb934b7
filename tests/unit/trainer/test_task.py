"""What training minimises, by what the targets are."""

import pytest
import torch
from torch.nn import functional

from sweepd.errors import InvalidInput
from sweepd_trainer.evaluation import read_score, sums_of
from sweepd_trainer.task import Score, classification, regression, task_for


def test_whole_numbers_are_classes_and_others_are_values():
    assert task_for(torch.tensor([1, 2])).hits is not None
    assert task_for(torch.tensor([1.0, 2.0])).hits is None


def test_each_place_of_a_text_is_a_target():
    logits = torch.randn(2, 3, 5, generator=torch.Generator().manual_seed(0))
    classes = torch.tensor([[0, 1, 2], [3, 4, 0]])
    task = classification(label_smoothing=0.1)

    wanted = functional.cross_entropy(logits.transpose(1, 2), classes)
    smoothed = functional.cross_entropy(logits.transpose(1, 2), classes, label_smoothing=0.1)

    assert task.plain_loss(logits, classes) == pytest.approx(wanted.item())
    assert task.loss(logits, classes) == pytest.approx(smoothed.item())
    assert task.hits is not None
    assert task.hits(logits, logits.argmax(-1)) == 6


def test_values_of_one_column_meet_outputs_of_one_column():
    outputs, values = torch.tensor([[1.0], [3.0]]), torch.tensor([1.0, 1.0])

    assert regression().loss(outputs, values) == 2.0


def test_outputs_of_another_shape_than_the_values_are_named():
    with pytest.raises(InvalidInput, match=r"outputs are \(2, 3\), the targets \(2,\)"):
        regression().loss(torch.zeros(2, 3), torch.zeros(2))


def test_a_class_that_only_held_out_rows_have_needs_a_logit_too():
    train, held_out = torch.tensor([0, 1, 2]), torch.tensor([0, 4, 1])
    task = task_for(train, held_out=[held_out])

    with pytest.raises(InvalidInput, match="classes up to 4, the model has 3"):
        task.loss(torch.zeros(3, 3), train)
    assert task.guess == task_for(train).guess


def test_a_class_below_zero_of_held_out_rows_is_named():
    with pytest.raises(InvalidInput, match="from 0 on, not -2"):
        task_for(torch.tensor([0, 1]), held_out=[torch.tensor([-2])])


def test_a_loss_of_ones_own_is_minimised_and_reported():
    def absolute(outputs, values):
        return (outputs - values).abs().mean()

    task = task_for(torch.zeros(2), loss=absolute)

    assert task.loss is absolute
    assert task.plain_loss is absolute


def test_a_score_is_better_by_accuracy_then_by_loss():
    scores = [Score(0.1, 0.5), Score(0.5, 0.9), Score(0.4, 0.9), Score(0.2), Score(0.1)]

    assert max(scores[:3], key=lambda score: score.rank) == Score(0.4, 0.9)
    assert max(scores[3:], key=lambda score: score.rank) == Score(0.1)


def test_targets_of_one_column_are_met_once_each():
    logits, classes = torch.eye(3), torch.tensor([[0], [1], [0]])
    task = task_for(classes)

    assert task.hits is not None
    assert task.hits(logits, classes) == 2
    assert task.loss(logits, classes) == task.loss(logits, classes[:, 0])


@pytest.mark.parametrize(
    ("outputs", "said"),
    [
        pytest.param(torch.zeros(4), r"logits, last axis the classes, not \(4,\)", id="one number"),
        pytest.param(torch.zeros(4, 1), r"not \(4, 1\)", id="one column"),
        pytest.param(torch.zeros(4, 3, 2), r"not \(4, 3, 2\)", id="more places"),
        pytest.param((torch.zeros(4, 3), torch.zeros(4, 3)), "not tuple", id="two heads"),
        pytest.param(torch.zeros(4, 2), "classes up to 2, the model has 2", id="few classes"),
    ],
)
def test_outputs_that_are_no_logits_of_the_classes_are_named(outputs, said):
    classes = torch.tensor([0, 1, 2, 0])

    with pytest.raises(InvalidInput, match=said):
        task_for(classes).loss(outputs, classes)


def test_several_heads_need_a_loss_of_their_own():
    with pytest.raises(InvalidInput, match="returns a tuple"):
        regression().loss((torch.zeros(2), torch.zeros(2)), torch.zeros(2))


@pytest.mark.parametrize("outputs", [torch.zeros(4, 1), (torch.zeros(4, 3), torch.zeros(4, 3))])
def test_outputs_of_another_form_have_no_accuracy_with_a_loss_of_ones_own(outputs):
    classes = torch.tensor([0, 1, 1, 0])
    task = task_for(classes, loss=lambda outputs, classes: torch.zeros(()))

    assert task.hits is not None
    assert task.hits(outputs, classes) is None


def test_a_class_below_zero_is_refused_but_for_the_one_that_is_no_target():
    with pytest.raises(InvalidInput, match="from 0 on, not -1"):
        task_for(torch.tensor([0, -1]))

    assert task_for(torch.tensor([0, -100])).hits is not None


def test_held_out_rows_score_the_same_however_many_are_taken_at_a_time():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(6, 4, 5, generator=generator)
    classes = torch.randint(0, 5, (6, 4), generator=generator)
    classes[0] = classes[1] = classes[3, 1:] = -100
    task = task_for(classes)

    scores = []
    for size in (1, 2, 6):
        parts = [slice(first, first + size) for first in range(0, 6, size)]
        totals = sum(sums_of(task, logits[part], classes[part]) for part in parts)
        scores.append(read_score(task, totals.tolist(), n_rows=6))

    wanted = functional.cross_entropy(logits.flatten(0, 1), classes.flatten())
    assert [score.loss for score in scores] == [pytest.approx(wanted.item())] * 3
    assert len({score.accuracy for score in scores}) == 1


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_a_batch_without_targets_teaches_nothing(smoothing):
    classes = torch.tensor([1, -100, 2])
    task = task_for(classes, label_smoothing=smoothing)
    logits = torch.randn(3, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()

    nothing = task.loss(logits, torch.full((3,), -100))
    nothing.backward()

    assert nothing == 0
    assert not logits.grad.any()
    wanted = functional.cross_entropy(logits, classes, label_smoothing=smoothing)
    assert task.loss(logits, classes).item() == pytest.approx(wanted.item())
