"""The trials of a pack, from the agent's folder to its events; no server takes part."""

import importlib.util
import json
import os
import re
import signal
from pathlib import Path

import pytest
import torch
import wandb
from packs import events_in, write_pack
from torch import nn

from sweepd.errors import InvalidInput
from sweepd_trainer import Data, Rows, fit, packing, split
from sweepd_trainer.checkpoint import load_plain
from sweepd_trainer.pack import Pack
from sweepd_trainer.tracking import run_script
from sweepd_trainer.watch import Taken, Watcher

#: The client leaves the file of a sweep's config to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")

SCRIPT = Path(__file__).parents[3] / "trainer" / "train.py"
QUICK = {"kernels": [4, 8], "slice": 4, "epochs": 2, "batch_size": 32, "learning_rate": 0.02}


@pytest.fixture
def main():
    spec = importlib.util.spec_from_file_location("train_script", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


@pytest.fixture
def pack(tmp_path, monkeypatch):
    """Write a pack of configs, as an agent does; return its folder."""
    monkeypatch.setenv("WANDB_MODE", "disabled")
    monkeypatch.setattr("sweepd_trainer.tracking._ended", set())
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "pack"

    def write(*configs):
        for name, value in write_pack(folder, configs)[0].items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("SWEEPD_PACK", str(folder))
        return folder

    yield write
    wandb.finish()
    wandb.teardown()


def ends(folder: Path) -> dict[str, tuple[int, str | None]]:
    events = [event for event in events_in(folder) if event["event"] == "ended"]
    return {event["run"]: (event["exit_code"], event["message"]) for event in events}


def test_every_trial_is_told_of_from_its_beginning_to_its_end(main, pack):
    folder = pack(*({**QUICK, "seed": seed} for seed in range(3)))

    assert main({}) > 0.1

    events = events_in(folder)
    assert [e["run"] for e in events if e["event"] == "began"] == ["r0", "r1", "r2"]
    assert [e["trials"] for e in events if e["event"] == "measured"] == [3]
    assert ends(folder) == dict.fromkeys(["r0", "r1", "r2"], (0, None))


def test_histograms_are_begun_before_an_epoch_is_evaluated_and_read_after_it(
    pack, line, monkeypatch
):
    pack({"seed": 1}, {"seed": 2})
    seen = []

    def note(kind, name):
        whole = getattr(kind, name)
        monkeypatch.setattr(kind, name, lambda *given: seen.append(name) or whole(*given))

    note(Watcher, "take")
    note(Pack, "evaluate")
    note(Taken, "read")
    fit({"epochs": 2}, line, lambda values: nn.Linear(2, 1))

    assert seen == ["take", "evaluate", "read"] * 2


def test_a_pack_that_is_smaller_after_its_first_short_epoch_is_measured_as_that(main, pack):
    folder = pack(*({**QUICK, "epochs": 3, "seed": seed} for seed in range(2)))
    (folder / "stop-r1").touch()

    main({})

    assert [e["trials"] for e in events_in(folder) if e["event"] == "measured"] == [1]


def test_a_trial_whose_config_is_wrong_ends_and_the_others_are_packed(main, pack):
    folder = pack(*({**QUICK, "momentum": momentum} for momentum in (3, 0.5, 0.9)))

    with pytest.raises(SystemExit) as ended:  # what it returns would be the first trial's
        main({})

    assert ended.value.code == 0

    events = events_in(folder)
    assert [e["run"] for e in events if e["event"] == "began"] == ["r0", "r1", "r2"]
    assert [e["trials"] for e in events if e["event"] == "measured"] == [2]
    told = ends(folder)
    assert told.pop("r0") == (2, "momentum must be a number ≥ 0 and ≤ 0.9999, not 3")
    assert told == dict.fromkeys(["r1", "r2"], (0, None))


@pytest.mark.parametrize("momenta", [(3,), (3, 4)])
def test_trials_whose_configs_are_all_wrong_end_and_packs_are_not_refused(main, pack, momenta):
    folder = pack(*({**QUICK, "momentum": momentum} for momentum in momenta))

    with pytest.raises(SystemExit) as ended:
        main({})

    assert ended.value.code == 0
    assert {event["event"] for event in events_in(folder)} == {"began", "ended"}
    assert {code for code, _ in ends(folder).values()} == {2}
    assert len(ends(folder)) == len(momenta)


def test_flags_of_the_first_trial_that_are_wrong_end_it_alone(main, pack):
    folder = pack({**QUICK, "momentum": 3}, {**QUICK, "momentum": 0.5})

    with pytest.raises(SystemExit) as ended:  # as W&B's ${args} spells them, for each program
        run_script(main, ["--momentum=3", "--width=4"])

    assert ended.value.code == 0
    assert {run: code for run, (code, _) in ends(folder).items()} == {"r0": 2, "r1": 0}


def test_a_trial_whose_patience_is_out_ends_and_the_others_go_on(main, pack, capsys):
    flat = {**QUICK, "epochs": 4, "learning_rate": 1e-9}
    folder = pack({**flat, "patience": 0}, {**flat, "patience": 1})

    main({})

    said = capsys.readouterr().out
    assert "r1: no better epoch in 1: the run ends early" in said
    assert "r0: epoch 4" in said
    assert "r1: epoch 4" not in said
    assert ends(folder) == {"r0": (0, None), "r1": (0, None)}


def test_sigterm_stops_every_trial(pack, line):
    folder = pack({"epochs": 50, "seed": 0}, {"epochs": 50, "seed": 1})
    steps = []

    def loss(outputs, targets):
        steps.append(None)
        if len(steps) == 40:
            os.kill(os.getpid(), signal.SIGTERM)
        return nn.functional.mse_loss(outputs[:, 0], targets)

    with pytest.raises(SystemExit) as ended:
        fit({}, line, lambda values: nn.Linear(2, 1), loss=loss)

    assert ended.value.code == 0
    assert {code for code, _ in ends(folder).values()} == {143}
    assert all("stopped by SIGTERM" in message for _, message in ends(folder).values())


@pytest.fixture
def line() -> Data:
    inputs = torch.rand(240, 2, generator=torch.Generator().manual_seed(0))
    return split(Rows(inputs, inputs @ torch.tensor([2.0, -1.0])))


def test_fit_trains_a_pack_and_returns_the_first_trials_best(pack, line):
    values = {"epochs": 30, "batch_size": 20}
    folder = pack({**values, "learning_rate": 0.05}, {**values, "learning_rate": 1e-6})

    fitted = fit({}, line, lambda values: nn.Linear(2, 1))

    assert fitted.validation.loss < 0.05
    assert load_plain(fitted.checkpoint)["config"]["learning_rate"] == 0.05
    assert len(ends(folder)) == 2


def test_a_pack_is_deterministic_where_its_trials_are(pack, line):
    seen = set()

    def loss(outputs, targets):
        seen.add(torch.are_deterministic_algorithms_enabled())
        return nn.functional.mse_loss(outputs[:, 0], targets)

    folder = pack(*({"epochs": 1, "seed": seed, "deterministic": True} for seed in range(2)))

    fit({}, line, lambda values: nn.Linear(2, 1), loss=loss)

    assert seen == {True}
    assert not torch.are_deterministic_algorithms_enabled()
    assert ends(folder) == {"r0": (0, None), "r1": (0, None)}


def test_trials_whose_loss_leaves_all_bounds_end_with_the_bound(pack, line):
    folder = pack({"stop_diverged": True, "seed": 0}, {"stop_diverged": True, "seed": 1})
    steps = []

    def loss(outputs, targets):
        steps.append(None)
        return (1e6 if len(steps) > 160 else 1) * nn.functional.mse_loss(outputs[:, 0], targets)

    with pytest.raises(SystemExit):
        fit({"batch_size": 2, "epochs": 2}, line, lambda values: nn.Linear(2, 1), loss=loss)

    assert {code for code, _ in ends(folder).values()} == {1}
    for _, message in ends(folder).values():
        assert re.search("the loss is .* above .*: ten times .*, what it began with", message)


def test_a_trial_of_a_pack_is_trained_once(pack, line):
    folder = pack({"epochs": 1, "seed": 0}, {"epochs": 1, "seed": 1})
    fit({}, line, lambda values: nn.Linear(2, 1))

    with pytest.raises(InvalidInput, match="the trial r0 is over"):
        fit({}, line, lambda values: nn.Linear(2, 1))

    assert len(ends(folder)) == 2


def test_a_trial_that_has_ended_keeps_nothing_of_the_packs_tensors(pack, line, monkeypatch):
    ended = []
    whole = packing._Trial.end

    def end(trial, error=None):
        whole(trial, error)
        ended.append(trial.trainer)

    monkeypatch.setattr(packing._Trial, "end", end)
    values = {"epochs": 2, "batch_size": 20, "ema": 0.9}
    pack({**values, "learning_rate": 0.05}, {**values, "learning_rate": 1e-6, "patience": 1})

    fitted = fit({}, line, lambda values: nn.Linear(2, 1))

    assert len(ended) == 2
    for trainer in ended:
        assert not trainer.optimizer.state
        for kept in (trainer.model, trainer.averaged):
            for weight in kept.parameters():
                assert weight.untyped_storage().nbytes() == weight.nbytes
                assert weight.grad is None
        assert trainer.plain_step.loss_sum.untyped_storage().nbytes() == 4
    assert fitted.model is ended[0].averaged


class Counts(nn.Module):
    """A model that changes a buffer as it trains."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 1)
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x):
        if self.training:
            self.seen += len(x)
        return self.layer(x)


class Looks(nn.Module):
    """A model that looks at a number: what is stacked has many."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 1)

    def forward(self, x):
        y = self.layer(x)
        return y if y.sum().item() > 0 else -y


@pytest.mark.parametrize(
    ("configs", "model", "said"),
    [
        ([{"optimizer": "muon"}] * 2, nn.Linear, "the optimizer muon cannot be packed, only adam"),
        ([{"epochs": 1}, {"epochs": 2}], nn.Linear, "may differ in .* not in epochs"),
        ([{"deterministic": True}, {}], nn.Linear, "not in deterministic"),
        ([{"width": 1}, {}], nn.Linear, "not in width"),
        ([{}, {}], lambda *_: Counts(), "the model changes seen as it trains"),
        ([{}, {}], lambda *_: Looks(), "the model cannot be packed: "),
    ],
)
def test_what_cannot_be_packed_is_refused_before_any_run_begins(
    pack, line, monkeypatch, configs, model, said
):
    folder = pack(*configs)
    monkeypatch.setattr(wandb, "init", lambda **_: pytest.fail("a run was begun"))

    with pytest.raises(SystemExit) as ended:
        fit({"epochs": 1}, line, lambda values: model(2, 1))

    assert ended.value.code == 0
    (event,) = events_in(folder)
    assert event["event"] == "refused"
    assert re.search(said, event["message"])


def test_models_of_other_shapes_are_refused(pack, line):
    folder = pack({"seed": 1}, {"seed": 2})

    with pytest.raises(SystemExit):
        fit({}, line, lambda values: nn.Linear(2, 1, bias=values["seed"] == 1))

    (event,) = events_in(folder)
    assert "the same tensors" in event["message"]


def test_data_that_differ_are_refused(pack, line):
    folder = pack({"seed": 1}, {"seed": 2})
    half = Data(line.train.take(torch.arange(100)), line.validation)

    with pytest.raises(SystemExit):
        fit(
            {},
            lambda values: line if values["seed"] == 1 else half,
            lambda values: nn.Linear(2, 1),
        )

    (event,) = events_in(folder)
    assert event["message"] == "trials of one pack must have the same data: their train rows differ"


def test_data_that_do_not_fit_on_the_device_are_refused(pack, line, monkeypatch):
    monkeypatch.setattr(packing, "has_room", lambda data, device: False)
    folder = pack({}, {})

    with pytest.raises(SystemExit):
        fit({}, line, lambda values: nn.Linear(2, 1))

    (event,) = events_in(folder)
    assert "do not fit into the GPU's memory" in event["message"]


def test_a_run_of_the_programs_own_is_no_place_for_a_pack(pack, line):
    folder = pack({}, {})
    with wandb.init(), pytest.raises(SystemExit):
        fit({}, line, lambda values: nn.Linear(2, 1))

    (event,) = events_in(folder)
    assert "has begun a run by itself" in event["message"]


@pytest.mark.parametrize("text", [None, "no json", "{}", json.dumps({"trials": []})])
def test_a_folder_that_names_no_trials_is_wrong(pack, line, text):
    path = pack({}, {}) / "pack.json"
    path.unlink()
    if text is not None:
        path.write_text(text)

    with pytest.raises(InvalidInput, match=r"pack\.json"):
        fit({}, line, lambda values: nn.Linear(2, 1))
