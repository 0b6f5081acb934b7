"""The cheapest compatibility alarm: every document that the installed client can send validates."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from itertools import product
from pathlib import Path

import pytest
import wandb
from graphql import parse, validate

from sweepd.wire.execution import make_schema
from sweepd.wire.resolvers import TABLES

ROOT = Path(wandb.__file__).parent

#: What this landing does not speak; each must fail with a readable 400.
OTHER = """
    CreateCustomChart
    OrgFeatureFlags ProjectViews
"""
LAUNCH = re.compile(r"Launch|RunQueue|ResourceConfig|QueueItem")
REGISTRIES = re.compile(r"Registr|Automation|Integration|Trigger|Slack")


def _from_core() -> Iterator[tuple[str, str]]:
    """Find the documents that are compiled into wandb-core."""
    data = (ROOT / "bin" / "wandb-core").read_bytes()
    for start in re.finditer(rb"(?:query|mutation) ([A-Z][A-Za-z]+) ?[({]", data):
        text = data[start.start() : start.start() + 20_000].decode("ascii", "replace")
        end = _end_of_document(text)
        if end and "\n\t" in text[:end]:
            yield start[1].decode(), text[:end]


def _end_of_document(text: str) -> int:
    depth = parentheses = 0
    for at, sign in enumerate(text):
        parentheses += (sign == "(") - (sign == ")")
        depth += (sign == "{") - (sign == "}")
        is_closed = sign == "}" and depth == 0 and parentheses == 0
        if is_closed and not re.match(r"\s*fragment [A-Z]", text[at + 1 :]):
            return at + 1
    return 0


def _from_python() -> Iterator[tuple[str, str]]:
    """Find the documents in the Python files, with their formatted parts filled in."""
    for path in sorted(ROOT.rglob("*.py")):
        source = path.read_text("utf-8")
        if "vendor" in path.parts or not re.search(r"(query|mutation) [A-Z]\w+ ?[({\s]", source):
            continue
        module = ".".join(("wandb", *path.relative_to(ROOT).with_suffix("").parts))
        texts = _Texts(module)
        texts.visit(ast.parse(source))
        for text in texts.found:
            head = re.match(r"\s*(?:#graphql\s*)?(?:query|mutation) ([A-Z]\w+)", text)
            if head:
                yield head[1], text.replace("_PROJECT_QUERY_", "project { id name }")


class _Texts(ast.NodeVisitor):
    """Collects every text that a literal, an f-string or a `.format` call may become.

    What a formatted part may be is a constant, either branch of an expression, or a name of the
    module. A text with any other part is left out: the Go documents have the same operation.
    """

    def __init__(self, module):
        self.found = []
        self._module = module

    def visit_Constant(self, node):
        if isinstance(node.value, str) and "{" in node.value:
            self.found.append(node.value)

    def visit_JoinedStr(self, node):
        for variant in range(2):
            parts = [self._values(part, variant) for part in node.values]
            self.found += ["".join(combination) for combination in product(*parts)]

    def visit_Call(self, node):
        function = node.func
        is_format = isinstance(function, ast.Attribute) and function.attr == "format"
        if is_format and isinstance(function.value, ast.Constant):
            for variant in range(2):
                values = [self._values(argument, variant) for argument in node.args]
                self.found += [function.value.value.format(*each) for each in product(*values)]
        else:
            self.generic_visit(node)

    def _values(self, node, variant):
        if isinstance(node, ast.FormattedValue):
            return self._values(node.value, variant)
        if isinstance(node, ast.Constant):
            return [str(node.value)]
        if isinstance(node, ast.IfExp):
            return self._values((node.body, node.orelse)[variant], variant)
        if not isinstance(node, ast.Name):
            return []
        if node.id == "node":  # of a run: its history or its system metrics
            return ["history", "events"]
        if node.id in ("fragment", "fragment_name"):
            name = ("RUN_FRAGMENT", "LIGHTWEIGHT_RUN_FRAGMENT")[variant]
            name += "_NAME" if node.id == "fragment_name" else ""
            return [getattr(import_module(self._module), name, "")]
        return [str(getattr(import_module(self._module), node.id, ""))]


@cache
def _documents() -> dict[str, list[str]]:
    found: dict[str, set[str]] = {}
    for name, text in (*_from_core(), *_from_python()):
        found.setdefault(name, set()).add(text)
    return {name: sorted(texts) for name, texts in sorted(found.items())}


def _is_in_scope(name: str) -> bool:
    return (
        name not in re.findall(r"\w+", OTHER)
        and not LAUNCH.search(name)
        and not REGISTRIES.search(name)
    )


@pytest.fixture(scope="module")
def schema():
    return make_schema(TABLES)


def test_the_collection_finds_what_the_client_sends_in_a_sweep():
    essential = """
        CreateAgent CreateRunFiles DeleteRun GetSweep Heartbeat HistoryPage Run RunFiles
        RunFullHistory RunResumeStatus Runs ServerFeaturesQuery SweepWithRuns UpsertBucket
        UpsertSweep Viewer
    """

    assert set(re.findall(r"\w+", essential)) <= _documents().keys()


@pytest.mark.parametrize("name", [name for name in _documents() if _is_in_scope(name)])
def test_a_document_of_the_client_is_valid(schema, name):
    for text in _documents()[name]:
        assert [problem.message for problem in validate(schema, parse(text))] == [], text


@pytest.mark.parametrize("name", [name for name in _documents() if not _is_in_scope(name)])
def test_a_document_that_is_out_of_scope_is_refused_by_name(schema, name):
    for text in _documents()[name]:
        messages = [problem.message for problem in validate(schema, parse(text))]

        assert messages, f"{name} is valid: take it off the list"
        assert any(re.search(r"Cannot query field|Unknown type", m) for m in messages), messages
