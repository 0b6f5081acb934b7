"""Collects every problem of one definition, each with its path and line."""

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from sweepd.errors import Violation
from sweepd.spec.document import Document
from sweepd.spec.words import Path, nearest, path_text, show

__all__ = ["Model", "Problems"]

Model = TypeVar("Model", bound=BaseModel)

#: More problems than this are counted, not listed.
_MAX_LISTED = 100
_KINDS = {
    "tuple_type": "a list",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
}


class Problems:
    """Errors and warnings of one document, so far.

    Args:
        document: says on which line a path is.
        allow_unknown: whether an unknown key is a warning, not an error.
    """

    def __init__(self, document: Document, *, allow_unknown: bool) -> None:
        self._document = document
        self._errors = list(document.errors)
        self._warnings = list(document.warnings)
        self.allow_unknown = allow_unknown
        self._around_failed = {
            path[:length] for path in document.failed for length in range(1, len(path) + 1)
        }

    @property
    def n_errors(self) -> int:
        """How many there are, listed or not."""
        return len(self._errors)

    def has_failed(self, path: Path) -> bool:
        """Return whether the document could not read what stands at a path, or something in it."""
        return path in self._around_failed

    @property
    def errors(self) -> tuple[Violation, ...]:
        """Everything that is wrong, by line."""
        return _listed(self._errors)

    @property
    def warnings(self) -> tuple[Violation, ...]:
        """Everything that is odd, by line."""
        return _listed(self._warnings)

    def _violation(self, path: Path, message: str) -> Violation:
        return Violation(path_text(path), message, self._document.line(path) if path else None)

    def error(self, path: Path, message: str) -> None:
        """Note that something is wrong, unless it follows from what the document already said."""
        failed = self._document.failed
        if path in failed or (path and any(step[:-1] == path for step in failed)):
            return
        self._errors.append(self._violation(path, message))

    def warn(self, path: Path, message: str) -> None:
        """Note that something is odd."""
        self._warnings.append(self._violation(path, message))

    def lenient(self, path: Path, message: str) -> None:
        """Note an error, or only a warning where unknown keys are allowed."""
        (self.warn if self.allow_unknown else self.error)(path, message)

    def unknown_keys(self, data: Mapping[str, object], known: Iterable[str], path: Path) -> None:
        """Note every key that is not a known one, with the nearest of them."""
        names = sorted(known)
        for key in [key for key in data if key not in names][:_MAX_LISTED]:
            hint = nearest(key, names) or f"; known: {', '.join(names)}"
            self.lenient((*path, key), f"unknown key{hint}")

    def read(
        self, model: type[Model], data: Mapping[str, Any], path: Path, *, also: Iterable[str] = ()
    ) -> Model | None:
        """Return what a block holds, its unknown keys noted; None if it is wrong, which is noted.

        Keys in `also` are read by others.
        """
        self.unknown_keys(data, {*model.model_fields, *also}, path)
        try:
            return model.model_validate(data)
        except ValidationError as error:
            self.refused(error, path)
            return None

    def refused(self, error: ValidationError, path: Path) -> None:
        """Note everything that pydantic found below `path`, in our words."""
        for detail in error.errors(include_url=False, include_input=True):
            where: Path = (*path, *detail["loc"])
            context = detail.get("ctx", {})
            kind = detail["type"]
            if kind == "words":
                self.error(where, str(context["words"]))
            elif kind == "missing":
                self.error(where[:-1], f"needs {where[-1]}")
            elif kind == "literal_error":
                allowed = str(context["expected"]).replace("'", "")
                self.error(where, f"must be {allowed}, not {show(detail['input'])}")
            elif kind in _KINDS:
                self.error(where, f"must be {_KINDS[kind]}, not {show(detail['input'])}")
            else:
                self.error(where, detail["msg"])


def _listed(violations: Iterable[Violation]) -> tuple[Violation, ...]:
    ordered = sorted(violations, key=lambda violation: violation.line or 0)
    more = len(ordered) - _MAX_LISTED
    if more > 0:
        return (*ordered[:_MAX_LISTED], Violation("", f"… and {more} more"))
    return tuple(ordered)
