"""What the benchmarks of the trainer on a GPU judge, and what they do without data."""

import importlib
import json
import statistics
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from fake_cuda import FakeCuda

from sweepd.errors import DataError

BENCH = Path(__file__).parents[3] / "bench"


def imported(name: str):
    sys.path.insert(0, str(BENCH))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(BENCH))


@pytest.fixture(scope="module")
def bench():
    return imported("gpu_trainer")


@pytest.fixture
def little(bench):
    return bench.Bench(torch.device("cpu"), 1, is_smoke=True)


@pytest.mark.parametrize(
    ("seconds", "told", "is_met"),
    [
        pytest.param([0.1, 0.4], {}, True, id="quick"),
        pytest.param([0.2, 0.6], {}, False, id="slow"),
        pytest.param([0.1], {"share_of_steps": 0.019, "bar_share": 0.02}, True, id="small"),
        pytest.param([0.1], {"share_of_steps": 0.03, "bar_share": 0.02}, False, id="large"),
        pytest.param([0.1], {"test_accuracy": 0.95, "bar_accuracy": 0.94}, True, id="accurate"),
        pytest.param([0.1], {"test_accuracy": 0.93, "bar_accuracy": 0.94}, False, id="wrong"),
    ],
)
def test_every_number_that_has_a_bar_is_judged(bench, seconds, told, is_met):
    assert bench.Result("work", seconds, 0.3, told).is_met is is_met


def test_what_has_no_bar_is_met(bench):
    assert bench.Result("work", [100.0]).is_met


def test_without_a_gpu_nothing_is_judged(bench, little):
    assert bench.Result("work", [100.0], 0.3).line(little)["is_met"] is None


def test_pack_of_32_is_judged_on_a_gpu_and_no_other(bench, little):
    packs = imported("gpu_packs")
    on_gpu = bench.Bench(torch.device("cuda"), 1)

    assert [packs.is_met(32, ratio, on_gpu) for ratio in (7.9, 8.0)] == [False, True]
    assert packs.is_met(16, 1.0, on_gpu) is None
    assert packs.is_met(32, 1.0, little) is None


def test_a_work_without_its_data_is_left_out_and_that_is_told(bench, monkeypatch, capsys):
    def absent(bench):
        raise DataError("fashion_mnist is not in $SWEEP_DATA")

    works = {"fashion": absent, "mnist": lambda given: bench.Result("an epoch", [0.1])}
    monkeypatch.setattr(bench, "WORKS", works)
    monkeypatch.setattr(bench, "pick_device", lambda: torch.device("cpu"))
    monkeypatch.setattr(sys, "argv", ["gpu_trainer.py"])

    assert bench.main() == 0

    told = capsys.readouterr()
    assert json.loads(told.out)["work"] == "an epoch"
    assert told.err == "fashion is left out: fashion_mnist is not in $SWEEP_DATA\n"


def test_a_missed_bar_is_the_exit_code(bench, monkeypatch, capsys):
    monkeypatch.setattr(bench.Bench, "is_judged", True)
    monkeypatch.setattr(bench, "WORKS", {"mnist": lambda _: bench.Result("an epoch", [0.1], 0.06)})
    monkeypatch.setattr(bench, "pick_device", lambda: torch.device("cpu"))
    monkeypatch.setattr(sys, "argv", ["gpu_trainer.py"])

    assert bench.main() == 1
    assert json.loads(capsys.readouterr().out)["is_met"] is False


@pytest.fixture
def beside(bench, monkeypatch):
    """Return the comparison, and what was trained: whose code, with which run, for how long."""
    module, trained = imported("training.beside"), []

    def note(whose):
        def train(run, train_rows, test_rows, *more, epochs, device=None):
            run.log({"loss": 0.0}, step=1)
            trained.append((whose, type(run).__name__, epochs))

        return SimpleNamespace(train=train)

    for name in ("notebook", "ours"):
        monkeypatch.setitem(sys.modules, f"training.{name}", note(name))
        monkeypatch.delattr(f"training.{name}", raising=False)

    def compare(*, missing=()):
        monkeypatch.setattr(module, "find_spec", lambda name: None if name in missing else name)
        rows = bench.noise(bench.GREY, 4)
        given = bench.Bench(torch.device("cpu"), 2)
        return module.beside_the_notebook(rows, rows, given, epochs=5, bare_s=0.5)

    return compare, trained


def test_without_wandb_the_notebooks_code_is_compared_with_the_loop_alone(beside):
    compare, trained = beside

    told = compare(missing=["wandb"])

    assert trained == [("notebook", "Mute", epochs) for epochs in (1, 5, 5)]
    assert told["ours_beside_it_s"] == 0.5
    assert told["logged"] == "nothing, wandb is not installed"


def test_with_wandb_both_log_to_runs_of_their_own(beside, monkeypatch):
    compare, trained = beside
    begun = []

    class Run:
        def __init__(self, **options):
            begun.append(options["mode"])

        def log(self, values, step):
            time.sleep(0.001)

        def finish(self):
            pass

    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=Run, Settings=dict))

    told = compare()

    assert trained == [(whose, "Run", n) for whose in ("notebook", "ours") for n in (1, 5, 5)]
    assert begun == ["offline"] * 6
    assert told["ratio"] == pytest.approx(told["notebook_s"] / told["ours_beside_it_s"], rel=0.1)


def test_where_the_notebooks_packages_are_missing_it_is_left_out_in_words(beside):
    compare, trained = beside

    assert compare(missing=["torchvision"])["notebook"] == "left out, it needs torchvision"
    assert trained == []


def test_an_epoch_is_told_beside_what_bounds_it(bench, little):
    result = bench.mnist(little)

    epoch_ms = 1000 * statistics.mean(result.seconds)
    floors, times = result.told["floors_ms"], result.told["times_its_floor"]
    assert times["layer_by_layer"] == pytest.approx(epoch_ms / floors["layer_by_layer"], rel=0.1)
    assert floors["arithmetic"] is None  # of no known device
    assert floors["launches"] is None


def test_steps_with_histograms_are_told_beside_steps_without(bench, little, monkeypatch):
    taken, take = [], bench.Watcher.take
    monkeypatch.setattr(bench.Watcher, "take", lambda self: taken.append(self) or take(self))

    result = bench.histograms(little)

    plain_s, watched_s = result.told["plain_s"], statistics.median(result.seconds)
    assert len(result.seconds) == 2
    assert len(taken) == 9  # after each of three steps, in an epoch that warms up and in two more
    assert result.told["share_of_steps"] == pytest.approx(watched_s / plain_s - 1, abs=0.2)


def test_launches_are_timed_as_replays_of_one_graph(bench, monkeypatch):
    fake, floors = FakeCuda(), imported("training.floors")
    fake.put_in(monkeypatch)

    seconds = floors._mean_s(floors._graph_of_small_kernels(torch.device("cpu")))

    assert seconds > 0
    assert [graph.replays for graph in fake.graphs] == [201]


def test_all_training_images_of_a_set_are_learnt_from(bench, monkeypatch, few_digits):
    monkeypatch.setattr(bench, "load", lambda name: few_digits)
    monkeypatch.setattr(bench.Bench, "count", lambda self, count: count)

    whole = bench._whole("digits", bench.GREY, bench.Bench(torch.device("cpu"), 1))

    assert len(whole.train) == len(few_digits.train) + len(few_digits.validation)
    assert len(whole.test) == len(few_digits.test)
