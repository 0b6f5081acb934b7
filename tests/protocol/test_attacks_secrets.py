"""Secrets: never in a log, never guessed by time or by words; and nothing is fetched for anyone."""

import inspect
import json
import logging
import re
import socket
import sys

import pytest

from sweepd import logs
from sweepd.engine import accounts, keys, links, sessions


@pytest.fixture
def settings(settings):
    return settings.model_copy(update={"access_log": True})


KEY = "protocoltest" + "k" * 40
FILES = """mutation($f: [String!]!) { createRunFiles(input: {entityName: "alice",
  projectName: "toy", runName: "r1", files: $f}) { files { uploadUrl } } }"""


def _everything(service, client, stranger):
    """Do all that has to do with secrets, well and badly; return the secrets."""
    account = service.store.read_sync(accounts.list_users)[0]
    link = service.store.write_sync(sessions.create_login_link, account=account)
    own = {"Sec-Fetch-Site": "same-origin"}
    signed_in = stranger.request("GET", f"/login/{link}")
    session = signed_in.headers["Set-Cookie"].partition("=")[2].partition(";")[0]
    cookie = {"Cookie": f"{sessions.SESSION_COOKIE}={session}", **own}
    made = client.data("mutation { generateApiKey(input: {}) { apiKey { name } } }")
    second = made["generateApiKey"]["apiKey"]["name"]
    wrong = "wrong" + "w" * 40
    upload = client.data(FILES, f=["a.txt"])["createRunFiles"]["files"][0]["uploadUrl"]
    signature = upload.partition("signature=")[2]
    lease = {"x-sweepd-lease": f"r1;1;{'l' * 43}"}
    stranger.request("PUT", upload, content=b"x")
    stranger.request("PUT", upload.replace("a.txt", "b.txt"), content=b"x")
    stranger.request("GET", f"/login/{link}")
    stranger.request("GET", f"/login/{wrong}")
    stranger.request("POST", "/login", data={"key": wrong}, headers=own)
    stranger.request("POST", "/login", data={"key": KEY}, headers=own)
    page = stranger.request("POST", "/authorize", headers=cookie).text
    shown = re.search(r'id="key">(\w+)<', page)[1]
    service.client(key=wrong).execute("{ viewer { id } }")
    for headers in ({"Authorization": f"Basic {wrong}"}, {"Authorization": f"Bearer {wrong}"}):
        stranger.request("POST", "/graphql", json={}, headers=headers)
    client.request("POST", "/graphql", content=b"{broken", headers=lease)
    client.request("POST", "/files/alice/toy/r1/file_stream", json={}, headers=lease)
    client.execute("query Q($k: String!) { nothing(key: $k) }", k=second)
    client.execute("mutation($i: String!) { deleteApiKey(input: {id: $i}) { success } }", i=second)
    stranger.request("GET", f"/?api_key={wrong}&token={wrong}")
    stranger.request("GET", f"/-/none/x?signature={signature}", headers=cookie)
    service.store.blobs = None  # whatever fails now fails with a traceback
    stranger.request("PUT", upload, content=b"x", headers=cookie)
    client.request("PUT", upload, content=b"x", headers=lease)
    return [KEY, second, shown, wrong, link, session, signature, "l" * 43]


@pytest.mark.parametrize("is_json", [False, True], ids=["for people", "as JSON"])
def test_no_secret_is_ever_logged(service, caplog, capsys, is_json):
    service.client().data(
        'mutation { upsertBucket(input: {name: "r1", modelName: "toy"}) { inserted } }'
    )
    handler = logging.StreamHandler()
    caplog.set_level(logging.DEBUG)
    logging.getLogger("sweepd").addHandler(handler)
    handler.setFormatter(logs._Json() if is_json else logs._Human())
    try:
        secrets = _everything(service, service.client(), service.client(key=None))
    finally:
        logging.getLogger("sweepd").removeHandler(handler)

    written = capsys.readouterr().err
    records = [record for record in caplog.records if not record.name.startswith("http")]
    unguarded = "\n".join(f"{record.getMessage()} {record.exc_text}" for record in records)
    assert written.count("\n") > 20
    assert "Traceback" in written
    for secret in secrets:
        for part in (secret[:20], secret[-20:]):
            assert part not in written
            assert part not in unguarded


@pytest.mark.parametrize(
    "line",
    [
        "GET /storage/1/x?expires=1&signature=abcdefghijklmnop",
        "opened /login/abcdefghijklmnop",
        "Authorization: Basic YXBpOmFiY2RlZmdoaWprbG1ub3A=",
        "bearer abcdefghijklmnop",
        "Cookie: sweepd_session=abcdefghijklmnop",
        "x-sweepd-lease: r1;2;abcdefghijklmnop",
    ],
)
def test_a_secret_that_somebody_logs_by_mistake_is_struck_out(line):
    record = logging.LogRecord("sweepd", logging.INFO, "", 0, line, (), None)

    for formatter in (logs._Human(), logs._Json()):
        text = formatter.format(record)
        assert "***" in text
        assert "klmnop" not in text
        assert "YXBpOmFi" not in text


def test_a_line_that_somebody_injects_into_the_log_stays_one_line(service, caplog):
    caplog.set_level(logging.INFO)
    client = service.client(key=None)

    client.request("GET", "/x%0a2026-01-01 00:00:00 ERROR forged%1b[31m")

    lines = [record.getMessage() for record in caplog.records if record.name == "sweepd.access"]
    assert "forged" in lines[0]
    assert lines[0].isprintable()


def test_json_logs_are_one_object_a_line_with_the_requests_id():
    record = logging.LogRecord("sweepd", logging.ERROR, "", 0, "a\nb %s", ("ü",), None)

    with logs.request_id_in_logs("12345678"):
        text = logs._Json().format(record)

    assert "\n" not in text
    line = json.loads(text)
    assert (line["message"], line["request"], line["level"]) == ("a\nb ü", "12345678", "error")


def test_time_tells_nothing_of_a_key_because_only_its_hash_is_kept_and_compared(fortress):
    almost = KEY[:-1] + "x"

    assert fortress.store.read_sync(accounts.account_by_key, key=almost) is None
    assert keys.digest(almost)[:8] != keys.digest(KEY)[:8]
    for place in fortress.store.folder.glob("sweepd.db*"):
        assert KEY.encode() not in place.read_bytes()
        assert KEY[-20:].encode() not in place.read_bytes()


def test_signatures_are_compared_in_constant_time():
    assert "compare_digest" in inspect.getsource(links.verify)


def test_a_user_that_exists_and_one_that_does_not_are_told_apart_by_nobody(fortress):
    if "carol" not in {user.name for user in fortress.store.read_sync(accounts.list_users)}:
        fortress.store.write_sync(accounts.add_user, name="carol")
    _, mallory = fortress.store.write_sync(accounts.add_user, name="mallory")
    guest, stranger = fortress.client(mallory), fortress.client(key=None)

    def asked(name):
        return [
            (answer.status_code, answer.text.replace(name, "NAME"))
            for answer in (
                stranger.request("GET", f"/{name}"),
                stranger.request("GET", f"/-/data/entity/{name}"),
                stranger.execute(f'{{ entity(name: "{name}") {{ id }} }}'),
                guest.execute(f'{{ project(name: "p", entityName: "{name}") {{ id }} }}'),
                guest.execute(f'{{ entity(name: "{name}") {{ id }} }}'),
                guest.execute(f'{{ users(query: "{name}") {{ edges {{ node {{ id }} }} }} }}'),
            )
        ]

    assert asked("carol") == asked("nobody")


def test_ssrf_the_service_opens_no_connection_whatever_it_is_given(fortress, monkeypatch):
    opened = []
    monkeypatch.setattr(socket.socket, "connect", lambda self, at: opened.append(at))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *a, **k: opened.append(a) or [])
    monkeypatch.setattr(socket, "create_connection", lambda *a, **k: opened.append(a))
    url = "http://169.254.169.254/latest/meta-data/"
    client = fortress.client()
    body = {"_type": "image-file", "path": url, "artifact_path": url}
    client.data(
        "mutation($i: UpsertBucketInput!) { upsertBucket(input: $i) { inserted } }",
        i={
            "name": "ssrf",
            "modelName": "toy",
            "host": url,
            "jobRepo": url,
            "jobProgram": url,
            "config": json.dumps({"url": {"value": url}}),
            "summaryMetrics": json.dumps({"image": body}),
        },
    )
    rows = {"wandb-history.jsonl": {"offset": 0, "content": [json.dumps({"image": body})]}}
    client.request("POST", "/files/alice/toy/ssrf/file_stream", json={"files": rows})
    client.execute(
        """mutation($c: String!) { upsertSweep(input: {config: $c, projectName: "toy"})
        { sweep { id } } }""",
        c=f"method: random\nprogram: {url}\nparameters: {{url: {{value: '{url}'}}}}\n",
    )
    client.data(FILES, f=["latest/meta-data"])

    assert opened == []


def test_ssrf_no_module_of_the_service_can_fetch(request):
    """Nothing that answers requests imports a client: an address is only ever a text."""
    root = request.config.rootpath / "service" / "sweepd"
    fetching = re.compile(
        r"^\s*(?:import|from) (?:httpx|requests|aiohttp|urllib\.request|urllib3|http\.client|"
        r"ftplib|boto3|botocore|google|azure)\b",
        re.MULTILINE,
    )

    found = [
        str(path.relative_to(root))
        for part in ("wire", "dash", "engine", "store", "schedule", "search", "spec", "edge")
        for path in (root / part).rglob("*.py")
        if fetching.search(path.read_text())
    ]

    assert found == []


@pytest.mark.parametrize("formatter", [logs._Human(), logs._Json()])
def test_a_failure_of_megabytes_fills_no_log(formatter):
    try:
        raise ValueError("x" * 2**22)
    except ValueError:
        record = logging.LogRecord("sweepd", 40, "", 0, "y" * 2**22, None, sys.exc_info())

    line = formatter.format(record)

    assert len(line) < 64 * 1024
    assert "characters left out" in line
