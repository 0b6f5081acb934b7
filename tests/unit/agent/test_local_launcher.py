import os

import pytest

from sweepd.names import LAUNCHERS
from sweepd.registry import Registry
from sweepd_agent import Options

PROGRAM = "import pathlib, time\npathlib.Path('started').touch()\ntime.sleep(600)\n"


@pytest.fixture
def launcher(tmp_path, make_server):
    server = make_server(config={"program": "train.py"}, n_trials=4)
    environ = {**os.environ, "WANDB_BASE_URL": server.url, "WANDB_API_KEY": "k" * 40}
    launcher = Registry("launcher", LAUNCHERS).load("local")(tmp_path / "logs", environ=environ)
    launcher.server = server
    yield launcher
    launcher.stop(timeout_s=5)


@pytest.fixture
def options(tmp_path):
    return Options("alice/toy/sw1", gpus="none", slots=1, folder=str(tmp_path))


def test_agents_run_the_sweep_and_leave_their_words(launcher, options, write_program, wait_for):
    write_program("")

    assert launcher.start(options, agents=2) == ["agent-1", "agent-2"]

    wait_for(lambda: [agent.exit_code for agent in launcher.status()] == [0, 0])
    assert len(launcher.server.outcomes) == 4
    assert "the agent leaves" in launcher.status()[0].log.read_text()


def test_stop_ends_the_agents_and_their_trials(
    launcher, options, write_program, tmp_path, wait_for
):
    write_program(PROGRAM)
    launcher.start(options)
    wait_for((tmp_path / "started").exists)
    assert launcher.status()[0].exit_code is None

    launcher.stop()

    assert launcher.status()[0].exit_code == 0
    assert [outcome["reason"] for outcome in launcher.server.outcomes] == ["preempted"]
