"""What `bench/fidelity.py` measures on: recorded curves, the nets that they are of, its report."""

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

BENCH = Path(__file__).parents[3] / "bench"


@pytest.fixture(scope="module")
def bench():
    """Return the modules of the benchmark by name."""
    sys.path.insert(0, str(BENCH))
    try:
        names = ("curves.table", "curves.tasks", "curves.nets", "fidelity", "fidelity_table")
        yield {name.removeprefix("curves."): importlib.import_module(name) for name in names}
    finally:
        sys.path.remove(str(BENCH))


@pytest.mark.parametrize("precision", [200, 2_000])
def test_table_comes_back_to_the_precision_it_was_written_with(bench, tmp_path, precision):
    loss = np.array([[2.3, 0.4711, 0.0321], [1.0, 9_000.0, np.nan]])
    grid = {"rate": [0.1, 1.0]}

    bench["table"].save(tmp_path / "t.npz", loss, grid=grid, seed=1, precision=precision)
    table = bench["table"].Table(tmp_path / "t.npz")

    assert table.curve({"rate": 0.1}) == pytest.approx(loss[0], rel=0.51 / precision)
    assert table.curve({"rate": 1.0}) == pytest.approx(loss[1], rel=0.51 / precision, nan_ok=True)


def test_every_recorded_table_is_of_the_grid_that_its_task_says(bench):
    for name in bench["table"].TABLES:
        task, table = bench["tasks"].TASKS[name], bench["table"].Table(bench["table"].path_of(name))

        assert table.grid == task.grid
        assert table.loss.shape == (len(task.rows()), 27)


NETS = [
    {"width": 3, "optimizer": name, "learning_rate": rate, "weight_decay": decay}
    for name, rate, decay in (
        ("sgd", 0.1, 0.0),
        ("momentum", 0.03, 0.3),
        ("momentum", 0.1, 1.0),
        ("adam", 0.01, 0.5),
    )
]


def _alone(config, weights):
    """Return a net of torch's own layers, with the weights given, and its optimizer."""
    convolution, head = nn.Conv2d(1, 3, 4, stride=2), nn.Linear(4 * 3, 10)
    with torch.no_grad():
        convolution.weight.copy_(weights[0].T.reshape(3, 1, 4, 4))
        convolution.bias.copy_(weights[1][0])
        head.weight.copy_(weights[2].reshape(4, 3, 10).transpose(0, 1).reshape(12, 10).T)
        head.bias.copy_(weights[3][0])
    net = nn.Sequential(convolution, nn.ReLU(), nn.Flatten(), head)
    rate, decay = config["learning_rate"], config["weight_decay"]
    if config["optimizer"] == "adam":
        return net, torch.optim.AdamW(net.parameters(), lr=rate, weight_decay=decay), 1.0
    momentum = 0.9 if config["optimizer"] == "momentum" else 0.0
    return net, torch.optim.SGD(net.parameters(), lr=rate, momentum=momentum), 1.0 - rate * decay


@pytest.mark.parametrize("index", range(len(NETS)), ids=lambda index: str(NETS[index]))
def test_net_of_a_group_learns_as_it_does_alone_with_torchs_layers_and_optimizer(bench, index):
    noise = torch.Generator().manual_seed(0)
    images, labels = torch.randn(8, 6, 6, generator=noise), torch.arange(8)
    task = bench["tasks"].Task("", {}, shared=0, patch=4, stride=2, seed=0)
    group = bench["nets"].Group(NETS, (4, 16), noise)
    alone, optimizer, keep = _alone(NETS[index], [w[index].detach() for w in group.weights])

    for number in range(1, 5):
        bench["nets"].losses(group.logits(task.patches(images)), labels).sum().backward()
        group.step(number, 1.0)
        optimizer.zero_grad()
        nn.functional.cross_entropy(alone(images[:, None]), labels).backward()
        with torch.no_grad():
            for weight in alone.parameters():
                weight.mul_(keep)
        optimizer.step()

    found = group.logits(task.patches(images))[index]
    torch.testing.assert_close(found, alone(images[:, None]), rtol=1e-4, atol=1e-5)


def test_images_are_moved_by_a_pixel_in_every_direction_and_mirrored(bench):
    image = torch.arange(20.0).reshape(1, 4, 5)

    shifted = bench["tasks"].Taught(image, torch.zeros(1)).shifted()

    assert shifted.shape == (18, 1, 4, 5)
    torch.testing.assert_close(shifted[4], image)
    torch.testing.assert_close(shifted[0, :, 1:, 1:], image[:, :-1, :-1])
    torch.testing.assert_close(shifted[5, :, :, :-1], image[:, :, 1:])
    torch.testing.assert_close(shifted[13], image.flip(2))


@pytest.mark.parametrize(
    ("config", "factors"),
    [
        pytest.param({}, (1.0, 1.0, 1.0), id="no schedule"),
        pytest.param({"rate_decay": 0.5}, (1.0, 2**-9, 2**-18), id="decay"),
        pytest.param({"schedule": "step"}, (1.0, 1.0, 0.1), id="step"),
        pytest.param({"schedule": "cosine"}, (1.0, 0.75, 0.25), id="cosine"),
    ],
)
def test_learning_rate_falls_by_its_schedule(bench, config, factors):
    found = [bench["tasks"].rate_factor(config, epoch) for epoch in (0, 9, 18)]

    assert found == pytest.approx(factors)


def test_curves_are_the_same_each_time_and_dropout_and_moved_images_change_them(bench):
    task = bench["tasks"].Task("digits", {}, shared=0, patch=4, stride=4, seed=3, every=20)
    images = task.images()

    def curves(**shared):
        members = [{**net, "batch": 16, **shared} for net in NETS]
        return bench["nets"].train(task, members, images, 7)

    plain = curves()
    assert plain.shape == (4, 27)
    assert (plain[:, -1] < plain[:, 0]).all()
    assert np.array_equal(plain, curves())
    assert not np.allclose(plain, curves(dropout=0.5))
    assert not np.allclose(plain, curves(augment=True))


def test_data_that_are_not_there_are_named_with_the_place_where_they_were_sought(
    bench, tmp_path, monkeypatch, capsys
):
    raw = tmp_path / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    (raw / "train-labels-idx1-ubyte").touch()
    monkeypatch.setenv("SWEEP_DATA", str(tmp_path))

    code = bench["fidelity_table"].main(["fashion", "--table", str(tmp_path / "t.npz")])

    assert code == 1
    assert f"{raw} lacks train-images-idx3-ubyte" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["FashionMNIST"]


def _row(search, rule, lows):
    return {
        "search": search,
        "rule": rule,
        "lows": lows,
        "epochs": 540,
        "trials": 20,
        "ms_per_suggestion": 1.0,
    }


def test_report_counts_against_the_budget_and_against_when_plain_bayes_was_there(bench):
    rows = [
        _row("bayes", "none", [[10, 0.9], [1350, 0.5]]),
        _row("bayes", "asha", [[10, 0.9], [270, 0.5]]),
        _row("random", "none", [[10, 0.9]]),
    ]

    lines = bench["fidelity"].report(rows).splitlines()

    assert lines[0] == (
        "Target 0.5000; 1 of 1 searches of plain `bayes` have it, after 1350 epochs in the median, "
        "where never counts as 2700."
    )
    assert [[cell.strip() for cell in line.split("|")[1:7]] for line in lines[4:]] == [
        ["bayes", "asha", "0.10 ± 0.00", "0.10", "0.20", "1 of 1"],
        ["bayes", "none", "0.50 ± 0.00", "0.50", "1.00", "1 of 1"],
        ["random", "none", "1.00 ± 0.00", "> 1", "> 2.00", "0 of 1"],
    ]


def test_plain_search_that_never_had_the_target_counts_as_the_whole_budget(bench):
    rows = [_row("bayes", "none", [[10, low]]) for low in (0.4, 0.5, 0.7, 0.8)]

    found = bench["fidelity"].report(rows)

    assert found.startswith(
        "Target 0.6000; 2 of 4 searches of plain `bayes` have it, after 1355 epochs in the median,"
    )


def test_what_was_found_on_a_table_replaces_what_stood_there_and_nothing_else(bench, tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "a\n<!-- bench/fidelity.py digits -->\nold\n<!-- end -->\n"
        "b\n<!-- bench/fidelity.py fashion -->\nkept\n<!-- end -->\nc\n"
    )

    bench["fidelity"].write_docs(page, "digits", "new\n")

    assert page.read_text() == (
        "a\n<!-- bench/fidelity.py digits -->\nnew\n<!-- end -->\n"
        "b\n<!-- bench/fidelity.py fashion -->\nkept\n<!-- end -->\nc\n"
    )
