"""What a pack's model computes with: the same numbers, in the type that autocast asks for."""

import pytest
import torch
from torch import nn
from torch.func import functional_call, vmap

from sweepd_trainer.pack_layers import as_product, for_packs


@pytest.fixture
def draw():
    """Return random numbers of a shape, the same each time."""
    generator = torch.Generator().manual_seed(0)
    return lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "padding"),
    [
        pytest.param((9, 9), (5, 5), 1, (2, 2), id="as wide as before"),
        pytest.param((9, 8), (3, 2), 2, (1, 0), id="strides"),
        pytest.param((5, 5), (5, 5), 1, (0, 0), id="one place"),
        pytest.param((4, 6), (1, 1), 1, (0, 0), id="one number"),
    ],
)
@pytest.mark.parametrize("has_bias", [True, False])
def test_a_product_is_the_convolution_with_its_gradients(
    draw, size, kernel, stride, padding, has_bias
):
    rows, weight = draw(3, 1, *size), draw(4, 1, *kernel)
    bias = draw(4) if has_bias else None
    given = [tensor.requires_grad_() for tensor in (rows, weight, bias) if tensor is not None]

    found = as_product(rows, weight, bias, stride=stride, padding=padding)
    wanted = nn.functional.conv2d(rows, weight, bias, stride, padding)

    assert torch.allclose(found, wanted)
    upstream = draw(*wanted.shape)
    pairs = zip(
        torch.autograd.grad(found, given, upstream),
        torch.autograd.grad(wanted, given, upstream),
        strict=True,
    )
    assert all(torch.allclose(one, two) for one, two in pairs)


def test_products_of_several_models_are_the_convolution_of_each(draw):
    rows, weight, bias = draw(2, 3, 1, 6, 6), draw(2, 4, 1, 3, 3), draw(2, 4)

    found = vmap(lambda *own: as_product(*own, stride=1, padding=(1, 1)))(rows, weight, bias)

    for number in range(2):
        alone = nn.functional.conv2d(rows[number], weight[number], bias[number], padding=1)
        assert torch.allclose(found[number], alone)


def model():
    torch.manual_seed(0)
    layers = (nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten())
    return nn.Sequential(*layers, nn.Linear(64, 3))


def test_all_that_follows_a_layer_is_in_the_type_of_autocast():
    packed, types = for_packs(model()), []
    for layer in packed:
        layer.register_forward_hook(lambda _, __, out: types.append(out.dtype))
    weights = {name: torch.stack([one, one]) for name, one in packed.named_parameters()}

    with torch.autocast("cpu", torch.bfloat16, cache_enabled=False):
        vmap(lambda own, rows: functional_call(packed, own, rows))(
            weights, torch.rand(2, 5, 1, 8, 8)
        )

    assert types == [torch.bfloat16] * 5


def test_without_autocast_nothing_changes():
    plain, rows = model(), torch.rand(5, 1, 8, 8)

    assert torch.equal(for_packs(plain)(rows), plain(rows))
    assert type(plain[0]) is nn.Conv2d
