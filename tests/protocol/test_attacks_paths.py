"""Path traversal and symbolic links: nothing leaves or enters the folder of data."""

import os
from importlib.metadata import version
from pathlib import Path
from urllib.parse import quote

import pytest

FILES = """mutation($f: [String!]!) { createRunFiles(input: {entityName: "alice",
  projectName: "toy", runName: "r1", files: $f}) { files { uploadUrl } } }"""
READ = """{ project(name: "toy") { run(name: "r1") { files { edges { node { name directUrl } } } } }
}"""
TRAVERSALS = [
    "../x",
    "a/../../x",
    "..",
    "/etc/passwd",
    "C:/windows/x",
    "..\\x",
    "a\\..\\..\\x",
    "\\\\host\\share",
    "a/\0/x",
    "x/..",
    "a/\u202e\n..",
]


@pytest.fixture(scope="module")
def client(fortress):
    return fortress.client()


def _tree(folder: Path) -> set[str]:
    """Return every file in and beside the data folder that is no blob and no log of SQLite's."""
    found = {str(path.relative_to(folder.parent)) for path in folder.parent.rglob("*")}
    return {path for path in found if "/blobs/" not in path and "sweepd.db-" not in path}


@pytest.mark.parametrize("name", TRAVERSALS)
def test_path_traversal_in_a_files_name_is_refused(client, name):
    status, messages = client.errors(FILES, f=[name])

    assert status == 400
    assert "file's name" in messages[0]


@pytest.mark.parametrize(
    "path",
    [
        "/storage/1/../../../../etc/passwd",
        "/storage/1/%2e%2e/%2e%2e/etc/passwd",
        "/storage/1/%252e%252e/%252e%252e/etc/passwd",
        "/storage/1/..%5c..%5cetc%5cpasswd",
        "/storage/1/%c0%ae%c0%ae/etc/passwd",
        "/storage/..%2f..%2fsecret/x",
        "/-/static/v/../../../../../../etc/passwd",
        "/-/static/v/%2e%2e/%2e%2e/assets.py",
        "/-/static/v/..%2f..%2fassets.py",
        "/-/static/v/%252e%252e%252fassets.py",
        "/-/static/v/..%5c..%5cassets.py",
        "/-/static/v/%2fetc%2fpasswd",
        "/-/static/%2e%2e/%2e%2e/assets.py",
        "/-/netron/{netron}/../../../../../etc/passwd",
        "/-/netron/{netron}/%2e%2e%2f__init__.py",
        "/-/netron/{netron}/..%5c__init__.py",
        "/-/netron/{netron}/__init__.py",
        "/-/netron/{netron}/%00",
        "/-/netron/../static/netron/quiet.js",
        "/..%2f..%2fetc%2fpasswd",
        "/files/%2e%2e/%2e%2e/secret",
    ],
)
@pytest.mark.parametrize("is_signed_in", [False, True], ids=["stranger", "signed in"])
def test_path_traversal_in_an_address_finds_nothing(fortress, browser, path, is_signed_in):
    http = browser if is_signed_in else fortress.client(key=None)

    answer = http.request("GET", path.replace("{netron}", version("netron")))

    assert answer.status_code in (303, 403, 404), answer.status_code
    assert "root:" not in answer.text
    assert "import " not in answer.text


@pytest.mark.parametrize("field", ["name", "modelName", "entityName"])
@pytest.mark.parametrize("value", ["../../x", "..", "a/b", "a\\b", "%2e%2e", "a\0b", "a\r\nb"])
def test_path_traversal_in_the_names_of_runs_projects_and_entities_makes_no_file(
    fortress, client, field, value
):
    before = _tree(fortress.store.folder)

    given = {"name": "r9", "modelName": "toy", "host": "box", field: value}
    answer = client.execute(
        "mutation($i: UpsertBucketInput!) { upsertBucket(input: $i) { bucket { id } } }", i=given
    )

    assert answer.status_code < 500
    assert _tree(fortress.store.folder) == before


def test_bytes_are_kept_under_names_that_nobody_chose(fortress, client):
    upload = client.data(FILES, f=["deep/er/%2e%2e/..x"])["createRunFiles"]["files"][0]
    fortress.client(key=None).request("PUT", upload["uploadUrl"], content=b"here")

    blobs = fortress.store.folder / "blobs"
    found = [path for path in blobs.rglob("*") if path.is_file()]

    assert all(len(path.name) >= 32 and path.name.isalnum() for path in found), found


def test_a_symlink_in_place_of_a_files_bytes_is_not_followed(fortress, client, tmp_path):
    (tmp_path / "secret").write_bytes(b"top secret")
    upload = client.data(FILES, f=["linked"])["createRunFiles"]["files"][0]
    stranger = fortress.client(key=None)
    stranger.request("PUT", upload["uploadUrl"], content=b"0123456789")
    (blob,) = [
        path
        for path in (fortress.store.folder / "blobs").rglob("*")
        if path.is_file() and path.read_bytes() == b"0123456789"
    ]
    blob.unlink()
    os.symlink(tmp_path / "secret", blob)
    edges = client.data(READ)["project"]["run"]["files"]["edges"]
    (url,) = [edge["node"]["directUrl"] for edge in edges if edge["node"]["name"] == "linked"]

    answer = stranger.request("GET", url)

    assert answer.status_code >= 400
    assert b"top secret" not in answer.content


@pytest.mark.parametrize("name", ["a" * 5000, "a/" * 3000 + "b", "ü" * 1025])
def test_a_path_that_no_disk_takes_is_refused(client, name):
    status, _ = client.errors(FILES, f=[name])

    assert status == 400


def test_a_name_that_needs_every_escape_comes_back_as_it_was(fortress, client):
    name = "%2e%2e/ü n?#&\u202e\u2215;=+'\"<b>.txt"
    upload = client.data(FILES, f=[name])["createRunFiles"]["files"][0]
    stranger = fortress.client(key=None)
    assert stranger.request("PUT", upload["uploadUrl"], content=b"odd").status_code == 200
    edges = client.data(READ)["project"]["run"]["files"]["edges"]
    (url,) = [edge["node"]["directUrl"] for edge in edges if edge["node"]["name"] == name]

    answer = stranger.request("GET", url)

    assert answer.content == b"odd"
    assert quote(name.rpartition("/")[2]) in answer.headers["Content-Disposition"]
