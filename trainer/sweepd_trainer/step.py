"""One optimiser step: gather, augment, forward, backward, update. No host work inside.

On CUDA the whole step is captured as a graph once it has run a few times, and replayed from then
on: small models are bound by launches, not by arithmetic.
"""

import gc
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Protocol, TypeVar

import torch
from torch import Tensor, nn

from sweepd_trainer.config import Training
from sweepd_trainer.data import Rows
from sweepd_trainer.device import has_fast_bfloat16
from sweepd_trainer.host_state import HostState
from sweepd_trainer.task import Task

__all__ = ["Augmentation", "Captured", "Problem", "Step", "Stepping"]

#: A step is captured after so many have been taken: optimisers and libraries set up in the first.
_N_EAGER = 4
#: How torch says that the host has waited for the device, and that it does not notice each time.
_WAITS, _INCOMPLETE = "called a synchronizing CUDA operation", "Synchronization debug mode"
#: Graphs whose capture failed. Allocators of some versions of torch refer to them from then on.
_failed: list["torch.cuda.CUDAGraph"] = []


class Augmentation(Protocol):
    """Changes training inputs, another way each epoch."""

    def draw(self, inputs: Tensor, generator: torch.Generator) -> Tensor | None:
        """Return what happens to each of n inputs in one epoch, (n, …), or None: nothing does."""
        ...

    def __call__(self, inputs: Tensor, drawn: Tensor) -> Tensor:
        """Return inputs, (b, …), each changed as its row of `drawn`, (b, …), says."""
        ...


@dataclass(frozen=True)
class Problem:
    """What is learnt.

    Args:
        rows: to train on, on the model's device.
        task: what is minimised.
        prepare: inputs as they are stored -> what the model takes.
        augment: changes the inputs of a batch; None: they stay as they are.
    """

    rows: Rows
    task: Task
    prepare: Callable[[Tensor], Tensor]
    augment: Augmentation | None = None

    @property
    def modules(self) -> list[nn.Module]:
        """Return what of it are modules: they may hold something that a step changes."""
        parts = (self.task.loss, self.prepare, self.augment)
        return [part for part in parts if isinstance(part, nn.Module)]


class Stepping(ABC):
    """Takes optimiser steps and adds up the losses on the device.

    When a batch does not fit into the memory it is halved once, and the gradients of both halves
    are added: the same step, but for what a model computes over a whole batch. Once the optimiser
    has begun a step cannot be taken again: some weights have changed, and some averages are there.

    Args:
        device: of the weights.
        loss_sum: where the losses are added up.
    """

    mode = "eager"

    def __init__(self, device: torch.device, *, loss_sum: Tensor) -> None:
        self.device, self.loss_sum = device, loss_sum
        self.is_bfloat16 = has_fast_bfloat16(device)
        self.n_parts = 1  # batches are cut into so many
        self.is_updating = False  # whether the optimiser has begun what a step has not ended

    def __call__(self, batch: Tensor, drawn: Tensor | None) -> None:
        """Take one step on the rows at `batch`, (…, b), augmented as `drawn`, (…, n, …), says.

        Raises:
            torch.OutOfMemoryError: half a batch does not fit either, or the update does not.
        """
        if not self._fits(batch, drawn):
            self.n_parts = 2
            self.free()
            self.run(batch, drawn)

    @property
    @abstractmethod
    def modules(self) -> Sequence[nn.Module]:
        """Return the modules that take part in a step."""

    def run(self, batch: Tensor, drawn: Tensor | None) -> None:
        """Take one step, whatever memory it needs; a CUDA graph records this."""
        self.is_updating = False
        mean = self.learn(batch, drawn)
        self.is_updating = True
        self.update()
        self.loss_sum.add_(mean, alpha=batch.shape[-1])
        self.is_updating = False

    @abstractmethod
    def learn(self, batch: Tensor, drawn: Tensor | None) -> Tensor:
        """Leave a batch's gradients, and return its mean loss; no weight has changed."""

    @abstractmethod
    def update(self) -> None:
        """Change the weights by the gradients that are there, and the averages by the weights."""

    @abstractmethod
    def forget(self) -> None:
        """Let go of the gradients."""

    def free(self) -> None:
        """Free what a step that failed has left."""
        self.forget()
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def _fits(self, batch: Tensor, drawn: Tensor | None) -> bool:
        """Take the step; return whether there was memory for it, which is free again if not."""
        try:
            self.run(batch, drawn)
        except torch.OutOfMemoryError:
            if self.is_updating or self.n_parts > 1 or batch.shape[-1] < 2:
                raise
            return False
        return True

    def autocast(self) -> torch.autocast:
        """Return the context in which a model computes in training."""
        return torch.autocast(
            self.device.type, torch.bfloat16, enabled=self.is_bfloat16, cache_enabled=False
        )


class Step(Stepping):
    """Takes the optimiser steps of one model.

    Args:
        model, optimizer, averaged: what a step changes; `averaged` has the averaged weights.
        problem: what is learnt.
        config: how.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        problem: Problem,
        config: Training,
        *,
        averaged: nn.Module | None = None,
    ) -> None:
        self.model, self.optimizer, self.averaged = model, optimizer, averaged
        self.problem, self.config = problem, config
        self._weights = [weight for weight in model.parameters() if weight.requires_grad]
        self._averaged = list(averaged.parameters()) if averaged is not None else []
        self._all_weights = list(model.parameters())
        device = self._weights[0].device
        super().__init__(device, loss_sum=torch.zeros((), device=device))

    @property
    def modules(self) -> list[nn.Module]:
        """Return the modules that take part in a step."""
        return [self.model, *self.problem.modules]

    def learn(self, batch: Tensor, drawn: Tensor | None) -> Tensor:
        """Leave a batch's gradients, and return its mean loss; no weight has changed."""
        self.forget()
        total = None
        for part in batch.chunk(self.n_parts):
            loss = self._loss(part, drawn)
            if len(part) < len(batch):  # a whole batch takes no kernel more than it must
                loss = loss * (len(part) / len(batch))
            loss.backward()
            total = loss.detach() if total is None else total + loss.detach()
        if self.config.grad_clip:
            nn.utils.clip_grad_norm_(self._weights, self.config.grad_clip, foreach=True)
        assert total is not None, "a batch has rows"
        return total

    def update(self) -> None:
        """Change the weights by the gradients that are there, and the averages by the weights."""
        self.optimizer.step()
        if self._averaged:
            with torch.no_grad():
                torch._foreach_lerp_(self._averaged, self._all_weights, 1 - self.config.ema)

    def forget(self) -> None:
        """Let go of the gradients."""
        self.optimizer.zero_grad(set_to_none=True)

    def _loss(self, batch: Tensor, drawn: Tensor | None) -> Tensor:
        problem = self.problem
        inputs = problem.rows.inputs[batch]
        if problem.augment is not None and drawn is not None:
            inputs = problem.augment(inputs, drawn[batch])
        with self.autocast():
            outputs = self.model(problem.prepare(inputs))
        return problem.task.loss(outputs, problem.rows.targets[batch])


_S = TypeVar("_S", bound=Stepping)


class Captured:
    """Takes the steps of whole batches as one CUDA graph; others, and the first few, one by one.

    A step that waits for the device, or changes what Python holds (`HostState`), is not captured.
    Of what else Python does in a step nothing is known: the graph has it as it was once.

    Args:
        step: what is captured.
        size: rows of a whole batch.
        tell: is told once, in words, when a step cannot be captured; they are run one by one then.
    """

    def __init__(self, step: Stepping, *, size: int, tell: Callable[[str], None] = print) -> None:
        self._step, self._size, self._tell = step, size, tell
        self._stream = _capturing_stream(step.device)
        self._graph: torch.cuda.CUDAGraph | None = None
        self._batch: Tensor | None = None
        self._drawn: Tensor | None = None  # what the graph reads
        self._source: Tensor | None = None  # what that is a copy of
        self._n_left = _N_EAGER
        self._is_possible = True

    @classmethod
    def where_it_pays(cls, step: _S, config: Training, *, size: int) -> "_S | Captured":
        """Return a step that is captured on CUDA, unless the config wants none; else `step`."""
        return cls(step, size=size) if step.device.type == "cuda" and config.cuda_graph else step

    @property
    def mode(self) -> str:
        """Return which way steps go: `cuda graph` or `eager`."""
        return "eager" if self._graph is None else "cuda graph"

    @property
    def loss_sum(self) -> Tensor:
        """Return the sum of the losses, on the device."""
        return self._step.loss_sum

    @property
    def n_parts(self) -> int:
        """Return into how many parts a batch is cut."""
        return self._step.n_parts

    def __call__(self, batch: Tensor, drawn: Tensor | None) -> None:
        """Take one step, as `Step` does."""
        if batch.shape[-1] != self._size or not self._is_possible:
            self._take(batch, drawn)
        elif self._graph is not None or self._is_ready(batch, drawn):
            self._replay(batch, drawn)

    def _take(self, batch: Tensor, drawn: Tensor | None) -> None:
        """Take a step by itself; where the graph's own memory is in its way, without the graph."""
        if self._graph is not None:
            try:
                self._step.run(batch, drawn)
                return
            except torch.OutOfMemoryError:
                if self._step.is_updating:
                    raise
                self._give_up("its memory is needed for the steps that are not in it")
            self._drop()
            self._step.free()
        self._step(batch, drawn)

    def _replay(self, batch: Tensor, drawn: Tensor | None) -> None:
        assert self._graph is not None, "the step was captured"
        assert self._batch is not None, "with its batch"
        self._batch.copy_(batch)
        if self._drawn is not None and drawn is not None and drawn is not self._source:
            self._drawn.copy_(drawn)  # once an epoch
            self._source = drawn
        self._graph.replay()

    def _is_ready(self, batch: Tensor, drawn: Tensor | None) -> bool:
        """Return whether there is a graph to replay; if not, the step has been taken."""
        if self._n_left > 0:
            self._n_left -= 1
            self._warm_up(batch, drawn)
            return False
        if self._step.n_parts > 1:
            self._is_possible = False
        else:
            reason = self._capture(batch, drawn)
            if reason is None:
                return True
            self._give_up(reason)
        self._step(batch, drawn)
        return False

    def _warm_up(self, batch: Tensor, drawn: Tensor | None) -> None:
        """Take a step where it will be captured; see in the last one whether it can be."""
        waits: list[str] = []
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            if self._n_left > 0:
                self._step(batch, drawn)
            else:
                with _noting(waits):
                    self._step(batch, drawn)
        torch.cuda.current_stream().wait_stream(self._stream)
        if waits:
            self._give_up(f"it waits for the device ({waits[0]})")

    def _capture(self, batch: Tensor, drawn: Tensor | None) -> str | None:
        """Record a step as a graph; return why that cannot be, in words, with nothing left of it.

        torch ends a capture that failed with an error of its own: the one before says why.
        """
        before, stream = HostState(self._step.modules), torch.cuda.current_stream()
        graph, pool = torch.cuda.CUDAGraph(), torch.cuda.graph_pool_handle()
        self._batch = batch.clone()
        self._drawn, self._source = (None if drawn is None else drawn.clone()), drawn
        reason, has_failed = "", False
        try:
            with torch.cuda.graph(graph, pool=pool, stream=self._stream):
                try:
                    self._step.run(self._batch, self._drawn)
                except RuntimeError as error:
                    reason = _first_line(error)
                    raise
        except RuntimeError as error:
            reason, has_failed = reason or _first_line(error), True
        else:
            change = before.change()
            if change is None:
                self._graph = graph
                return None
            reason = f"it changes {change}"
        torch.cuda.set_stream(stream)
        before.put_back()
        self._step.forget()
        self._drop()
        torch.cuda.synchronize()
        if has_failed:
            _end_capture(graph, pool, batch.device)
        else:
            graph.reset()
        return reason

    def _drop(self) -> None:
        """Let go of the graph, with its memory, and of what it reads."""
        if self._graph is not None:
            torch.cuda.synchronize()
            self._step.forget()  # gradients lie in the graph's memory
            self._graph.reset()
        self._graph = self._batch = self._drawn = self._source = None

    def _give_up(self, reason: str) -> None:
        self._is_possible = False
        self._tell(f"the step cannot be captured as a CUDA graph, it runs eagerly: {reason}")


@cache
def _capturing_stream(device: torch.device) -> "torch.cuda.Stream":
    """Return the stream on which steps are captured: each one keeps memory of cuBLAS for good."""
    return torch.cuda.Stream()


@contextmanager
def _noting(waits: list[str]) -> Iterator[None]:
    """Note where in the code the host waits for the device, which no captured step may."""
    mode = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            yield
        finally:
            torch.cuda.set_sync_debug_mode(mode)
    for one in told:
        text = str(one.message)
        if _WAITS in text:
            waits.append(f"{Path(one.filename).name}, line {one.lineno}")
        elif _INCOMPLETE not in text:
            warnings.warn_explicit(one.message, one.category, one.filename, one.lineno)


def _end_capture(
    graph: "torch.cuda.CUDAGraph", pool: tuple[int, int], device: torch.device
) -> None:
    """Let the process go on after a capture that failed.

    Up to torch 2.12 the allocator takes it for one that is under way: its cache could not be
    emptied any more. All versions leave the device's random numbers in the state of such a one: the
    next dropout would fail.
    """
    end = getattr(torch._C, "_cuda_endAllocateToPool", None)
    if end is not None:
        with suppress(RuntimeError):  # later versions have ended it
            end(device.index or 0, pool)
    with suppress(RuntimeError):  # nothing more can be done for its memory
        graph.reset()
    _failed.append(graph)
    generator = torch.cuda.default_generators[device.index or 0]
    generator.graphsafe_set_state(generator.clone_state())


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
