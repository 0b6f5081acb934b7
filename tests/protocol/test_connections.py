"""Connections that would be held for ever, and those that are encrypted."""

import asyncio
import socket
import ssl
import time
from contextlib import ExitStack

import httpx
import pytest
import trustme

from sweepd.edge.tls import Certificate
from sweepd.errors import InvalidInput


def _open(ready):
    host, port = ready.url.removeprefix("http://").split(":")
    found = socket.create_connection((host, int(port)), timeout=20)
    return found


def _is_closed(connection):
    """Wait until the other end closes a connection; fail at the socket's own deadline."""
    try:
        while connection.recv(4096):
            pass
    except ConnectionResetError:
        pass
    return True


@pytest.fixture
def impatient(running):
    """A service that waits a second for headers and three for anything else."""
    return running(time_scale=0.05)


HEAD = b"POST /graphql HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n"


@pytest.mark.parametrize(
    "begin",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"POST /graphql HT", id="half a line"),
        pytest.param(HEAD, id="half the headers"),
        pytest.param(HEAD + b"\r\n" + b"x" * 99, id="most of a body"),
    ],
)
def test_slowloris_who_sends_no_more_is_shown_out(impatient, begin):
    with _open(impatient) as connection:
        connection.sendall(begin)

        assert _is_closed(connection)


@pytest.mark.parametrize("begin", [HEAD, HEAD + b"\r\n"], ids=["headers", "body"])
def test_slowloris_who_sends_a_byte_now_and_then_is_shown_out_too(impatient, begin):
    with _open(impatient) as connection:
        connection.sendall(begin)
        connection.settimeout(0.1)
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            try:
                connection.sendall(b"x" if begin.endswith(b"\r\n\r\n") else b"x: y\r\n")
                if not connection.recv(100):
                    break
            except TimeoutError:
                continue
            except OSError:
                break

        assert time.monotonic() < deadline


def test_an_answer_that_nobody_reads_is_given_up(impatient):
    def inside():
        text = httpx.get(f"{impatient.url}/metrics", auth=("api", impatient.api_key)).text
        return float(text.split("\nsweepd_requests_in_flight ")[1].split()[0])

    with httpx.Client(base_url=impatient.url, auth=("api", impatient.api_key)) as client:
        made = client.post("/graphql", json={"query": UPLOAD_RUN}).json()
        assert made["data"]
        put, get = (
            client.post("/graphql", json={"query": query}).json()["data"]
            for query in (UPLOAD, DOWNLOAD)
        )
        client.put(put["createRunFiles"]["files"][0]["uploadUrl"], content=b"x" * (32 << 20))
        get = client.post("/graphql", json={"query": DOWNLOAD}).json()["data"]
    url = get["project"]["run"]["files"]["edges"][0]["node"]["directUrl"]
    with _open(impatient) as connection:
        path = url.removeprefix(impatient.url)
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        assert connection.recv(12) == b"HTTP/1.1 200"
        assert inside() == 2

        deadline = time.monotonic() + 20
        while inside() > 1:
            assert time.monotonic() < deadline


UPLOAD_RUN = 'mutation { upsertBucket(input: {name: "r", modelName: "p"}) { inserted } }'
UPLOAD = """mutation { createRunFiles(input: {entityName: "admin", projectName: "p",
  runName: "r", files: ["a"]}) { files { uploadUrl } } }"""
DOWNLOAD = '{ project(name: "p") { run(name: "r") { files { edges { node { directUrl } } } } } }'


def test_a_connection_too_many_is_refused_in_words_and_those_before_it_go_on(running):
    ready = running(max_connections=4)
    with ExitStack() as stack:
        first = stack.enter_context(_open(ready))
        for _ in range(3):
            stack.enter_context(_open(ready))

        deadline = time.monotonic() + 20
        while True:  # connections are counted once they were accepted
            with _open(ready) as another:
                another.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
                answer = another.recv(4096)
            if answer.startswith(b"HTTP/1.1 503"):
                break
            assert time.monotonic() < deadline
        first.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")

        assert b"retry-after: 1" in answer
        assert b"too many connections" in answer
        assert first.recv(12) == b"HTTP/1.1 200"


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


def _files(authority, folder, name="127.0.0.1"):
    issued = authority.issue_cert(name)
    issued.private_key_pem.write_to_path(folder / "key.pem")
    (folder / "cert.pem").write_bytes(b"".join(p.bytes() for p in issued.cert_chain_pems))
    return folder / "cert.pem", folder / "key.pem"


def test_a_certificate_serves_https_and_links_say_so(running, authority, tmp_path):
    cert, key = _files(authority, tmp_path)
    ready = running(tls_cert=cert, tls_key=key)
    trust = ssl.create_default_context()
    authority.configure_trust(trust)

    with httpx.Client(verify=trust, base_url=ready.url, auth=("api", ready.api_key)) as client:
        client.post("/graphql", json={"query": UPLOAD_RUN})
        made = client.post("/graphql", json={"query": UPLOAD}).json()["data"]
        page = client.get(ready.login_url)

    assert ready.url.startswith("https://127.0.0.1:")
    assert made["createRunFiles"]["files"][0]["uploadUrl"].startswith(f"{ready.url}/storage/")
    assert "secure" in page.headers["Set-Cookie"].lower()
    with pytest.raises(httpx.ConnectError, match="certificate"):
        httpx.get(f"{ready.url}/healthz")


def test_old_versions_of_tls_are_refused(running, authority, tmp_path):
    cert, key = _files(authority, tmp_path)
    ready = running(tls_cert=cert, tls_key=key)
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        old.maximum_version = ssl.TLSVersion.TLSv1_1

    host, port = ready.url.removeprefix("https://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as plain, pytest.raises(OSError):  # noqa: PT011
        old.wrap_socket(plain)


def test_a_certificate_that_is_none_is_refused_in_words(running, tmp_path):
    (tmp_path / "cert.pem").write_text("nothing")

    with pytest.raises(InvalidInput, match=r"TLS with .*cert\.pem"):
        running(tls_cert=tmp_path / "cert.pem", tls_key=tmp_path / "cert.pem")


async def _serial(context, trust):
    """Return the number of the certificate that a server with this context shows."""
    server = await asyncio.start_server(lambda r, w: w.close(), "127.0.0.1", 0, ssl=context)
    async with server:
        port = server.sockets[0].getsockname()[1]
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trust)
        found = writer.get_extra_info("peercert")["serialNumber"]
        writer.close()
    return found


def test_a_renewed_certificate_is_used_without_a_restart_and_half_a_pair_is_not(
    authority, tmp_path, caplog
):
    cert, key = _files(authority, tmp_path)
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    served = Certificate(cert, key, look_s=0.01)

    async def renew():
        chore = asyncio.create_task(served.keep_fresh())
        before = await _serial(served.context, trust)
        old = cert.read_bytes()
        _files(authority, tmp_path)
        new = cert.read_bytes()
        cert.write_bytes(old)  # the new key is there, the certificate is not yet
        while "does not work" not in caplog.text:
            await asyncio.sleep(0.01)
        between = await _serial(served.context, trust)
        cert.write_bytes(new)
        while (after := await _serial(served.context, trust)) == before:
            await asyncio.sleep(0.01)
        chore.cancel()
        return before, between, after

    before, between, after = asyncio.run(asyncio.wait_for(renew(), 20))

    assert before == between != after
