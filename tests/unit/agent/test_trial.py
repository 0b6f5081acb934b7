"""The environment that a trial's processes have."""

import json
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from sweepd_agent.api import Command, Sweep
from sweepd_agent.devices import Slot
from sweepd_agent.server import Server
from sweepd_agent.trial import Workplace, environment_of, missing_program

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


@pytest.mark.parametrize(
    "command",
    [
        None,
        ["${env}", "python", "${program}", "${args}"],
        ["${env}", "${interpreter}", "-u", "${program}", "${args}"],
        ["/usr/bin/env", "A=1", "/opt/bin/python3.12", "${program}"],
        ["python", "${program}", "--note", "-m && -c"],
    ],
)
def test_a_program_that_is_not_there_is_missed_where_the_command_runs_it(tmp_path, command):
    assert missing_program("train.py", command, tmp_path) == (
        f"the program train.py does not exist in {tmp_path}"
    )
    (tmp_path / "train.py").touch()
    assert missing_program("train.py", command, tmp_path) is None


@pytest.mark.parametrize(
    "command",
    [
        ["python", "-m", "sweepd_agent.call", "${program}"],
        ["torchrun", "--standalone", "-m", "${program}"],
        ["docker", "run", "image", "python", "${program}"],
        ["uv", "run", "--directory", "sub", "python", "${program}"],
        ["env", "-C", "sub", "python", "${program}"],
        ["conda", "run", "--cwd", "sub", "python", "${program}"],
        ["python", "other.py", "--experiment", "${program}"],
        ["sh", "-c", "cd sub && python ${program}"],
    ],
    ids=" ".join,
)
def test_a_program_is_not_missed_where_a_command_may_find_it_elsewhere(tmp_path, command):
    assert missing_program("train.py", command, tmp_path) is None


@pytest.mark.parametrize("program", ["sys:exit", "json.tool:main", "mine.deep:main", "found:main"])
def test_functions_are_found_in_the_folder_and_wherever_python_finds_modules(
    tmp_path, monkeypatch, program
):
    (tmp_path / "mine").mkdir()

    class Editable:  # as an editable install has it
        @staticmethod
        def find_spec(name, path=None, target=None):
            return ModuleSpec(name, None) if name == "found" else None

    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, Editable])

    assert missing_program(program, None, tmp_path) is None
    assert missing_program("nowhere.at:all", None, tmp_path) == (
        f"there is no module nowhere in {tmp_path}, nor is one installed"
    )


def test_a_folder_with_a_main_module_is_a_program(tmp_path):
    (tmp_path / "train").mkdir()

    assert missing_program("train", ["python", "${program}"], tmp_path) is None


def test_a_module_that_is_not_there_is_missed_where_the_command_runs_it(tmp_path):
    command = ["${env}", "${interpreter}", "-m", "${program}", "${args}"]

    assert missing_program("mine.train", command, tmp_path) == (
        f"there is no module mine in {tmp_path}, nor is one installed"
    )
    (tmp_path / "mine").mkdir()
    assert missing_program("mine.train", command, tmp_path) is None
    assert missing_program("json.tool", command, tmp_path) is None
    for wrong in (".train", "mine/train.py", "a b"):
        assert "there is no module " in str(missing_program(wrong, command, tmp_path))
