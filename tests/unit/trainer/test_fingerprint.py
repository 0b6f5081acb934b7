"""Whether rows are those of before."""

import pytest
import torch

from sweepd_trainer import Data, Rows
from sweepd_trainer.fingerprint import fingerprint, other_part


def data(inputs: torch.Tensor, targets: torch.Tensor) -> Data:
    half = len(inputs) // 2
    return Data(Rows(inputs[:half], targets[:half]), Rows(inputs[half:], targets[half:]))


def drawn(seed: int, kind: str) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    classes = torch.randint(0, 10, (6000,), generator=generator)
    if kind == "images":
        return torch.randint(0, 256, (6000, 7, 7), generator=generator).byte(), classes
    if kind == "texts":
        texts = torch.randint(0, 90, (6000, 9), generator=generator)
        return texts[:, :-1], texts[:, 1:]
    values = torch.randn(6000, 5, generator=generator)
    return (values, classes) if kind == "values" else (values.to(torch.complex64), values[:, 0])


KINDS = ["images", "texts", "values", "complex values"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_rows_are_recognised(kind):
    assert other_part(*(fingerprint(data(*drawn(0, kind))) for _ in range(2))) is None


@pytest.mark.parametrize("kind", KINDS)
def test_rows_drawn_anew_or_split_otherwise_are_others(kind):
    inputs, targets = drawn(0, kind)
    order = torch.randperm(len(inputs), generator=torch.Generator().manual_seed(1))
    known = fingerprint(data(inputs, targets))

    assert other_part(known, fingerprint(data(*drawn(1, kind)))) == "train"
    assert other_part(known, fingerprint(data(inputs[order], targets[order]))) == "train"
    assert other_part(known, fingerprint(Data(data(inputs, targets).train, Rows(inputs, targets))))


def test_a_single_class_that_changed_is_noticed():
    inputs, targets = drawn(0, "images")
    known = fingerprint(data(inputs, targets.clone()))
    targets[4321] += 1

    assert other_part(known, fingerprint(data(inputs, targets))) == "validation"


def test_values_that_another_machine_rounds_otherwise_are_the_same():
    inputs, targets = drawn(0, "values")
    inputs[7, 2] = torch.nan
    known = fingerprint(data(inputs, targets))

    assert other_part(known, fingerprint(data(inputs * (1 + 1e-6) + 1e-7, targets))) is None
