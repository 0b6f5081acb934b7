"""What every row of MODELS and DATASETS promises."""

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[1]))

from idx_files import write_idx_folder, write_npz

from sweepd.errors import InvalidInput
from sweepd.names import DATASETS, MODELS
from sweepd.results import onnx_file
from sweepd_trainer.checkpoint import Best, image_header
from sweepd_trainer.config import read_config
from sweepd_trainer.data import Data, DataSpec, load
from sweepd_trainer.device import seed_everything
from sweepd_trainer.export import rebuild
from sweepd_trainer.images import Normalise, image_problem
from sweepd_trainer.loop import Trainer
from sweepd_trainer.models import build_model
from sweepd_trainer.optim import build_optimizer
from sweepd_trainer.task import Score

CIFARS = ("cifar10", "cifar100")
FOLDERS = {"mnist": "MNIST", "fashion_mnist": "FashionMNIST"}
SPECS = [
    DataSpec("digits", tuple("0123456789"), (1, 8, 8), 16.0, (0.3,), (0.4,)),
    DataSpec("mnist", tuple("0123456789"), (1, 28, 28), 255.0, (0.1,), (0.3,)),
    DataSpec(
        "colours", ("red", "green", "blue"), (3, 32, 20), 255.0, (0.5, 0.4, 0.6), (0.3, 0.2, 0.3)
    ),
]


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(params=sorted(MODELS))
def model_name(request):
    return request.param


@pytest.fixture(params=SPECS, ids=lambda spec: spec.name)
def spec(request):
    return request.param


@pytest.fixture(params=[True, False], ids=["packed", "unpacked"])
def is_packed(request):
    return request.param


@pytest.fixture(params=sorted(DATASETS))
def data(request, tmp_path, monkeypatch, is_packed) -> Data:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("SWEEP_DATA", str(tmp_path))
    if request.param in CIFARS:
        write_npz(tmp_path / "cache" / "sweepd" / "data" / f"{request.param}.npz")
    if request.param in FOLDERS:
        raw = write_idx_folder(tmp_path, FOLDERS[request.param], packed=is_packed)
        raw.chmod(0o555)
    return load(request.param)


def _build(spec: DataSpec, name: str, *, seed: int = 0, **values) -> nn.Module:
    torch.manual_seed(seed)
    config = read_config({"model": name, "kernels": [4, 6], "hidden": [24], "width": 4, **values})
    return build_model(spec, config)


def _images(spec: DataSpec, count: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, int(spec.scale) + 1, (count, *spec.shape), generator=generator).byte()


def test_a_model_gives_one_logit_per_class(model_name, spec):
    logits = _build(spec, model_name)(Normalise(spec)(_images(spec, 3)))

    assert logits.shape == (3, len(spec.classes))
    assert logits.dtype == torch.float32


@pytest.mark.parametrize(
    ("name", "side", "said"),
    [
        ("resnet9", 4, "resnet9 cannot take images of 4x4 with 1 channels"),
        ("torchvision:squeezenet1_0", 8, "cannot take images of 8x8"),
    ],
)
def test_a_model_that_is_too_large_for_the_images_says_so(name, side, said):
    images = DataSpec("spots", ("a", "b"), (1, side, side), 255.0, (0.5,), (0.5,))

    with pytest.raises(InvalidInput, match=said):
        build_model(images, read_config({"model": name, "width": 4}))


@pytest.mark.parametrize(
    ("channels", "side", "n_weights"), [(1, 28, 61_706), (1, 32, 61_706), (3, 32, 62_006)]
)
def test_lenet_is_that_of_the_paper_at_28_and_32_pixels(channels, side, n_weights):
    colours = (0.5,) * channels
    images = DataSpec("digits", tuple("0123456789"), (channels, side, side), 255, colours, colours)

    model = build_model(images, read_config({"model": "lenet"}))

    assert sum(weight.numel() for weight in model.parameters()) == n_weights


def test_the_seed_decides_the_weights(model_name, spec):
    first, same, other = (_build(spec, model_name, seed=seed) for seed in (1, 1, 2))

    for name, weight in first.state_dict().items():
        assert torch.equal(weight, same.state_dict()[name])
    assert any(
        not torch.equal(weight, other.state_dict()[name])
        for name, weight in first.state_dict().items()
    )


def test_an_image_is_judged_alike_alone_and_among_others(model_name, spec):
    model = _build(spec, model_name, dropout=0.5).eval()
    images = Normalise(spec)(_images(spec, 5))

    assert torch.allclose(model(images)[2:3], model(images[2:3]), atol=1e-5)


def test_a_model_learns_one_batch_by_heart(model_name, spec):
    model = _build(spec, model_name)
    optimizer = build_optimizer(model, read_config({"learning_rate": 0.01}))
    images = Normalise(spec)(_images(spec, 8))
    labels = torch.arange(8) % len(spec.classes)

    for _ in range(80):
        model.zero_grad()
        nn.functional.cross_entropy(model(images), labels).backward()
        optimizer.step()

    assert (model(images).argmax(1) == labels).all()


def test_a_model_survives_checkpoint_and_onnx(model_name, tmp_path):
    config = read_config(
        {"model": model_name, "kernels": [4, 6], "hidden": [24, 8], "width": 4, "slice": 8}
    )
    order = seed_everything(0)
    data = load(config.dataset, every=config.slice)
    model = build_model(data.spec, config)
    trainer = Trainer(
        model,
        build_optimizer(model, config),
        image_problem(data, config),
        config=config,
        order=order,
    )
    list(trainer.epoch())
    best = Best(tmp_path / "checkpoint.pt", header=image_header(config, data.spec))
    best.offer(model, epoch=1, score=Score(loss=1.0, accuracy=0.5))

    rebuilt = rebuild(config.to_dict(), best.path)
    proof = onnx_file.write(rebuilt, tmp_path / "model.onnx", metadata={})

    assert proof.max_abs_diff <= onnx_file.TOLERANCE
    assert proof.accuracy == pytest.approx(trainer.evaluate(data.test).accuracy, abs=0.005)


def test_a_data_set_is_uint8_images_with_labels_of_its_classes(data):
    for part in (data.train, data.validation, data.test):
        assert part.inputs.dtype == torch.uint8
        assert part.inputs.shape == (len(part), *data.spec.shape)
        assert part.inputs.max() <= data.spec.scale
        assert part.targets.dtype == torch.int64
        assert part.targets.min() >= 0
        assert part.targets.max() < len(data.spec.classes)
        assert len(part) > 0


def test_a_data_set_is_split_alike_every_time(data):
    torch.manual_seed(12345)

    again = load(data.spec.name)

    for part in ("train", "validation", "test"):
        assert torch.equal(getattr(again, part).inputs, getattr(data, part).inputs)
        assert torch.equal(getattr(again, part).targets, getattr(data, part).targets)


def test_the_parts_of_a_data_set_share_no_image(data):
    parts = (data.train, data.validation, data.test)
    seen = [{image.numpy().tobytes() for image in part.inputs} for part in parts]

    assert len(set.union(*seen)) == sum(len(images) for images in seen)
