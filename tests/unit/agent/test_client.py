import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from sweepd.errors import Forbidden, NotFound, ProtocolError, ServerUnreachable, Unauthorized
from sweepd_agent.client import Client


@pytest.fixture
def serve():
    """Serve fixed answers, one a request; None closes the connection without an answer."""
    servers = []

    def start(*answers):
        pending = list(answers)
        seen = []

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                self.rfile.read(int(self.headers["Content-Length"]))
                seen.append((self.path, dict(self.headers), self.client_address))
                answer = pending.pop(0)
                if answer is None:
                    self.close_connection = True
                    return
                status, body, *headers = answer
                self.send_response(status)
                for name, value in headers:
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body.encode())

            def log_message(self, *args):
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        client = Client(f"http://127.0.0.1:{server.server_port}", "key")
        servers.append((server, client))
        return client, seen

    yield start
    for server, client in servers:
        client.close()
        server.shutdown()
        server.server_close()


def test_answers_come_over_one_connection(serve):
    client, seen = serve((200, '{"data": {"a": 1}}'), (200, '{"data": {"a": 2}}'))

    assert [client.execute("q", {})["a"] for _ in range(2)] == [1, 2]
    assert seen[0][0] == "/graphql"
    assert seen[0][1]["Authorization"] == "Basic YXBpOmtleQ=="
    assert seen[0][2] == seen[1][2]


def test_connection_that_the_server_closed_is_renewed(serve):
    client, seen = serve((200, '{"data": {}}'), None, (200, '{"data": {"a": 2}}'))
    client.execute("q", {})

    assert client.execute("q", {}) == {"a": 2}
    assert len(seen) == 3


def test_new_connection_that_is_closed_means_no_server(serve):
    client, _ = serve(None)

    with pytest.raises(ServerUnreachable, match="no answer from http://127"):
        client.execute("q", {})


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, ProtocolError), (401, Unauthorized), (403, Forbidden), (404, NotFound),
        (409, ProtocolError), (501, ProtocolError), (429, ServerUnreachable),
        (500, ServerUnreachable), (503, ServerUnreachable),
    ],
)  # fmt: skip
def test_status_says_what_kind_of_refusal_it_is(serve, status, error):
    client, _ = serve((status, '{"errors": [{"message": "why"}, {"message": "and"}]}'))

    with pytest.raises(error, match="why; and"):
        client.execute("q", {})


@pytest.mark.parametrize(
    ("status", "body"),
    [(401, "<html>"), (403, ""), (404, "404 page not found"), (404, '{"error": "no route"}')],
)
def test_refusal_of_a_router_before_the_server_means_no_server(serve, status, body):
    client, _ = serve((200, '{"data": {}}'), (status, body))
    client.execute("q", {})

    with pytest.raises(ServerUnreachable, match=f"answered {status}, and not as a W&B server"):
        client.execute("q", {})


@pytest.mark.parametrize(
    ("body", "words"), [("", "HTTP 401"), ('{"error": "Malformed token"}', "Malformed token")]
)
def test_plain_401_to_the_first_request_is_a_wrong_key(serve, body, words):
    client, _ = serve((401, body))

    with pytest.raises(Unauthorized, match=f"does not take this key: {words}"):
        client.execute("q", {})


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ('{"errors": [{"message": "why"}], "data": null}', "why"),
        ("<html>", "did not answer as a W&B server does"),
        ("[]", "did not answer as a W&B server does"),
    ],
)
def test_answer_that_is_no_data_is_refused(serve, body, words):
    client, _ = serve((200, body))

    with pytest.raises(ProtocolError, match=words):
        client.execute("q", {})


def test_servers_wish_to_wait_is_kept(serve):
    client, _ = serve((429, "{}", ("Retry-After", "7.5")), (200, '{"data": {}}'))

    with pytest.raises(ServerUnreachable):
        client.execute("q", {})
    assert client.retry_after_s == 7.5
    client.execute("q", {})
    assert client.retry_after_s is None


def test_port_that_nobody_listens_on_means_no_server():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        client = Client(f"http://127.0.0.1:{probe.getsockname()[1]}", "key")

        with pytest.raises(ServerUnreachable):
            client.execute("q", {})


def test_proxy_of_the_environment_is_used(serve, monkeypatch):
    proxy, seen = serve((200, '{"data": {"a": 1}}'))
    monkeypatch.setenv("http_proxy", proxy.url.replace("http://", "http://me:secret@"))
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    client = Client("http://sweeps.example", "key")

    assert client.execute("q", {}) == {"a": 1}

    client.close()
    path, headers, _ = seen[0]
    assert path == "http://sweeps.example/graphql"
    assert headers["Proxy-Authorization"] == "Basic bWU6c2VjcmV0"
