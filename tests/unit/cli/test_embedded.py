"""The service as a child of one command: started, found, shared, ended."""

import fcntl
import os
import signal
import subprocess
import sys
import threading

import pytest

from sweepd.cli import embedded
from sweepd.cli.embedded import Service, service_for
from sweepd.cli.tethered import command
from sweepd.errors import InvalidInput, ProcessDied, StoreError, StoreReadOnly

REPORTS_AND_WAITS = """
import json, os, pathlib, sys
data = pathlib.Path(sys.argv[1])
place = {"url": sys.argv[2], "pid": os.getpid(), "key": os.environ.get("WANDB_API_KEY")}
(data / "server.json.new").write_text(json.dumps(place))
(data / "server.json.new").rename(data / "server.json")
sys.stdin.read()
"""


@pytest.fixture
def start_as(monkeypatch):
    """Start a program of the test's own in the service's place."""

    def start(code: str, *arguments: object) -> None:
        line = [sys.executable, "-c", code, *map(str, arguments)]
        monkeypatch.setattr(embedded, "command", lambda *_: line)

    return start


@pytest.fixture
def standing(start_as, make_server, data):
    """A service that starts within moments, and stays until it is told to end."""
    server = make_server(is_ours=True)
    server.register(data)
    (data / "server.json").unlink()
    start_as(REPORTS_AND_WAITS, data, server.url)
    return server


def test_a_service_is_started_and_ended_with_the_command(standing, data):
    with service_for(None, data) as service:
        process = service.process
        assert service.is_started
        assert service.server.url == standing.url
        assert process is not None
        service.check()

    assert process.returncode == -signal.SIGTERM


def test_the_data_folder_of_a_started_service_is_private(standing, data):
    with service_for(None, data):
        assert (data / "service.log").stat().st_mode & 0o777 == 0o600


def test_a_key_for_another_server_is_not_given_to_the_started_one(standing, data, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "o" * 40)

    with service_for(None, data):
        assert '"key": null' in (data / "server.json").read_text()


def test_a_running_service_is_used_and_left_running(make_server, data):
    server = make_server(is_ours=True)
    server.register(data)

    with service_for(None, data) as service:
        assert not service.is_started

    assert service.server.url == server.url


def test_a_configured_server_is_used_and_nothing_is_made(plain, data):
    with service_for(None, data) as service:
        assert not service.is_started
        assert service.server.url == plain.url

    assert not data.exists()


@pytest.mark.parametrize(("code", "kind"), [(2, InvalidInput), (75, StoreError), (1, ProcessDied)])
def test_a_service_that_does_not_start_says_why(start_as, data, monkeypatch, code, kind):
    monkeypatch.setattr(embedded, "_RIVAL_S", 0.1)
    start_as(f"import sys; print('x\\nerror: no room for it'); sys.exit({code})")

    with pytest.raises(kind, match=r"^no room for it$"), service_for(None, data):
        pass


def test_a_service_that_dies_without_a_word_names_its_log(start_as, data):
    start_as("raise SystemExit(3)")

    with (
        pytest.raises(ProcessDied, match=r"exit code 3; see .*service\.log"),
        service_for(None, data),
    ):
        pass


def test_a_service_that_never_answers_is_given_up(start_as, data, monkeypatch):
    monkeypatch.setattr(embedded, "_START_S", 0.3)
    start_as("import sys; sys.stdin.read()")

    with pytest.raises(ProcessDied, match="did not answer"), service_for(None, data):
        pass


def test_of_two_commands_at_once_the_slower_uses_the_others_service(
    start_as, make_server, data, monkeypatch
):
    server = make_server(is_ours=True)
    start_as("raise SystemExit(75)")
    answers = iter([None, None])  # not there at first; by then the other's service answers
    real = embedded.running_service
    monkeypatch.setattr(embedded, "running_service", lambda folder: next(answers, real(folder)))
    server.register(data)

    with service_for(None, data) as service:
        assert not service.is_started
        assert service.server.url == server.url


def test_a_started_service_that_dies_is_noticed(data):
    gone = subprocess.Popen(["false"])
    gone.wait()
    service = Service(None, gone, data / "service.log")  # type: ignore[arg-type]

    with pytest.raises(ProcessDied, match="ended with exit code 1"):
        service.check()


def test_a_folder_that_cannot_be_made_is_one_sentence(folder):
    (folder / "file").touch()

    with (
        pytest.raises(StoreReadOnly, match="choose another data folder with --data"),
        service_for(None, folder / "file" / "data"),
    ):
        pass


def test_a_started_service_stays_while_another_command_uses_it(standing, data, capsys, monkeypatch):
    waits = []
    release = threading.Event()
    monkeypatch.setattr(embedded, "click", _Told(release))
    with (data / "used").open("ab") as other:
        fcntl.flock(other, fcntl.LOCK_SH)
        threading.Thread(target=lambda: (release.wait(20), other.close())).start()

        with service_for(None, data) as service:
            waits.append(service)

    assert release.is_set()
    assert waits[0].process.returncode == -signal.SIGTERM


class _Told:
    """Stands for click: saying that others use the service lets them end."""

    def __init__(self, release: threading.Event) -> None:
        self._release = release

    def echo(self, text: str, *, err: bool) -> None:
        assert "another command uses the service" in text
        self._release.set()


def test_a_tethered_process_ends_when_its_starter_does():
    process = subprocess.Popen(
        command("http.server", "--bind", "127.0.0.1", "0"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdout.readline()  # it serves

    process.stdin.close()

    assert process.wait(20) == -signal.SIGTERM
    process.stdout.close()


def test_a_tethered_process_ignores_modules_of_the_working_folder(folder):
    (folder / "queue.py").write_text("raise SystemExit('the user has a file of this name')")
    (folder / "json.py").write_text("raise SystemExit('the user has a file of this name')")

    process = subprocess.Popen(
        command("sweepd_agent", "--help"), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdin is not None
    with process.stdin, process.stdout as printed:
        assert b"ENTITY/PROJECT/ID" in printed.read()

    assert process.wait(20) == 0
