"""Every opset that an export offers, in every precision."""

from types import SimpleNamespace

import onnx
import pytest
import torch
from torch import nn

from sweepd.results import onnx_file
from sweepd.results.export import OPSETS, PRECISIONS
from sweepd.results.smaller import set_apart, write_smaller

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("opset", OPSETS)
def test_every_opset_gives_verified_files_of_that_opset(tmp_path, opset):
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3)).eval()
    found = SimpleNamespace(
        model=model,
        inputs=torch.rand(20, 1, 8, 8),
        labels=None,
        input_name="input",
        output_name="output",
        metadata={},
    )
    rebuilt, out = set_apart(found), tmp_path / "m.onnx"

    proof = onnx_file.write(rebuilt, out, metadata={}, opset=opset)
    for precision in PRECISIONS[1:]:
        beside = tmp_path / f"m.{precision}.onnx"
        write_smaller(precision, out, beside, rebuilt, reference=proof, min_agreement=0)
        assert onnx.load(beside).opset_import[0].version == opset

    assert onnx.load(out).opset_import[0].version == opset
