"""How `sweep run` drives its agents: progress, interrupts, a server that goes away."""

import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

import sweepd.cli.drive as drive_module
from sweepd.cli.api import Api
from sweepd.cli.drive import Plan, drive, leave_on_signals
from sweepd.cli.embedded import Service
from sweepd.cli.server import Server
from sweepd.errors import NotFound, ProcessDied

WAITS = "import signal, sys; signal.signal(signal.SIGTERM, lambda *_: sys.exit(7)); signal.pause()"
WAITS_FOR_RELEASE = "open('release').read()"


@dataclass(frozen=True)
class Program:
    """A plan whose agent is a program of the test's own."""

    code: str
    workdir: Path
    sweep: str = "alice/toys/s1"

    @property
    def command(self) -> list[str]:
        return [sys.executable, "-c", self.code]


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    for name in ("_LOOK_S", "_OURS_S", "_AWAY_S"):
        monkeypatch.setattr(drive_module, name, 0.01)


@pytest.fixture
def api(ours):
    api = Api(Server(ours.url, "k" * 40, "other"))
    yield api
    api.close()


@pytest.fixture
def run(api, folder):
    """Drive an agent that is the given program."""
    return lambda code: drive(api, Service(api.server), Program(code, folder))


@pytest.fixture
def on_look(ours):
    """Call back at each look at the sweep, with the number of the look."""
    looks = []

    def set_up(callback):
        def look(info, name):
            looks.append(name)
            callback(len(looks))
            return ours.sweep

        ours.root["sweepdSweep"] = look

    return set_up


@pytest.fixture
def release(folder):
    """Let an agent go that waits to be."""
    pipe = folder / "release"
    os.mkfifo(pipe)
    return lambda: pipe.write_text("go")


def test_the_agent_is_told_where_how_many_and_on_what():
    plan = Plan("e/p/s", 3, "0,1", Path())

    assert plan.command[-6:] == ["e/p/s", "--json", "--gpus", "0,1", "--slots", "3"]
    assert Plan("e/p/s", None, None, Path()).command[-2:] == ["e/p/s", "--json"]


def test_a_sweep_that_ends_gives_its_last_state(run, ours, on_look, capsys):
    def finish(look):
        if look == 2:
            ours.sweep["sweepdStatus"] |= {"finished": 3, "running": 0}
            ours.sweep["state"] = "FINISHED"

    on_look(finish)

    facts, code = run("pass")

    assert code == 0
    assert facts["state"] == "FINISHED"
    assert capsys.readouterr().err.endswith("finished: 3 of 3 trials finished, best loss 0.25\n")


def test_the_first_trials_that_fail_are_told_with_their_logs(run, ours, capsys):
    ours.sweep["state"] = "FINISHED"
    events = [
        {"event": "trial_ended", "text": f"r{i} ended: boom", "is_failure": True} for i in range(8)
    ]
    events.insert(0, {"event": "trial_ended", "text": "all is well", "is_failure": False})

    run(f"import json\nprint('not an event')\nfor one in {events}: print(json.dumps(one))")

    told = capsys.readouterr().err
    assert [f"r{i} ended: boom" in told for i in range(8)] == [True] * 5 + [False] * 3
    assert told.count("more trials fail; the sweep's page tells of each") == 1
    assert "all is well" not in told


def test_what_the_sweep_has_to_say_is_told_as_it_comes(run, ours, on_look, release, capsys):
    def say(look):
        ours.sweep["sweepdStatus"] |= {"notice": "the metric 'lss' was never logged"}
        if look == 3:
            release()

    on_look(say)

    run(WAITS_FOR_RELEASE)

    assert capsys.readouterr().err.count("notice: the metric 'lss' was never logged") == 1


@pytest.mark.parametrize(
    ("program", "state", "code"),
    [
        ("raise SystemExit(2)", "RUNNING", 2),
        ("raise SystemExit(0)", "FAILED", 1),
        ("import os; os.kill(os.getpid(), 9)", "RUNNING", 1),
    ],
    ids=["the agent fails", "the sweep fails", "the agent is killed"],
)
def test_what_goes_wrong_is_in_the_exit_code(run, ours, capsys, program, state, code):
    ours.sweep["state"] = state

    assert run(program)[1] == code
    assert ("SIGKILL" in capsys.readouterr().err) == ("kill" in program)


def test_the_first_interrupt_ends_the_sweep_and_leaves_the_agents(run, ours, on_look, release):
    told = []

    def interrupt(look):
        if look == 3:
            os.kill(os.getpid(), signal.SIGINT)
        if ours.sweep["state"] == "FINISHED" and not told:
            told.append(look)
            release()

    on_look(interrupt)

    facts, code = run(WAITS_FOR_RELEASE)

    assert code == 130
    assert facts["state"] == "FINISHED"


def test_the_second_interrupt_ends_the_agents(run, on_look, capsys):
    def interrupt(look):
        if look in (4, 6):
            os.kill(os.getpid(), signal.SIGINT)

    on_look(interrupt)

    assert run(WAITS)[1] == 130

    err = capsys.readouterr().err
    assert err.index("interrupted: no new trials") < err.index("interrupted again")


def test_sigterm_counts_as_an_interrupt(run, on_look, capsys):
    on_look(lambda look: os.kill(os.getpid(), signal.SIGTERM) if look in (4, 6) else None)

    assert run(WAITS)[1] == 130


def test_a_sweep_that_cannot_be_stopped_is_no_end(run, ours, on_look, capsys):
    def refuse(info, input):
        raise ValueError("not now")

    ours.root["upsertSweep"] = refuse
    on_look(lambda look: os.kill(os.getpid(), signal.SIGINT) if look in (4, 6) else None)

    assert run(WAITS)[1] == 130
    assert "could not be stopped: not now" in capsys.readouterr().err


def test_a_server_that_goes_away_is_waited_for(run, ours, on_look, release, capsys):
    real, away = ours.answer, []

    def sometimes(body):
        if 0 < len(away) < 3:
            away.append(True)
            return 503, b"{}"
        return real(body)

    def look(number):
        if number == 2:
            away.append(True)
        if number == 4:
            release()

    ours.answer = sometimes
    on_look(look)

    _, code = run(WAITS_FOR_RELEASE)

    err = capsys.readouterr().err
    assert code == 0
    assert err.count("the server is away") == 1
    assert err.count("the server is back") == 1


def test_a_sweep_that_somebody_deletes_ends_the_agents(run, ours, on_look):
    on_look(lambda look: ours.root.update(sweepdSweep=None) if look == 2 else None)

    with pytest.raises(NotFound, match="no sweep alice/toys/s1"):
        run(WAITS)


def test_a_service_of_our_own_that_dies_ends_the_agents(api, folder):
    import subprocess

    gone = subprocess.Popen(["false"])
    gone.wait()
    service = Service(api.server, gone, folder / "service.log")

    with pytest.raises(ProcessDied, match="the service ended"):
        drive(api, service, Program(WAITS, folder))


def test_signals_end_a_command_in_order_outside_too():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), leave_on_signals():
        signal.raise_signal(signal.SIGTERM)

    assert signal.getsignal(signal.SIGTERM) is before


def test_a_hangup_that_is_ignored_stays_so(monkeypatch):
    old = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with leave_on_signals():
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, old)
