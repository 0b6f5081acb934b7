"""Converts an ONNX file in fp32 to a smaller one: float16, and int8 calibrated on real data."""

import logging
import math
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir

from sweepd.errors import ExportError

__all__ = ["Made", "to_fp16", "to_int8"]

#: As many inputs calibrate at a time.
_CALIBRATION_BATCH = 32
_FLOAT = onnx.TensorProto.FLOAT
_EIGHT_BITS = (onnx.TensorProto.INT8, onnx.TensorProto.UINT8)
#: A file is called int8 from this share of its weights on; below the other one, what stayed
#: in float is worth no word.
_LEAST_INT8 = 0.1
_NAMED = 0.01
#: Operators that have weights, and nearly all of the work.
_HEAVY = ("Conv", "ConvTranspose", "Gemm", "MatMul")
#: What becomes int8 at first: what is heavy, and what lies between it. Norms and softmax stay
#: float, as little is gained by them and much is lost.
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


@dataclass(frozen=True)
class Made:
    """A smaller model.

    Args:
        model: it.
        in_float: what of it stays in float, in words; empty: nothing but norms and the like.
    """

    model: onnx.ModelProto
    in_float: str = ""


def to_fp16(source: Path, rebuilt: Any) -> Iterator[Made]:
    """Yield the file with weights and sums in float16; inputs and outputs stay as they are."""
    from onnxruntime.transformers.float16 import convert_float_to_float16

    with _quiet():
        made = onnx_ir.from_proto(convert_float_to_float16(onnx.load(source), keep_io_types=True))
    made.graph.sort()  # the converter puts the casts of float inputs last
    yield Made(onnx_ir.to_proto(made))


def to_int8(source: Path, rebuilt: Any) -> Iterator[Made]:
    """Yield the file in int8, QDQ, a scale for each channel, ranges from the calibration.

    First with all that can be int8, then with ever more of it in float, its weights last.

    Raises:
        ExportError: no way makes enough of the weights int8.
    """
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

    with tempfile.TemporaryDirectory() as folder:
        prepared, quantized = Path(folder) / "prepared.onnx", Path(folder) / "quantized.onnx"
        with _quiet():
            quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
        model = onnx.load(prepared)
        n_yielded, why = 0, ""
        for operators, excluded, in_float in _rungs(model):
            with _quiet():
                quantize_static(
                    str(prepared),
                    str(quantized),
                    Reader(),
                    quant_format=QuantFormat.QDQ,
                    op_types_to_quantize=list(operators),
                    nodes_to_exclude=excluded,
                    per_channel=True,
                )
            made = onnx.load(quantized)
            in_int8, left = _of_weights(made, told=excluded)
            if in_int8 < _LEAST_INT8:
                why = why or _too_little(in_int8, left)
                continue
            n_yielded += 1
            yield Made(made, "; ".join(part for part in (in_float, left) if part))
        if _quantize_weights(model):
            in_int8, left = _of_weights(model)
            if in_int8 >= _LEAST_INT8:
                n_yielded += 1
                yield Made(model, f"all but the weights{left and '; also '}{left}")
    if not n_yielded:
        raise ExportError(why)


def _of_weights(model: onnx.ModelProto, told: Sequence[str] = ()) -> tuple[float, str]:
    """Return the share of a model's weights that are int8, and in words which others are not.

    Weights are what has two axes or more. One without any is int8 altogether.

    Args:
        model: it.
        told: names of layers whose weights need no words.
    """
    users = {name: node for node in model.graph.node for name in node.input}
    in_int8, in_float, named = 0, 0, Counter[str]()
    for tensor in model.graph.initializer:
        size = math.prod(tensor.dims) if len(tensor.dims) > 1 else 0
        if tensor.data_type in _EIGHT_BITS:
            in_int8 += size
        elif tensor.data_type == _FLOAT and tensor.name in users:
            in_float += size
            if users[tensor.name].name not in told:
                named[users[tensor.name].op_type] += size
    total = in_int8 + in_float
    if not total:
        return 1.0, ""
    share = named.total() / total
    kinds = ", ".join(sorted(kind for kind, size in named.items() if size))
    return in_int8 / total, f"the weights of {kinds}, {share:.0%} of all" if share > _NAMED else ""


def _too_little(in_int8: float, left: str) -> str:
    return (
        f"only {in_int8:.0%} of its weights would be int8, {_LEAST_INT8:.0%} is the least; "
        f"onnxruntime's converter leaves {left or 'the others'} in float"
    )


def _rungs(model: onnx.ModelProto) -> Iterator[tuple[Sequence[str], list[str], str]]:
    """Yield what becomes int8: operators, nodes of these that do not, and what that leaves.

    Products of two activations, as in an attention, lose more than layers do; of the layers the
    last one loses most, as nothing after it makes up for it.
    """
    yield _QUANTIZED, _masks(model), ""
    weights = {tensor.name for tensor in model.graph.initializer}
    heavy = [node for node in model.graph.node if node.op_type in _HEAVY]
    layers = [node.name for node in heavy if weights.intersection(node.input)]
    others = [node.name for node in heavy if node.name not in layers]
    if layers:
        yield _HEAVY, others, "all but the layers with weights"
    if len(layers) > 1:
        yield _HEAVY, [*others, layers[-1]], "the last layer, and what lies between layers"


def _quantize_weights(model: onnx.ModelProto) -> bool:
    """Store the weights of a model's layers in int8, from which each is computed; return if any.

    A scale for each channel of the output. Weights that something else uses too are left.
    """
    graph = model.graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    uses = Counter(name for node in graph.node for name in node.input)
    computed = []
    for node in graph.node:
        name = node.input[1] if node.op_type in _HEAVY else ""
        if name not in weights or uses[name] > 1 or weights[name].data_type != _FLOAT:
            continue
        given = onnx.numpy_helper.to_array(weights[name])
        axis = _output_axis(node, given.ndim)
        scale = np.abs(given).max(axis=tuple(one for one in range(given.ndim) if one != axis))
        scale = np.where(scale > 0, scale / 127, 1).astype(np.float32)
        shape = [-1 if one == axis else 1 for one in range(given.ndim)]
        whole = np.round(given / scale.reshape(shape)).astype(np.int8)
        stored, step, value = f"{name}_int8", f"{name}_scale", f"{name}_float"
        weights[name].CopyFrom(onnx.numpy_helper.from_array(whole, stored))
        graph.initializer.append(onnx.numpy_helper.from_array(scale, step))
        computed.append(
            onnx.helper.make_node("DequantizeLinear", [stored, step], [value], value, axis=axis)
        )
        node.input[1] = value
    for number, node in enumerate(computed):  # before what they are for
        graph.node.insert(number, node)
    return bool(computed)


def _output_axis(node: onnx.NodeProto, n_axes: int) -> int:
    """Return the axis of a layer's weights that its output has."""
    if node.op_type == "Gemm":
        transposed = any(one.name == "transB" and one.i for one in node.attribute)
        return 0 if transposed else 1
    return {"Conv": 0, "ConvTranspose": 1, "MatMul": n_axes - 1}[node.op_type]


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
