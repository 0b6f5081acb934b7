"""What a file is found to say of held-out inputs."""

import numpy as np
import pytest
import torch
from rebuilt import made_of
from torch import nn

from sweepd.results import onnx_file
from sweepd.results.proof import agreement, answers

LABELS = torch.tensor([0, 1, 2, 1])


def said_by(outputs: torch.Tensor, labels: torch.Tensor):
    """Return the answers of a file that gives its inputs back."""
    return answers(lambda batch: batch.numpy(), made_of(nn.Identity(), outputs, labels))


@pytest.mark.parametrize(
    "outputs",
    [
        pytest.param(torch.tensor([[-1.0], [2.0], [3.0], [0.5]]), id="a column"),
        pytest.param(torch.tensor([-1.0, 2.0, 3.0, 0.5]), id="one number each"),
        pytest.param(torch.ones(4, 5, 3), id="another shape"),
    ],
)
def test_outputs_that_name_no_class_of_whole_numbers_are_values(outputs):
    said = said_by(outputs, LABELS)

    assert not said.are_classes
    assert np.array_equal(said.given, outputs.numpy())


@pytest.mark.parametrize(
    ("outputs", "labels"),
    [
        pytest.param(nn.functional.one_hot(LABELS), LABELS, id="a class each"),
        pytest.param(nn.functional.one_hot(LABELS), LABELS[:, None], id="a column of classes"),
        pytest.param(
            nn.functional.one_hot(LABELS)[:, :, None].expand(-1, -1, 2),
            LABELS[:, None].expand(-1, 2),
            id="classes at places, second axis",
        ),
    ],
)
def test_logits_name_a_class_for_each_label(outputs, labels):
    said = said_by(outputs.float(), labels)

    assert said.are_classes
    assert said.given.ravel().tolist() == labels.flatten().tolist()


def test_a_column_has_no_accuracy_and_a_column_of_labels_has_one(tmp_path):
    inputs = torch.tensor([[2.0, 1.0], [0.0, 1.0], [3.0, 1.0], [0.0, 4.0]])
    sign = nn.Linear(2, 1)

    column = onnx_file.write(
        made_of(sign, inputs, torch.tensor([0, 1, 0, 1])), tmp_path / "column.onnx", metadata={}
    )
    logits = onnx_file.write(
        made_of(nn.Identity(), inputs, torch.tensor([[0], [1], [0], [0]])),
        tmp_path / "logits.onnx",
        metadata={},
    )

    assert column.accuracy is None
    assert logits.accuracy == 0.75


def test_places_without_a_target_count_neither_as_wrong_nor_as_other_answers(tmp_path):
    inputs, labels = torch.eye(4), torch.tensor([0, -100, 2, -100])
    proof = onnx_file.write(
        made_of(nn.Identity(), inputs, labels), tmp_path / "m.onnx", metadata={}
    )
    other = said_by(torch.eye(4)[[0, 0, 2, 2]], labels)

    assert proof.accuracy == 1.0
    assert agreement(other, proof.answers) == 1.0
    assert proof.answers.n_counted == 2
