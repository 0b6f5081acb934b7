"""Things that the tests of the search share."""

import importlib
import json
import warnings
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from sweepd.search import Trial
from sweepd.spec import Space, read_definition


@pytest.fixture
def space_of() -> Callable[[dict[str, Any]], Space]:
    """Return the space of parameters written as in a definition."""

    def read(parameters: dict[str, Any]) -> Space:
        definition = {"method": "random", "parameters": parameters}
        return read_definition(json.dumps(definition)).definition.space

    return read


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture
def tried() -> Callable[..., list[Trial]]:
    """Return trials of random configs of a space with the objective that a function gives."""

    def trials(space: Space, n: int, objective: Callable[[dict[str, Any]], Any]) -> list[Trial]:
        rng = np.random.default_rng(1)
        configs = [space.sample(rng) for _ in range(n)]
        return [Trial(config, objective(config)) for config in configs]

    return trials


@pytest.fixture(scope="session")
def oracle() -> ModuleType:
    """Import W&B's own engine, whose import warns of its old pydantic."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module("sweeps")
