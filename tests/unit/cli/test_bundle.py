"""`sweep bundle`: what it is given, and what it says where it cannot."""

import base64
import json
from pathlib import Path

import pytest
from graphql import GraphQLError

from sweepd.errors import Reason
from sweepd_agent.api import Outcome, Sweep
from sweepd_agent.bundle import Bundle, Ended, Journal


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


@pytest.fixture
def leases(ours, monkeypatch):
    """The bundles of our server's sweep: how many trials each holds, by the wire's id."""
    monkeypatch.setenv("WANDB_BASE_URL", ours.url)
    monkeypatch.setenv("WANDB_API_KEY", "k" * 40)
    ours.sweep |= {"config": "program: train.py", "project": {**ours.sweep["project"]}}
    ours.sweep["project"]["entity"] = {"name": "alice"}
    ours.fills = [(2, None), (3, None)]  # what each request brings it to, and what goes wrong then
    held = {}

    def fill(info, input):
        bundle = base64.b64encode(f"Bundle:bundle-{input['key']}".encode()).decode()
        held[bundle], error = ours.fills.pop(0)
        if error is not None:
            raise GraphQLError(error)
        rows = [{"type": "run", "run_id": f"r{n}"} for n in range(held[bundle])]
        about = {"id": bundle, "asked": 3, "given": held[bundle], "until": "2033-01-01T00:00:00Z"}
        return {"bundle": about, "commands": json.dumps(rows)}

    def give_back(info, input):
        held[input["id"]] = 0
        return {"bundle": {"out": 0}}

    ours.root |= {"sweepdFillBundle": fill, "sweepdGiveBackBundle": give_back}
    return held


def test_bundle_that_was_made_keeps_its_trials(sweep, leases):
    sweep("bundle", "make", "s1", "-n", "3", "-o", "away", code=0)

    assert list(leases.values()) == [3]


def test_bundle_that_cannot_be_written_gives_its_trials_back(sweep, leases, folder):
    (folder / "away").mkdir()
    (folder / "away" / "bundle.json").symlink_to("nowhere")

    sweep("bundle", "make", "s1", "-n", "3", "-o", "away", code=1)

    assert list(leases.values()) == [0]


def test_bundle_that_cannot_be_filled_gives_back_what_it_has(sweep, leases, ours):
    ours.fills[1] = (2, "sweep s1 is paused")

    err = sweep("bundle", "make", "s1", "-n", "3", code=1).err

    assert "sweep s1 is paused" in err
    assert list(leases.values()) == [0]


@pytest.fixture
def merge(sweep, make_server, folder, data, monkeypatch):
    """Merge a bundle that names a server, which does not know it; return the server and a way.

    There is a key in the environment that is for another server.
    """
    monkeypatch.setenv("WANDB_API_KEY", "k" * 40)
    server = make_server(is_ours=True)
    server.root["sweepdBundle"] = None
    content = {
        "format": 1,
        "id": "QnVuZGxl",
        "server": server.url,
        "sweep": {"entity": "alice", "project": "toys", "name": "s1"}
        | {"program": "train.py", "command": None},
        "retries": 1,
        "until": 2e9,
        "commands": [],
    }
    (folder / "bundle.json").write_text(json.dumps(content))
    return server, lambda *more, code: sweep(
        "bundle", "merge", folder, "--data", data, *more, code=code
    )


@pytest.mark.parametrize("configured", [None, "http://sweeps.example"])
def test_key_is_not_sent_where_only_the_bundle_says(merge, monkeypatch, configured):
    server, run = merge
    if configured:
        monkeypatch.setenv("WANDB_BASE_URL", configured)

    err = run(code=2).err

    assert f"if it is yours, name it: --server {server.url}" in err
    assert server.keys == []


def test_bundle_is_merged_with_the_server_that_is_named(merge):
    server, run = merge

    assert "knows nothing of this bundle" in run("--server", server.url, code=1).err
    assert server.keys == ["k" * 40]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_bundle_is_merged_with_the_server_that_is_configured(merge, monkeypatch, host):
    server, run = merge
    monkeypatch.setenv("WANDB_BASE_URL", server.url.replace("127.0.0.1", host))

    assert "knows nothing of this bundle" in run(code=1).err
    assert server.keys == ["k" * 40]


def test_bundle_is_merged_with_the_service_on_this_machine(merge, data):
    server, run = merge
    server.register(data)

    assert "knows nothing of this bundle" in run(code=1).err
    assert server.keys == ["k" * 40]


def test_server_of_a_bundle_that_netrc_names_gets_the_key_that_is_there(merge):
    server, run = merge
    netrc = Path.home() / ".netrc"
    netrc.parent.mkdir(exist_ok=True)
    place = server.url.removeprefix("http://")
    netrc.write_text(f"machine {place}\n  login user\n  password {'n' * 40}\n")

    assert "knows nothing of this bundle" in run(code=1).err
    assert server.keys == ["n" * 40]


@pytest.fixture
def give_back(sweep, make_server, folder, monkeypatch):
    """Merge a bundle of two trials, of which one is not run, and let others have that.

    Return the server, the ids of the bundles that it was given back, and a way.
    """
    server = make_server(is_ours=True)
    monkeypatch.setenv("WANDB_BASE_URL", server.url)
    monkeypatch.setenv("WANDB_API_KEY", "k" * 40)
    made = Bundle(
        folder / "away",
        id="QnVuZGxl",
        server=server.url,
        sweep=Sweep("alice", "toys", "s1", program="train.py", command=None),
        retries=1,
        until=2e9,
        commands=tuple(
            {"type": "run", "run_id": run, "args": {}, "sweepd": {"attempt": 1, "token": "t"}}
            for run in ("one", "two")
        ),
    )
    made.write()
    number = Journal(made).begin("one")
    outcome = Outcome(Reason.FINISHED, 0)
    Journal(made).end("one", Ended(number, outcome, host="box", device="cpu", seconds=1.0))
    given = []

    def give_back(info, input):
        given.append(input["id"])
        return {"bundle": {"out": 0}}

    rows = [
        {"runName": run, "attempt": 1, "isPresent": True, "reason": None} for run in ("one", "two")
    ]
    server.root |= {
        "sweepdBundle": {"out": 2, "trials": rows},
        "sweepdReportOutcome": lambda info, input: {"success": True},
        "sweepdGiveBackBundle": give_back,
    }
    arguments = ["bundle", "merge", "away", "--give-back", "--json"]
    return server, given, lambda code: sweep(*arguments, code=code)


def test_what_was_not_run_is_given_back(give_back):
    _, given, run = give_back

    assert run(0).json["not_run"] == 1
    assert given == ["QnVuZGxl"]


def test_nothing_is_given_back_while_a_trial_that_ran_could_not_be_sent(give_back):
    server, given, run = give_back

    def refuse(info, input):
        raise GraphQLError("not now")

    server.root["sweepdReportOutcome"] = refuse

    done = run(1)

    assert done.json["failed"] == 1
    assert given == []
    assert "nothing was given back" in done.err
