"""What a step may change on the host. A CUDA graph replays what the device does, and none of it."""

import random
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

__all__ = ["HostState"]

_PLAIN = (bool, int, float, complex, str, type(None))


class HostState:
    """What modules hold now, and the random numbers of the host.

    A step that is to be replayed must leave it as it was: the same parameters and buffers at the
    same addresses, the same plain numbers and words in attributes, no random number drawn. Other
    objects, and what is outside of the modules, are not looked at.

    Args:
        modules: those that take part in a step.
    """

    def __init__(self, modules: Iterable[nn.Module]) -> None:
        parts = {part: name for module in modules for name, part in module.named_modules()}
        self._parts = [_Part(part, name) for part, name in parts.items()]
        self._random = _random_state()

    def change(self) -> str | None:
        """Return in words the first that is not as it was; None: all is."""
        for part in self._parts:
            for words in part.changes():
                return words
        return None if _equal(self._random, _random_state()) else "random numbers of the CPU"

    def put_back(self) -> None:
        """Let all be as it was."""
        for part in self._parts:
            part.put_back()
        _set_random_state(self._random)


class _Part:
    """What one module itself holds."""

    def __init__(self, module: nn.Module, name: str) -> None:
        self._module, self._prefix = module, f"{name}." if name else ""
        self._tables = [(t, dict(t)) for t in (module._parameters, module._buffers)]
        self._tensors = {
            name: tensor
            for _, before in self._tables
            for name, tensor in before.items()
            if tensor is not None and tensor.layout is torch.strided
        }
        self._data = {name: tensor.detach() for name, tensor in self._tensors.items()}
        self._plain = _plain(module)

    def changes(self) -> Iterator[str]:
        for table, before in self._tables:
            names = [*before, *(name for name in table if name not in before)]
            for name in names:
                if table.get(name) is not before.get(name) or self._has_moved(name):
                    yield f"{self._prefix}{name}, which is another tensor now"
        now = _plain(self._module)
        for name, value in self._plain.items():
            if name in now and now[name] is not value and now[name] != value:
                yield f"{self._prefix}{name}, which was {value!r} and is {now[name]!r}"

    def put_back(self) -> None:
        for table, before in self._tables:
            table.clear()
            table.update(before)
        for name, tensor in self._tensors.items():
            if self._has_moved(name):
                tensor.data = self._data[name]
        vars(self._module).update(self._plain)

    def _has_moved(self, name: str) -> bool:
        """Return whether the tensor that had this name lies elsewhere now."""
        data = self._data.get(name)
        return data is not None and self._tensors[name].data_ptr() != data.data_ptr()


def _plain(module: nn.Module) -> dict[str, Any]:
    return {name: value for name, value in vars(module).items() if isinstance(value, _PLAIN)}


def _random_state() -> Mapping[str, Any]:
    return {
        "python": random.getstate(),
        "numpy": np.random.get_state(),
        "torch": torch.get_rng_state(),
    }


def _set_random_state(state: Mapping[str, Any]) -> None:
    random.setstate(state["python"])
    np.random.set_state(state["numpy"])
    torch.set_rng_state(state["torch"])


def _equal(one: Mapping[str, Any], two: Mapping[str, Any]) -> bool:
    pairs = zip(one["numpy"], two["numpy"], strict=True)
    return (
        one["python"] == two["python"]
        and torch.equal(one["torch"], two["torch"])
        and all(np.array_equal(mine, other) for mine, other in pairs)
    )
