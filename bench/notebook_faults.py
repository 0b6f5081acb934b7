"""Show two faults of W&B's PyTorch notebook that nothing says, by running them.

    python bench/notebook_faults.py weights     the file that it saves has no weights in it
    python bench/notebook_faults.py choice      its sweep reports what new images do not confirm
    python bench/notebook_faults.py --smoke     both, the second shorter; 1 if a fault is gone

`weights` exports the notebook's network as the notebook does, keeps what it uploads, and opens
that; then it exports the network as `sweep export` does. `choice` sweeps small networks on
handwritten digits: 40 trials, chosen by 100 test images, as the notebook's sweep chooses, or by 100
validation images, as `sweep best` does. 1,397 more images say how good the winner is.
"""

import argparse
import re
import shutil
import sys
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from onnxruntime.capi.onnxruntime_pybind11_state import Fail
from torch import Tensor
from torch.nn import functional

from sweepd.results import onnx_file
from sweepd_trainer.data import digits
from sweepd_trainer.export import Rebuilt
from training.notebook import ConvNet

#: The last batch of the notebook's 2,000 test images, 128 at a time, which it exports with.
LAST_BATCH = 80
N_TRAIN, N_CHOOSE, N_TRIALS, N_STEPS, WIDTH = 200, 100, 40, 60, 32


@dataclass(frozen=True)
class Written:
    """What an export left.

    Args:
        sizes: bytes of each file, by name.
        alone: what onnxruntime says of `model.onnx` in a folder with nothing else; None: it runs.
        n_images: how many images it takes at once; None: any number.
    """

    sizes: dict[str, int]
    alone: str | None
    n_images: int | None


@dataclass(frozen=True)
class Choice:
    """What is said of sweeps' winners, and what is true; each shape (n_sweeps,)."""

    said: Tensor
    true: Tensor

    def __str__(self) -> str:
        gap = self.said - self.true
        error = gap.std() / len(gap) ** 0.5
        said, true = (f"{part.mean():.1%}" for part in (self.said, self.true))
        return f"{said:>10} {true:>15} {100 * gap.mean():>+14.1f} ± {100 * error:.1f} points"


def as_the_notebook_does(folder: Path) -> Written:
    """Export the network by the notebook's line; `wandb.save("model.onnx")` uploads one file."""
    torch.manual_seed(1)
    model, images = ConvNet().eval(), torch.rand(LAST_BATCH, 1, 28, 28)
    with warnings.catch_warnings(action="ignore"):
        torch.onnx.export(model, (images,), str(folder / "model.onnx"), verbose=False)
    return _look(folder)


def as_an_export_does(folder: Path) -> Written:
    """Export the same network as `sweep export` does, which compares its answers."""
    torch.manual_seed(1)
    model, images = ConvNet().eval(), torch.rand(LAST_BATCH, 1, 28, 28)
    rebuilt = Rebuilt(model, images, None, None, "image", "logits", {})
    onnx_file.write(rebuilt, folder / "model.onnx", metadata={})
    return _look(folder)


def _look(folder: Path) -> Written:
    sizes = {path.name: path.stat().st_size for path in sorted(folder.iterdir())}
    with tempfile.TemporaryDirectory() as elsewhere:
        alone = shutil.copy(folder / "model.onnx", elsewhere)
        try:
            onnxruntime.InferenceSession(alone)
            said = None
        except Fail as error:
            said = re.sub(r"^.*(?=External data)", "", str(error).replace(elsewhere, "…"))
    session = onnxruntime.InferenceSession(folder / "model.onnx")
    first = session.get_inputs()[0].shape[0]
    return Written(sizes, said, first if isinstance(first, int) else None)


def choose(n_sweeps: int) -> tuple[Choice, Choice]:
    """Return what sweeps come to that choose by test images, and by validation images."""
    by_test, by_validation = [], []
    for seed in range(n_sweeps):
        validation, test, new = _sweep(seed)
        tuned, honest = test.argmax(), validation.argmax()
        by_test.append((test[tuned], new[tuned]))
        by_validation.append((test[honest], new[honest]))
    return Choice(*torch.tensor(by_test).T), Choice(*torch.tensor(by_validation).T)


def _sweep(seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the accuracy of every trial on validation, test and new images, each (N_TRIALS,)."""
    source = digits()
    pixels = torch.cat([source.train.inputs, source.test.inputs]).flatten(1) / source.spec.scale
    labels = torch.cat([source.train.targets, source.test.targets])
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(labels), generator=generator)
    ends = [N_TRAIN, N_TRAIN + N_CHOOSE, N_TRAIN + 2 * N_CHOOSE]
    train, *parts = np.split(order.numpy(), ends)

    def normal(*shape: int) -> Tensor:
        return torch.randn(N_TRIALS, *shape, generator=generator) * shape[0] ** -0.5

    hidden, head = normal(64, WIDTH).requires_grad_(), normal(WIDTH, 10).requires_grad_()
    rates = 10 ** (torch.rand(N_TRIALS, 1, 1, generator=generator) * 1.5 - 0.5)

    def logits(rows: np.ndarray) -> Tensor:  # (trials, rows, 10): all trials at once
        return (pixels[rows] @ hidden).relu() @ head

    for _ in range(N_STEPS):
        given = logits(train).flatten(0, 1)
        wanted = labels[train].repeat(N_TRIALS)
        loss = functional.cross_entropy(given, wanted, reduction="sum") / len(train)
        for weight, gradient in zip(
            (hidden, head), torch.autograd.grad(loss, (hidden, head)), strict=True
        ):
            weight.data -= rates * gradient
    with torch.no_grad():
        validation, test, new = (
            (logits(rows).argmax(-1) == labels[rows]).float().mean(1) for rows in parts
        )
    return validation, test, new


def show_weights() -> bool:
    """Print how the two exports differ; return whether the notebook's still lacks its weights."""
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        theirs, ours = as_the_notebook_does(Path(one)), as_an_export_does(Path(other))
    for title, found in (("the notebook's lines", theirs), ("sweep export", ours)):
        print(title)
        for name, size in found.sizes.items():
            print(f"  {name:<16} {size:>8,} bytes")
        print(f"  model.onnx alone: {found.alone or 'runs'}")
        print(f"  images at once:   {found.n_images or 'any number'}")
    return theirs.alone is not None and ours.alone is None


def show_choice(n_sweeps: int) -> bool:
    """Print what is said and what is true; return whether the notebook's way says too much."""
    tuned, honest = choose(n_sweeps)
    print(f"mean of {n_sweeps} sweeps of {N_TRIALS} trials")
    print(f"{'chosen by':<20} {'reported':>10} {'on new images':>15} {'too much':>14}")
    print(f"{'the test images':<20} {tuned}")
    print(f"{'validation images':<20} {honest}")
    return bool((tuned.said - tuned.true).mean() > (honest.said - honest.true).mean())


def main() -> int:
    """Run one fault, or both."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("fault", nargs="?", choices=["weights", "choice"])
    parser.add_argument("--smoke", action="store_true")
    given = parser.parse_args()
    shown = []
    if given.fault != "choice":
        shown.append(show_weights())
    if given.fault != "weights":
        shown.append(show_choice(20 if given.smoke else 100))
    return 0 if all(shown) else 1


if __name__ == "__main__":
    sys.exit(main())
