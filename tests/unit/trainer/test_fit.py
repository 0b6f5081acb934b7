"""`fit`: any model on any data."""

import copy
import importlib
import json
import math
import re
import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import wandb
import yaml
from torch import nn

from sweepd.errors import DataError, ExportError, InvalidInput
from sweepd.results import onnx_file
from sweepd.results.smaller import set_apart, write_smaller
from sweepd_trainer import Data, Rows, fit, rebuilt_by, split
from sweepd_trainer.checkpoint import load_weights
from sweepd_trainer.loop import Trainer
from sweepd_trainer.watch import Taken, Watcher


@pytest.fixture(autouse=True)
def _no_server(monkeypatch, tmp_path):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def line() -> Data:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.rand(240, 2, generator=generator)
    return split(
        Rows(inputs, inputs @ torch.tensor([2.0, -1.0])), Rows(inputs[:40], inputs[:40, 0])
    )


def test_values_are_learnt_and_the_best_epoch_comes_back(line):
    values = {"epochs": 40, "batch_size": 20, "learning_rate": 0.05}

    fitted = fit(values, line, lambda values: nn.Linear(2, 1))

    assert fitted.validation.loss < 0.01
    assert fitted.validation.accuracy is None
    assert fitted.test is not None
    assert fitted.checkpoint.name == "checkpoint.pt"
    assert load_weights(fitted.checkpoint).keys() == {"weight", "bias"}


def test_texts_are_learnt_with_a_class_at_each_place():
    start = torch.randint(0, 7, (300, 1), generator=torch.Generator().manual_seed(0))
    texts = (start + torch.arange(9)) % 7
    values = {"width": 16, "epochs": 12, "batch_size": 25, "learning_rate": 0.05}

    fitted = fit(
        values,
        split(Rows(texts[:, :-1], texts[:, 1:])),
        lambda values: nn.Sequential(nn.Embedding(7, values["width"]), nn.Linear(16, 7)),
    )

    assert fitted.validation.accuracy == 1.0
    assert fitted.test is None


def test_data_and_model_are_made_of_the_values(line):
    asked = []

    def data(values):
        asked.append(("data", values["width"]))
        return line

    def model(values):
        asked.append(("model", values["width"]))
        return nn.Linear(2, 1)

    fit({"epochs": 1, "width": 3}, data, model)

    assert asked == [("data", 3), ("model", 3)]


def test_a_value_that_nothing_asks_for_is_told_with_what_was_meant(line, capsys):
    values = {"epochs": 2, "lr": 0.1, "widht": 3, "width": 3, "wander": 1}

    fit(values, lambda values: line, lambda values: nn.Linear(2, values["width"] // 3))

    told = capsys.readouterr().out
    words = "nothing has asked for lr (did you mean learning_rate?), wander, widht so far: unless"
    assert told.count(words) == 1


class Late(nn.Linear):
    """A model that keeps the values and asks for one at each step."""

    def __init__(self, values):
        super().__init__(2, 1)
        self.kept = values

    def forward(self, x):
        return super().forward(x) * self.kept["temperature"]


@pytest.mark.parametrize(
    ("data", "model"),
    [
        pytest.param(lambda values: values, Late, id="at a step"),
        pytest.param(lambda values: values, nn.Linear(2, 1), id="a model that is made already"),
        pytest.param(None, lambda values: nn.Linear(2, 1), id="data that are there already"),
    ],
)
def test_a_value_that_may_be_read_is_not_told(line, capsys, data, model):
    data = data and (lambda values: line)

    fit({"epochs": 1, "temperature": 1.0, "patch_size": 3}, data or line, model)

    told = capsys.readouterr().out
    assert "temperature" not in told
    assert ("patch_size" in told) == (model is Late)


@pytest.mark.parametrize(
    "take",
    [
        lambda values: values["lr"],
        lambda values: values.get("lr"),
        lambda values: values.setdefault("lr", 1),
        lambda values: "lr" in values,
        lambda values: dict(values),
        lambda values: dict(**values),
        lambda values: values | {},
        lambda values: {} | values,
        lambda values: values.copy(),
        lambda values: json.dumps(values),
        lambda values: yaml.safe_dump(values),
        lambda values: SimpleNamespace(**values),
        lambda values: [*values],
        lambda values: list(values.values()),
        lambda values: values.pop("lr"),
        lambda values: str(values),
        lambda values: values == {},
    ],
)
def test_a_value_that_is_taken_in_any_way_has_been_asked_for(line, capsys, take):
    fit(
        {"epochs": 1, "lr": 0.1},
        lambda values: line,
        lambda values: (take(values), nn.Linear(2, 1))[1],
    )

    assert "nothing has asked for" not in capsys.readouterr().out


def test_the_values_can_be_kept_and_changed_like_a_dict(line, tmp_path):
    def data(values):
        values["epochs"] = 2
        torch.save({"config": values}, tmp_path / "kept.pt")
        assert type(copy.deepcopy(values)) is dict
        assert type(values)() == {}
        return line

    fitted = fit({"epochs": 1, "lr": 0.1}, data, lambda values: nn.Linear(2, 1))

    kept = torch.load(tmp_path / "kept.pt", weights_only=True)
    assert kept == {"config": {"epochs": 2, "lr": 0.1}}
    assert torch.load(fitted.checkpoint, weights_only=True)["config"] == kept["config"]


def test_what_a_loss_or_a_run_that_has_begun_may_read_is_not_told(line, capsys):
    own = wandb.init(config={"alpha": 2.0})
    try:
        fit({"epochs": 1}, lambda values: line, lambda values: nn.Linear(2, 1))
    finally:
        own.finish()

    assert "nothing has asked for" not in capsys.readouterr().out


def test_of_values_that_may_be_read_elsewhere_only_another_name_is_told(line, capsys):
    fit({"epochs": 1, "optimiser": "sgd", "depth": 3}, line, nn.Linear(2, 1))

    told = capsys.readouterr().out
    assert "nothing has asked for optimiser (did you mean optimizer?) so far: " in told
    assert "depth" not in told


def test_the_weights_follow_the_seed(line):
    def weights(seed):
        fitted = fit({"epochs": 1, "seed": seed}, line, lambda values: nn.Linear(2, 1))
        return fitted.model.weight

    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))


class Count:
    """A measure that is one more each time."""

    def __init__(self):
        self.value = 0

    def __call__(self, outputs, targets):
        self.value += 1
        return torch.tensor(float(self.value))


@pytest.mark.parametrize(("goal", "best"), [("maximize", 3), ("minimize", 1)])
def test_a_measure_of_your_own_is_reported_and_decides_which_epoch_is_best(
    line, goal, best, capsys
):
    fitted = fit(
        {"epochs": 3},
        line,
        lambda values: nn.Linear(2, 1),
        measures={"count": Count()},
        metric={"name": "val_count", "goal": goal},
    )

    assert (fitted.epoch, fitted.validation.measures) == (best, {"count": best})
    assert fitted.test.measures == {"count": 4}
    assert f"val_count {best}.0000, test_loss" in capsys.readouterr().out


@pytest.mark.parametrize("goal", ["minimize", "maximize"])
@pytest.mark.parametrize(
    ("given", "best"),
    [([0.5, math.nan], 1), ([math.nan, 0.5, math.nan], 2), ([math.nan, math.nan], 1)],
)
def test_a_measure_that_is_no_number_makes_no_epoch_better(line, given, best, goal):
    told = iter([*given, 0.0])  # the last one is of the test rows

    fitted = fit(
        {"epochs": len(given)},
        line,
        lambda values: nn.Linear(2, 1),
        measures={"odd": lambda outputs, targets: torch.tensor(next(told))},
        metric={"name": "val_odd", "goal": goal},
    )

    assert fitted.epoch == best


def test_histograms_are_begun_before_an_epoch_is_evaluated_and_read_after_it(line, monkeypatch):
    seen = []

    def note(kind, name):
        whole = getattr(kind, name)
        monkeypatch.setattr(kind, name, lambda *given: seen.append(name) or whole(*given))

    note(Watcher, "take")
    note(Trainer, "evaluate")
    note(Taken, "read")
    fit({"epochs": 2}, Data(line.train, line.validation), lambda values: nn.Linear(2, 1))

    assert seen == ["take", "evaluate", "read"] * 2


def test_a_run_ends_early_when_no_epoch_is_better(line, capsys):
    values = {"epochs": 50, "learning_rate": 1e-12, "patience": 2}

    def never_better(outputs, targets):
        return (outputs * 0).mean() + 1.0

    fit(values, line, lambda values: nn.Linear(2, 1), loss=never_better)

    said = capsys.readouterr().out
    assert said.count("epoch ") - said.count("best epoch") == 3 + said.count("no better epoch")
    assert "no better epoch in 2" in said


@pytest.mark.parametrize(
    ("give", "error", "said"),
    [
        pytest.param(lambda d: ({}, None, None), InvalidInput, "needs data and a model", id="none"),
        pytest.param(lambda d: ({}, d, lambda v: 7), InvalidInput, "not int", id="no module"),
        pytest.param(
            lambda d: ({"epochs": 0}, d, nn.Linear(2, 1)), InvalidInput, "epochs", id="no epochs"
        ),
        pytest.param(
            lambda d: ({}, lambda v: Data(Rows(torch.zeros(0), torch.zeros(0)), d.train), None),
            InvalidInput,
            "needs data and a model",
            id="no model",
        ),
        pytest.param(
            lambda d: (
                {},
                lambda v: split(Rows(torch.zeros(3, 2), torch.zeros(4))),
                nn.Linear(2, 1),
            ),
            DataError,
            "3 inputs, but 4 targets",
            id="too many targets",
        ),
        pytest.param(
            lambda d: ({}, lambda v: Rows([1.0], [2.0]), nn.Linear(2, 1)),
            DataError,
            "must be tensors, not list and list",
            id="no tensors",
        ),
        pytest.param(
            lambda d: ({}, d.train, nn.Linear(2, 1)), InvalidInput, "not Rows", id="rows alone"
        ),
        pytest.param(
            lambda d: ({}, lambda v: (d.train, d.validation), nn.Linear(2, 1)),
            InvalidInput,
            "not tuple",
            id="pair of rows",
        ),
        pytest.param(
            lambda d: ({}, d, nn.Linear(2, 1).requires_grad_(False)),
            InvalidInput,
            "no weights to train",
            id="frozen",
        ),
        pytest.param(
            lambda d: ({}, d, nn.Identity()), InvalidInput, "no weights to train", id="no weights"
        ),
    ],
)
def test_what_cannot_be_trained_is_said_in_words(line, give, error, said):
    with pytest.raises(error, match=said):
        fit(*give(line))


def test_rank_of_several_is_told_to_train_alone(line, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")

    with pytest.raises(InvalidInput, match=r"in one process, .* and WORLD_SIZE is 2: leave torch"):
        fit({"epochs": 1}, line, lambda values: nn.Linear(2, 1))


def test_torchrun_with_one_process_is_as_good_as_none(line, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "1")

    assert fit({"epochs": 1}, line, lambda values: nn.Linear(2, 1)).epoch == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        pytest.param(
            {"metric": {"name": "val_accuracy"}},
            "name must be one of val_loss, val_far, not 'val_accuracy'",
            id="no such number",
        ),
        pytest.param(
            {"metric": {"name": "val_loss", "goal": "max"}},
            "goal must be minimize or maximize, not 'max'",
            id="no goal",
        ),
        pytest.param({"measures": {"loss": Count()}}, "loss is reported anyway", id="a taken name"),
    ],
)
def test_a_metric_that_cannot_be_chosen_by_is_named(line, options, said):
    with pytest.raises(InvalidInput, match=said):
        fit({}, line, nn.Linear(2, 1), **{"measures": {"far": Count()}, **options})


def test_a_run_that_is_recorded_nowhere_asks_no_server(line, capsys):
    fit({"epochs": 1, "checkpoint_s": 0}, line, lambda values: nn.Linear(2, 1))

    assert "stays on the server" not in capsys.readouterr().out


def test_a_run_of_ones_own_takes_the_values_and_goes_on(line):
    own = wandb.init(config={"epochs": 2})
    given = []

    fit({"width": 7, "epochs": 1}, line, lambda values: given.append(values) or nn.Linear(2, 1))
    left = wandb.run
    own.finish()

    assert left is own
    assert (given[0]["width"], given[0]["epochs"]) == (7, 1)


def test_a_sweeps_values_win_over_the_defaults(line, monkeypatch, tmp_path):
    logged = []
    run = SimpleNamespace(
        config={"epochs": 2, "learning_rate": 0.1, "_wandb": {}},
        dir=str(tmp_path),
        id="r1",
        path="me/p/r1",
        resumed=False,
        offline=True,
        starting_step=0,
        summary={},
        log=logged.append,
        save=lambda *args, **kwargs: None,
        finish=lambda exit_code=0: None,
        define_metric=lambda *args, **kwargs: None,
    )
    monkeypatch.setattr(wandb, "init", lambda **options: run)

    fit({"epochs": 9}, line, lambda values: nn.Linear(2, 1))

    assert [row["epoch"] for row in logged if "val_loss" in row] == [1, 2]
    assert all(row["val/loss"] == row["val_loss"] for row in logged if "val_loss" in row)
    assert run.summary["val/loss"] == run.summary["val_loss"] == run.summary["best_val_loss"]
    assert "perf/samples_per_s" in logged[0]
    assert all(math.isclose(row["lr"], 0.1) for row in logged if "lr" in row)


def _example():
    page = Path(__file__).parents[3] / "docs" / "trainer.md"
    (example,) = re.findall(r"```python\n(# text\.py.*?)```", page.read_text(), re.DOTALL)
    return example


def test_the_example_of_the_documentation_runs(capsys):
    Path("text.py").write_text(_example())

    runpy.run_path("text.py", run_name="__main__")

    assert "best epoch" in capsys.readouterr().out


def test_the_example_of_the_documentation_is_exported_in_three_precisions(monkeypatch, tmp_path):
    Path("text_of_the_page.py").write_text(_example())
    monkeypatch.syspath_prepend(str(tmp_path))
    text = importlib.import_module("text_of_the_page")
    values = {"width": 32, "epochs": 3, "learning_rate": 0.02}
    fitted = fit(values, text.data, text.build)

    rebuilt = set_apart(text.rebuild(values, fitted.checkpoint))
    proof = onnx_file.write(rebuilt, tmp_path / "m.onnx", metadata=rebuilt.metadata)
    for precision in ("fp16", "int8"):
        beside = tmp_path / f"m.{precision}.onnx"
        write_smaller(
            precision, tmp_path / "m.onnx", beside, rebuilt, reference=proof, min_agreement=0.95
        )

    assert rebuilt.inputs.dtype == torch.int64
    assert proof.accuracy == pytest.approx(fitted.validation.accuracy, abs=0.05)
    assert rebuilt.metadata["epoch"] == str(fitted.epoch)


def test_a_rebuilt_model_of_values_is_judged_on_the_test_rows(line, tmp_path):
    fitted = fit({"epochs": 2}, line, lambda values: nn.Linear(2, 1))

    rebuilt = rebuilt_by(lambda values: nn.Linear(2, 1), line)({"epochs": 2}, fitted.checkpoint)
    proof = onnx_file.write(rebuilt, tmp_path / "m.onnx", metadata={})

    assert torch.equal(rebuilt.inputs, line.test.inputs)
    assert torch.equal(rebuilt.calibration, line.validation.inputs)
    assert (proof.n_held_out, proof.accuracy) == (40, None)


@pytest.mark.parametrize(
    ("values", "width", "said"),
    [
        pytest.param({"epochs": 3}, 1, "not of this run's config: epochs is 1, not 3", id="config"),
        pytest.param({"epochs": 1}, 4, "does not fit the model: .*size mismatch", id="model"),
    ],
)
def test_a_checkpoint_of_something_else_is_not_exported(line, values, width, said):
    fitted = fit({"epochs": 1}, line, lambda values: nn.Linear(2, 1))
    hook = rebuilt_by(lambda values: nn.Linear(2, width), line)

    with pytest.raises(ExportError, match=said):
        hook(values, fitted.checkpoint)


def test_a_damaged_checkpoint_is_not_exported(line, tmp_path):
    (tmp_path / "checkpoint.pt").write_bytes(b"damaged")

    with pytest.raises(ExportError, match="damaged"):
        rebuilt_by(lambda values: nn.Linear(2, 1), line)({}, tmp_path / "checkpoint.pt")
