import pytest

from sweepd.errors import InvalidInput
from sweepd_agent.__main__ import main
from sweepd_agent.options import Options, SweepPath, parse_per_gpu, parse_sweep, to_arguments


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("abc", SweepPath("abc"), id="id"),
        pytest.param("toy/abc", SweepPath("abc", None, "toy"), id="project"),
        pytest.param("alice/toy/abc", SweepPath("abc", "alice", "toy"), id="entity"),
        pytest.param(
            "http://127.0.0.1:8080/alice/toy/sweeps/abc",
            SweepPath("abc", "alice", "toy", "http://127.0.0.1:8080"),
            id="address",
        ),
        pytest.param(
            "https://host/under/this/alice/my%20toy/sweeps/abc?x=1",
            SweepPath("abc", "alice", "my toy", "https://host/under/this"),
            id="address below a path",
        ),
        pytest.param(
            "https://wandb.ai/alice/toy/sweeps/abc",
            SweepPath("abc", "alice", "toy", "https://api.wandb.ai"),
            id="cloud",
        ),
    ],
)
def test_sweep_is_named_as_wandb_prints_it(text, expected):
    assert parse_sweep(text) == expected


@pytest.mark.parametrize(
    "text", ["", "a/b/c/d", "//", "a b", "http://host/x", "ftp://h/a/b/sweeps/c"]
)
def test_what_names_no_sweep_is_refused_in_words(text):
    with pytest.raises(InvalidInput, match=r"names no sweep|not the address of a sweep"):
        parse_sweep(text)


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "", "many", "²"])
def test_number_per_gpu_that_is_none_is_refused_with_what_is_allowed(text):
    with pytest.raises(InvalidInput, match="--per-gpu must be auto or at least 1, not"):
        parse_per_gpu(text)


@pytest.mark.parametrize(("text", "per_gpu"), [("3", 3), ("auto", "auto")])
def test_number_per_gpu_is_found_out_or_given(text, per_gpu):
    assert parse_per_gpu(text) == per_gpu


def test_command_line_means_the_same_options_and_holds_no_key(monkeypatch):
    given = {"gpus": "0,1", "gpus_per_trial": 2, "slots": 3, "count": 7, "name": "host"}
    given["per_gpu"] = "auto"
    options = Options("a/b/c", folder="/x", api_key="k", **given)
    seen = []
    monkeypatch.setattr(
        "sweepd_agent.__main__.run_agent", lambda options, report: seen.append(options) or 0
    )

    arguments = to_arguments(options)

    assert main(arguments) == 0
    assert seen[0] == Options("a/b/c", folder="/x", **given)
    assert not any(part.partition("=")[2] == "k" for part in arguments)
