"""The work of W&B's PyTorch tutorial, written as tutorials write it, to be compared with.

Every fifth image of MNIST, a network of two convolutions, Adam, five epochs; a DataLoader with two
workers that makes a picture, a tensor and a normalised tensor of each image; `wandb.watch` of all
tensors every tenth step; the loss logged every 25 steps; a test over the test images after each
epoch.
"""

from typing import TYPE_CHECKING

import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from sweepd_trainer.data import Rows

if TYPE_CHECKING:
    import wandb

__all__ = ["Pictures", "train"]


class Pictures(Dataset):  # type: ignore[misc]  # torch is not typed here
    """Images as torchvision's data sets give them: pictures, transformed one by one.

    Args:
        rows: grey uint8 images, shape (n, 1, h, w), and labels.
    """

    def __init__(self, rows: Rows) -> None:
        self._images, self._labels = rows.inputs[:, 0].numpy(), rows.targets.tolist()
        self._transform = transforms.Compose(
            [transforms.ToTensor(), transforms.Normalize((0.1307,), (0.3081,))]
        )

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self._transform(Image.fromarray(self._images[index])), self._labels[index]


class ConvNet(nn.Module):  # type: ignore[misc]  # torch is not typed here
    """Two convolutions of 5x5 with batch-free blocks, and a linear layer, for 28x28 images."""

    def __init__(self) -> None:
        super().__init__()
        self.layer1 = nn.Sequential(nn.Conv2d(1, 16, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2))
        self.layer2 = nn.Sequential(nn.Conv2d(16, 32, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2))
        self.head = nn.Linear(7 * 7 * 32, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.layer2(self.layer1(x)).flatten(1))


def train(
    run: "wandb.Run",
    train_rows: Rows,
    test_rows: Rows,
    *,
    epochs: int,
    device: torch.device,
    n_workers: int = 2,
) -> float:
    """Train and test; return the test accuracy."""
    loader, tested = (
        DataLoader(
            Pictures(rows), batch_size=128, shuffle=True, pin_memory=True, num_workers=n_workers
        )
        for rows in (train_rows, test_rows)
    )
    model = ConvNet().to(device)
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.005)
    run.watch(model, criterion, log="all", log_freq=10)
    n_seen, n_batches, accuracy = 0, 0, 0.0
    for epoch in range(epochs):
        model.train()
        for images, labels in loader:
            images, labels = images.to(device), labels.to(device)
            loss = criterion(model(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            n_seen += len(images)
            n_batches += 1
            if n_batches % 25 == 0:
                run.log({"epoch": epoch, "loss": loss}, step=n_seen)
        model.eval()
        with torch.no_grad():
            hits = 0
            for images, labels in tested:
                logits = model(images.to(device))
                hits += (logits.argmax(1) == labels.to(device)).sum().item()
        accuracy = hits / len(test_rows)
        run.log({"test_accuracy": accuracy})
    run.unwatch(model)
    return accuracy
