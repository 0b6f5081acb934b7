"""One optimiser step of several models that differ in numbers only, as if they were one.

K   models;  b   rows of a batch, for each model its own;  P   weights of one model

All weights of all models are one tensor (K, P), and so are gradients, averages and whatever the
optimiser keeps: an update is a few operations, however many models and tensors there are. The
models' own tensors become views of it, so that each is what it would be if it were trained alone.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from sweepd_trainer.evaluation import sums_of
from sweepd_trainer.pack_layers import for_packs
from sweepd_trainer.pack_optim import RULES, PackedOptimizer
from sweepd_trainer.step import Step, Stepping

__all__ = ["PackedStep", "set_apart"]

#: As in torch's clip_grad_norm_.
_TINY = 1e-6


class PackedStep(Stepping):
    """Takes the steps of K models at once, each on rows of its own.

    Args:
        steps: of the models alone; models, optimisers, averages and sums of losses of these are
            views of this step's tensors from now on.
    """

    def __init__(self, steps: Sequence[Step]) -> None:
        first, configs = steps[0], [step.config for step in steps]
        super().__init__(first.device, loss_sum=torch.stack([step.loss_sum for step in steps]))
        self._model, self._problem = for_packs(first.model).train(), first.problem
        self._trained = [[w for w in s.model.parameters() if w.requires_grad] for s in steps]
        self._weights = _laid_out(self._trained)
        self._gradients = torch.zeros_like(self._weights)
        self._fixed = _fixed([step.model for step in steps])
        self._leaves = {
            name: part.detach().requires_grad_()
            for name, part in self._parts(self._weights).items()
        }
        self._clips = self._column([config.grad_clip or torch.inf for config in configs])
        self._is_clipped = any(config.grad_clip for config in configs)
        self._smoothing = self._column([config.label_smoothing for config in configs])[:, 0]
        self._is_smoothed = any(config.label_smoothing for config in configs)
        self._decays = self._column([config.ema for config in configs])
        self._averaged = self._join_averages(steps)
        self.optimizer = self._join_optimizers(steps)
        for row, step in enumerate(steps):
            self._point(self._trained[row], self._weights[row], self._gradients[row])
            step.loss_sum = self.loss_sum[row]

    @property
    def modules(self) -> list[nn.Module]:
        """Return the modules that take part in a step."""
        return [self._model, *self._problem.modules]

    def learn(self, batch: Tensor, drawn: Tensor | None) -> Tensor:
        """Leave the gradients of the rows at `batch`, (K, b), and return the mean losses, (K,).

        Args:
            batch: for each model its own.
            drawn: how each row is augmented, (K, n, …).
        """
        self._gradients.zero_()
        total = torch.zeros_like(self.loss_sum)
        leaves = list(self._leaves.values())
        for part in batch.chunk(self.n_parts, dim=1):
            loss = self._losses(part, drawn) * (part.shape[1] / batch.shape[1])
            found = torch.autograd.grad(loss.sum(), leaves)
            self._gradients += torch.cat([gradient.flatten(1) for gradient in found], dim=1)
            total += loss.detach()
        if self._is_clipped:
            norms = torch.linalg.vector_norm(self._gradients, dim=1, keepdim=True)
            self._gradients *= (self._clips / (norms + _TINY)).clamp(max=1.0)
        return total

    def update(self) -> None:
        """Change the weights by the gradients that are there, and the averages by the weights."""
        self.optimizer.step(self._gradients)
        if self._averaged is not None:
            self._averaged.lerp_(self._weights, 1 - self._decays)

    def sums(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """Return what each model adds to the totals of an evaluation, shape (K, 3 + measures).

        Args:
            inputs: of held-out rows, (n, …), the same for each model.
            targets: theirs.
        """
        task, prepared = self._problem.task, self._problem.prepare(inputs)

        def of_one(weights: Mapping[str, Tensor], fixed: Mapping[str, Tensor]) -> Tensor:
            return sums_of(task, functional_call(self._model, (weights, fixed), prepared), targets)

        best = self._weights if self._averaged is None else self._averaged
        self._model.eval()
        try:
            with torch.no_grad():
                return vmap(of_one)(self._parts(best), self._fixed)
        finally:
            self._model.train()

    def _losses(self, batch: Tensor, drawn: Tensor | None) -> Tensor:
        """Return the loss of each model, (K,)."""
        problem, shape = self._problem, batch.shape
        inputs = problem.rows.inputs[batch.flatten()]
        if problem.augment is not None and drawn is not None:
            rows = torch.arange(len(batch), device=batch.device)[:, None]
            inputs = problem.augment(inputs, drawn[rows, batch].flatten(0, 1))
        inputs = problem.prepare(inputs).unflatten(0, shape)
        with self.autocast():
            return vmap(self._loss_of_one, randomness="different")(
                self._leaves, self._fixed, inputs, problem.rows.targets[batch], self._smoothing
            )

    def _loss_of_one(
        self,
        weights: Mapping[str, Tensor],
        fixed: Mapping[str, Tensor],
        inputs: Tensor,
        targets: Tensor,
        smoothing: Tensor,
    ) -> Tensor:
        task = self._problem.task
        outputs = functional_call(self._model, (weights, fixed), inputs)
        with torch.autocast(self.device.type, enabled=False):
            if task.uniform is None or not self._is_smoothed:
                return task.loss(outputs, targets)
            plain = task.plain_loss(outputs, targets)
            return torch.lerp(plain, task.uniform(outputs, targets), smoothing)

    def forget(self) -> None:
        """Let go of the gradients."""
        self._gradients.zero_()

    def _parts(self, laid_out: Tensor) -> dict[str, Tensor]:
        """Return views of (K, P) numbers, one for each tensor of a model, (K, …)."""
        named, at = {}, 0
        for name, weight in self._model.named_parameters():
            if weight.requires_grad:
                part = laid_out[:, at : at + weight.numel()]
                named[name] = part.view(len(laid_out), *weight.shape)
                at += weight.numel()
        return named

    def _column(self, values: Sequence[float]) -> Tensor:
        return self._weights.new_tensor(values)[:, None]

    def _join_averages(self, steps: Sequence[Step]) -> Tensor | None:
        """Lay the averaged weights out; a model without any has its weights in their place."""
        if all(step.averaged is None for step in steps):
            return None
        owned = [
            trained if step.averaged is None else _matching(step.averaged, step.model)
            for trained, step in zip(self._trained, steps, strict=True)
        ]
        averaged = _laid_out(owned)
        for row, step in enumerate(steps):
            if step.averaged is not None:
                self._point(owned[row], averaged[row])
        return averaged

    def _join_optimizers(self, steps: Sequence[Step]) -> PackedOptimizer:
        """Lay out what the models' optimisers keep; they keep views of it."""
        rule = RULES[steps[0].config.optimizer]
        states = [
            [step.optimizer.state[weight] for weight in trained]
            for trained, step in zip(self._trained, steps, strict=True)
        ]
        n_steps = self._weights.new_tensor(
            [float(state[0].get("step", 0.0)) for state in states], dtype=torch.float32
        )
        kept = {name: _laid_out(_kept(name, states, self._trained)) for name in rule.kept}
        for row, trained in enumerate(self._trained):
            for name, laid_out in kept.items():
                parts = _split(laid_out[row], trained)
                for state, part in zip(states[row], parts, strict=True):
                    state[name] = part
            for state in states[row] if rule.counts else ():
                state["step"] = n_steps[row]
        configs = [step.config for step in steps]
        return PackedOptimizer(self._weights, configs, kept=kept, n_steps=n_steps)

    @staticmethod
    def _point(
        weights: Sequence[nn.Parameter], numbers: Tensor, gradients: Tensor | None = None
    ) -> None:
        """Let weights be views of numbers, (P,), and their gradients of others."""
        for weight, part in zip(weights, _split(numbers, weights), strict=True):
            weight.data = part
        if gradients is not None:
            for weight, part in zip(weights, _split(gradients, weights), strict=True):
                weight.grad = part


def set_apart(step: Step) -> None:
    """Give what is kept of a model storage of its own; what only training needs is let go.

    As views of a pack's tensors they would keep all of these in memory.

    Args:
        step: of a model that was trained in a pack, and is trained no more.
    """
    kept = [step.model, *([] if step.averaged is None else [step.averaged])]
    for weight in (weight for model in kept for weight in model.parameters()):
        weight.data, weight.grad = weight.data.clone(), None
    step.optimizer.state.clear()
    step.loss_sum = step.loss_sum.clone()


def _laid_out(owned: Sequence[Sequence[Tensor]]) -> Tensor:
    """Return each model's tensors end to end, (K, P)."""
    return torch.stack([torch.cat([t.detach().reshape(-1) for t in one]) for one in owned])


def _split(numbers: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
    """Return views of numbers, (P,), in the shapes of tensors that lie in them end to end."""
    parts = numbers.split([tensor.numel() for tensor in like])
    return [part.view(tensor.shape) for part, tensor in zip(parts, like, strict=True)]


def _kept(
    name: str,
    states: Sequence[Sequence[Mapping[str, Tensor | None]]],
    weights: Sequence[Sequence[Tensor]],
) -> list[list[Tensor]]:
    """Return what optimisers keep of each weight under a name; zeros where there is nothing yet."""
    found = []
    for own, of_model in zip(states, weights, strict=True):
        pairs = [(state.get(name), w) for state, w in zip(own, of_model, strict=True)]
        found.append([torch.zeros_like(w) if value is None else value for value, w in pairs])
    return found


def _matching(averaged: nn.Module, model: nn.Module) -> list[nn.Parameter]:
    """Return the averages of a model's weights that are trained."""
    pairs = zip(averaged.parameters(), model.parameters(), strict=True)
    return [average for average, weight in pairs if weight.requires_grad]


def _fixed(models: Sequence[nn.Module]) -> dict[str, Tensor]:
    """Return what training does not change, by name, each (K, …)."""
    rest = [
        {n: w.detach() for n, w in model.named_parameters() if not w.requires_grad}
        | dict(model.named_buffers())
        for model in models
    ]
    return {name: torch.stack([one[name] for one in rest]) for name in rest[0]}
