"""What a file is found to say of held-out inputs."""

import numpy as np
import onnx
import pytest
import torch
from onnx import helper
from rebuilt import made_of
from torch import nn

from sweepd.errors import ExportError
from sweepd.results import onnx_file
from sweepd.results.proof import Answers, agreement, answers, prove

LABELS = torch.tensor([0, 1, 2, 1])


def said_by(outputs: torch.Tensor, labels: torch.Tensor):
    """Return the answers of a file that gives its inputs back."""
    return answers(lambda batch: batch.numpy(), made_of(nn.Identity(), outputs, labels))


class _Changes(nn.Module):
    """Returns what a function makes of its inputs."""

    def __init__(self, function):
        super().__init__()
        self._function = function

    def forward(self, x):
        return self._function(x)


def file_that_multiplies_by(factors, path):
    """Write a file that multiplies each column of its input by a factor; return its path."""
    kinds = [
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["batch", len(factors)])
        for name in ("input", "output")
    ]
    node = helper.make_node("Mul", ["input", "factors"], ["output"])
    given = onnx.numpy_helper.from_array(np.array(factors, np.float32), "factors")
    graph = helper.make_graph([node], "g", kinds[:1], kinds[1:], [given])
    opset = [helper.make_opsetid("", 20)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=10), path)
    return path


def test_a_difference_at_the_last_held_out_inputs_is_found(tmp_path):
    inputs = torch.arange(400.0)[:, None]
    model = _Changes(lambda x: torch.where(x > 299, 1.001 * x, x))
    path = file_that_multiplies_by([1.0], tmp_path / "m.onnx")

    with pytest.raises(ExportError, match=r"differs from PyTorch by 0\.3"):
        prove(path, made_of(model, inputs))

    found = prove(path, made_of(model, inputs), tolerance=None)
    assert found.max_abs_diff == pytest.approx(0.399, rel=1e-3)


@pytest.mark.parametrize(
    ("sizes", "factors"),
    [
        pytest.param([1e-5, 1e-5], [0.0, 0.0], id="all that is small"),
        pytest.param([1.0, 1e-4], [1.0, 0.0], id="a column beside a larger one"),
        pytest.param([1e-5, 1e-5], [1.0, 1.001], id="a thousandth of what is small"),
    ],
)
def test_a_file_that_loses_outputs_much_below_one_is_refused(tmp_path, sizes, factors):
    inputs = torch.rand(20, 2) * torch.tensor(sizes)
    path = file_that_multiplies_by(factors, tmp_path / "m.onnx")

    with pytest.raises(ExportError, match="differs from PyTorch"):
        prove(path, made_of(nn.Identity(), inputs))


@pytest.mark.parametrize(
    ("sizes", "noise"),
    [
        pytest.param([1e-5, 1e-5], 1e-10, id="small outputs that cross zero"),
        pytest.param([1.0, 0.0], 1e-7, id="a column of zeros"),
        pytest.param([300.0, 1.0], 1e-5, id="outputs of two sizes"),
    ],
)
def test_noise_of_float_is_no_difference(tmp_path, sizes, noise):
    inputs = torch.linspace(-1, 1, 21)[:, None] * torch.tensor(sizes)
    path = file_that_multiplies_by([1.0, 1.0], tmp_path / "m.onnx")

    proof = prove(path, made_of(_Changes(lambda x: x + noise), inputs))

    assert proof.max_abs_diff > 0


def values(*columns):
    """Return answers that are values, of columns."""
    return Answers(False, np.stack(columns, axis=1))


WAVE = np.sin(np.arange(1000.0))


@pytest.mark.parametrize(
    ("found", "wanted"),
    [
        pytest.param(
            values(100 + 2 * WAVE, np.full(1000, 0.5)),
            values(100 + 2 * WAVE, 0.5 + 0.001 * WAVE),
            id="a constant beside a larger column",
        ),
        pytest.param(
            values(np.zeros(1000)), values(np.append(WAVE[1:], 1e6)), id="zeros and one outlier"
        ),
        pytest.param(values(WAVE, np.full(1000, 4.0)), values(WAVE, np.full(1000, 3.0)), id="3, 4"),
        pytest.param(
            values(WAVE, np.full(1000, 0.1)), values(WAVE, np.zeros(1000)), id="not the zeros"
        ),
    ],
)
def test_values_that_miss_a_column_do_not_agree(found, wanted):
    assert agreement(found, wanted) < 0.1


@pytest.mark.parametrize(
    ("found", "wanted"),
    [
        pytest.param(values(WAVE + 0.01), values(WAVE), id="half a hundredth of the range"),
        pytest.param(values(WAVE, WAVE**0 * 3.01), values(WAVE, WAVE**0 * 3), id="a constant"),
        pytest.param(
            values(WAVE, WAVE**0 * 3), values(WAVE, 3 + 1e-7 * WAVE), id="a constant with noise"
        ),
        pytest.param(values(WAVE, WAVE * 1e-4), values(WAVE, WAVE * 0), id="zeros"),
        pytest.param(values(WAVE, WAVE * 0), values(WAVE, WAVE * 1e-8), id="zeros with noise"),
        pytest.param(values(WAVE * 0), values(WAVE * 0), id="zeros alone"),
        pytest.param(
            values(np.append(WAVE[1:] * 0, 100.5)),
            values(np.append(WAVE[1:] * 0, 100.0)),
            id="zeros and one other",
        ),
    ],
)
def test_values_that_are_near_in_each_column_agree(found, wanted):
    assert agreement(found, wanted) == 1.0


def test_channels_of_images_are_the_columns_that_values_are_compared_in():
    wanted = np.stack([WAVE[:900], 100 * WAVE[:900]]).reshape(2, 9, 10, 10).swapaxes(0, 1)
    found = wanted + np.array([0.5, 0]).reshape(2, 1, 1)

    assert agreement(Answers(False, found), Answers(False, wanted)) < 0.1


def test_without_labels_outputs_are_values_unless_their_function_says_classes():
    outputs = torch.tensor([[0.0, 3.0], [2.0, 1.0]])

    unsaid, classes = (
        answers(lambda batch: batch.numpy(), made_of(nn.Identity(), outputs, outputs=kind))
        for kind in (None, "classes")
    )

    assert not unsaid.are_classes
    assert classes.are_classes
    assert classes.given.tolist() == [1, 0]


def test_outputs_that_are_said_to_be_values_are_values_whatever_the_labels():
    rebuilt = made_of(nn.Identity(), torch.eye(3), torch.tensor([0, 1, 2]), outputs="values")

    assert not answers(lambda batch: batch.numpy(), rebuilt).are_classes


def test_outputs_that_can_name_no_class_are_not_said_to_be_classes():
    rebuilt = made_of(nn.Identity(), torch.ones(3, 1), outputs="classes")

    with pytest.raises(ExportError, match=r"says that its outputs are classes.*shape \(3, 1\)"):
        answers(lambda batch: batch.numpy(), rebuilt)


def test_a_broken_column_of_several_values_without_labels_is_no_agreement():
    sound = torch.stack([10 + torch.rand(50), torch.rand(50)], dim=1)
    broken = sound * torch.tensor([1.0, 0.0])

    found, wanted = said_by(broken, None), said_by(sound, None)

    assert agreement(found, wanted) < 0.1


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
