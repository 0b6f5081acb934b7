"""Every GraphQL document that an installed wandb client can send, held against our schema.

    python tests/protocol/documents.py [--client PYTHON]

Run it before an upgrade of the client: what it names is refused by this service. The client's files
are read, none of its code is run, so that any version and any environment will do.
"""

import argparse
import ast
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from itertools import product
from pathlib import Path

from graphql import GraphQLSchema, GraphQLSyntaxError, parse, validate

__all__ = ["collect", "is_in_scope", "package_of", "problems"]

#: What is not spoken yet; each must fail with a readable 400.
NOT_YET = "OrgFeatureFlags ProjectViews"
#: Of wandb 0.29's Python layer: nothing but launch calls them.
UNUSED = "CreateArtifactType ProjectDetails ProjectRuns RunInfo RunUploadUrls stopRun"
#: What this service leaves out for good.
LAUNCH = re.compile(r"Launch|RunQueue|ResourceConfig|QueueItem", re.IGNORECASE)
REGISTRIES = re.compile(r"Registr|Automation|Integration|Trigger|Slack")
#: To a server, deleting a registry is deleting a project.
OF_PROJECTS = "DeleteRegistry"

_OPERATION = r"(?:query|mutation) (\w+) ?[({\s]"


def is_in_scope(name: str) -> bool:
    """Return whether an operation of this name must be valid here."""
    return (
        name not in re.findall(r"\w+", f"{NOT_YET} {UNUSED}")
        and not LAUNCH.search(name)
        and (name == OF_PROJECTS or not REGISTRIES.search(name))
    )


def package_of(python: str) -> Path:
    """Return the folder of the `wandb` package that an interpreter would import."""
    code = "import importlib.util as u; print(u.find_spec('wandb').origin)"
    done = subprocess.run([python, "-c", code], stdout=subprocess.PIPE, text=True, check=True)
    return Path(done.stdout.strip()).parent


def collect(package: Path) -> dict[str, list[str]]:
    """Return the texts of every operation by its name, as the folder of a client holds them."""
    found: dict[str, set[str]] = {}
    for name, text in (*_from_core(package), *_from_python(package)):
        found.setdefault(name, set()).add(text)
    return {name: sorted(texts) for name, texts in sorted(found.items())}


def problems(schema: GraphQLSchema, texts: list[str]) -> list[str]:
    """Return what is wrong with the texts of one operation, by our schema.

    A text that is no GraphQL is a template that the client fills in otherwise: it is passed over.
    """
    found = []
    for text in texts:
        try:
            document = parse(text)
        except GraphQLSyntaxError:
            continue
        found += [problem.message for problem in validate(schema, document)]
    return found


def _from_core(package: Path) -> Iterator[tuple[str, str]]:
    """Find the documents that are compiled into wandb-core."""
    data = (package / "bin" / "wandb-core").read_bytes()
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


def _from_python(package: Path) -> Iterator[tuple[str, str]]:
    """Find the documents in the Python files, with their formatted parts filled in."""
    for path in sorted(package.rglob("*.py")):
        source = path.read_text("utf-8")
        if "vendor" in path.parts or not re.search(_OPERATION, source):
            continue
        tree = ast.parse(source)
        texts = _Texts(_constants(tree))
        texts.visit(tree)
        for text in texts.found:
            head = re.match(rf"\s*(?:#graphql\s*)?{_OPERATION}", text)
            if head:
                yield head[1], text.replace("_PROJECT_QUERY_", "project { id name }")


def _constants(tree: ast.Module) -> dict[str, str]:
    """Return the texts that the names of a module stand for, those of its functions too."""
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
            for target in node.targets:
                if isinstance(target, ast.Name) and isinstance(node.value.value, str):
                    found[target.id] = node.value.value
    return found


class _Texts(ast.NodeVisitor):
    """Collects every text that a literal, an f-string or a `.format` call may become.

    What a formatted part may be is a constant, either branch of an expression, or a name of the
    module. A text with any other part is left out: the Go documents have the same operation.
    """

    def __init__(self, constants: Mapping[str, str]) -> None:
        self.found: list[str] = []
        self._constants = constants

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, str) and "{" in node.value:
            self.found.append(node.value)

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        for variant in range(2):
            parts = [self._values(part, variant) for part in node.values]
            self.found += ["".join(combination) for combination in product(*parts)]

    def visit_Call(self, node: ast.Call) -> None:
        function = node.func
        is_format = isinstance(function, ast.Attribute) and function.attr == "format"
        if is_format and isinstance(function.value, ast.Constant):
            for variant in range(2):
                values = [self._values(argument, variant) for argument in node.args]
                self.found += [function.value.value.format(*each) for each in product(*values)]
        else:
            self.generic_visit(node)

    def _values(self, node: ast.AST, variant: int) -> list[str]:
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
        name = node.id
        if name in ("fragment", "fragment_name"):
            suffix = "_NAME" if name == "fragment_name" else ""
            name = ("RUN_FRAGMENT", "LIGHTWEIGHT_RUN_FRAGMENT")[variant] + suffix
        return [self._constants[name]] if name in self._constants else []


def main() -> int:
    """Print every operation in scope that our schema refuses; return how many there are."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--client", default=sys.executable, metavar="PYTHON")
    client = parser.parse_args().client

    from sweepd.wire.execution import make_schema
    from sweepd.wire.resolvers import TABLES

    schema = make_schema(TABLES)
    documents = collect(package_of(client))
    refused = {
        name: found
        for name, texts in documents.items()
        if is_in_scope(name) and (found := problems(schema, texts))
    }
    for name, found in refused.items():
        print(f"{name}: {'; '.join(dict.fromkeys(found))}")
    n_left = sum(not is_in_scope(name) for name in documents)
    print(f"{len(documents)} operations: {len(refused)} are refused, {n_left} are out of scope")
    return len(refused)


if __name__ == "__main__":
    raise SystemExit(min(main(), 1))
