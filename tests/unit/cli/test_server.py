"""Which server a command talks to, and with whose key."""

import json
import os
import subprocess

import pytest

from sweepd.cli.server import find_server, running_service
from sweepd.errors import InvalidInput, ServerUnreachable, Unauthorized

OTHER = "o" * 40


@pytest.fixture
def server(make_server):
    return make_server(is_ours=True)


def test_nothing_configured_and_nothing_running_says_what_to_do(data):
    with pytest.raises(ServerUnreachable, match=r"sweep serve.*--server or WANDB_BASE_URL"):
        find_server(None, data)


def test_the_running_service_is_found_with_its_key(server, data):
    server.register(data)

    found = find_server(None, data)

    assert (found.url, found.kind) == (server.url, "local")
    assert found.environment["WANDB_API_KEY"] == "k" * 40
    assert "k" * 40 not in repr(found)


def test_a_key_for_another_server_is_not_sent_to_the_local_service(server, data, monkeypatch):
    server.register(data)
    monkeypatch.setenv("WANDB_API_KEY", OTHER)

    assert find_server(None, data).api_key == "k" * 40
    assert find_server("local", data).api_key == "k" * 40


def test_a_named_server_gets_the_users_own_key(server, data, monkeypatch):
    server.register(data)
    monkeypatch.setenv("WANDB_BASE_URL", server.url)
    assert find_server(None, data).api_key == "k" * 40

    monkeypatch.setenv("WANDB_API_KEY", OTHER)

    assert find_server(None, data).api_key == OTHER
    assert find_server(None, data).kind == "local"


def test_localhost_is_this_machine(server, data):
    server.register(data)

    assert find_server(server.url.replace("127.0.0.1", "localhost"), data).api_key == "k" * 40


def test_the_cloud_is_never_used_unasked(data, monkeypatch, folder):
    (folder.parent / "home").mkdir()
    (folder.parent / "home" / ".netrc").write_text(
        f"machine api.wandb.ai\n  login user\n  password {OTHER}\n"
    )
    with pytest.raises(ServerUnreachable):
        find_server(None, data)

    found = find_server("cloud", data)

    assert (found.kind, found.api_key) == ("cloud", OTHER)
    assert found.page_url == "https://wandb.ai"


def test_a_server_without_a_key_says_how_to_get_one(data):
    with pytest.raises(Unauthorized, match=r"WANDB_API_KEY.*wandb login --host="):
        find_server("http://127.0.0.1:1", data)


@pytest.mark.parametrize(
    "url", ["foo", "ftp://x", "http://", "http://[", "http://h:99999", "http://h:0", "127.0.0.1:80"]
)
def test_what_is_no_address_is_wrong_input(server, data, monkeypatch, url):
    server.register(data)
    with pytest.raises(InvalidInput, match=r"--server.*must be a URL"):
        find_server(url, data)

    monkeypatch.setenv("WANDB_BASE_URL", url)

    with pytest.raises(InvalidInput, match="WANDB_BASE_URL must be a URL"):
        find_server(None, data)


@pytest.mark.parametrize("text", ["", "[]", "null", "{}", '{"url": 1, "pid": "x"}', "\x00"])
def test_a_damaged_address_file_means_no_service(server, data, text):
    server.register(data)
    (data / "server.json").write_text(text)

    assert running_service(data) is None


def test_a_service_that_was_killed_is_not_taken_for_whoever_has_its_port_now(server, data):
    gone = subprocess.Popen(["true"])
    gone.wait()
    server.register(data, pid=gone.pid)

    assert running_service(data) is None


def test_the_local_service_is_never_asked_through_a_proxy(server, data, monkeypatch):
    server.register(data)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")

    assert running_service(data) is not None


def test_a_service_of_another_user_of_this_machine_is_alive(server, data, monkeypatch):
    server.register(data, pid=1)

    def forbidden(pid, number):
        raise PermissionError

    monkeypatch.setattr(os, "kill", forbidden)

    assert running_service(data) is not None


@pytest.mark.parametrize("command", ["ls", "best a/b/c", "create toy.yaml", "agent a/b/c"])
def test_a_server_that_is_down_means_try_again(sweep, folder, monkeypatch, command):
    (folder / "toy.yaml").write_text(
        "program: x.py\nmethod: random\nparameters: {x: {min: 0, max: 1}}"
    )
    monkeypatch.setenv("WANDB_API_KEY", OTHER)
    monkeypatch.setattr("sweepd_agent.supervisor._FIRST_WAITS_S", ())

    done = sweep(*command.split(), "--server", "http://127.0.0.1:1", code=75)

    assert "no answer from http://127.0.0.1:1" in done.err
    assert done.out == ""


def test_what_is_no_wandb_server_is_told_in_one_line(plain, sweep):
    plain.status = 501

    done = sweep("ls", "--project", "toys", code=1)

    assert len(done.err.splitlines()) == 1
    assert json.dumps(done.out) == '""'
