"""The environment that a trial's processes have."""

import json
import sys
from pathlib import Path

import pytest

from sweepd_agent.api import Command, Sweep
from sweepd_agent.devices import Slot
from sweepd_agent.server import Server
from sweepd_agent.trial import Workplace, environment_of

OURS = str(Path(sys.executable).parent)


@pytest.fixture
def environment(tmp_path):
    """Return the environment of a trial with these values, of an agent that has this one."""

    def of(environ, **values):
        sweep = Sweep("ada", "digits", "s1", "train.py", None)
        server = Server("http://127.0.0.1:9", "k" * 40)
        place = Workplace(server, sweep, tmp_path, is_ours=True, environ=environ)
        command = Command("run", run="abc", args=values, lease=(1, "token"))
        return environment_of(place, command, Slot(0, "gpus 0,1", "0,1", 4))

    return of


def test_configuration_is_there_for_every_process(environment):
    values = {"lr": 0.1, "model": {"depth": 2}, "name": "ä\n"}

    assert json.loads(environment({}, **values)["SWEEPD_CONFIG"]) == values


def test_configuration_that_no_process_could_be_given_is_left_out(environment):
    found = environment({"SWEEPD_CONFIG": "of an outer trial"}, table=["x" * 10] * 10_000)

    assert "SWEEPD_CONFIG" not in found


def test_commands_of_our_own_environment_are_found_last(environment, tmp_path):
    (tmp_path / "python").touch(mode=0o755)

    assert environment({"PATH": str(tmp_path)})["PATH"] == f"{tmp_path}:{OURS}"
    assert environment({"PATH": f"{OURS}:{tmp_path}"})["PATH"] == f"{OURS}:{tmp_path}"


def test_commands_of_our_own_environment_are_found_first_where_there_is_no_python(environment):
    assert environment({"PATH": "/nowhere"})["PATH"] == f"{OURS}:/nowhere"


def test_threads_are_those_of_one_process_of_several(environment):
    assert environment({})["OMP_NUM_THREADS"] == "4"
    assert environment({"OMP_NUM_THREADS": "9"})["OMP_NUM_THREADS"] == "9"
