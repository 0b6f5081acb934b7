"""What is said of an engine's own command that failed."""

import pytest

from sweepd.errors import LaunchError
from sweepd_agent.launchers.tools import run_tool


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (
            "Unable to find image 'mine:1' locally\\n"
            "docker: Error response from daemon: pull access denied for mine\\n\\n"
            "Run 'docker run --help' for more information\\n",
            "docker: Error response from daemon: pull access denied for mine",
        ),
        ("sbatch: error: invalid partition specified: gpu\\n", "sbatch: error: invalid partition"),
        (
            "sbatch: fatal: No partition specified\\nsbatch: warning: unknown plugin foo\\n",
            "sbatch: fatal: No partition specified",
        ),
        (
            "Traceback:\\n  File x, line 1\\n    raise Error\\nModuleNotFoundError: No module\\n",
            "ModuleNotFoundError: No module",
        ),
        ("it went wrong\\nso it ended\\n", "so it ended"),
        ("", "no reason given"),
    ],
)
def test_it_is_the_line_that_tells_why(said, why):
    with pytest.raises(LaunchError) as caught:
        run_tool(["sh", "-c", f'printf "{said}" >&2; exit 1'])

    assert str(caught.value).startswith(f"sh -c failed: {why}")


def test_what_it_printed_comes_back():
    assert run_tool(["sh", "-c", "echo $WORD"], environ={"WORD": "yes"}) == "yes\n"


def test_what_it_printed_on_both_streams_comes_back_in_order():
    said = run_tool(["sh", "-c", "echo one; echo two >&2; echo three"], merged=True)

    assert said == "one\ntwo\nthree\n"


def test_it_is_the_line_that_tells_why_where_the_streams_are_one():
    with pytest.raises(LaunchError, match="sh -c failed: no such container"):
        run_tool(["sh", "-c", "echo one; echo no such container >&2; exit 1"], merged=True)
