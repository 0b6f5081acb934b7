"""Models as Netron draws them: its pages, the frame around them, and whose files they may read."""

import re
import sys
from html import unescape
from importlib.metadata import version
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit

import pytest

from sweepd.engine import accounts, sessions

sys.path.insert(0, str(Path(__file__).parent))

from drafting import Drafting

NETRON = f"/-/netron/{version('netron')}"
NAME = "models/net ö#1?.onnx"
RUN = "/alice/toy/runs/r1"
MAKE = """mutation($f: [String!]!) { createRunFiles(input: {entityName: "alice",
  projectName: "toy", runName: "r1", files: $f}) { files { uploadUrl } } }"""


@pytest.fixture
def signed_in(service):
    """Gets a page as somebody's signed-in browser."""

    def signed_in(account):
        token = service.store.write_sync(sessions.open_session, account=account)
        client, cookie = service.client(key=None), f"{sessions.SESSION_COOKIE}={token}"
        headers = {"Cookie": cookie, "Sec-Fetch-Site": "same-origin"}
        return lambda path: client.request("GET", path, headers=headers)

    return signed_in


@pytest.fixture
def browser(service, signed_in):
    """Gets a page as alice, to whom the run belongs."""
    return signed_in(service.store.read_sync(accounts.list_users)[0])


@pytest.fixture
def log(service, client):
    """Logs a file of the run r1."""
    client.data('mutation { upsertBucket(input: {name: "r1", modelName: "toy"}) { inserted } }')

    def log(name, data):
        url = client.data(MAKE, f=[name])["createRunFiles"]["files"][0]["uploadUrl"]
        assert service.client(key=None).request("PUT", url, content=data).status_code == 200

    return log


def query_of_frame(page):
    """Return what the page asks the viewer for: an address and a name."""
    (source,) = re.findall(r'<iframe class="viewer" src="([^"]*)"', page.text)
    target = urlsplit(unescape(source))
    assert target.path == f"{NETRON}/index.html"
    return {key: value for key, (value,) in parse_qs(target.query).items()}


def test_model_of_a_run_leads_from_the_files_to_its_bytes(log, browser):
    log(NAME, b"weights")
    log("config.yaml", b"x: 1")

    files = {one["name"]: one for one in browser("/-/data/run/alice/toy/r1").json()["files"]}
    page = browser(files[NAME]["view"])
    asked = query_of_frame(page)
    answer = browser(asked["url"])

    assert files["config.yaml"]["view"] is None
    assert page.status_code == 200
    assert asked["identifier"] == "net ö#1?.onnx"
    assert answer.status_code == 303
    assert answer.headers["cache-control"] == "no-store"
    assert browser(answer.headers["location"]).content == b"weights"


def test_model_of_an_artifact_leads_from_the_files_to_its_bytes(log, service, client, browser):
    files, refs = {"deep/net.onnx": b"weights", "a.txt": b"1"}, {"far.onnx": "https://far/x.onnx"}
    Drafting(client, service.client(key=None)).log(files, refs=refs)
    place = "/alice/toy/artifacts/dataset/data/v0"

    views = re.findall(r'href="([^"]*/view/[^"]*)"', browser(place).text)
    answer = browser(query_of_frame(browser(views[0]))["url"])

    assert views == [f"{place}/view/deep/net.onnx"]
    assert browser(answer.headers["location"]).content == b"weights"
    assert browser(f"{place}/view/far.onnx").status_code == 404
    assert browser(f"{place}/view/no.onnx").status_code == 404


def test_page_around_the_viewer_is_as_strict_as_every_other(log, browser):
    log("net.onnx", b"weights")

    page, other = browser(f"{RUN}/view/net.onnx"), browser(RUN)

    for name in ("content-security-policy", "x-frame-options", "cache-control"):
        assert page.headers[name] == other.headers[name]
    assert "unsafe" not in page.headers["content-security-policy"]
    assert page.headers["x-frame-options"] == "DENY"


@pytest.mark.parametrize("name", ["index.html", "browser.js", "worker.js", "onnx-metadata.json"])
def test_viewer_reaches_this_service_only_and_runs_no_script_but_its_own(service, name):
    answer = service.client(key=None).request("GET", f"{NETRON}/{name}?url=https://far.example/x")

    policy = dict(
        rule.strip().split(" ", 1) for rule in answer.headers["content-security-policy"].split(";")
    )
    assert answer.status_code == 200
    assert policy["default-src"] == "'none'"
    assert policy["frame-ancestors"] == "'self'"
    for kind in ("connect-src", "script-src", "worker-src"):
        assert policy[kind] == "'self'"
    assert not set(policy) & {"frame-src", "font-src", "media-src"}
    assert policy["form-action"] == policy["base-uri"] == "'none'"
    assert policy["img-src"] == "'self' data: blob:"
    assert answer.headers["x-frame-options"] == "SAMEORIGIN"
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_viewers_page_starts_our_script_first_and_is_never_kept(service):
    http = service.client(key=None)

    page, script = (http.request("GET", f"{NETRON}/{name}") for name in ("index.html", "quiet.js"))

    assert page.text.index('<script type="module" src="quiet.js">') < page.text.index("</head>")
    assert "Host.prototype.view" in script.text
    assert page.headers["cache-control"] == script.headers["cache-control"] == "no-store"


def test_viewers_files_are_kept_for_good_under_their_version(service):
    http = service.client(key=None)

    answer = http.request("GET", f"{NETRON}/view.js", headers={"Accept-Encoding": "gzip"})

    assert answer.headers["content-type"].startswith("text/javascript")
    assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert answer.headers["content-encoding"] == "gzip"
    assert http.request("GET", "/-/netron/0.0.1/view.js").status_code == 404


@pytest.mark.parametrize("name", ["server.py", "__init__.py", "none.js", "", "a/view.js"])
def test_what_is_no_file_of_the_viewers_page_is_not_there(service, name):
    assert service.client(key=None).request("GET", f"{NETRON}/{name}").status_code in (303, 404)


def test_without_the_extra_the_pages_say_how_to_get_it(log, service, client, browser, monkeypatch):
    log("net.onnx", b"weights")
    Drafting(client, service.client(key=None)).log({"net.onnx": b"weights"})
    monkeypatch.setitem(sys.modules, "netron", None)
    command = "pip install 'sweepd[netron]'"

    shown = browser("/-/data/run/alice/toy/r1").json()
    artifact = browser("/alice/toy/artifacts/dataset/data/v0").text
    page = browser(f"{RUN}/view/net.onnx")

    assert shown["lacking"] == command
    assert [one["view"] for one in shown["files"]] == [None]
    assert command in unescape(artifact)
    assert "View the model" not in artifact
    assert page.status_code == 404
    assert command in unescape(page.text)
    assert browser(f"{NETRON}/view.js").status_code == 404


def test_nothing_is_said_to_lack_where_there_is_no_model(log, browser, monkeypatch):
    log("config.yaml", b"x: 1")
    monkeypatch.setitem(sys.modules, "netron", None)

    assert browser("/-/data/run/alice/toy/r1").json()["lacking"] is None


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("none.onnx", "the run has no file 'none.onnx'"),
        ("config.yaml", "config.yaml is no model that is drawn here: .onnx, .pt2,"),
        ("../net.onnx", "there is no page"),
        ("%2e%2e/net.onnx", "stays within its run's folder"),
    ],
)
def test_what_cannot_be_drawn_is_refused_in_words(log, browser, name, words):
    log("net.onnx", b"weights")
    log("config.yaml", b"x: 1")

    page = browser(f"{RUN}/view/{name}")

    assert page.status_code in (400, 404)
    assert words in unescape(page.text)


def test_private_model_of_somebody_else_is_not_there(log, service, signed_in, browser):
    log("net.onnx", b"weights")
    eve, _ = service.store.write_sync(accounts.add_user, name="eve")
    stranger, data = service.client(key=None), "/-/data/run/alice/toy/r1/file/net.onnx"

    page, file = (signed_in(eve)(path) for path in (f"{RUN}/view/net.onnx", data))

    assert browser(data).status_code == 303
    assert (page.status_code, file.status_code) == (404, 404)
    assert stranger.request("GET", data).status_code == 401
    login = stranger.request("GET", f"{RUN}/view/net.onnx").headers["location"]
    assert login == f"/login?next={quote(f'{RUN}/view/net.onnx')}"


def test_link_to_the_bytes_ends_with_the_right_to_read_them(log, service, signed_in):
    log("net.onnx", b"weights")
    eve, _ = service.store.write_sync(accounts.add_user, name="eve", is_admin=True)
    link = signed_in(eve)("/-/data/run/alice/toy/r1/file/net.onnx").headers["location"]
    http = service.client(key=None)
    assert http.request("GET", link).status_code == 200

    service.store.write_sync(accounts.remove_user, name="eve")

    assert http.request("GET", link).status_code == 403
