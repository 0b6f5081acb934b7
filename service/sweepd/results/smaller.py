"""Makes smaller files of an exported one: float16, and int8 calibrated on real data."""

import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import onnx
import onnx_ir
import torch

from sweepd.errors import ExportError
from sweepd.results.onnx_file import place
from sweepd.results.proof import Proof, agreement, prove

__all__ = ["SMALLER", "set_apart", "write_smaller"]

#: As many inputs calibrate an int8 file at most, so many at a time.
_CALIBRATED_ON = 512
_CALIBRATION_BATCH = 32
#: Without inputs for it, one held-out input in so many calibrates and judges no more.
_CALIBRATES = 5
#: What becomes int8: what is heavy, and what lies between it. Norms and softmax stay float, as
#: little is gained by them and much is lost.
_QUANTIZED = (
    "Add",
    "AveragePool",
    "Clip",
    "Concat",
    "Conv",
    "ConvTranspose",
    "Gather",
    "Gemm",
    "GlobalAveragePool",
    "MatMul",
    "MaxPool",
    "Relu",
    "Reshape",
    "Transpose",
)


def set_apart(rebuilt: Any) -> Any:
    """Return `rebuilt` with inputs to calibrate on that judge nothing.

    If it brings `calibration` of its own, every held-out input judges; else one in five
    calibrates, spread over all of them, and the others judge.
    """
    given = getattr(rebuilt, "calibration", None)
    inputs, labels = rebuilt.inputs, rebuilt.labels
    if given is None:
        calibrates = torch.arange(len(inputs)) % _CALIBRATES == 0
        given = inputs[calibrates]
        inputs = inputs[~calibrates]
        labels = None if labels is None else labels[~calibrates]
    step = -(-len(given) // _CALIBRATED_ON)  # spread over all, they may be in an order
    names = ("model", "input_name", "output_name", "metadata")
    return SimpleNamespace(
        **{name: getattr(rebuilt, name) for name in names},
        inputs=inputs,
        labels=labels,
        calibration=given[::step].cpu(),
    )


def write_smaller(
    precision: str,
    source: Path,
    out: Path,
    rebuilt: Any,
    *,
    reference: Proof,
    min_agreement: float,
) -> tuple[Proof, float]:
    """Make a smaller file of an exported one; return its proof and its agreement with it.

    Args:
        precision: a row of `SMALLER`.
        source: the file in fp32.
        out: where the smaller one goes; written beside it first, then renamed.
        rebuilt: the model and the held-out inputs that judge; of `set_apart` for int8.
        reference: the proof of `source` on the same inputs.
        min_agreement: the share of answers that must be those of `source`.

    Raises:
        ExportError: in words: it could not be made, does not run, or agrees too little. What
            stood at `out` before is untouched.
    """

    def check(path: Path) -> tuple[Proof, float]:
        proof = prove(path, rebuilt, tolerance=None)
        same = agreement(proof.answers, reference.answers)
        if same < min_agreement:
            raise ExportError(
                f"it answers as fp32 does for {same:.2%} of {reference.answers.given.size:,} "
                f"held-out answers, {100 * (min_agreement - same):.2f} points below the "
                f"{min_agreement:.2%} that are asked for"
            )
        return proof, same

    try:
        made = SMALLER[precision](source, rebuilt)
    except _CONVERTER_ERRORS as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ExportError(f"onnxruntime's converter failed: {reason}") from error
    return place(out, _finished(made, onnx.load(source), precision), check=check)


def _to_fp16(source: Path, rebuilt: Any) -> onnx.ModelProto:
    """Return the file with weights and sums in float16; inputs and outputs stay as they are."""
    from onnxruntime.transformers.float16 import convert_float_to_float16

    with _quiet():
        made = onnx_ir.from_proto(convert_float_to_float16(onnx.load(source), keep_io_types=True))
    made.graph.sort()  # the converter puts the casts of float inputs last
    return onnx_ir.to_proto(made)


def _to_int8(source: Path, rebuilt: Any) -> onnx.ModelProto:
    """Return the file in int8, QDQ, a scale for each channel, ranges from the calibration."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime is not typed here
        """Hands the calibration out in batches."""

        def __init__(self) -> None:
            self._batches = iter(rebuilt.calibration.split(_CALIBRATION_BATCH))

        def get_next(self) -> dict[str, Any] | None:
            """Return the next batch by the input's name, None after the last."""
            batch = next(self._batches, None)
            return None if batch is None else {rebuilt.input_name: batch.numpy()}

    with tempfile.TemporaryDirectory() as folder, _quiet():
        prepared, quantized = Path(folder) / "prepared.onnx", Path(folder) / "quantized.onnx"
        quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
        quantize_static(
            str(prepared),
            str(quantized),
            Reader(),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(_QUANTIZED),
            nodes_to_exclude=_masks(onnx.load(prepared)),
            per_channel=True,
        )
        return onnx.load(quantized)


def _masks(model: onnx.ModelProto) -> list[str]:
    """Return the names of the sums that go into a softmax: they add what masks an attention.

    Its minus infinity would stretch the range of the scores until all of them are one number.
    """
    scores = {name for node in model.graph.node if node.op_type == "Softmax" for name in node.input}
    return [
        node.name
        for node in model.graph.node
        if node.op_type == "Add" and scores.intersection(node.output)
    ]


#: precision -> what makes it of a file in fp32.
SMALLER: Mapping[str, Callable[[Path, Any], onnx.ModelProto]] = {
    "fp16": _to_fp16,
    "int8": _to_int8,
}

#: What a converter raises for a model that it cannot convert: it says no more precisely.
_CONVERTER_ERRORS = (
    RuntimeError,
    ValueError,
    TypeError,
    KeyError,
    AttributeError,
    AssertionError,
    NotImplementedError,
    onnx.checker.ValidationError,
    onnx.shape_inference.InferenceError,
)


def _finished(made: onnx.ModelProto, source: onnx.ModelProto, precision: str) -> bytes:
    """Return a made file with the metadata of its source and no more domains than it uses."""
    used = {node.domain for node in made.graph.node} | {""}
    kept = [entry for entry in made.opset_import if entry.domain in used]
    del made.opset_import[:]
    made.opset_import.extend(kept)
    made.ClearField("metadata_props")
    told = {entry.key: entry.value for entry in source.metadata_props}
    onnx.helper.set_model_props(made, {**told, "precision": precision})
    return bytes(made.SerializeToString())


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the converters, one of which writes to the root logger, from telling their steps."""
    root = logging.getLogger()

    def drop(record: logging.LogRecord) -> bool:
        return "quantization" not in record.pathname

    silent = logging.NullHandler()  # a root without handlers would be given one for good
    root.addFilter(drop)
    root.addHandler(silent)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what the proof judges: numbers that are cut off
            yield
    finally:
        root.removeHandler(silent)
        root.removeFilter(drop)
