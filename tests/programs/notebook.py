"""W&B's PyTorch notebook as a plain script: its steps, its names, its order, written anew.

Run it as `python notebook.py [FOLDER]`. FOLDER holds MNIST as torchvision lays it out; without one
it trains on scikit-learn's digits. It uses the client as the notebook does: init, config, watch,
log with the examples seen as the step, an ONNX export, save.
"""

import sys

import torch
import wandb
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def load(folder: str | None, every: int) -> tuple[TensorDataset, TensorDataset]:
    if folder is None:
        from sklearn.datasets import load_digits

        found = load_digits()
        x = torch.tensor(found.images, dtype=torch.float32).unsqueeze(1) / 16
        x = nn.functional.interpolate(x, size=28)
        y = torch.tensor(found.target)
        return TensorDataset(x[:1500], y[:1500]), TensorDataset(x[1500:], y[1500:])
    from torchvision.datasets import MNIST

    sets = []
    for is_train in (True, False):
        found = MNIST(folder, train=is_train, download=True)  # unpacks what is there
        x = found.data[::every].unsqueeze(1).float() / 255
        sets.append(TensorDataset(x, found.targets[::every]))
    return sets[0], sets[1]


class ConvNet(nn.Module):
    def __init__(self, kernels: list[int], classes: int = 10) -> None:
        super().__init__()
        first, second = kernels
        self.layer1 = nn.Sequential(nn.Conv2d(1, first, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2))
        self.layer2 = nn.Sequential(
            nn.Conv2d(first, second, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)
        )
        self.fc = nn.Linear(7 * 7 * second, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.layer2(self.layer1(x)).flatten(1))


def train(model: nn.Module, loader: DataLoader, config: object) -> None:
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=config.learning_rate)
    wandb.watch(model, criterion, log="all", log_freq=10)
    examples, batches = 0, 0
    for epoch in range(config.epochs):
        for images, labels in loader:
            loss = criterion(model(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            examples += len(images)
            batches += 1
            if batches % 25 == 0:
                wandb.log({"epoch": epoch, "loss": loss}, step=examples)
                print(f"Loss after {str(examples).zfill(5)} examples: {loss:.3f}")


def test(model: nn.Module, loader: DataLoader) -> None:
    model.eval()
    with torch.no_grad():
        right = sum(int((model(x).argmax(1) == y).sum()) for x, y in loader)
    total = len(loader.dataset)
    print(f"Accuracy of the model on the {total} test images: {right / total:%}")
    wandb.log({"test_accuracy": right / total})
    images = next(iter(loader))[0]
    torch.onnx.export(model, (images,), "model.onnx", external_data=False)
    wandb.save("model.onnx")


def main(folder: str | None) -> None:
    hyperparameters = {
        "epochs": 2,
        "classes": 10,
        "kernels": [16, 32],
        "batch_size": 128 if folder else 32,
        "learning_rate": 0.005,
        "dataset": "MNIST" if folder else "digits",
        "architecture": "CNN",
    }
    with wandb.init(project="pytorch-demo", config=hyperparameters):
        config = wandb.config
        torch.manual_seed(1)
        train_set, test_set = load(folder, every=5)
        model = ConvNet(config.kernels, config.classes)
        train(model, DataLoader(train_set, batch_size=config.batch_size, shuffle=True), config)
        test(model, DataLoader(test_set, batch_size=config.batch_size))


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
