"""What is true of every request: ids, headers, hosts, proxies, limits, probes, the end."""

import base64
import json
import logging

import httpx
import pytest
from starlette.routing import Mount, Route

from sweepd.app import build
from sweepd.engine import accounts, sessions

VIEWER = "{ viewer { entity } }"


@pytest.fixture
def changed(service, settings):
    """A client of the same store through an app with changed settings."""

    def changed(key=None, client=("127.0.0.1", 1), **changes):
        app = build(settings.model_copy(update=changes), store=service.store)
        found = service.client(key)
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False, client=client)
        found._http = httpx.AsyncClient(
            transport=transport,
            base_url="http://sweeps.test",
            auth=("api", key) if key else None,
        )
        found.app = app
        return found

    return changed


def test_every_answer_names_its_request(service, caplog):
    client = service.client(key=None)

    answers = [client.request("GET", path) for path in ("/healthz", "/", "/none", "/login/x")]

    ids = [answer.headers["X-Request-Id"] for answer in answers]
    assert len(set(ids)) == 4
    assert all(len(one) == 8 for one in ids)


def _paths(routes, prefix=""):
    for route in routes:
        if isinstance(route, Mount):
            yield from _paths(route.routes, prefix + route.path)
        elif isinstance(route, Route):
            for method in route.methods or ():
                yield method, prefix + route.path


def test_every_answer_of_every_route_has_a_policy_that_frames_and_scripts_obey(service, client):
    client.data(
        'mutation { upsertBucket(input: {name: "r1", modelName: "toy", host: "b"}) { inserted } }'
    )
    account = service.store.read_sync(accounts.list_users)[0]
    token = service.store.write_sync(sessions.open_session, account=account)
    signed_in = {"Cookie": f"{sessions.SESSION_COOKIE}={token}", "Sec-Fetch-Site": "same-origin"}
    values = {"entity": "alice", "project": "toy", "run": "r1", "name": "r1", "names": "r1"}
    seen = 0
    for method, template in [*_paths(service.app.routes), ("GET", "/a/b/c/d"), ("DELETE", "/")]:
        if "/feed/" in template:
            continue  # one endless stream is looked at below
        path = template.replace(":path", "")
        for name, value in values.items():
            path = path.replace(f"{{{name}}}", value)
        path = path.replace("{", "").replace("}", "")
        for headers in ({}, signed_in):
            answer = service.client(key=None).request(method, path, headers=headers, content=b"")
            policy = answer.headers["Content-Security-Policy"]
            assert "default-src 'none'" in policy, (method, path)
            assert "unsafe" not in policy, (method, path)
            assert answer.headers["X-Content-Type-Options"] == "nosniff", (method, path)
            framed = "sandbox" in policy or "frame-ancestors 'none'" in policy
            assert framed, (method, path)
            seen += 1
    assert seen > 60


def test_a_failure_of_ours_is_logged_under_the_id_that_the_answer_names(service, caplog):
    async def broken(request):
        raise KeyError("secret")

    service.app.router.routes.insert(0, Route("/broken", broken))

    answer = service.client(key=None).request("GET", "/broken")

    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert answer.headers["X-Request-Id"] in answer.json()["errors"][0]["message"]
    assert "KeyError" in caplog.text


@pytest.mark.parametrize(
    ("host", "status"),
    [
        pytest.param("sweeps.test", 200, id="an address that is set"),
        pytest.param("localhost:9000", 200, id="this machine"),
        pytest.param("127.0.0.1:8080", 200, id="numbers"),
        pytest.param("[::1]:8080", 200, id="numbers, new"),
        pytest.param("SWEEPS.test.:80", 200, id="written otherwise"),
        pytest.param("evil.test", 421, id="another site's name"),
        pytest.param("sweeps.test.evil.test", 421, id="a longer name"),
        pytest.param("sweeps.test@evil.test", 421, id="with a user"),
        pytest.param("sweeps.test/evil", 421, id="with a path"),
        pytest.param("", 421, id="none"),
    ],
)
def test_a_host_that_is_not_ours_is_refused_in_words(client, host, status):
    body = json.dumps({"query": VIEWER})

    answer = client.request("POST", "/graphql", content=body, headers={"Host": host})

    assert answer.status_code == status
    if status != 200:
        assert "ost" in answer.json()["errors"][0]["message"]


def test_any_name_will_do_where_others_reach_the_service_and_no_name_is_set(changed):
    client = changed(host="0.0.0.0", also_at=())

    assert client.request("GET", "/login", headers={"Host": "anything.test"}).status_code == 200
    assert client.request("GET", "/login", headers={"Host": "any thing"}).status_code == 421


def test_probes_answer_under_any_name(changed):
    answer = changed().request("GET", "/readyz", headers={"Host": "10-0-0-7.pod.cluster"})

    assert (answer.status_code, answer.json()) == (200, {"status": "ready"})


FORWARDED = {
    "X-Forwarded-For": "198.51.100.7, 203.0.113.5, 10.1.2.3",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Host": "sweeps.test:444",
}
UPLOAD = """mutation { createRunFiles(input: {entityName: "alice", projectName: "toy",
  runName: "r1", files: ["a"]}) { files { uploadUrl } } }"""


@pytest.mark.parametrize(
    ("client", "begin", "who"),
    [
        pytest.param(("10.9.9.9", 1), "https://sweeps.test:444/", "203.0.113.5", id="trusted"),
        pytest.param(("192.0.2.1", 1), "http://sweeps.test/", "192.0.2.1", id="anybody"),
    ],
)
def test_what_a_proxy_says_counts_only_if_it_is_trusted(changed, caplog, client, begin, who):
    caplog.set_level("INFO", logger="sweepd.access")
    key = "protocoltest" + "k" * 40
    proxied = changed(key, client=client, trusted_proxies=("10.0.0.0/8",), access_log=True)
    proxied.data(
        'mutation { upsertBucket(input: {name: "r1", modelName: "toy", host: "b"}) { inserted } }'
    )

    answer = proxied.request("POST", "/graphql", json={"query": UPLOAD}, headers=FORWARDED)

    url = answer.json()["data"]["createRunFiles"]["files"][0]["uploadUrl"]
    assert url.startswith(begin)
    assert f"from {who}" in caplog.text


def test_a_rate_limit_answers_429_with_when_to_come_again_and_counts_each_key_alone(
    changed, service
):
    _, other = service.store.write_sync(accounts.add_user, name="bob")
    limited = changed(rate_limit=0.5, rate_burst=3)

    def post(key):
        token = base64.b64encode(f"api:{key}".encode()).decode()
        return limited.request(
            "POST",
            "/files/a/b/c/file_stream",
            content=b"{}",
            headers={"Authorization": f"Basic {token}"},
        )

    answers = [post("protocoltest" + "k" * 40) for _ in range(4)]

    assert [answer.status_code for answer in answers] == [404, 404, 404, 429]
    assert [answer.headers["RateLimit-Remaining"] for answer in answers] == ["2", "1", "0", "0"]
    assert 0 < float(answers[-1].headers["RateLimit-Reset"]) <= 6
    assert 0 < float(answers[-1].headers["Retry-After"]) <= 2
    assert "too many requests" in answers[-1].json()["errors"][0]["message"]
    assert post(other).status_code == 404
    assert limited.request("GET", "/login").status_code == 200


def test_there_is_no_rate_limit_unless_one_is_set(client):
    answers = [client.execute(VIEWER) for _ in range(50)]

    assert {answer.status_code for answer in answers} == {200}
    assert "RateLimit-Remaining" not in answers[0].headers


def _endless():
    async def pieces():
        while True:
            yield b"x" * 65536

    return pieces()


@pytest.mark.parametrize(
    ("method", "path", "words"),
    [
        pytest.param("POST", "/graphql", "16 MiB", id="GraphQL"),
        pytest.param("POST", "/files/alice/toy/r1/file_stream", "32 MiB", id="live data"),
        pytest.param("POST", "/logout", "1 MiB", id="a form"),
    ],
)
@pytest.mark.parametrize("is_told", [True, False], ids=["length told", "length not told"])
def test_a_body_without_end_is_refused_in_words(client, method, path, words, is_told):
    headers = {"Content-Length": str(2**40)} if is_told else {}

    answer = client.request(method, path, content=_endless(), headers=headers)

    assert answer.status_code == 413 or "_session" in answer.text or answer.status_code == 303
    if answer.status_code == 413:
        assert words in answer.json()["errors"][0]["message"]


def test_a_file_that_is_too_large_is_refused_before_it_is_sent(changed):
    client = changed("protocoltest" + "k" * 40, file_gib=1)
    client.data(
        'mutation { upsertBucket(input: {name: "r1", modelName: "toy", host: "b"}) { inserted } }'
    )
    url = client.data(UPLOAD)["createRunFiles"]["files"][0]["uploadUrl"]

    answer = client.request("PUT", url, content=b"", headers={"Content-Length": str(2**30 + 1)})

    assert answer.status_code == 413
    assert "1024 MiB" in answer.json()["errors"][0]["message"]


def test_metrics_are_for_administrators(service, client):
    _, other = service.store.write_sync(accounts.add_user, name="bob")

    assert service.client(key=None).request("GET", "/metrics").status_code == 401
    assert service.client(key=other).request("GET", "/metrics").status_code == 403
    assert client.request("GET", "/metrics").status_code == 200


def test_metrics_are_for_everybody_where_that_is_set(changed):
    assert changed(open_metrics=True).request("GET", "/metrics").status_code == 200


def test_metrics_count_requests_rows_commits_and_runs(client):
    client.data(
        'mutation { upsertBucket(input: {name: "r1", modelName: "toy", host: "b"}) { inserted } }'
    )
    rows = {"files": {"wandb-history.jsonl": {"offset": 0, "content": ['{"x": 1}', '{"x": 2}']}}}
    client.request("POST", "/files/alice/toy/r1/file_stream", json=rows)
    client.request("GET", "/nobody/knows/" + "x" * 20)

    text = client.request("GET", "/metrics").text

    lines = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    counted = 'sweepd_requests_total{method="POST",route="file_stream",status="200"}'
    assert lines[counted] == "1.0"
    assert lines["sweepd_rows_total"] == "2.0"
    assert lines['sweepd_runs{state="running"}'] == "1.0"
    assert float(lines["sweepd_commit_seconds_count"]) >= 2
    assert float(lines["sweepd_requests_in_flight"]) == 1
    assert "process_resident_memory_bytes" in lines
    assert "nobody" not in text


def test_label_values_of_metrics_are_few_whatever_is_asked_for(client):
    for number in range(20):
        client.request(f"M{number}", f"/page{number}/x")

    text = client.request("GET", "/metrics").text

    assert len([line for line in text.splitlines() if "sweepd_requests_total{" in line]) <= 3


def test_a_closing_service_refuses_in_words_and_says_when_to_come_again(service, client):
    service.app.state.gate.close()

    answer = client.execute(VIEWER)
    probe = client.request("GET", "/readyz")

    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
    assert "about to end" in answer.json()["errors"][0]["message"]
    assert (probe.status_code, probe.json()["status"]) == (503, "the service is about to end")
    assert client.request("GET", "/healthz").status_code == 200


def test_a_service_that_cannot_write_is_not_ready(service, client, monkeypatch):
    monkeypatch.setattr(service.store, "folder", service.store.folder / "gone")

    answer = client.request("GET", "/readyz")

    assert answer.status_code == 503
    assert "gone cannot be written to" in answer.json()["status"]


def test_logs_are_silent_about_good_requests_unless_told(client, caplog):
    caplog.set_level(logging.INFO)

    client.execute(VIEWER)

    assert [record for record in caplog.records if record.name == "sweepd.access"] == []
