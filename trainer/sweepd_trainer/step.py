"""One optimiser step: gather, augment, forward, backward, update. No host work inside.

On CUDA the whole step is captured as a graph once it has run a few times, and replayed from then
on: small models are bound by launches, not by arithmetic.
"""

import gc
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from sweepd_trainer.config import Training
from sweepd_trainer.data import Rows
from sweepd_trainer.device import has_fast_bfloat16
from sweepd_trainer.task import Task

__all__ = ["Augmentation", "Captured", "Problem", "Step", "Stepping"]

#: A step is captured after so many have been taken: optimisers and libraries set up in the first.
_N_EAGER = 4


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


class Stepping(ABC):
    """Takes optimiser steps and adds up the losses on the device.

    When a batch does not fit into the memory it is halved once, and the gradients of both halves
    are added: the same step, but for what a model computes over a whole batch.

    Args:
        device: of the weights.
        loss_sum: where the losses are added up.
    """

    mode = "eager"

    def __init__(self, device: torch.device, *, loss_sum: Tensor) -> None:
        self.device, self.loss_sum = device, loss_sum
        self.is_bfloat16 = has_fast_bfloat16(device)
        self.n_parts = 1  # batches are cut into so many

    def __call__(self, batch: Tensor, drawn: Tensor | None) -> None:
        """Take one step on the rows at `batch`, (…, b), augmented as `drawn`, (…, n, …), says.

        Raises:
            torch.OutOfMemoryError: half a batch does not fit either.
        """
        if not self._fits(batch, drawn):
            self.n_parts = 2
            self._forget()
            gc.collect()
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
            self.run(batch, drawn)

    @abstractmethod
    def run(self, batch: Tensor, drawn: Tensor | None) -> None:
        """Take one step, whatever memory it needs; a CUDA graph records this."""

    @abstractmethod
    def _forget(self) -> None:
        """Free what a step that failed has left."""

    def _fits(self, batch: Tensor, drawn: Tensor | None) -> bool:
        """Take the step; return whether there was memory for it, which is free again if not."""
        try:
            self.run(batch, drawn)
        except torch.OutOfMemoryError:
            if self.n_parts > 1 or batch.shape[-1] < 2:
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

    def run(self, batch: Tensor, drawn: Tensor | None) -> None:
        """Take one step, whatever memory it needs; a CUDA graph records this."""
        self._forget()
        total = torch.zeros((), device=self.device)
        for part in batch.chunk(self.n_parts):
            loss = self._loss(part, drawn) * (len(part) / len(batch))
            loss.backward()
            total += loss.detach()
        if self.config.grad_clip:
            nn.utils.clip_grad_norm_(self._weights, self.config.grad_clip, foreach=True)
        self.optimizer.step()
        if self._averaged:
            with torch.no_grad():
                torch._foreach_lerp_(self._averaged, self._all_weights, 1 - self.config.ema)
        self.loss_sum += total * len(batch)

    def _forget(self) -> None:
        self.optimizer.zero_grad(set_to_none=True)

    def _loss(self, batch: Tensor, drawn: Tensor | None) -> Tensor:
        problem = self.problem
        inputs = problem.rows.inputs[batch]
        if problem.augment is not None and drawn is not None:
            inputs = problem.augment(inputs, drawn[batch])
        with self.autocast():
            outputs = self.model(problem.prepare(inputs))
        return problem.task.loss(outputs, problem.rows.targets[batch])


class Captured:
    """Takes the steps of whole batches as one CUDA graph; others, and the first few, one by one.

    Args:
        step: what is captured.
        size: rows of a whole batch.
        tell: is told once, in words, when a step cannot be captured; they are run one by one then.
    """

    def __init__(self, step: Stepping, *, size: int, tell: Callable[[str], None] = print) -> None:
        self._step, self._size, self._tell = step, size, tell
        self._stream = torch.cuda.Stream()
        self._graph: torch.cuda.CUDAGraph | None = None
        self._batch: Tensor | None = None
        self._drawn: Tensor | None = None  # what the graph reads
        self._source: Tensor | None = None  # what that is a copy of
        self._n_left = _N_EAGER
        self._is_possible = True

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
            self._step(batch, drawn)
            return
        if self._graph is None and not self._is_ready(batch, drawn):
            return
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
            self._stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self._stream):
                self._step(batch, drawn)
            torch.cuda.current_stream().wait_stream(self._stream)
            return False
        if self._step.n_parts > 1:
            self._is_possible = False
            self._step(batch, drawn)
            return False
        self._batch = batch.clone()
        self._drawn, self._source = (None if drawn is None else drawn.clone()), drawn
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, stream=self._stream):
                self._step.run(self._batch, self._drawn)
        except RuntimeError as error:
            self._is_possible = False
            reason = str(error).strip().splitlines()[0]
            self._tell(f"the step cannot be captured as a CUDA graph, it runs eagerly: {reason}")
        else:
            self._graph = graph
            return True
        self._batch = self._drawn = self._source = None
        del graph
        torch.cuda.synchronize()
        _end_capture_of_random_numbers(batch.device)
        self._step(batch, drawn)
        return False


def _end_capture_of_random_numbers(device: torch.device) -> None:
    """Let the device's generator go on after a capture that failed.

    torch leaves it in the state of one that is being captured: the next dropout would fail.
    """
    generator = torch.cuda.default_generators[device.index or 0]
    generator.graphsafe_set_state(generator.clone_state())
