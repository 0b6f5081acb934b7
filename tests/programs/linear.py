"""A program of somebody's own: a straight line fitted to data, its checkpoint, its model."""

import os
from pathlib import Path

import torch
from torch import nn


def inputs() -> torch.Tensor:
    return torch.linspace(-1, 1, 64).unsqueeze(1)


def build(config: dict[str, object], checkpoint: Path) -> tuple[nn.Module, torch.Tensor]:
    """What `--model linear:build` calls: the model and inputs that it was not trained on."""
    model = nn.Linear(1, 1)
    model.load_state_dict(torch.load(checkpoint, weights_only=True))
    return model, inputs() + 0.01


def main() -> None:
    import wandb

    with wandb.init() as run:
        model = nn.Linear(1, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=run.config["lr"])
        for _ in range(20):
            loss = nn.functional.mse_loss(model(inputs()), 3 * inputs() + 1)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            run.log({"loss": loss.item()})
        path = os.path.join(run.dir, "checkpoint.pt")
        torch.save(model.state_dict(), path)
        run.save(path, base_path=run.dir, policy="now")


if __name__ == "__main__":
    main()
