"""The cheapest compatibility alarm: every document that the installed client can send validates."""

import re
import sys
from functools import cache
from importlib.metadata import version
from pathlib import Path

import pytest
from documents import collect, is_in_scope, package_of, problems
from graphql import parse, validate

from sweepd.wire.execution import make_schema
from sweepd.wire.resolvers import TABLES


@cache
def _documents() -> dict[str, list[str]]:
    return collect(package_of(sys.executable))


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


@pytest.mark.parametrize("name", [name for name in _documents() if is_in_scope(name)])
def test_a_document_of_the_client_is_valid(schema, name):
    assert problems(schema, _documents()[name]) == []


@pytest.mark.parametrize("name", [name for name in _documents() if not is_in_scope(name)])
def test_a_document_that_is_out_of_scope_is_refused_by_name(schema, name):
    for text in _documents()[name]:
        messages = [problem.message for problem in validate(schema, parse(text))]

        assert messages, f"{name} is valid: take it off the list"
        assert any(re.search(r"Cannot query field|Unknown type", m) for m in messages), messages


def test_the_page_counts_the_operations_that_the_installed_client_has_and_that_are_taken():
    page = (Path(__file__).parents[2] / "docs" / "compatibility.md").read_text()
    n_all, n_taken = len(_documents()), sum(map(is_in_scope, _documents()))

    assert f"| {version('wandb')} | {n_all} | {n_taken} |" in page
