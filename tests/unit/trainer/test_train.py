"""trainer/train.py as a function: what it logs, keeps and refuses."""

import importlib.util
import math
from pathlib import Path

import pytest
import torch
import wandb

from sweepd.errors import InvalidInput
from sweepd_trainer.checkpoint import load_checkpoint
from sweepd_trainer.config import read_config
from sweepd_trainer.data import load
from sweepd_trainer.fitting import train
from sweepd_trainer.images import image_problem
from sweepd_trainer.loop import Diverged, Trainer
from sweepd_trainer.models import build_model
from sweepd_trainer.optim import build_optimizer
from sweepd_trainer.tracking import Stop, Stopped

QUICK = {"kernels": [4, 8], "slice": 4, "epochs": 3, "batch_size": 32, "learning_rate": 0.02}
SCRIPT = Path(__file__).parents[3] / "trainer" / "train.py"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("train_script", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class RecordedRun:
    """Stands where wandb's run does, and keeps what it is told."""

    def __init__(self, folder: Path) -> None:
        self.dir, self.rows, self.summary, self.saved = str(folder), [], {}, []
        self.id, self.resumed, self.offline, self.starting_step = "r1", False, True, 0

    def log(self, row):
        self.rows.append(row)

    def save(self, path, *, base_path, policy):
        self.saved.append((str(Path(path).relative_to(base_path)), policy, Path(path).exists()))

    def mark_preempting(self):
        self.saved.append("preempting")

    def column(self, name):
        return [row[name] for row in self.rows if name in row]


@pytest.fixture
def run(tmp_path):
    return RecordedRun(tmp_path)


def test_a_run_logs_what_sweeps_and_people_ask_for(script, run):
    accuracy = train(run, script.job(QUICK), stop=Stop()).test.accuracy

    assert len(run.column("val_accuracy")) == len(run.column("train_loss")) == 3
    assert run.column("test_accuracy") == [accuracy]
    assert run.rows[-1]["examples"] == 900
    names = {"epoch", "examples", "loss", "train/loss", "lr", "samples_per_s"}
    assert {*names, "perf/images_per_s", "perf/step_ms"} == set(run.rows[0])
    assert all("examples" in row for row in run.rows)
    assert isinstance(run.rows[1]["gradients/0.weight"], wandb.Histogram)
    assert isinstance(run.rows[1]["parameters/8.bias"], wandb.Histogram)


def test_same_seed_gives_the_same_rows(script, tmp_path):
    first, second = (RecordedRun(tmp_path / name) for name in "ab")

    for run in (first, second):
        train(run, script.job(QUICK), stop=Stop())

    for name in ("loss", "train_loss", "val_loss", "val_accuracy", "test_accuracy"):
        assert first.column(name) == second.column(name)


@pytest.mark.parametrize("model", ["convnet", "resnet9"])
def test_a_deterministic_run_repeats_its_rows_and_leaves_torch_as_it_was(script, tmp_path, model):
    values = {**QUICK, "model": model, "width": 2, "epochs": 1, "deterministic": True}
    first, second = (RecordedRun(tmp_path / name) for name in "ab")
    seen = []
    for run in (first, second):
        run.save = lambda *_, **__: seen.append(torch.are_deterministic_algorithms_enabled())

    for run in (first, second):
        train(run, script.job(values), stop=Stop())

    for name in ("loss", "train_loss", "val_loss", "test_accuracy"):
        assert first.column(name) == second.column(name) != []
    assert seen == [True, True]
    assert not torch.are_deterministic_algorithms_enabled()


def test_the_summary_speaks_of_the_best_epoch_as_the_checkpoint_does(script, run):
    train(run, script.job({**QUICK, "epochs": 6, "learning_rate": 0.05}), stop=Stop())

    best = max(run.column("val_accuracy"))
    checkpoint = load_checkpoint(Path(run.dir) / "checkpoint.pt")
    assert run.summary["val_accuracy"] == checkpoint.score.accuracy == best
    assert run.summary["best_epoch"] == checkpoint.epoch
    assert run.summary["best_examples"] == 300 * checkpoint.epoch
    assert run.summary["best_val_accuracy"] == best
    assert run.summary["total_s"] > 0
    assert run.column("val_accuracy")[checkpoint.epoch - 1] == best
    assert run.saved == [("checkpoint.pt", "now", True)]


def test_the_test_accuracy_is_that_of_the_checkpoint(script, run):
    config = read_config({**QUICK, "epochs": 5, "learning_rate": 0.05})

    accuracy = train(run, script.job(config.to_dict()), stop=Stop()).test.accuracy

    data = load("digits", every=4)
    model = build_model(data.spec, config)
    model.load_state_dict(load_checkpoint(Path(run.dir) / "checkpoint.pt").weights)
    trainer = Trainer(
        model,
        build_optimizer(model, config),
        image_problem(data, config),
        config=config,
        order=torch.Generator(),
    )
    assert trainer.evaluate(data.test).accuracy == accuracy


def test_a_stopped_run_keeps_state_and_best_epoch_and_leaves_the_test_images_alone(script, run):
    stop = Stop()
    log = run.log

    def stop_after_an_epoch(row):
        log(row)
        if "val_accuracy" in row:
            stop.request()

    run.log = stop_after_an_epoch

    with pytest.raises(Stopped, match="after epoch 1 of 3"):
        train(run, script.job(QUICK), stop=stop)

    assert run.saved == [
        ("checkpoint-resume.pt", "now", True),
        ("checkpoint.pt", "now", True),
    ]
    assert not run.column("test_accuracy")
    assert run.summary["best_val_accuracy"] == run.column("val_accuracy")[0]
    assert run.summary["best_examples"] == 300
    assert run.summary["total_s"] > 0
    assert Stopped.exit_code == 143


def test_rows_that_do_not_fit_on_the_device_give_the_same_numbers(script, tmp_path):
    usual, streamed = (RecordedRun(tmp_path / name) for name in "ab")

    train(usual, script.job({**QUICK, "shift": 1}), stop=Stop())
    train(streamed, script.job({**QUICK, "shift": 1}), stop=Stop(), room_bytes=1000)

    for name in ("loss", "val_loss", "test_accuracy"):
        assert streamed.column(name) == usual.column(name) != []
    assert (usual.summary["mode"], streamed.summary["mode"]) == ("eager", "eager, rows streamed")


@pytest.mark.parametrize("n_epochs", [0, 1])
def test_a_stopped_run_of_wandbs_agent_says_that_it_is_preempted_once_it_is_saved(
    script, run, monkeypatch, n_epochs
):
    monkeypatch.delenv("WANDB_X_EXTRA_HTTP_HEADERS", raising=False)
    run.offline, run.disabled = False, False
    stop = Stop()
    log = run.log

    def stop_then(row):
        log(row)
        if len(run.column("val_accuracy")) == n_epochs:
            stop.request()

    run.log = stop_then

    with pytest.raises(Stopped):
        train(run, script.job({**QUICK, "batch_size": 4}), stop=stop)

    assert run.saved[:2] == [("checkpoint-resume.pt", "now", True), "preempting"]


def test_a_diverged_run_logs_that_its_metrics_are_no_numbers(script, run, monkeypatch):
    def break_weights(spec, config):
        model = build_model(spec, config)
        torch.nn.init.constant_(model[0].weight, math.nan)
        return model

    monkeypatch.setattr(script, "build_model", break_weights)

    with pytest.raises(Diverged):
        train(run, script.job(QUICK), stop=Stop())

    assert math.isnan(run.rows[-1]["val_accuracy"])
    assert run.saved == []


def test_a_wrong_parameter_starts_no_run(script, monkeypatch):
    monkeypatch.setattr(wandb, "init", lambda **_: pytest.fail("a run was started"))

    with pytest.raises(InvalidInput, match="epochs"):
        script.main({"epochs": 0})


def test_main_needs_no_server(script, monkeypatch, tmp_path):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    monkeypatch.chdir(tmp_path)

    assert script.main({**QUICK, "epochs": 1}) > 0.1


def test_the_script_is_short_enough_to_read_first():
    assert len(SCRIPT.read_text().splitlines()) <= 150
