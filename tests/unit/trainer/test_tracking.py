"""The edge to W&B and to the process."""

import os
import signal
import threading
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import wandb

from sweepd.errors import DataError, InvalidInput
from sweepd_trainer import tracking
from sweepd_trainer.tracking import (
    Log,
    Stop,
    Stopped,
    after_finish,
    as_wandb,
    ask_for_another_machine,
    by_section,
    run_script,
    start,
)
from sweepd_trainer.watch import Histogram

SCRIPT = Path(__file__).parents[3] / "trainer" / "train.py"


def test_help_shows_the_fields(capsys):
    assert run_script(lambda values: pytest.fail("it ran"), ["--help"]) == 0
    assert "--learning_rate=0.005" in capsys.readouterr().out


def test_flags_reach_the_function():
    given = []

    assert run_script(given.append, ["--epochs=2", "--kernels=[8, 8]"]) == 0
    assert given == [{"epochs": 2, "kernels": [8, 8]}]


@pytest.mark.parametrize(
    ("flags", "error", "code"),
    [
        pytest.param(["--epoch=2"], None, 2, id="unknown flag"),
        pytest.param([], DataError("mnist is not there"), 1, id="no data"),
        pytest.param([], Stopped("stopped by SIGTERM"), 143, id="stopped"),
    ],
)
def test_what_goes_wrong_is_one_sentence_and_an_exit_code(capsys, flags, error, code):
    def main(values):
        if error:
            raise error

    assert run_script(main, flags) == code

    said = capsys.readouterr().err
    assert said.startswith("train.py: ")
    assert said.count("\n") == 1


def test_ctrl_c_is_not_a_traceback():
    def main(values):
        raise KeyboardInterrupt

    assert run_script(main, []) == 130


def test_sigterm_turns_stop_on_and_the_handler_of_before_returns():
    before = signal.getsignal(signal.SIGTERM)
    stop = Stop()

    with stop.on_sigterm():
        assert not stop()
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop()

    assert signal.getsignal(signal.SIGTERM) is before


def test_stop_works_outside_the_main_thread_without_a_handler():
    seen = []

    def listen():
        with Stop().on_sigterm() as stop:
            seen.append(stop())

    thread = threading.Thread(target=listen)
    thread.start()
    thread.join()

    assert seen == [False]


def test_histograms_keep_counts_and_edges():
    found = as_wandb({"gradients/w": Histogram(np.array([1, 2]), np.array([0.0, 0.5, 1.0]))})

    assert found["gradients/w"].histogram == [1, 2]
    assert found["gradients/w"].bins == [0.0, 0.5, 1.0]


def test_a_run_is_finished_with_the_code_that_the_process_will_have(monkeypatch):
    codes = []
    run = SimpleNamespace(
        define_metric=lambda *_, **__: None, finish=lambda exit_code=0: codes.append(exit_code)
    )
    monkeypatch.setattr(wandb, "init", lambda **_: run)
    monkeypatch.setenv("WANDB_MODE", "disabled")

    for error in (None, Stopped("stopped"), KeyboardInterrupt(), MemoryError()):
        with suppress(Stopped, KeyboardInterrupt, MemoryError), start({}):
            if error:
                raise error

    assert codes == [0, 143, 1, 1]


@pytest.mark.parametrize(
    ("trial", "told"),
    [
        pytest.param("run1", [], id="a trial has finished"),
        pytest.param(None, [signal.SIGTERM], id="another process is told afterwards"),
    ],
)
def test_sigterm_does_not_break_off_the_finish_of_a_run(monkeypatch, trial, told):
    seen = []

    def send(exit_code):
        os.kill(os.getpid(), signal.SIGTERM)
        seen.append("sent")

    run = SimpleNamespace(define_metric=lambda *_, **__: None, finish=send)
    monkeypatch.setattr(wandb, "init", lambda **_: run)
    monkeypatch.setattr(tracking, "_ended", set())
    monkeypatch.setenv("WANDB_MODE", "disabled")
    monkeypatch.delenv("WANDB_RUN_ID", raising=False)
    if trial:
        monkeypatch.setenv("WANDB_RUN_ID", trial)
    before = signal.signal(signal.SIGTERM, lambda number, _: seen.append(number))

    try:
        with start({}) as begun:
            after_finish(begun, lambda: seen.append("tidied"))
    finally:
        signal.signal(signal.SIGTERM, before)

    assert seen == ["sent", "tidied", *told]


def test_a_run_that_is_there_already_is_used_and_left_to_who_began_it(monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")

    own = wandb.init(config={"epochs": 1, "mine": 2})
    with start({"epochs": 3, "width": 7}) as run:
        assert run is own
    left = wandb.run
    own.finish()

    assert left is own
    assert dict(own.config.items()) == {"epochs": 3, "mine": 2, "width": 7}


@pytest.mark.parametrize(
    ("error", "wanted"), [(None, ["sent", "removed"]), (Stopped("x"), ["sent"])]
)
def test_what_comes_after_a_run_waits_for_its_files(monkeypatch, error, wanted):
    done = []
    run = SimpleNamespace(
        define_metric=lambda *_, **__: None, finish=lambda exit_code=0: done.append("sent")
    )
    monkeypatch.setattr(wandb, "init", lambda **_: run)
    monkeypatch.setenv("WANDB_MODE", "disabled")

    with suppress(Stopped), start({}):
        after_finish(run, lambda: done.append("removed"))
        if error:
            raise error

    assert done == wanted


def test_what_comes_after_somebody_elses_run_is_done_at_once():
    done = []

    after_finish(SimpleNamespace(), lambda: done.append("removed"))

    assert done == ["removed"]


@pytest.mark.parametrize(
    ("headers", "kind", "wanted"),
    [
        pytest.param("", {}, 1, id="of W&B's agent"),
        pytest.param('{"X-Else": "1"}', {}, 1, id="with other headers"),
        pytest.param('{"X-Sweepd-Lease": "r1;1;token"}', {}, 0, id="of our agent"),
        pytest.param("", {"offline": True}, 0, id="offline"),
        pytest.param("", {"disabled": True}, 0, id="disabled"),
    ],
)
def test_a_run_that_our_agent_does_not_hold_says_itself_that_it_is_preempted(
    monkeypatch, headers, kind, wanted
):
    monkeypatch.setenv("WANDB_X_EXTRA_HTTP_HEADERS", headers)
    marked = []
    run = SimpleNamespace(
        **{"offline": False, "disabled": False, **kind},
        mark_preempting=lambda: marked.append("preempting"),
    )

    ask_for_another_machine(run)

    assert len(marked) == wanted


def test_a_trial_is_trained_once(monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    monkeypatch.setenv("WANDB_RUN_ID", "once")
    with start({}):
        pass

    with pytest.raises(InvalidInput, match="the trial once is over"), start({}):
        pass

    monkeypatch.setenv("WANDB_RUN_ID", "next")
    with start({}):
        pass


class Server:
    """A run as the server keeps it: a row for each call of `log`."""

    def __init__(self, rows=()):
        self.rows = list(rows)
        self.starting_step = len(self.rows)

    def log(self, row):
        self.rows.append(row)


ROWS = [{"lr": number / 10} for number in range(8)]


@pytest.mark.parametrize("n_known", [3, 5, 6, 8])
def test_rows_of_a_resumed_run_are_neither_doubled_nor_missing(n_known):
    before = Log(Server())
    for row in ROWS[:5]:
        before(row)
    state = before.state_dict()  # saved; then rows 5, 6, 7 were logged, some of which arrived
    server = Server(ROWS[:n_known])

    after = Log(server)
    after.load_state_dict(state)
    for row in ROWS[5:]:
        after(row)

    assert server.rows == ROWS
    assert after.state_dict()["n_rows"] == len(ROWS)


def test_numbers_have_a_name_with_their_section_beside_the_plain_one():
    row = {
        "epoch": 1,
        "loss": 0.5,
        "samples_per_s": 9.0,
        "mfu": 0.1,
        "gpu_mem": 7.0,
        "val_loss": 0.4,
        "test_loss": 3,
    }

    assert by_section(row, unit="images") == {
        **{"epoch": 1, "loss": 0.5, "train/loss": 0.5},
        **{"samples_per_s": 9.0, "perf/images_per_s": 9.0, "perf/mfu": 0.1, "perf/gpu_mem": 7.0},
        **{"val_loss": 0.4, "val/loss": 0.4, "test_loss": 3},
    }


def test_a_run_that_begins_anew_repeats_no_row():
    server = Server(ROWS[:4])

    log = Log(server)
    for row in ROWS:
        log(row)

    assert server.rows == ROWS
