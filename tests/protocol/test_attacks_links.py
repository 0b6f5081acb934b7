"""Signed links: whoever changes one, or comes too late, gets nothing."""

import re
import time
from urllib.parse import urlsplit

import pytest

from sweepd.engine import links

FILES = """mutation($f: [String!]!) { createRunFiles(input: {entityName: "alice",
  projectName: "toy", runName: "r1", files: $f}) { files { uploadUrl } } }"""
READ = """{ project(name: "toy") { run(name: "r1") { files(names: ["mine.txt"]) {
  edges { node { directUrl } } } } } }"""


@pytest.fixture(scope="module")
def stranger(fortress):
    return fortress.client(key=None)


@pytest.fixture(scope="module")
def upload(fortress, stranger):
    client = fortress.client()
    mine, other = client.data(FILES, f=["mine.txt", "other.txt"])["createRunFiles"]["files"]
    for file in (mine, other):
        assert stranger.request("PUT", file["uploadUrl"], content=b"first").status_code == 200
    return mine["uploadUrl"]


@pytest.fixture(scope="module")
def download(fortress, upload):
    edges = fortress.client().data(READ)["project"]["run"]["files"]["edges"]
    return edges[0]["node"]["directUrl"]


def _changed(url, pattern, replacement):
    changed, count = re.subn(pattern, replacement, url, count=1)
    assert count == 1
    return changed


TAMPERING = [
    pytest.param(r"mine\.txt", "other.txt", id="another file"),
    pytest.param(r"mine\.txt", "%2e/mine.txt", id="the same file by another path"),
    pytest.param(r"mine\.txt", "mine.txt/", id="a slash more"),
    pytest.param(r"/storage/\d+/", "/storage/999/", id="another run"),
    pytest.param(r"expires=\d+", f"expires={2**40}", id="a later end"),
    pytest.param(r"expires=(\d+)", r"expires=+\1", id="the same end, written otherwise"),
    pytest.param(r"expires=(\d+)", "expires=NaN", id="an end that is no number"),
    pytest.param(r"expires=\d+&", "", id="no end"),
    pytest.param(r"signature=[^&]+", "signature=", id="an empty signature"),
    pytest.param(r"&signature=[^&]+", "", id="no signature"),
    pytest.param(r"signature=.", "signature=!", id="another signature"),
    pytest.param(r"signature=.", "signature=%F0%9F%92%A9", id="a signature that is no ASCII"),
]


@pytest.mark.parametrize(("pattern", "replacement"), TAMPERING)
def test_tampering_with_a_signed_link_to_read_is_refused(stranger, download, pattern, replacement):
    answer = stranger.request("GET", _changed(download, pattern, replacement))

    assert answer.status_code in (403, 404)
    assert answer.content != b"first"


@pytest.mark.parametrize(("pattern", "replacement"), TAMPERING)
def test_tampering_with_a_signed_link_to_write_is_refused(
    fortress, stranger, upload, download, pattern, replacement
):
    answer = stranger.request("PUT", _changed(upload, pattern, replacement), content=b"second")

    assert answer.status_code in (403, 404)
    assert stranger.request("GET", download).content == b"first"


def test_a_signed_link_to_read_does_not_write_nor_the_other_way_round(stranger, upload, download):
    assert stranger.request("PUT", download, content=b"second").status_code == 403
    assert stranger.request("GET", upload).status_code == 403
    assert stranger.request("GET", download).content == b"first"


def test_a_signed_link_that_has_expired_is_refused(fortress, stranger, upload):
    path = urlsplit(upload).path
    late = links.sign(fortress.store.secret, path, expires_at=time.time() - 1, method="GET")

    assert stranger.request("GET", late).status_code == 403


def test_a_signed_link_of_another_service_is_refused(stranger, upload):
    path = urlsplit(upload).path
    foreign = links.sign(b"s" * 32, path, expires_at=time.time() + 60, method="GET")

    assert stranger.request("GET", foreign).status_code == 403


def test_a_signed_link_opens_nothing_else(stranger, upload):
    query = urlsplit(upload).query

    for path in ("/graphql", "/files/alice/toy/r1/file_stream"):
        assert stranger.request("POST", f"{path}?{query}", json={}).status_code == 401
    assert stranger.request("GET", f"/-/data/run/alice/toy/r1?{query}").status_code == 401
