"""What came out of an export: the files and what was proven of each."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["ExportReport", "ExportedFile"]


@dataclass(frozen=True, kw_only=True)
class ExportedFile:
    """One file: where it is and what was proven."""

    precision: str  # fp32, fp16 or int8
    path: Path
    sha256: str
    size_bytes: int
    max_abs_diff: float  # from PyTorch
    agreement: float | None  # share of answers that are the fp32 file's; None: it is that file
    accuracy: float | None
    n_held_out: int
    latency_ms: Mapping[int, float]  # batch size -> median milliseconds on one CPU thread
    in_float: str = ""  # what had to stay float in an int8 file; empty: nothing

    @property
    def remark(self) -> str:
        """Return in words what stays float in it."""
        return f"in {self.path.name} stays float: {self.in_float}"

    def as_json(self) -> dict[str, Any]:
        """Return it as plain JSON values."""
        return {
            "precision": self.precision,
            "path": str(self.path),
            "sha256": self.sha256,
            "size_bytes": self.size_bytes,
            "max_abs_diff": self.max_abs_diff,
            "agreement": self.agreement,
            "in_float": self.in_float,
            "accuracy": self.accuracy,
            "n_held_out": self.n_held_out,
            "latency_ms": {str(size): ms for size, ms in self.latency_ms.items()},
        }


@dataclass(frozen=True, kw_only=True)
class ExportReport(ExportedFile):
    """The verified file in fp32, where it comes from, and what was made of it."""

    run: str
    smaller: tuple[ExportedFile, ...]
    refused: Mapping[str, str]  # precision -> why there is no such file
    metadata: Mapping[str, str]
    card: Path
    notes: tuple[str, ...]  # what became of files that stood beside it and are no part of it
    uploaded_as: str | None  # a file of the run; None: it was not uploaded
    artifact: str | None  # entity/project/name:version; None: it was not registered
    warning: str | None  # the file is fine, the upload failed

    @property
    def files(self) -> tuple[ExportedFile, ...]:
        """Return every file that was written, fp32 first."""
        return (self, *self.smaller)

    def lines(self) -> list[str]:
        """Return the report as lines to print."""
        times = ", ".join(
            f"{ms:.2f} ms for {size} input{'s' if size > 1 else ''}"
            for size, ms in self.latency_ms.items()
        )
        lines = [
            f"from {self.run}",
            f"{self.size_bytes:,} bytes, sha256 {self.sha256}",
            f"differs from PyTorch by at most {self.max_abs_diff:.1e} on held-out data",
        ]
        if self.accuracy is not None:
            lines.append(f"{self.accuracy:.4f} accuracy on {self.n_held_out:,} held-out inputs")
        lines.append(f"onnxruntime takes {times} on one CPU thread")
        lines.append(f"all about it is in {self.card.name}")
        lines += [file.remark for file in self.files if file.in_float]
        if self.uploaded_as:
            lines.append(f"uploaded to the run as {self.uploaded_as}")
        if self.artifact:
            lines.append(f"registered as the model {self.artifact}")
        if self.warning:
            lines.append(f"warning: {self.warning}")
        lines += self.notes
        return lines

    def table(self) -> tuple[list[str], list[list[Any]]]:
        """Return what was proven of each file: the columns' names, and a row for each file."""
        sizes = list(self.latency_ms)
        head = ["precision", "file", "bytes", "accuracy", "as fp32", "differs by"]
        rows = [
            [
                file.precision,
                file.path.name,
                file.size_bytes,
                file.accuracy,
                None if file.agreement is None else f"{file.agreement:.2%}",
                f"{file.max_abs_diff:.1e}",
                *(file.latency_ms[size] for size in sizes),
            ]
            for file in self.files
        ]
        return [*head, *(f"ms for {size}" for size in sizes)], rows

    def as_json(self) -> dict[str, Any]:
        """Return the report as plain JSON values."""
        return {
            **super().as_json(),
            "run": self.run,
            "files": [ExportedFile.as_json(file) for file in self.files],
            "refused": dict(self.refused),
            "metadata": dict(self.metadata),
            "card": str(self.card),
            "notes": list(self.notes),
            "uploaded_as": self.uploaded_as,
            "artifact": self.artifact,
            "warning": self.warning,
        }
