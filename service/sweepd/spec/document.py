"""YAML text -> plain JSON-able data, with the line of every path. Hostile text costs nothing.

The text is bounded first (size, number of nodes, depth), then composed into PyYAML's nodes, whose
marks give the lines, and read by the safe rules alone: no Python objects, no dates, no duplicates.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from sweepd.errors import Violation
from sweepd.spec.words import Path, path_text, show

__all__ = ["MAX_BYTES", "Document", "Unreadable", "read_document"]

#: Limits of a definition: bytes of text, nodes once aliases are followed, levels of nesting.
MAX_BYTES, MAX_NODES, MAX_DEPTH = 2**20, 50_000, 40
_TOO_DEEP = f"nested more than {MAX_DEPTH} levels deep"

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TAG = "tag:yaml.org,2002:"
#: What YAML 1.1 takes for text and everybody else for a number: no dot, or no sign after the e.
_EXPONENT = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+")
#: Where such text stays text.
_TEXT_KEYS = frozenset({"command", "description", "entity", "name", "program", "project"})


class Unreadable(Exception):
    """The text is no document at all; carries the one violation that says why."""

    def __init__(self, message: str, *, path: str = "", line: int | None = None) -> None:
        super().__init__(message)
        self.violation = Violation(path, message, line)


@dataclass
class Document:
    """Plain data, the line of each path (from 1), and what was wrong or odd on the way.

    What stands at one of the `failed` paths is no value that was written: nothing is to be said of
    it, or of what it stands in, a second time.
    """

    data: dict[str, Any] = field(default_factory=dict)
    lines: dict[Path, int | None] = field(default_factory=dict)
    failed: set[Path] = field(default_factory=set)
    errors: list[Violation] = field(default_factory=list)
    warnings: list[Violation] = field(default_factory=list)

    def line(self, path: Path) -> int | None:
        """Return the line of a path, or of the nearest thing around it."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path)


def read_document(text: str | bytes) -> Document:
    """Return the one mapping that the text holds.

    Raises:
        Unreadable: if the text is too long, not text, not YAML, too deep, or not one mapping.
    """
    decoded = _decode(text)
    try:
        _bound(yaml.parse(decoded, Loader=_LOADER))
        root = yaml.compose(decoded, Loader=_LOADER)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        words = f"not valid YAML: {_syntax(error, decoded)}"
        if "nesting depth" in (error.problem or ""):  # libyaml's own limit, as it looks ahead
            words = _TOO_DEEP
        raise Unreadable(words, line=mark.line + 1 if mark else None) from None
    except yaml.YAMLError as error:
        raise Unreadable(f"not valid YAML: {str(error).splitlines()[0]}") from None
    if root is None:
        raise Unreadable("empty: a definition needs at least method and parameters")
    if not isinstance(root, yaml.MappingNode):
        kind = "a list" if isinstance(root, yaml.SequenceNode) else "plain text"
        raise Unreadable(
            f"must be a mapping with keys such as method and parameters, not {kind}",
            line=_line(root),
        )
    return _Reading().read(root)


def _decode(text: str | bytes) -> str:
    if len(text) > MAX_BYTES:
        size = len(text) / 2**20
        raise Unreadable(f"{size:.1f} MiB long: a definition has at most {MAX_BYTES >> 20} MiB")
    if isinstance(text, bytes):
        try:
            text = text.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise Unreadable(
                f"not text: byte 0x{error.object[error.start]:02x} at offset {error.start} is not"
                " UTF-8; a definition is a YAML file"
            ) from None
    text = text.removeprefix("\ufeff")
    bad = re.search(r"[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", text)
    if bad:
        line = text.count("\n", 0, bad.start()) + 1
        raise Unreadable(
            f"not text: it holds the control character U+{ord(bad.group()):04X}", line=line
        )
    return text


def _bound(events: Iterator[yaml.Event]) -> None:
    depth = nodes = documents = 0
    for event in events:
        line = _line(event)
        if isinstance(event, yaml.NodeEvent):
            nodes += 1
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        elif isinstance(event, yaml.DocumentStartEvent):
            documents += 1
        if depth > MAX_DEPTH:
            raise Unreadable(_TOO_DEEP, line=line)
        if nodes > MAX_NODES:
            raise Unreadable(f"more than {MAX_NODES} values", line=line)
        if documents > 1:
            raise Unreadable("a second document (---): a file holds one definition", line=line)


def _syntax(error: yaml.MarkedYAMLError, text: str) -> str:
    problem = error.problem or error.context or "cannot be read"
    if "cannot start any token" in problem and error.problem_mark:
        mark = error.problem_mark
        line = text.splitlines()[mark.line]
        if "\t" in line[: mark.column + 1]:
            return "a tab: indent with spaces"
        return f"text that begins with {line[mark.column : mark.column + 1]} needs quotes"
    hints = {
        "mapping values are not allowed": "a ':' where no key can stand: put a space after each "
        "key's ':', indent evenly, quote text that has a ':'",
        "did not find expected <document start>": "text after the end of a value",
        "could not find expected ':'": "a key without ':'",
        "did not find expected key": "a line whose indentation fits no line above it",
        "did not find expected '-' indicator": "a list item that does not start with '-'",
        "did not find expected ',' or": "a bracket or brace that is not closed",
        "found undefined alias": "an alias (*) to an anchor (&) that is not defined above",
        "found unexpected end of stream": "a quote that is not closed",
    }
    return next((words for known, words in hints.items() if known in problem), problem)


class _Reading:
    """One pass over the nodes of one document."""

    def __init__(self) -> None:
        self._document = Document()
        self._n_nodes = 0
        self._open: set[int] = set()

    def read(self, root: yaml.MappingNode) -> Document:
        self._document.data = self._value(root, ())
        return self._document

    def _fail(self, path: Path, message: str, node: yaml.Node) -> None:
        violation = Violation(path_text(path), message, _line(node))
        self._document.errors.append(violation)
        self._document.failed.add(path)

    def _value(self, node: yaml.Node, path: Path) -> Any:
        line = _line(node)
        self._document.lines.setdefault(path, line)
        self._n_nodes += 1
        if self._n_nodes > MAX_NODES:
            words = f"more than {MAX_NODES} values once its aliases are followed"
            raise Unreadable(words, line=line)
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, path)
        if id(node) in self._open or len(path) > MAX_DEPTH:
            raise Unreadable("an alias that holds itself", path=path_text(path), line=line)
        self._open.add(id(node))
        try:
            if isinstance(node, yaml.MappingNode):
                return self._mapping(node, path)
            return self._sequence(node, path)
        finally:
            self._open.discard(id(node))

    def _sequence(self, node: yaml.Node, path: Path) -> list[Any]:
        if node.tag not in (f"{_TAG}seq", f"{_TAG}python/tuple"):
            self._fail(path, f"the tag {_tag(node)} is not allowed: write a plain list", node)
        return [self._value(item, (*path, i)) for i, item in enumerate(node.value)]

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        if node.tag != f"{_TAG}map":
            self._fail(path, f"the tag {_tag(node)} is not allowed: write a plain mapping", node)
        mapping: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        first: dict[str, int | None] = {}
        for key_node, value_node in node.value:
            if key_node.tag == f"{_TAG}merge":
                self._merge(value_node, path, merged)
                continue
            key = self._key(key_node, path)
            if key is None:
                continue
            line = _line(key_node)
            if key in first:
                where = path_text((*path, key))
                message = f"given twice, first on line {first[key]}"
                self._document.errors.append(Violation(where, message, line))
                continue
            first[key] = line
            self._document.lines[(*path, key)] = line
            mapping[key] = self._value(value_node, (*path, key))
        return merged | mapping

    def _merge(self, node: yaml.Node, path: Path, merged: dict[str, Any]) -> None:
        sources = node.value if isinstance(node, yaml.SequenceNode) else [node]
        for source in sources:
            if isinstance(source, yaml.MappingNode):
                for key, value in self._value(source, path).items():
                    merged.setdefault(key, value)
            else:
                self._fail(path, "<< takes a mapping or a list of mappings", node)

    def _key(self, node: yaml.Node, path: Path) -> str | None:
        if isinstance(node, yaml.ScalarNode) and node.tag == f"{_TAG}str":
            return str(node.value)
        if isinstance(node, yaml.ScalarNode):
            text = node.value or "null"
            message = f"the key {show(text)} is no text in YAML: write it in quotes"
        else:
            message = "a key must be text, not a list or a mapping"
        self._fail(path, message, node)
        return None

    def _scalar(self, node: yaml.ScalarNode, path: Path) -> Any:
        text, kind = node.value, node.tag.removeprefix(_TAG)
        if kind == "str":
            return self._number_in(node, path)
        if kind == "null":
            return None
        if kind == "bool":
            value = text.lower() in ("yes", "true", "on")
            if text.lower() not in ("true", "false"):
                words = f"YAML reads {text} as {show(value)}: quote it if text is meant"
                self._warn(path, words, node)
            return value
        if kind == "timestamp":
            return text
        if kind not in ("int", "float"):
            self._fail(path, f"the tag {_tag(node)} is not allowed: write a plain value", node)
            return None
        return self._number(node, kind, path)

    def _number(self, node: yaml.ScalarNode, kind: str, path: Path) -> Any:
        try:
            value = yaml.constructor.SafeConstructor().construct_object(node)
        except ValueError:
            self._fail(path, f"{show(node.value)} is not a number", node)
            return 0
        if kind == "float" and not math.isfinite(value):
            self._fail(path, f"{show(node.value)} is not a finite number", node)
            return 0.0
        if kind == "int" and (":" in node.value or re.fullmatch(r"[-+]?0[0-7_]+", node.value)):
            message = f"YAML reads {node.value} as {value}: quote it, or write the number meant"
            self._warn(path, message, node)
        return value

    def _number_in(self, node: yaml.ScalarNode, path: Path) -> Any:
        """Return the number that a plain scalar such as 1e-5 means, otherwise its text."""
        is_plain = node.style in (None, "")
        if not is_plain or not path or path[0] in _TEXT_KEYS or not _EXPONENT.fullmatch(node.value):
            return node.value
        value = float(node.value)
        if not math.isfinite(value):
            self._fail(path, f"{show(node.value)} is not a finite number", node)
            return 0.0
        message = f"{node.value} is text in YAML 1.1, read as a number: write {_dotted(value)}"
        self._warn(path, message, node)
        return value

    def _warn(self, path: Path, message: str, node: yaml.Node) -> None:
        violation = Violation(path_text(path), message, _line(node))
        self._document.warnings.append(violation)


def _dotted(value: float) -> str:
    """Return a float as YAML 1.1 reads it back: 1.0e-05."""
    mantissa, exponent, power = repr(value).partition("e")
    if not exponent:
        return mantissa
    return f"{mantissa if '.' in mantissa else mantissa + '.0'}e{power}"


def _line(thing: yaml.Node | yaml.Event) -> int | None:
    return thing.start_mark.line + 1 if thing.start_mark else None


def _tag(node: yaml.Node) -> str:
    tag: str = node.tag
    return show(tag.replace(_TAG, "!!"))
