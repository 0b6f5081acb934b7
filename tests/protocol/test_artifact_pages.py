"""The pages of artifacts, as a signed-in browser gets them."""

import sys
from pathlib import Path
from urllib.parse import unquote

import pytest

from sweepd.dash.artifactpage import in_bytes
from sweepd.engine import accounts, sessions

sys.path.insert(0, str(Path(__file__).parent))

from drafting import Drafting

VERSION = "/alice/toy/artifacts/dataset/data/v0"


@pytest.fixture
def browser(service):
    """Gets a page as alice's signed-in browser."""
    account = service.store.read_sync(accounts.list_users)[0]
    token = service.store.write_sync(sessions.open_session, account=account)
    client = service.client(key=None)
    cookie = f"{sessions.SESSION_COOKIE}={token}"

    def get(path):
        return client.request("GET", path, headers={"Cookie": cookie, "Sec-Fetch-Site": "none"})

    return get


@pytest.fixture
def drafting(service, client):
    client.data('mutation { upsertBucket(input: {name: "r1", modelName: "toy"}) { inserted } }')
    return Drafting(client, service.client(key=None))


def test_a_version_shows_its_files_its_aliases_and_the_runs_around_it(drafting, browser, client):
    version = drafting.log(
        {"dir/a.txt": b"x" * 1500},
        refs={"far": "https://example.com/far", "store": "s3://bucket/key"},
        runName="r1",
        aliases=["best"],
        metadata='{"lr": 0.5, "net": {"width": 8}}',
    )
    client.data(
        'mutation($id: ID!) { useArtifact(input: {entityName: "alice", projectName: "toy", '
        'runName: "r1", artifactID: $id}) { artifact { id } } }',
        id=version["id"],
    )

    page = browser(VERSION)

    assert page.status_code == 200
    assert "script-src 'self'" in page.headers["content-security-policy"]
    text = unquote(page.text)
    for shown in ("dir/a.txt", "1.50 kB", ">best<", ">latest<", "net.width", "s3://bucket/key"):
        assert shown in text
    assert 'href="https://example.com/far"' in text
    assert 'href="s3:' not in text
    assert text.count('href="/alice/toy/runs/r1"') == 2
    link = page.text.partition('href="/storage/')[2].partition('"')[0].replace("&amp;", "&")
    assert drafting.stranger.request("GET", f"/storage/{link}").content == b"x" * 1500


def test_the_addresses_that_the_client_prints_lead_to_the_page(drafting, browser):
    drafting.log({"a": b"1"})
    drafting.log({"a": b"2"})

    newest = browser("/alice/toy/artifacts/dataset/data")
    listing = browser("/alice/toy/artifacts").text

    assert newest.headers["location"] == "/alice/toy/artifacts/dataset/data/latest"
    assert "data:v1" in browser(newest.headers["location"]).text
    assert 'href="/alice/toy/artifacts/dataset/data"' in listing
    assert browser("/alice/toy/artifacts/model/data/v0").status_code == 404
    assert browser("/alice/toy/artifacts/dataset/data/v7").status_code == 404


def test_what_a_client_wrote_stays_text(drafting, browser):
    evil = "<script>alert(1)</script>"
    drafting.log(
        {f"{evil.replace('/', '')}.txt": b"1"},
        refs={"x": "javascript:alert(1)"},
        description=evil,
        metadata='{"<b>": "<script>alert(2)</script>"}',
    )

    text = browser(VERSION).text

    assert "<script>alert" not in text
    assert 'href="javascript:' not in text


def test_many_files_are_shown_page_by_page(drafting, browser):
    drafting.log({}, refs={f"{n:04}": f"https://example.com/{n}" for n in range(600)})

    first = browser(VERSION).text
    more = first.partition('href="?after=')[2].partition('"')[0]
    second = browser(f"{VERSION}?after={more}").text

    assert "0499<" in first
    assert "0500<" not in first
    assert "0599<" in second


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.00 kB"), (12_345, "12.3 kB"), (999_999, "1.00 MB")],
)
def test_sizes_have_three_digits(size, text):
    assert in_bytes(size) == text
