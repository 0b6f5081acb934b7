"""Tables of names load lazily, list what they know, and refuse the rest in words."""

import importlib

import pytest

from sweepd import names
from sweepd.errors import UnknownName
from sweepd.registry import Registry


def test_a_row_loads_what_it_names() -> None:
    registry = Registry("codec", {"json": "json:dumps"})

    assert registry.load("json")([1]) == "[1]"


def test_an_unknown_name_lists_the_known_ones() -> None:
    registry = Registry("codec", {"json": "json:dumps", "csv": "csv:writer"})

    with pytest.raises(UnknownName, match=r"unknown codec 'yaml'; known: csv, json"):
        registry.load("yaml")


def test_listing_imports_nothing() -> None:
    registry = Registry("codec", {"broken": "no_such_module:thing"})

    assert list(registry) == ["broken"]
    assert "broken" in registry
    assert len(registry) == 1


@pytest.mark.parametrize("table", ["METHODS", "STOP_RULES", "MODELS", "DATASETS", "LAUNCHERS"])
def test_every_row_of_every_table_names_something_that_exists(table: str) -> None:
    for row in getattr(names, table).values():
        module, _, attribute = row.partition(":")
        assert hasattr(importlib.import_module(module), attribute), row
