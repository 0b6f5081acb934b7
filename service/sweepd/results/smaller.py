"""Makes smaller files of an exported one, and keeps those that answer as it does."""

from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import onnx
import torch

from sweepd.errors import ExportError
from sweepd.results.converters import Made, to_fp16, to_int8
from sweepd.results.onnx_file import place
from sweepd.results.proof import Proof, agreement, prove

__all__ = ["SMALLER", "Smaller", "set_apart", "write_smaller"]

#: As many inputs calibrate an int8 file at most.
_CALIBRATED_ON = 512
#: Without inputs for it, one held-out input in so many calibrates and judges no more.
_CALIBRATES = 5
#: So many held-out inputs leave two that judge.
_LEAST_HELD_OUT = 3


def set_apart(rebuilt: Any) -> Any:
    """Return `rebuilt` with inputs to calibrate on that judge nothing.

    If it brings `calibration` of its own, every held-out input judges; else one in five
    calibrates, spread over all of them, and the others judge.

    Raises:
        ExportError: two would not be left to judge.
    """
    given = getattr(rebuilt, "calibration", None)
    inputs, labels = rebuilt.inputs, rebuilt.labels
    if given is None:
        if len(inputs) < _LEAST_HELD_OUT:
            raise ExportError(
                "int8 takes three held-out inputs or more, one to calibrate on and two that judge, "
                f"or inputs to calibrate on of their own; there are {len(inputs)}"
            )
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
        outputs=getattr(rebuilt, "outputs", None),
        calibration=given[::step].cpu(),
    )


class Smaller(NamedTuple):
    """What was proven of a smaller file: also how often it answers as the one in fp32.

    Args:
        proof: of the file.
        agreement: the share of answers that are the same.
        in_float: what stays in float in it so that they are, in words; empty: nothing.
    """

    proof: Proof
    agreement: float
    in_float: str


def write_smaller(
    precision: str,
    source: Path,
    out: Path,
    rebuilt: Any,
    *,
    reference: Proof,
    min_agreement: float,
) -> Smaller:
    """Make a smaller file of an exported one.

    Where there are several ways, from the smallest file to the largest, the first that agrees.

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
    origin, best = onnx.load(source), 0.0

    def check(path: Path) -> tuple[Proof, float]:
        nonlocal best
        proof = prove(path, rebuilt, tolerance=None)
        same = agreement(proof.answers, reference.answers)
        best = max(best, same)
        if same < min_agreement:
            raise _Differs
        return proof, same

    with closing(_ways(precision, source, rebuilt)) as ways:
        for made in ways:
            with suppress(_Differs):
                found = place(out, _finished(made, origin, precision), check=check)
                return Smaller(*found, made.in_float)
    raise ExportError(
        f"it answers as fp32 does for {best:.2%} of {reference.answers.n_counted:,} held-out "
        f"answers at best, {100 * (min_agreement - best):.2f} points below the "
        f"{min_agreement:.2%} that are asked for{_advice(rebuilt, reference)}"
    )


def _advice(rebuilt: Any, reference: Proof) -> str:
    """Return what helps if outputs that might be of classes were judged as values, unsaid."""
    given = reference.answers.given
    is_said = rebuilt.labels is not None or getattr(rebuilt, "outputs", None)
    if is_said or given.ndim < 2 or given.shape[-1] < 2:
        return ""
    return (
        "; nothing said that its outputs are classes, so they were judged as values: if they are, "
        "let the model's function return labels too"
    )


class _Differs(Exception):
    """A file's answers are not those of the fp32 file."""


def _ways(precision: str, source: Path, rebuilt: Any) -> Generator[Made, None, None]:
    """Yield what a precision makes of a file, an error of the converter in words."""
    try:
        yield from SMALLER[precision](source, rebuilt)
    except _CONVERTER_ERRORS as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ExportError(f"onnxruntime's converter failed: {reason}") from error


#: precision -> what makes it of a file in fp32: in one or several ways, the smallest file first.
SMALLER: Mapping[str, Callable[[Path, Any], Iterator[Made]]] = {
    "fp16": to_fp16,
    "int8": to_int8,
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


def _finished(way: Made, source: onnx.ModelProto, precision: str) -> bytes:
    """Return a made file with the metadata of its source and no more domains than it uses."""
    made = way.model
    used = {node.domain for node in made.graph.node} | {""}
    kept = [entry for entry in made.opset_import if entry.domain in used]
    del made.opset_import[:]
    made.opset_import.extend(kept)
    made.ClearField("metadata_props")
    told = {entry.key: entry.value for entry in source.metadata_props} | {"precision": precision}
    if way.in_float:
        told["in_float"] = way.in_float
    onnx.helper.set_model_props(made, told)
    return bytes(made.SerializeToString())
