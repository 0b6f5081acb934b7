"""Things that the tests of definitions share."""

import importlib
import warnings
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
import yaml

from sweepd.errors import DefinitionError, Violation
from sweepd.spec import Distribution, Parsed, read_definition


def _text(parameters: Any, **keys: Any) -> str:
    definition = {"method": "random", "parameters": parameters} | keys
    return yaml.safe_dump({key: value for key, value in definition.items() if value is not None})


@pytest.fixture
def text_of() -> Callable[..., str]:
    """Write a definition: its parameters, and other top-level keys by name."""
    return _text


@pytest.fixture
def parsed() -> Callable[..., Parsed]:
    """Read a definition given like that of `text_of`."""
    return lambda parameters=None, **keys: read_definition(
        _text(parameters or {"x": {"values": [1, 2]}}, **keys)
    )


@pytest.fixture
def law() -> Callable[..., Distribution]:
    """Return the law of one parameter as written."""

    def read(**spec: Any) -> Distribution:
        space = read_definition(_text({"x": spec})).definition.space
        return space["x"].distribution

    return read


@pytest.fixture
def refusal() -> Callable[..., dict[str, Violation]]:
    """Return what is wrong with a text, by path."""

    def read(text: str | bytes, **options: Any) -> dict[str, Violation]:
        with pytest.raises(DefinitionError) as caught:
            read_definition(text, **options)
        return {violation.path: violation for violation in caught.value.violations}

    return read


@pytest.fixture(scope="session")
def oracle() -> Callable[[str], ModuleType]:
    """Import a module of W&B's own engine; its import warns of its old pydantic."""

    def load(name: str) -> ModuleType:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module(f"sweeps.{name}")

    return load
