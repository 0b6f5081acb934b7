"""Command macros, held to the expansion of W&B's own agent."""

import json
import subprocess
import sys

import pytest

from sweepd.errors import InvalidInput
from sweepd.macros import KNOWN, expand

ARGS = {
    "lr": 0.01,
    "name": "a b",
    "flag": True,
    "off": False,
    "none": None,
    "layers": [16, 32],
    "opt": {"momentum": 0.9},
    "e": 1e-05,
}

#: What W&B's agent does with a command, in a process of its own, for it changes its working folder.
_WANDB = """
import json, os, sys
from unittest.mock import patch
from wandb.wandb_agent import Agent, AgentProcess
commands, program, args = json.load(sys.stdin)
made = []
class Caught:
    def __init__(self, command=None, **_): made.append(command)
agent = Agent.__new__(Agent)
agent._function, agent._in_jupyter = None, False
agent._forward_signals, agent._run_processes = False, {}
with patch("wandb.wandb_agent.AgentProcess", Caught):
    for agent._sweep_command in commands:
        agent._command_run({"run_id": "r1", "program": program,
                            "args": {k: {"value": v} for k, v in args.items()}})
print(json.dumps(made))
"""


@pytest.fixture
def agent(tmp_path):
    """Return the command lines that W&B's own CLI agent would start."""

    def run(commands, program, environ):
        done = subprocess.run(
            [sys.executable, "-c", _WANDB],
            input=json.dumps([commands, program, ARGS]),
            env={"PATH": "/usr/bin:/bin", "WANDB_SWEEP_ID": "s1", **environ},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        )
        return json.loads(done.stdout.splitlines()[-1])

    return run


@pytest.mark.slow
def test_every_command_expands_as_in_wandbs_agent(agent):
    command = [
        *(f"${{{name}}}" for name in sorted(KNOWN)),
        "${envvar:SHADE}/bin/${envvar:UNSET_HERE}",
        "${envvar:SHADE}",
        "${envvar:lower}",
        "${unknown}",
        "--batch_size=${batch_size}",
        "--lr=${args}",
        "${args} ",
        "${args}${program}",
        "$args",
        7,
        1.5,
        True,
    ]
    environ = {"SHADE": "blue"}
    json_file = "wandb/sweep-s1/config-r1.json"

    expected, default = agent([command, None], "train.py", environ)

    ours = expand(command, program="train.py", args=ARGS, environ=environ, json_file=json_file)
    assert ours == expected
    assert json_file in ours
    assert expand(None, program="train.py", args=ARGS, environ={}) == default
    assert expand([], program="train.py", args=ARGS, environ={}) == default


@pytest.mark.parametrize(
    ("macro", "expected"),
    [
        ("args", ["--lr=0.1", "--x=True", "--y=False"]),
        ("args_no_hyphens", ["lr=0.1", "x=True", "y=False"]),
        ("args_no_boolean_flags", ["--lr=0.1", "--x"]),
        ("args_no_equals", ["--lr", "0.1", "--x", "True", "--y", "False"]),
        ("args_append_hydra", ["+lr=0.1", "+x=True", "+y=False"]),
        ("args_override_hydra", ["++lr=0.1", "++x=True", "++y=False"]),
        ("args_json", ['{"lr": 0.1, "x": true, "y": false}']),
        ("args_dict", ["lr", "x", "y"]),
        ("args_json_file", ["c.json"]),
        ("program", ["p.py"]),
        ("interpreter", ["python"]),
        ("env", ["/usr/bin/env"]),
        ("arg", []),
    ],
)
def test_a_macro_stands_for_whole_items(macro, expected):
    args = {"lr": 0.1, "x": True, "y": False}

    found = expand([f"${{{macro}}}"], program="p.py", args=args, environ={}, json_file="c.json")

    assert found == expected


def test_there_is_no_env_on_windows():
    found = expand(None, program="p.py", args={"a": 1}, environ={}, on_windows=True)

    assert found == ["python", "p.py", "--a=1"]


def test_what_a_macro_needs_and_is_not_there_is_told():
    with pytest.raises(InvalidInput, match="program"):
        expand(None, program=None, args={}, environ={})
    with pytest.raises(InvalidInput, match="args_json_file"):
        expand(["${args_json_file}"], program="p", args={}, environ={})


def test_a_command_is_not_changed_by_expanding_it():
    command = ["${envvar:A}", "${args}"]

    expand(command, program="p", args={"a": 1}, environ={"A": "x"})

    assert command == ["${envvar:A}", "${args}"]
