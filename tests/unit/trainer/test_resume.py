"""A saved state that cannot be taken up: what the trial says of it."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from sweepd.errors import DataError, InvalidInput
from sweepd_trainer import resume
from sweepd_trainer.checkpoint import Best, write_plain
from sweepd_trainer.config import Training
from sweepd_trainer.data import Data, Rows
from sweepd_trainer.loop import Trainer
from sweepd_trainer.optim import build_optimizer
from sweepd_trainer.resume import RESUME, Resumable
from sweepd_trainer.step import Problem
from sweepd_trainer.task import regression
from sweepd_trainer.tracking import Log

CONFIG = Training(batch_size=2)


def drawn(seed: int = 0) -> Data:
    numbers = torch.rand(12, 3, generator=torch.Generator().manual_seed(seed))
    rows = Rows(numbers[:, :2], numbers[:, 2:])
    return Data(rows.take(torch.arange(6)), rows.take(torch.arange(6, 12)))


def make(folder, *, values=None, data=None) -> Resumable:
    data = data or drawn()
    model = nn.Linear(2, 1)
    run = SimpleNamespace(
        dir=str(folder),
        id="r1",
        path="me/p/r1",
        resumed=True,
        starting_step=0,
        log=lambda row: None,
        save=lambda *args, **kwargs: None,
    )
    problem = Problem(data.train, regression(), lambda x: x)
    trainer = Trainer(
        model,
        build_optimizer(model, CONFIG),
        problem,
        config=CONFIG,
        order=torch.Generator(),
    )
    best = Best(folder / "checkpoint.pt", header={})
    return Resumable(
        run,
        trainer=trainer,
        best=best,
        log=Log(run),
        config=CONFIG,
        data=data,
        values=values or {},
    )


@pytest.fixture
def saved(tmp_path, monkeypatch):
    """Save a state where the next attempt fetches it; return its file."""
    make(tmp_path).save()
    path = tmp_path / RESUME
    monkeypatch.setattr(resume, "_fetch", lambda run, folder: path)
    return path


def test_asking_for_a_state_leaves_no_folder_beside_the_program(tmp_path, monkeypatch):
    def read(path):  # as the client does
        (tmp_path / path).mkdir(parents=True)
        return SimpleNamespace(dir=str(tmp_path / path), files=lambda names: [])

    monkeypatch.setattr(resume.wandb, "Api", lambda: SimpleNamespace(run=read))
    (tmp_path / "me" / "q").mkdir(parents=True)

    assert not make(tmp_path).take_up()

    assert [path.name for path in (tmp_path / "me").iterdir()] == ["q"]


def test_a_state_is_taken_up(saved, tmp_path):
    assert make(tmp_path).take_up()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"version": 0}, "has the format 0, not 1"),
        ({"trainer": None}, "is incomplete: "),
        (
            {"trainer": {}},
            f"{RESUME} of the run r1: a state that does not fit the model: 'model'",
        ),
        ({"log": {}}, f"{RESUME} of the run r1 is incomplete: 'recent'"),
        ({"best": torch.zeros(9, dtype=torch.uint8)}, "checkpoint.pt is damaged"),
    ],
)
def test_a_state_that_is_not_whole_is_refused_in_words(saved, tmp_path, change, said):
    write_plain(saved, torch.load(saved, weights_only=True) | change)

    with pytest.raises(DataError, match=said):
        make(tmp_path).take_up()


def test_a_state_of_another_config_is_refused(saved, tmp_path):
    with pytest.raises(InvalidInput, match="r1 is of another config"):
        make(tmp_path, values={"width": 3}).take_up()


@pytest.mark.parametrize(
    ("data", "part"),
    [
        pytest.param(drawn(1), "train", id="drawn anew"),
        pytest.param(Data(drawn().train, drawn(1).validation), "validation", id="one part"),
        pytest.param(Data(drawn().train, drawn().validation, drawn(1).train), "test", id="more"),
    ],
)
def test_a_state_of_as_many_other_rows_is_refused(saved, tmp_path, data, part):
    with pytest.raises(DataError, match=f"{RESUME} of the run r1: its {part} rows are not those"):
        make(tmp_path, data=data).take_up()


def test_a_state_of_a_version_that_kept_no_rows_is_taken_up(saved, tmp_path):
    state = torch.load(saved, weights_only=True)
    del state["rows"]
    write_plain(saved, state)

    assert make(tmp_path, data=drawn(1)).take_up()


def test_a_state_is_taken_up_where_steps_run_in_another_way(saved, tmp_path):
    assert make(tmp_path, values={"cuda_graph": False, "deterministic": True}).take_up()


def test_a_state_that_was_cut_short_is_refused(saved, tmp_path):
    saved.write_bytes(saved.read_bytes()[:-100])

    with pytest.raises(DataError, match="damaged or cut short"):
        make(tmp_path).take_up()
