"""Things that the contract tests share."""

import json

import pytest

from sweepd.names import METHODS
from sweepd.registry import Registry
from sweepd.spec import Space, read_definition

_ODD = {"values": [None, False, 0, "", [1, [2]], {"k": {"x": None}}, True]}
_SPACES = {
    "numbers": {"a": {"min": 1, "max": 4}, "b": {"values": [0.1, 10, 1]}},
    "odd values": {"odd": _ODD, "flag": {"values": [True, False]}},
    "nested": {
        "opt": {"parameters": {"name": {"values": ["sgd", "adam"]}, "lr": {"values": [0.1, 0.01]}}},
        "a-b.c": {"values": [{"deep": [1]}, {"deep": [2]}]},
        "fixed": {"value": None},
    },
    "steps": {"q": {"distribution": "q_uniform", "min": 0.0, "max": 1.0, "q": 0.3}},
    "one value": {"a": {"values": ["only"]}, "b": {"value": 3}},
    "tied": {
        "optimizer": {"values": ["adam", None]},
        "momentum": {"values": [0, 0.9]},
        "nesterov": {"parameters": {"on": {"values": [True, False]}, "k": {"value": 1}}},
        "depth": {"min": 1, "max": 2},
        "width": {"values": [8, 2, 4]},
    },
}
_CONTINUOUS = {
    "lr": {"distribution": "log_uniform_values", "min": 1e-5, "max": 0.1},
    "momentum": {"distribution": "inv_log_uniform_values", "min": 0.5, "max": 0.99},
    "width": {"distribution": "q_log_uniform_values", "min": 8, "max": 512, "q": 8},
    "decay": {"distribution": "log_normal", "mu": -7, "sigma": 2},
    "noise": {"distribution": "q_normal", "mu": 0, "sigma": 1, "q": 0.25},
    "mix": {"distribution": "beta", "a": 2, "b": 3},
    "layers": {"min": 1, "max": 8},
    "opt": {"parameters": {"name": {"values": ["sgd", "adam", None]}}},
    "odd": _ODD,
    "often": {"values": ["x", "y"], "probabilities": [0.9, 0.1]},
}
_WHEN = {"momentum": {"optimizer": None}, "nesterov": {"momentum": 0.9}}
#: The `sweepd:` blocks of spaces with conditional parameters and constraints.
_TIES = {
    "tied": {"when": _WHEN, "constraints": ["depth * width <= 8", "momentum * width < 3"]},
    "endless, tied": {
        "when": {
            "momentum": {"opt.name": ["sgd", None]},
            "decay": {"momentum": {"min": 0.8}},
            "width": {"layers": {"max": 6}},
            "odd": {"often": "x"},
        },
        "constraints": ["layers * width <= 1024", "lr + noise / 100 < decay or mix > 0.2"],
    },
}


def _read(parameters: object, name: str) -> Space:
    definition = {"method": "random", "parameters": parameters, "sweepd": _TIES.get(name)}
    return read_definition(json.dumps(definition)).definition.space


@pytest.fixture(params=sorted(METHODS))
def method(request):
    """Every search method of the registry."""
    return Registry("method", METHODS).load(request.param)()


@pytest.fixture(params=list(_SPACES))
def finite(request):
    """A finite space that has a grid; the grid's points are all that there is."""
    return _read(_SPACES[request.param], request.param)


@pytest.fixture(params=["endless", "endless, tied"])
def endless(request):
    """A space with every kind of distribution, most of them without end."""
    return _read(_CONTINUOUS, request.param)
