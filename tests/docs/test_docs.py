"""The docs say what is true: commands, registry rows, errors, limits of files and functions."""

import ast
import importlib.util
import inspect
import re
from importlib import metadata
from pathlib import Path

import pytest

from sweepd import errors, names

ROOT = Path(__file__).parents[2]
CODE = [p for d in ("service", "agent", "trainer", "bench") for p in (ROOT / d).rglob("*.py")]
DOCS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]


def test_command_page_is_what_the_commands_say() -> None:
    spec = importlib.util.spec_from_file_location("cli_page", ROOT / "tests/docs/cli_page.py")
    assert spec is not None
    assert spec.loader is not None
    page = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(page)

    assert page.PAGE.read_text() == page.render(), "run: python tests/docs/cli_page.py"


@pytest.mark.parametrize(
    ("table", "page"),
    [
        pytest.param(names.METHODS, "methods.md", id="methods"),
        pytest.param(names.STOP_RULES, "methods.md", id="stop rules"),
        pytest.param(names.MODELS, "trainer.md", id="models"),
        pytest.param(names.DATASETS, "trainer.md", id="data sets"),
        pytest.param(names.LAUNCHERS, "agent.md", id="launchers"),
    ],
)
def test_every_registry_row_is_documented(table: dict[str, str], page: str) -> None:
    text = (ROOT / "docs" / page).read_text()

    assert [name for name in table if f"`{name}`" not in text] == []


@pytest.mark.parametrize("page", ["failures.md", "methods.md"])
def test_table_of_outcomes_names_every_end_of_a_trial(page: str) -> None:
    text = (ROOT / "docs" / page).read_text()
    table = text[text.index("| outcome") :].split("\n\n", 1)[0]
    outcomes = " ".join(row.split("|")[1] for row in table.splitlines())
    other_words = {"oom": "out of memory", "never_init": "died before `wandb.init`"}

    words = [other_words.get(reason, reason.replace("_", " ")) for reason in errors.Reason]
    assert [one for one in words if one not in outcomes] == []


def test_error_tree_is_drawn_as_it_is() -> None:
    drawing = errors.__doc__ or ""
    drawn = re.findall(r"(\w+) \.+ (\d{3}) / (\d+)", drawing)
    classes = [
        (name, str(thing.http_status), str(thing.exit_code))
        for name, thing in inspect.getmembers(errors, inspect.isclass)
        if issubclass(thing, errors.SweepdError)
    ]

    assert sorted(drawn) == sorted(classes)


def test_table_of_clients_names_the_versions_that_are_tested() -> None:
    table = (ROOT / "docs" / "compatibility.md").read_text().split("\n|---", 1)[0]
    source = (ROOT / "tests" / "e2e" / "client_versions.py").read_text()
    older = re.search(r"^VERSIONS = (.+)$", source, re.MULTILINE)
    assert older is not None

    tested = (metadata.version("wandb"), *ast.literal_eval(older[1]))

    assert re.findall(r"\| wandb (\S+)", table) == list(tested)


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)
def test_links_of_a_page_lead_somewhere(path: Path) -> None:
    targets = re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", path.read_text())

    assert [target for target in targets if not (path.parent / target).exists()] == []


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)
def test_tests_and_benchmarks_that_a_page_names_are_there(path: Path) -> None:
    named = re.findall(r"`(?:python )?((?:tests|bench)/[\w/]+\.py)(?:::(\w+))?", path.read_text())

    for file, function in named:
        assert (ROOT / file).exists(), file
        assert f"def {function}" in (ROOT / file).read_text(), f"{file}::{function}"


def test_every_benchmark_of_the_service_has_its_place_on_the_page() -> None:
    page = (ROOT / "docs/bench.md").read_text()
    scripts = [path for path in (ROOT / "bench").glob("*.py") if "def main" in path.read_text()]

    assert [path.name for path in scripts if f"bench/{path.name}" not in page] == []


def test_files_and_functions_stay_short() -> None:
    long = []
    for path in CODE:
        text = path.read_text()
        if text.count("\n") > 500:
            long.append(f"{path.relative_to(ROOT)}: {text.count(chr(10))} lines")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                if length > 80:
                    long.append(f"{path.relative_to(ROOT)}:{node.lineno}: {length} lines")

    assert long == []


def test_sample_definitions_are_data_and_lint_clean() -> None:
    from sweepd.spec import read_definition

    samples = sorted((ROOT / "sweeps").iterdir())

    assert [path.suffix for path in samples] == [".yaml"] * len(samples)
    for path in samples:
        parsed = read_definition(path.read_bytes(), source=path.name, allow_unknown=False)
        assert parsed.warnings == (), path.name


def test_every_operation_of_our_own_is_documented() -> None:
    schema = (ROOT / "service/sweepd/wire/sweepd.graphql").read_text()
    page = (ROOT / "docs/own-api.md").read_text()
    operations = set(re.findall(r"^  (sweepd\w+)", schema, re.MULTILINE))

    assert operations
    assert {name for name in operations if name not in page} == set()
