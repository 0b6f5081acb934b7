"""The service as a process: settings, first start, one-sentence failures, quick ends."""

import asyncio
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from sweepd.app import serve
from sweepd.edge.listen import listen
from sweepd.errors import Conflict, InvalidInput, ProcessDied, StoreBusy
from sweepd.settings import Settings
from sweepd.worker import Worker

KEY = "adopted" + "a" * 40


def _mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def _viewer(ready, key):
    return httpx.post(
        f"{ready.url}/graphql", json={"query": "{ viewer { entity } }"}, auth=("api", key)
    )


def test_the_first_start_makes_a_user_and_leaves_the_key_for_this_machine(running, settings):
    ready = running()

    kept = json.loads((settings.data / "credentials.json").read_text())
    assert kept == {"user": ready.user, "api_key": ready.api_key, "url": ready.url}
    assert _mode(settings.data / "credentials.json") == 0o600
    assert _mode(settings.data) == 0o700
    assert json.loads((settings.data / "server.json").read_text())["url"] == ready.url
    assert _viewer(ready, ready.api_key).status_code == 200


def test_the_printed_link_signs_a_browser_in_once(running):
    ready = running()

    with httpx.Client() as browser:
        browser.get(ready.login_url)
        assert len(browser.cookies) == 1
    with httpx.Client() as another:
        another.get(ready.login_url)
        assert len(another.cookies) == 0


def test_a_key_that_is_given_is_adopted_and_kept_over_a_restart(running):
    first = running(api_key=KEY)
    first.stop()
    while (first.data / "server.json").exists():
        time.sleep(0.01)

    second = _retry(lambda: running(api_key=KEY))

    assert first.api_key == second.api_key == KEY
    assert _viewer(second, KEY).status_code == 200


def _retry(action):
    deadline = time.monotonic() + 10
    while True:
        try:
            return action()
        except StoreBusy:
            assert time.monotonic() < deadline
            time.sleep(0.02)


def test_lost_credentials_are_made_anew(running):
    first = running()
    first.stop()
    (first.data / "credentials.json").unlink()

    second = _retry(running)

    assert second.api_key != first.api_key
    assert _viewer(second, second.api_key).status_code == 200
    assert _viewer(second, first.api_key).status_code == 200


@pytest.mark.parametrize(
    ("key", "words"), [("", "set but empty"), ("short", "at least 40 characters")], ids=repr
)
def test_a_first_key_that_is_none_is_refused_in_words(running, key, words):
    with pytest.raises(InvalidInput, match=words):
        running(api_key=key)


def test_a_port_in_use_is_refused_in_one_sentence(running):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]

        with pytest.raises(Conflict, match=f"port {port} on 127.0.0.1 is taken"):
            running(port=port)


def test_another_port_is_taken_where_any_will_do(running):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]

        ready = running(port=port, any_port=True)

    assert not ready.url.endswith(f":{port}")
    assert httpx.get(f"{ready.url}/healthz").status_code == 200


def test_of_two_services_that_start_together_only_one_gets_the_port(settings):
    with listen(settings) as first:
        port = first.getsockname()[1]

        with (
            pytest.raises(Conflict, match="is taken by another program"),
            listen(settings.model_copy(update={"port": port})),
        ):
            pass
        with listen(settings.model_copy(update={"port": port, "any_port": True})) as other:
            assert other.getsockname()[1] != port


def test_unless_told_otherwise_it_listens_where_only_this_machine_reaches_it(running, settings):
    assert settings.host == "127.0.0.1"
    default, everywhere = (
        httpx.URL(ready.url).port
        for ready in (running(), running(host="0.0.0.0", data=settings.data / "other"))
    )

    socket.create_connection(("127.0.0.2", everywhere), timeout=5).close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", default), timeout=5)


def test_an_address_that_is_not_ours_is_refused(running):
    with pytest.raises(InvalidInput, match=r"cannot listen on port 0 on 192\.0\.2\.1"):
        running(host="192.0.2.1")
    with pytest.raises(InvalidInput, match="is not an address"):
        running(host="no such host")


def test_two_services_do_not_share_a_folder(running):
    running()

    with pytest.raises(StoreBusy, match="another sweepd service"):
        running()


def test_links_and_greeting_use_the_public_address(running):
    ready = running(public_url="https://sweeps.example.org")

    assert ready.url == "https://sweeps.example.org"
    assert ready.login_url.startswith("https://sweeps.example.org/login/")


def test_a_greeting_that_fails_ends_the_service(settings):
    def greet(ready):
        raise RuntimeError("no terminal")

    with pytest.raises(RuntimeError, match="no terminal"):
        serve(settings, on_ready=greet)

    assert not (settings.data / "server.json").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_a_signal_ends_the_service_with_success_though_a_page_is_open(
    tmp_path, start_service, number
):
    with start_service(tmp_path / "data") as live, httpx.Client() as browser:
        link = browser.post(
            f"{live.url}/graphql",
            json={"query": "mutation { sweepdCreateLoginLink { url } }"},
            auth=("api", live.key),
        ).json()["data"]["sweepdCreateLoginLink"]["url"]
        browser.get(link)

        with browser.stream("GET", f"{live.url}/-/feed/entity/admin") as page:
            assert page.status_code == 200
            live.process.send_signal(number)
            code = live.process.wait(30)

        assert code == 0
        assert "Traceback" not in (tmp_path / "data.log").read_text()
        assert not (live.data / "server.json").exists()


def test_neither_key_nor_lease_is_ever_printed(tmp_path, start_service):
    with start_service(tmp_path / "data") as live:
        for key in (live.key, "wrong" + "w" * 40):
            httpx.post(
                f"{live.url}/files/admin/toy/r1/file_stream",
                json={},
                auth=("api", key),
                headers={"X-Sweepd-Lease": "r1;1;secret-token"},
            )
        live.process.send_signal(signal.SIGTERM)
        live.process.wait(10)
        printed = (tmp_path / "data.log").read_text()

    assert "secret-token" not in printed
    assert "wrong" not in printed
    assert printed.count(live.key) == 1  # the export line of the first greeting


def test_the_service_does_not_need_torch(tmp_path):
    blocked = (
        "import sys\n"
        "class NoTorch:  # as where it is not installed; scipy trips over None in sys.modules\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] == 'torch':\n"
        "            raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, NoTorch())\n"
        "import sweepd.app, sweepd.background\n"
        "from sweepd.registry import Registry\n"
        "from sweepd.names import METHODS, STOP_RULES\n"
        "for kind, rows in (('method', METHODS), ('stop_rule', STOP_RULES)):\n"
        "    registry = Registry(kind, rows)\n"
        "    [registry.load(name) for name in registry]\n"
    )

    subprocess.run([sys.executable, "-c", blocked], check=True, timeout=60)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"port": 70_000}, "port"),
        ({"port": "x"}, "port"),
        ({"public_url": "sweeps.example.org"}, "must be a URL"),
        ({"public_url": "https://example.org/sweeps"}, "without a path"),
        ({"also_at": ("ftp://x",)}, "also_at"),
        ({"time_scale": 0}, "time_scale"),
        ({"unheard_of": 1}, "unheard_of"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_wrong_setting_is_refused_in_words(settings, given, words):
    with pytest.raises(InvalidInput, match=words):
        Settings(**given)


def test_settings_come_from_the_environment(settings, monkeypatch):
    monkeypatch.setenv("SWEEPD_PORT", "1234")
    monkeypatch.setenv("SWEEPD_ALSO_AT", "http://a:1/, http://b:2")
    monkeypatch.setenv("SWEEPD_PUBLIC_URL", "https://sweeps.example.org/")
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("XDG_DATA_HOME", "/somewhere")

    found = Settings()

    assert found.port == 1234
    assert found.also_at == ("http://a:1", "http://b:2")
    assert found.public_url == "https://sweeps.example.org"
    assert found.api_key == KEY
    assert found.data == Path("/somewhere/sweepd")


@pytest.fixture
def worker():
    worker = Worker()
    yield worker
    worker.stop()


def _call(worker, function, argument, timeout_s=20.0):
    return asyncio.run(worker.call(function, argument, timeout_s=timeout_s))


def test_a_worker_computes_in_one_other_process_on_one_thread(worker):
    pid = "__import__('os').getpid()"

    assert _call(worker, os.getenv, "OMP_NUM_THREADS") == "1"
    assert _call(worker, eval, pid) == _call(worker, eval, pid) != os.getpid()


def test_what_a_worker_raises_is_told_in_words(worker):
    with pytest.raises(ProcessDied, match="ValueError: invalid literal"):
        _call(worker, int, "x")

    assert _call(worker, int, "7") == 7


def test_a_worker_that_dies_is_replaced(worker):
    _call(worker, int, "1")

    with pytest.raises(ProcessDied, match="died"):
        _call(worker, signal.raise_signal, signal.SIGKILL)

    assert _call(worker, int, "7") == 7


def test_a_worker_that_hangs_is_replaced(worker):
    _call(worker, int, "1")

    with pytest.raises(ProcessDied, match=r"no answer within 0\.2 s"):
        _call(worker, time.sleep, 60, timeout_s=0.2)

    assert _call(worker, int, "7") == 7
