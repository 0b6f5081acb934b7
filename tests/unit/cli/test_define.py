"""`lint`, `preview` and `create`: definitions, right and wrong."""

import os
from pathlib import Path

import pytest

from sweepd.cli import define
from sweepd.cli.define import find_definition
from sweepd.errors import InvalidInput

TOY = """\
program: toy.py
method: random
metric: {name: loss}
run_cap: 3
parameters:
  x: {min: 0.0, max: 1.0}
  pause: {value: 0}
"""
WRONG = "method: bays\nparameters: {x: {min: 2, max: 1}}\nfoo: 1\n"


@pytest.fixture
def toy(folder):
    path = folder / "toy.yaml"
    path.write_text(TOY)
    return path


@pytest.fixture
def wrong(folder):
    path = folder / "wrong.yaml"
    path.write_text(WRONG)
    return path


def test_lint_says_that_a_right_definition_is(sweep, toy):
    assert sweep("lint", "toy.yaml", code=0).out == "toy.yaml: ok\n"


def test_lint_notes_the_block_that_other_servers_ignore(sweep, toy):
    toy.write_text(TOY + "sweepd: {seed: 7}\n")

    assert "only sweepd honours" in sweep("lint", toy, code=0).err


@pytest.mark.parametrize(
    "command", ["lint", "preview", "create", "run"], ids=lambda command: f"sweep {command}"
)
def test_every_problem_is_told_at_once_and_nothing_is_made(sweep, wrong, data, command):
    options = ["--data", data] if command in {"create", "run"} else []

    done = sweep(command, wrong, *options, code=2)

    assert "3 problems" in done.err
    for line in ("line 1: method", "line 2: parameters.x", "line 3: foo"):
        assert line in done.err
    assert done.out == ""
    assert not data.exists()


def test_unknown_keys_are_warnings_if_asked_for(sweep, toy):
    toy.write_text(TOY + "foo: 1\n")
    assert sweep("lint", toy).code == 2

    done = sweep("lint", toy, "--allow-unknown", code=0)

    assert done.err.startswith(f"warning: {toy}: line 8: foo")


@pytest.mark.parametrize(
    "content",
    [b"\x91\x00\xff" * 100, b"", b"a" * 11_000_000, b"a: &a [*a]", b"- 1", b"x: {y: [1"],
    ids=["binary", "empty", "huge", "endless", "a list", "cut short"],
)
def test_what_is_no_definition_is_refused_in_words(sweep, folder, content):
    (folder / "odd.yaml").write_bytes(content)

    done = sweep("lint", "odd.yaml", code=2)

    assert done.err.startswith("error: odd.yaml: ")
    assert len(done.err) < 1000


def test_a_name_that_is_neither_file_nor_sample_lists_the_samples(sweep):
    err = sweep("lint", "nonsense", code=2).err

    assert "'nonsense'" in err
    assert "samples: bayes, grid, hyperband, quickstart, random" in err


def test_a_folder_is_no_definition(sweep, folder):
    assert "is a folder" in sweep("lint", folder, code=2).err


def test_a_name_that_no_file_can_have_is_wrong_input(sweep):
    assert "File name too long" in sweep("lint", "x" * 300, code=2).err


def test_a_file_that_cannot_be_read_says_why(folder, monkeypatch, toy):
    def forbidden(self, mode):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", forbidden)

    with pytest.raises(InvalidInput, match=r"cannot read toy\.yaml: Permission denied"):
        define.load_definition(Path("toy.yaml"))


@pytest.mark.parametrize("name", ["quickstart", "quickstart.yaml"])
def test_a_sample_is_found_from_any_folder(name):
    assert find_definition(name).name == "quickstart.yaml"


def test_a_file_wins_over_a_sample(folder):
    (folder / "grid").write_text(TOY)

    assert find_definition("grid") == Path("grid")


def test_preview_shows_what_would_be_tried(sweep, toy):
    done = sweep("preview", "toy.yaml", "-n", "2", code=0)

    assert done.out.splitlines()[0].split() == ["#", "x"]
    assert "always pause=0" in done.out


def test_preview_as_json_holds_the_configurations(sweep, toy):
    shown = sweep("preview", "toy.yaml", "-n", "2", "--json", code=0).json

    assert [sorted(config) for config in shown["configs"]] == [["pause", "x"], ["pause", "x"]]
    assert shown["grid_size"] is None


def test_preview_knows_the_size_of_a_grid(sweep, folder):
    (folder / "g.yaml").write_text("method: grid\nparameters: {x: {values: [1, 2, 3]}}\n")

    assert "2 of the grid's 3 points" in sweep("preview", "g.yaml", "-n", "2").out
    assert sweep("preview", "g.yaml", "--json").json["grid_size"] == 3


def test_preview_says_when_there_is_no_more(sweep, folder):
    (folder / "r.yaml").write_text("method: random\nparameters: {x: {values: [1, 2]}}\n")

    assert "no more configurations" in sweep("preview", "r.yaml").out


def test_preview_says_that_bayes_depends_on_results(sweep):
    assert "depends on the results" in sweep("preview", "bayes", "-n", "3").out


def test_create_prints_the_address_and_how_to_start_agents(
    ours, sweep, toy, data, monkeypatch, folder
):
    ours.register(data)
    asked = []

    def register(parsed, server, *, project, entity):
        asked.append((parsed.definition.run_cap, server.url, project, entity))
        return "alice/toys/s1"

    monkeypatch.setattr(define, "register", register)  # the client needs more of a server

    done = sweep("create", toy, "--data", data, "--project", "toys", code=0)
    as_json = sweep("create", toy, "--data", data, "--json", code=0).json

    assert f"  agents  sweep agent alice/toys/s1 --data {data}\n" in done.out
    assert asked[0] == (3, ours.url, "toys", None)
    assert as_json == {"sweep": "alice/toys/s1", "url": f"{ours.url}/alice/toys/sweeps/s1"}
    assert "WANDB_BASE_URL" not in os.environ
