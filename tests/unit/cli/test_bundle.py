"""`sweep bundle`: what it is given, and what it says where it cannot."""

import pytest


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["make", "sw1"], "Missing option '-n'"),
        (["make", "sw1", "-n", "0"], "1<=x<=1000"),
        (["make", "sw1", "-n", "3", "--for", "soon"], "use 90m, 12h or 7d"),
        (["merge", "nowhere"], "does not exist"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_input_is_told_in_a_sentence(sweep, arguments, said):
    done = sweep("bundle", *arguments, code=2)

    assert said in done.err


def test_folder_without_a_bundle_is_no_bundle(sweep, folder):
    done = sweep("bundle", "merge", str(folder), code=2)

    assert "is no bundle" in done.err


@pytest.mark.parametrize("arguments", [[], ["sw1", "--offline", "."]], ids=["neither", "both"])
def test_agent_takes_a_sweep_or_a_bundle(sweep, arguments):
    done = sweep("agent", *arguments, code=2)

    assert "give SWEEP, or --offline BUNDLE" in done.err
