"""Muon: momentum whose update is made nearly orthogonal, for the weight matrices inside a network.

G (a, b)    a gradient, or its momentum, as a matrix: convolutions have one row a filter
X (a, b)    the nearest matrix whose singular values are all about one
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw

__all__ = ["Muon", "orthogonalise"]

#: Of the quintic iteration: X <- a X + b (X Xᵀ) X + c (X Xᵀ)² X.
_A, _B, _C = 3.4445, -4.7750, 2.0315
_N_ITERATIONS = 5
#: The root mean square of an AdamW update, which lets both share one learning rate.
_RMS = 0.2


def orthogonalise(matrices: Tensor) -> Tensor:
    """Return the nearly orthogonal matrix next to each of a batch, in bfloat16.

    Args:
        matrices: shape (m, a, b).

    Returns:
        Shape (m, a, b), singular values between about 0.7 and 1.2.

    Source: Jordan et al. 2024, kellerjordan.github.io/posts/muon, Newton-Schulz of fifth order.
    """
    is_tall = matrices.size(-2) > matrices.size(-1)
    x = matrices.bfloat16()
    x = x.mT if is_tall else x
    x = x / x.norm(dim=(-2, -1), keepdim=True).clamp_min(1e-7)
    for _ in range(_N_ITERATIONS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=_B, alpha=_C), x, beta=_A)
    return x.mT if is_tall else x


class Muon(torch.optim.Optimizer):  # type: ignore[misc]  # torch is not typed here
    """Muon for inner matrices, AdamW for all else, at one learning rate and decoupled decay.

    An update of a matrix of a rows and b columns is scaled by 0.2 √max(a, b), so that it is as
    large as AdamW's.

    Args:
        model: whose weights it trains; the last linear layer and embeddings count as all else.
        lr, momentum, weight_decay: as of every optimiser; `momentum` is AdamW's first beta too.
        nesterov: look one step of momentum ahead.

    Source: the scale is that of Liu et al. 2025, arXiv:2502.16982, eq. 4.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        lr: float | Tensor,
        momentum: float,
        weight_decay: float,
        nesterov: bool = False,
    ) -> None:
        outer = _outer_weights(model)
        named = [(n, w) for n, w in model.named_parameters() if w.requires_grad]
        inner = [w for n, w in named if w.ndim >= 2 and n not in outer]
        others = [w for n, w in named if w.ndim < 2 or n in outer]
        groups: list[dict[str, Any]] = [
            {"params": inner, "is_inner": True},
            {"params": others, "is_inner": False},
        ]
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "weight_decay": weight_decay,
            "nesterov": nesterov,
            "fused": True,  # a state that is loaded has its `step` on the weights' device
        }
        super().__init__([group for group in groups if group["params"]], defaults)

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def step(self, closure: Callable[[], float] | None = None) -> None:
        """Take one step with the gradients that are there."""
        for group in self.param_groups:
            weights = [w for w in group["params"] if w.grad is not None]
            if not weights:
                continue
            take = self._step_inner if group["is_inner"] else self._step_others
            take(weights, group)

    def _step_inner(self, weights: list[Tensor], group: dict[str, Any]) -> None:
        for weight in weights:
            state = self.state[weight]
            if not state:
                state["momentum"] = torch.zeros_like(weight)
            average = state["momentum"]
            average.lerp_(weight.grad, 1 - group["momentum"])
            ahead = weight.grad.lerp(average, group["momentum"]) if group["nesterov"] else average
            matrix = ahead.reshape(1, len(ahead), -1)
            update = orthogonalise(matrix).to(weight.dtype).reshape_as(weight)
            scale = _RMS * max(matrix.shape[-2:]) ** 0.5
            weight.mul_(1 - group["lr"] * group["weight_decay"])
            weight.sub_(update * (group["lr"] * scale))

    def _step_others(self, weights: list[Tensor], group: dict[str, Any]) -> None:
        for weight in weights:
            if not self.state[weight]:
                self.state[weight] = {
                    "step": torch.zeros((), dtype=torch.float32, device=weight.device),
                    "first": torch.zeros_like(weight),
                    "second": torch.zeros_like(weight),
                }
        states = [self.state[weight] for weight in weights]
        adamw(
            weights,
            [weight.grad for weight in weights],
            [state["first"] for state in states],
            [state["second"] for state in states],
            [],
            [state["step"] for state in states],
            fused=group["fused"],
            amsgrad=False,
            beta1=group["momentum"],
            beta2=0.999,
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            eps=1e-8,
            maximize=False,
        )


def _outer_weights(model: nn.Module) -> set[str]:
    """Return the names of the weights of embeddings and of the last linear layer."""
    names: list[str] = []
    head = ""
    for name, part in model.named_modules():
        prefix = f"{name}." if name else ""
        if isinstance(part, nn.Embedding):
            names.append(f"{prefix}weight")
        elif isinstance(part, nn.Linear):
            head = f"{prefix}weight"
    return {*names, head}
