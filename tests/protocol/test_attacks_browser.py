"""What another site, or a guest who names things, tries to do with a signed-in browser."""

import json
import re
from urllib.parse import quote, urlsplit

import pytest

from sweepd.engine import accounts, sessions

SCRIPT = "\"><script>alert(1)</script><img src=x onerror=alert(2)>'`{{7*7}}${7*7}</title></style>"
UPSERT = "mutation($i: UpsertBucketInput!) { upsertBucket(input: $i) { bucket { id } } }"
SWEEP = """mutation($c: String!, $n: String) { upsertSweep(input: {config: $c, projectName: "toy",
  entityName: "alice", displayName: $n, description: $n}) { sweep { name } } }"""
ALERT = """mutation($t: String!) { notifyScriptableRunAlert(input: {entityName: "alice",
  projectName: "toy", runName: "evil", title: $t, text: $t, severity: ERROR}) { success } }"""


@pytest.fixture(scope="module")
def evil(fortress):
    """A run and a sweep in whose every text there is a script; returns the sweep's name."""
    client = fortress.client()
    texts = {
        name: SCRIPT
        for name in ("displayName", "notes", "groupName", "jobType", "host", "jobProgram", "commit")
    }
    tree = json.dumps({SCRIPT: {"value": SCRIPT}, "y": {"value": [SCRIPT]}})
    client.data(
        UPSERT,
        i={
            "name": "evil",
            "modelName": "toy",
            "tags": [SCRIPT],
            "config": tree,
            "summaryMetrics": json.dumps({SCRIPT: SCRIPT, "loss": {"min": SCRIPT}}),
            **texts,
        },
    )
    lines = {
        "wandb-history.jsonl": [json.dumps({SCRIPT: 1.0, "_step": 0, "text": SCRIPT})],
        "output.log": [f"ERROR 2026-11-23T09:00:00.000000 {SCRIPT}"],
    }
    files = {name: {"offset": 0, "content": content} for name, content in lines.items()}
    client.request("POST", "/files/alice/toy/evil/file_stream", json={"files": files})
    client.data(ALERT, t=SCRIPT)
    definition = f"# {SCRIPT}\nmethod: random\nname: {json.dumps(SCRIPT)}\nparameters:\n"
    definition += f"  x: {{values: [{json.dumps(SCRIPT)}]}}\n"
    client.data('mutation { createTeam(input: {teamName: "crew"}) { entity { id } } }')
    for kind in ('createServiceAccount(input: {entityName: "crew", ', "generateApiKey(input: {"):
        client.data(
            f"mutation($d: String!) {{ {kind}description: $d}}) {{ __typename }} }}", d=SCRIPT
        )
    made = client.data(SWEEP, c=definition, n=SCRIPT)
    return made["upsertSweep"]["sweep"]["name"]


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/alice",
        "/alice/toy",
        "/alice/toy/runs/evil",
        "/alice/toy/compare?runs=evil,r1",
        "/alice/toy/sweeps/{sweep}",
        "/authorize",
        "/-/admin",
        "/-/teams/crew",
        f"/-/teams/{quote(SCRIPT, safe='')}",
        f"/alice/{quote(SCRIPT, safe='')}",
        f"/alice/toy/runs/{quote(SCRIPT, safe='')}",
        f"/alice/toy/compare?runs={quote(SCRIPT, safe='')}",
        f"/login?next={quote('/' + SCRIPT, safe='')}",
        f"/none?{quote(SCRIPT, safe='')}",
    ],
)
def test_stored_and_reflected_xss_reaches_no_page(browser, evil, path):
    answer = browser.request("GET", path.replace("{sweep}", evil))

    scripts = re.findall(r"<script\b[^>]*>(.*?)</script>", answer.text, re.DOTALL)
    heads = re.findall(r"<script\b[^>]*>", answer.text)
    assert "<script>alert" not in answer.text
    assert "<img src=x" not in answer.text
    assert all("src=" in head or 'type="application/json"' in head for head in heads), heads
    for script in scripts:  # what a page's own script reads, as data
        assert "<" not in script, script[:200]
    assert "script-src 'self'" in answer.headers["Content-Security-Policy"]


@pytest.mark.parametrize(
    "path",
    ["run/alice/toy/evil", "run/alice/toy/evil/log", "project/alice/toy", "sweep/alice/toy/"],
)
def test_xss_in_the_data_of_a_page_is_no_page(browser, evil, path):
    answer = browser.request("GET", f"/-/data/{path}{evil if path.endswith('/') else ''}")

    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("name", ["x.html", "x.svg", "x.xml", "x.xhtml", "x.js", "x.pdf", "x"])
def test_xss_in_an_uploaded_file_never_runs_on_our_site(fortress, name):
    client = fortress.client()
    made = client.data(
        """mutation($f: [String!]!) { createRunFiles(input: {entityName: "alice",
        projectName: "toy", runName: "r1", files: $f}) { files { uploadUrl } } }""",
        f=[name],
    )
    stranger = fortress.client(key=None)
    url = made["createRunFiles"]["files"][0]["uploadUrl"]
    stranger.request("PUT", url, content=b"<script>alert(1)</script>")
    found = client.data(
        """query($f: [String]) { project(name: "toy") { run(name: "r1") { files(names: $f) {
        edges { node { directUrl } } } } } }""",
        f=[name],
    )
    url = found["project"]["run"]["files"]["edges"][0]["node"]["directUrl"]

    for view in ("", "&view=page"):
        answer = stranger.request("GET", url + view)
        policy = answer.headers["Content-Security-Policy"]
        assert re.search(r"\bsandbox\b", policy), (view, policy)
        assert "allow-same-origin" not in policy
        assert "allow-top-navigation" not in policy
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


def _changes(service, sweep):
    """Return the address of everything that changes something, new ones too."""
    values = {"entity": "alice", "project": "toy", "run": "r1", "name": sweep, "action": "stop"}
    for route in service.app.routes:
        if {"POST", "PUT", "DELETE", "PATCH"} & (getattr(route, "methods", None) or set()):
            yield re.sub(r"\{(\w+)[^}]*\}", lambda found: values.get(found[1], "x"), route.path)


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({"Sec-Fetch-Site": "cross-site"}, id="another site"),
        pytest.param({"Sec-Fetch-Site": "same-site"}, id="another host of ours"),
        pytest.param({"Sec-Fetch-Site": "none"}, id="typed in"),
        pytest.param({"Origin": "https://evil.test"}, id="origin"),
        pytest.param({"Origin": "null"}, id="a sandboxed frame"),
        pytest.param({"Origin": "http://sweeps.test.evil.test"}, id="a longer name"),
        pytest.param({"Origin": "http://sweeps.test@evil.test"}, id="a user name"),
        pytest.param({"Referer": "http://sweeps.test/"}, id="a referrer alone"),
        pytest.param({}, id="no sign of where"),
        pytest.param({"Sec-Fetch-Site": "cross-site", "Origin": "http://sweeps.test"}, id="both"),
    ],
)
@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "text/plain"])
def test_csrf_is_refused_for_every_change(fortress, browser, evil, headers, kind):
    paths = list(_changes(fortress, evil))
    assert len(paths) >= 8
    for path in paths:
        answer = browser.request(
            "POST",
            path,
            site=None,
            content=b'{"query": "mutation { generateApiKey(input: {}) { apiKey { id } } }"}',
            headers={"Content-Type": kind, **headers},
        )

        assert answer.status_code == 403, path
        assert "Set-Cookie" not in answer.headers


def test_login_csrf_signs_nobody_in(fortress):
    key = "protocoltest" + "k" * 40

    answer = fortress.client(key=None).request(
        "POST", "/login", data={"key": key}, headers={"Sec-Fetch-Site": "cross-site"}
    )

    assert answer.status_code == 403
    assert "Set-Cookie" not in answer.headers


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({"Sec-Fetch-Site": "cross-site"}, id="another site"),
        pytest.param({"Sec-Fetch-Site": "same-site"}, id="another host of ours"),
        pytest.param({"Referer": "https://evil.test/"}, id="older browser"),
    ],
)
def test_login_csrf_by_a_strangers_link_asks_first(fortress, headers):
    account = fortress.store.read_sync(accounts.list_users)[0]
    token = fortress.store.write_sync(sessions.create_login_link, account=account)
    stranger, own = fortress.client(key=None), {"Sec-Fetch-Site": "same-origin"}

    asked = stranger.request("GET", f"/login/{token}", headers=headers)
    forced = stranger.request("POST", "/login", data={"link": token}, headers=headers)
    told = stranger.request("POST", "/login", data={"link": token}, headers=own)
    again = stranger.request("POST", "/login", data={"link": token}, headers=own)

    assert "Sign in as alice?" in asked.text
    assert "Set-Cookie" not in asked.headers
    assert forced.status_code == 403
    assert (told.status_code, "Set-Cookie" in told.headers) == (303, True)
    assert (again.status_code, "Set-Cookie" in again.headers) == (401, False)


def test_login_csrf_by_a_link_does_not_change_who_is_signed_in_unasked(fortress, browser):
    other, _ = fortress.store.write_sync(accounts.add_user, name="eve")
    token = fortress.store.write_sync(sessions.create_login_link, account=other)

    answer = browser.request("GET", f"/login/{token}", site="none")

    assert "Sign in as eve?" in answer.text
    assert "Set-Cookie" not in answer.headers


def test_a_cookie_is_no_use_to_scripts_other_sites_or_other_hosts(fortress):
    key = "protocoltest" + "k" * 40

    answer = fortress.client(key=None).request(
        "POST", "/login", data={"key": key}, headers={"Sec-Fetch-Site": "same-origin"}
    )

    flags = answer.headers["Set-Cookie"].lower()
    assert "httponly" in flags
    assert "samesite=strict" in flags
    assert "domain=" not in flags


@pytest.mark.parametrize(
    "target",
    [
        "//evil.test",
        "///evil.test",
        "/\\evil.test",
        "\\\\evil.test",
        "https://evil.test",
        "HTTPS:evil.test",
        "javascript:alert(1)",
        "data:text/html,x",
        "/\t/evil.test",
        "/\r\nSet-Cookie: a=b",
        "/\0/evil.test",
        " //evil.test",
        "%2f%2fevil.test",
        ".evil.test",
        "@evil.test",
    ],
)
def test_open_redirect_at_sign_in_leads_nowhere_else(fortress, target):
    stranger = fortress.client(key=None)
    own = {"Sec-Fetch-Site": "same-origin"}
    fields = {"key": "protocoltest" + "k" * 40, "next": target}
    account = fortress.store.read_sync(accounts.list_users)[0]
    token = fortress.store.write_sync(sessions.create_login_link, account=account)

    signed_in = stranger.request("POST", "/login", data=fields, headers=own)
    linked = stranger.request("GET", f"/login/{token}", params={"next": target})
    shown = stranger.request("GET", "/login", params={"next": target})

    assert signed_in.status_code == 303
    assert _is_ours(signed_in.headers["Location"])
    for page in (linked, shown):
        assert "evil.test" not in page.text
        assert "javascript:" not in page.text
    assert "Set-Cookie: a" not in str(signed_in.headers)


def _is_ours(location):
    parts = urlsplit(location)
    return location.startswith("/") and not parts.netloc and not location.startswith(("//", "/\\"))


@pytest.mark.parametrize(
    "path", ["//evil.test/%2e%2e", "//evil.test", "/%5cevil.test", "/%0d%0aX: y"]
)
def test_open_redirect_of_a_stranger_to_the_form_stays_here(fortress, path):
    answer = fortress.client(key=None).request("GET", f"http://sweeps.test{path}")

    assert answer.status_code in (200, 303, 404)
    assert _is_ours(answer.headers.get("Location", "/"))


@pytest.mark.parametrize(
    "name", ["a\r\nSet-Cookie: x=y", "a\nb", "a\rb", 'a"; filename="b', "é\u2028"]
)
def test_header_injection_through_names_adds_no_header(fortress, browser, name):
    client = fortress.client()
    answers = [
        client.execute(UPSERT, i={"name": name, "modelName": "toy", "host": "h"}),
        client.execute(UPSERT, i={"name": "r1", "modelName": name, "host": "h"}),
        browser.request("GET", f"/alice/{quote(name, safe='')}/runs"),
        browser.request("GET", f"/-/data/run/alice/toy/{quote(name, safe='')}/output.log"),
    ]
    made = client.execute(
        """mutation($f: [String!]!) { createRunFiles(input: {entityName: "alice",
        projectName: "toy", runName: "r1", files: $f}) { files { uploadUrl } } }""",
        f=[name],
    )
    if made.status_code == 200:
        url = made.json()["data"]["createRunFiles"]["files"][0]["uploadUrl"]
        answers.append(fortress.client(key=None).request("PUT", url, content=b"x"))

    for answer in answers:
        assert answer.status_code < 500
        assert "set-cookie" not in answer.headers
        assert all("\n" not in value and "\r" not in value for value in answer.headers.values())


@pytest.mark.parametrize("path", ["/", "/login", "/alice/toy", "/authorize", "/none", "/graphql"])
def test_clickjacking_is_refused_by_every_page(browser, path):
    answer = browser.request("GET", path)

    assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
    assert answer.headers["X-Frame-Options"] == "DENY"


@pytest.mark.parametrize("host", ["evil.test", "evil.test:80", "sweeps.test.evil.test"])
def test_dns_rebinding_and_host_header_attacks_get_no_page_no_link_and_no_data(
    fortress, browser, host
):
    client = fortress.client()
    made = """mutation { createRunFiles(input: {entityName: "alice", projectName: "toy",
      runName: "r1", files: ["a"]}) { files { uploadUrl } } }"""

    answers = [
        client.request("POST", "/graphql", json={"query": made}, headers={"Host": host}),
        browser.request("GET", "/alice", headers={"Host": host}),
        browser.request("POST", "/authorize", headers={"Host": host}),
        fortress.client(key=None).request("GET", "/login", headers={"Host": host}),
    ]

    assert [answer.status_code for answer in answers] == [421] * 4
    assert all("http://evil" not in answer.text for answer in answers)


def test_a_forwarded_host_of_nobody_we_trust_changes_no_link(fortress):
    made = """mutation { createRunFiles(input: {entityName: "alice", projectName: "toy",
      runName: "r1", files: ["a"]}) { files { uploadUrl } } }"""
    headers = {
        "X-Forwarded-Host": "evil.test",
        "X-Forwarded-Proto": "https",
        "Forwarded": "host=evil.test;proto=https",
        "X-Original-URL": "/evil",
        "X-Rewrite-URL": "/evil",
    }

    answer = fortress.client().request("POST", "/graphql", json={"query": made}, headers=headers)

    url = answer.json()["data"]["createRunFiles"]["files"][0]["uploadUrl"]
    assert url.startswith("http://sweeps.test/storage/")
