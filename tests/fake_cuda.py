"""Streams and graphs of torch.cuda, as far as a captured step asks for them, without a GPU.

What is captured is computed on the CPU as it is recorded, and replays are only counted.
"""

import contextlib
import warnings
from types import SimpleNamespace

import torch

__all__ = ["FakeCuda", "waits"]


class FakeGraph:
    def __init__(self):
        self.replays, self.is_reset = 0, False

    def replay(self):
        self.replays += 1

    def reset(self):
        self.is_reset = True


class FakeStream:
    def wait_stream(self, other):
        """Do nothing: there is one stream."""


class FakeCuda:
    """Stands in for parts of `torch.cuda` once `put_in` has been called.

    Attributes:
        graphs: all that were made.
        end_error: what ending a capture fails with, once the step in it has failed.
        allocated, reserved: the peaks of the memory, in bytes.
        n_resets: how often these were to begin anew.
        current: the stream of now.
        is_capturing: whether a step is recorded.
    """

    def __init__(self):
        self.graphs, self.end_error, self.mode = [], None, 0
        self.allocated = self.reserved = self.n_resets = 0
        self.is_capturing = False
        self.current = self.usual = FakeStream()

    def put_in(self, monkeypatch):
        generator = SimpleNamespace(clone_state=lambda: None, graphsafe_set_state=lambda state: 0)
        names = {
            "CUDAGraph": self._make_graph,
            "Stream": FakeStream,
            "current_stream": lambda: self.current,
            "default_generators": [generator],
            "empty_cache": lambda: None,
            "get_sync_debug_mode": lambda: self.mode,
            "graph": self._graph,
            "graph_pool_handle": lambda: (0, 1),
            "max_memory_reserved": lambda device: self.reserved,
            "memory_stats_as_nested_dict": lambda device: {
                "allocated_bytes": {"all": {"peak": self.allocated}},
                "reserved_bytes": {"all": {"peak": self.reserved}},
            },
            "reset_peak_memory_stats": self._reset,
            "set_stream": self._set_stream,
            "set_sync_debug_mode": self._set_mode,
            "stream": self._stream,
            "synchronize": lambda: None,
        }
        for name, fake in names.items():
            monkeypatch.setattr(torch.cuda, name, fake)

    def _make_graph(self):
        self.graphs.append(FakeGraph())
        return self.graphs[-1]

    def _reset(self, device):
        self.n_resets += 1

    def _set_stream(self, stream):
        self.current = stream

    def _set_mode(self, mode):
        self.mode = mode
        warnings.warn("Synchronization debug mode is a prototype feature", stacklevel=2)

    @contextlib.contextmanager
    def _stream(self, stream):
        before, self.current = self.current, stream
        yield
        self.current = before

    @contextlib.contextmanager
    def _graph(self, graph, *, pool, stream):
        """As up to torch 2.12: where ending fails, the stream of the capture stays."""
        before, self.current = self.current, stream
        self.is_capturing = True
        try:
            yield
        except RuntimeError:
            if self.end_error is not None:
                raise RuntimeError(self.end_error)  # noqa: B904 - as __exit__ does
            self.current = before
            raise
        finally:
            self.is_capturing = False
        self.current = before


def waits():
    """Say what torch says where the host waits for the device, in the mode `warn`."""
    if torch.cuda.get_sync_debug_mode() == "warn":
        warnings.warn("called a synchronizing CUDA operation", stacklevel=2)
