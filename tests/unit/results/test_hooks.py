"""What is taken from a function that rebuilds a model, and what is refused in words."""

from pathlib import Path

import numpy as np
import pytest
import torch
from rebuilt import made_of
from torch import nn

from sweepd.errors import ExportError
from sweepd.results.hooks import rebuild


def taken(returned):
    """Return what is taken of what a function returned."""
    return rebuild(lambda config, checkpoint: returned, {}, Path("checkpoint.pt"))


def test_a_function_may_return_labels_as_a_third():
    rebuilt = taken((nn.Linear(2, 3), torch.rand(4, 2), torch.tensor([0, 1, 2, 0])))

    assert rebuilt.labels.tolist() == [0, 1, 2, 0]


def test_arrays_of_numpy_are_as_good_as_tensors():
    given = made_of(nn.Linear(2, 3), np.ones((4, 2), np.float32), np.array([0, 1, 2, 0]))
    given.calibration = np.zeros((5, 2), np.float32)

    rebuilt, pair = taken(given), taken((nn.Linear(2, 3), np.ones((4, 2), np.float32)))

    assert [type(one) for one in (rebuilt.inputs, rebuilt.labels, rebuilt.calibration)] == (
        [torch.Tensor] * 3
    )
    assert rebuilt.labels.tolist() == [0, 1, 2, 0]
    assert pair.inputs.dtype == torch.float32


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        pytest.param({"labels": torch.zeros(399)}, "399 labels for 400 held-out inputs", id="few"),
        pytest.param({"labels": torch.tensor(1)}, "1 labels for 400 .* first axis", id="a number"),
        pytest.param({"labels": [0] * 400}, "labels as a list", id="a list"),
        pytest.param({"labels": np.array(["a"] * 400)}, "labels of the type <U1", id="texts"),
        pytest.param({"inputs": torch.zeros(1, 2)}, "two held-out inputs or more, not 1", id="one"),
        pytest.param({"inputs": None}, "inputs as a NoneType", id="none"),
        pytest.param(
            {"calibration": torch.zeros(0, 2)},
            "calibration without an input; leave it out",
            id="nothing to calibrate on",
        ),
        pytest.param({"outputs": "logits"}, "outputs = 'logits'.*classes.*values", id="outputs"),
    ],
)
def test_what_proves_no_file_is_refused_in_words(changes, said):
    given = made_of(nn.Linear(2, 3), torch.zeros(400, 2))
    given.__dict__.update(changes)

    with pytest.raises(ExportError, match=said):
        taken(given)
