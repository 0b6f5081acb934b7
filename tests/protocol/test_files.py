"""Run files: links, uploads, downloads."""

import base64
import hashlib
import threading
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import pytest

from sweepd.engine import accounts, links
from sweepd.wire.context import base_url

MAKE = """mutation CreateRunFiles($entity: String!, $project: String!, $run: String!,
  $files: [String!]!) { createRunFiles(input: {entityName: $entity, projectName: $project,
  runName: $run, files: $files}) { runID uploadHeaders files { name uploadUrl } } }"""
LIST = """query RunFiles($fileNames: [String] = [], $upload: Boolean = false, $pattern: String,
  $fileCursor: String, $fileLimit: Int = 50) { project(name: "toy") { run(name: "r1") { fileCount
  files(names: $fileNames, after: $fileCursor, first: $fileLimit, pattern: $pattern) { edges {
  node { id name url(upload: $upload) directUrl sizeBytes mimetype updatedAt md5 } cursor }
  pageInfo { endCursor hasNextPage } } } } }"""


@pytest.fixture
def run_id(client):
    answer = client.data(
        'mutation { upsertBucket(input: {name: "r1", modelName: "toy", host: "box"})'
        " { bucket { id } } }"
    )
    return answer["upsertBucket"]["bucket"]["id"]


@pytest.fixture
def links_for(client, run_id):
    def links_for(*names):
        answer = client.data(MAKE, entity="alice", project="toy", run="r1", files=names)
        return answer["createRunFiles"]

    return links_for


@pytest.fixture
def stranger(service):
    """A client without a key: links carry their own authority."""
    return service.client(key=None)


@pytest.fixture
def put(links_for, stranger):
    def put(name, data):
        (file,) = links_for(name)["files"]
        answer = stranger.request("PUT", file["uploadUrl"], content=data)
        assert answer.status_code == 200, answer.text
        return file["uploadUrl"]

    return put


@pytest.fixture
def listed(client, run_id):
    def listed(**variables):
        run = client.data(LIST, **variables)["project"]["run"]
        return [edge["node"] for edge in run["files"]["edges"]]

    return listed


def test_links_come_in_the_order_asked_with_the_names_as_they_came(links_for):
    names = ["./a b.txt", "media/é/x.png", "config.yaml", "./a b.txt"]

    answer = links_for(*names)

    assert answer["runID"]
    assert answer["uploadHeaders"] == []
    assert [file["name"] for file in answer["files"]] == names
    assert all(file["uploadUrl"].startswith("http://sweeps.test/") for file in answer["files"])


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/../../b", "", "a\0b", "..\\b"])
def test_names_that_leave_their_folder_are_refused(client, run_id, name):
    status, _ = client.errors(MAKE, entity="alice", project="toy", run="r1", files=[name])

    assert status == 400


def test_a_name_that_is_none_spoils_no_other_upload(links_for, stranger, listed):
    bad, good = links_for("../x", "a.txt")["files"]

    refused = stranger.request("PUT", bad["uploadUrl"], content=b"x")
    taken = stranger.request("PUT", good["uploadUrl"], content=b"x")

    assert (bad["name"], good["name"]) == ("../x", "a.txt")
    assert refused.status_code == 400
    assert taken.status_code == 200
    assert [file["name"] for file in listed()] == ["a.txt"]


@pytest.mark.parametrize(
    ("name", "data"),
    [
        pytest.param("output.log", b"hello", id="small"),
        pytest.param("empty.bin", b"", id="empty"),
        pytest.param("./dir/ü n%41ï?#&c.txt", b"x", id="odd name"),
        pytest.param("media/images/train\\x \U0001f600.png", b"x", id="odder name"),
        pytest.param("checkpoint.pt", bytes(range(256)) * 12_000, id="several chunks"),
    ],
)
def test_what_was_uploaded_comes_back(put, listed, stranger, name, data):
    put(name, data)

    (file,) = listed(fileNames=[name])
    answer = stranger.request("GET", file["url"])

    assert answer.content == data
    assert file["name"] == name.removeprefix("./")
    assert file["sizeBytes"] == len(data)
    assert file["md5"] == base64.b64encode(hashlib.md5(data).digest()).decode()


def test_a_second_upload_replaces_the_first_and_frees_its_bytes(put, listed, stranger, service):
    put("model.onnx", b"one")
    put("model.onnx", b"two")

    (file,) = listed()
    blobs = [path for path in (service.store.folder / "blobs").rglob("*") if path.is_file()]

    assert stranger.request("GET", file["url"]).content == b"two"
    assert len(blobs) == 1


@pytest.mark.parametrize(
    ("wanted", "status", "content", "told"),
    [
        pytest.param("bytes=2-4", 206, b"234", "bytes 2-4/10", id="the middle"),
        pytest.param("bytes=7-", 206, b"789", "bytes 7-9/10", id="the end"),
        pytest.param("bytes=-3", 206, b"789", "bytes 7-9/10", id="the last bytes"),
        pytest.param("bytes=8-99", 206, b"89", "bytes 8-9/10", id="up to beyond the end"),
        pytest.param("bytes=10-", 416, b"", "bytes */10", id="beyond the end"),
        pytest.param("bytes=-0", 416, b"", "bytes */10", id="no bytes"),
        pytest.param("bytes=0-9", 200, b"0123456789", None, id="all"),
        pytest.param("bytes=5-2", 200, b"0123456789", None, id="backwards"),
        pytest.param("bytes=0-1,4-5", 200, b"0123456789", None, id="several"),
        pytest.param("bytes=-", 200, b"0123456789", None, id="nothing"),
        pytest.param("lines=1-2", 200, b"0123456789", None, id="not bytes"),
    ],
)
def test_parts_are_served(put, listed, stranger, wanted, status, content, told):
    put("a.bin", b"0123456789")

    answer = stranger.request("GET", listed()[0]["url"], headers={"Range": wanted})

    assert (answer.status_code, answer.content) == (status, content)
    assert answer.headers.get("content-range") == told


def test_a_head_tells_the_size_and_sends_nothing(put, listed, stranger):
    put("a.bin", b"0123456789")

    head = stranger.request("HEAD", listed()[0]["url"])

    assert (head.status_code, head.headers["content-length"], head.content) == (200, "10", b"")
    assert head.headers["accept-ranges"] == "bytes"


def test_empty_files_are_served_whatever_part_is_asked_for(put, listed, stranger):
    put("empty", b"")
    url = listed()[0]["url"]

    whole = stranger.request("GET", url)

    assert (whole.status_code, whole.content, whole.headers["content-length"]) == (200, b"", "0")
    assert stranger.request("GET", url, headers={"Range": "bytes=0-"}).status_code == 416


def test_what_is_known_already_is_not_sent_again(put, listed, stranger):
    put("a.txt", b"one")
    url = listed()[0]["url"]
    etag = stranger.request("GET", url).headers["etag"]

    known = {"If-None-Match": f'"other", W/{etag}'}
    again = stranger.request("GET", url, headers=known)
    put("a.txt", b"two")
    changed = stranger.request("GET", url, headers=known)

    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etag)
    assert (changed.status_code, changed.content) == (200, b"two")


def test_a_part_of_what_has_changed_meanwhile_is_the_whole(put, listed, stranger):
    put("a.txt", b"old text")
    url = listed()[0]["url"]
    etag = stranger.request("GET", url).headers["etag"]
    part = {"Range": "bytes=0-2", "If-Range": etag}

    before = stranger.request("GET", url, headers=part)
    put("a.txt", b"new text")
    after = stranger.request("GET", url, headers=part)

    assert (before.status_code, before.content) == (206, b"old")
    assert (after.status_code, after.content) == (200, b"new text")


def test_readers_of_a_live_file_never_see_half_of_it(put, listed, stranger):
    contents = [bytes([number]) * 300_000 for number in range(24)]
    put("live.bin", contents[0])
    url = listed()[0]["url"]
    stop = threading.Event()

    def read_on():
        seen = []
        while not stop.is_set() or not seen:
            answer = stranger.request("GET", url)
            seen.append((answer.status_code, answer.content))
        return seen

    with ThreadPoolExecutor(3) as readers:
        reading = [readers.submit(read_on) for _ in range(3)]
        for content in contents[1:]:
            put("live.bin", content)
        stop.set()
        seen = [answer for reader in reading for answer in reader.result()]

    assert {status for status, _ in seen} == {200}
    assert {content for _, content in seen} <= set(contents)


def test_many_files_arrive_at_once(links_for, listed, stranger):
    names = [f"media/images/x_{number}.png" for number in range(128)]
    sent = {file["name"]: file["uploadUrl"] for file in links_for(*names)["files"]}

    def put(name):
        return stranger.request("PUT", sent[name], content=name.encode() * 1000)

    with ThreadPoolExecutor(32) as senders:
        statuses = {answer.status_code for answer in senders.map(put, names)}

    assert statuses == {200}
    found = {file["name"]: file["sizeBytes"] for file in listed(fileLimit=1000)}
    assert found == {name: 1000 * len(name) for name in names}


def test_equal_files_are_kept_once(put, listed, service):
    for name in ("a.txt", "b.txt", "a.txt"):
        put(name, b"same")

    blobs = [path for path in (service.store.folder / "blobs").rglob("*") if path.is_file()]

    assert len(blobs) == 1
    assert len({file["md5"] for file in listed()}) == 1


def test_a_second_upload_brings_back_bytes_that_were_lost(put, listed, service, stranger):
    put("a.txt", b"same")
    for path in (service.store.folder / "blobs").rglob("*"):
        if path.is_file():
            path.unlink()
    lost = stranger.request("GET", listed()[0]["url"])

    put("b.txt", b"same")

    assert lost.status_code == 404
    assert {stranger.request("GET", file["url"]).content for file in listed()} == {b"same"}


@pytest.mark.parametrize(
    ("kind", "place"),
    [("clip.mp4", "video/mp4"), ("clip.webm", "video/webm"), ("tone.wav", "audio/x-wav")],
)
def test_what_is_played_is_sent_as_what_it_is(put, listed, stranger, kind, place):
    put(f"media/{kind}", b"x")

    headers = stranger.request("GET", listed()[0]["url"]).headers

    assert headers["content-type"] == place
    assert headers["content-disposition"].startswith("inline")
    assert "script-src" not in headers["content-security-policy"]
    assert "sandbox" in headers["content-security-policy"]


def test_a_page_is_shown_in_a_sandbox_of_its_own_only(put, listed, stranger):
    put("media/html/x.html", b"<script>alert(1)</script>")
    put("x.svg", b"<svg/>")
    page, drawing = (file["url"] + "&view=page" for file in listed())

    headers = stranger.request("GET", page).headers
    policy = headers["content-security-policy"]

    assert headers["content-type"].startswith("text/html")
    assert "sandbox allow-scripts;" in policy
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'self'" in policy
    for let in ("allow-same-origin", "allow-top-navigation", "allow-popups", "allow-forms"):
        assert let not in policy
    assert not stranger.request("GET", drawing).headers["content-type"].startswith("text/html")


@pytest.mark.parametrize(
    ("name", "place", "kind"),
    [
        pytest.param("x.html", "attachment", "application/octet-stream", id="a page"),
        pytest.param("x.svg", "inline", "image/svg+xml", id="a drawing"),
        pytest.param("x", "attachment", "application/octet-stream", id="anything"),
        pytest.param("media/x.png", "inline", "image/png", id="a picture"),
        pytest.param("x.txt", "inline", "text/plain", id="text"),
    ],
)
def test_what_a_file_holds_is_never_trusted(put, listed, stranger, name, place, kind):
    put(name, b"<script>alert(1)</script>")

    headers = stranger.request("GET", listed()[0]["url"]).headers

    assert headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in headers["content-security-policy"]
    assert headers["content-disposition"].startswith(place)
    assert headers["content-type"].partition(";")[0] == kind


def test_a_link_serves_one_method_and_one_file(put, stranger):
    url = put("a.txt", b"a")

    assert stranger.request("GET", url).status_code == 403
    assert stranger.request("PUT", url.replace("a.txt", "b.txt"), content=b"b").status_code == 403
    assert stranger.request("PUT", url.partition("?")[0], content=b"b").status_code == 403


def test_a_link_expires(put, service, stranger):
    path = urlsplit(put("a.txt", b"a")).path
    old = links.sign(service.store.secret, path, expires_at=1_000_000_000, method="GET")

    answer = stranger.request("GET", old)

    assert answer.status_code == 403
    assert "expired" in answer.json()["errors"][0]["message"]


def test_an_upload_that_breaks_off_leaves_nothing(links_for, listed, stranger, service):
    url = links_for("a.txt")["files"][0]["uploadUrl"]

    answer = stranger.request("PUT", url, content=b"half", headers={"Content-Length": "8"})

    assert answer.status_code == 400
    assert listed() == []
    assert not any(path.is_file() for path in (service.store.folder / "blobs").rglob("*"))


def test_an_upload_for_a_run_that_is_gone_is_refused(client, links_for, run_id, stranger, service):
    url = links_for("a.txt")["files"][0]["uploadUrl"]
    client.data(
        "mutation($id: ID!) { deleteRun(input: {id: $id}) { clientMutationId } }", id=run_id
    )

    answer = stranger.request("PUT", url, content=b"late")

    assert answer.status_code == 404
    assert not any(path.is_file() for path in (service.store.folder / "blobs").rglob("*"))


def test_other_origins_may_upload_with_a_link(links_for, stranger):
    url = links_for("a.txt")["files"][0]["uploadUrl"]
    headers = {"Origin": "http://elsewhere.test", "Access-Control-Request-Method": "PUT"}

    answer = stranger.request("OPTIONS", url, headers=headers)

    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == "*"


def test_files_are_listed_by_page_name_and_pattern(put, listed, client):
    for name in ("a.txt", "b.json", "c.txt"):
        put(name, b"x")

    page = client.data(LIST, fileLimit=2)["project"]["run"]
    rest = listed(fileCursor=page["files"]["edges"][-1]["cursor"])

    assert page["fileCount"] == 3
    assert page["files"]["pageInfo"]["hasNextPage"] is True
    assert [file["name"] for file in rest] == ["c.txt"]
    assert [file["name"] for file in listed(pattern="%.txt")] == ["a.txt", "c.txt"]


def test_a_name_that_no_file_has_is_told_by_its_digest(put, listed, client, stranger):
    put("a.txt", b"x")

    there, absent = listed(fileNames=["./a.txt", "./missing", "/x"])

    assert there["name"] == "a.txt"
    shown = {key: absent[key] for key in ("name", "md5", "sizeBytes", "updatedAt")}
    assert shown == {"name": "missing", "md5": "0", "sizeBytes": 0, "updatedAt": None}
    assert stranger.request("GET", absent["url"]).status_code == 404
    (gone,) = listed(fileNames=["missing"], upload=True)
    assert stranger.request("PUT", gone["url"], content=b"new").status_code == 200
    assert [file["name"] for file in listed()] == ["a.txt", "missing"]


def test_a_file_from_outside_its_folder_is_found_by_the_path_it_was_given(put, listed):
    put("__/late.txt", b"late")

    (found,) = listed(fileNames=["../late.txt"])
    (absent,) = listed(fileNames=["../../late.txt"])

    assert (found["name"], found["sizeBytes"]) == ("__/late.txt", 4)
    assert (absent["name"], absent["md5"]) == ("__/__/late.txt", "0")


def test_deleting_files_frees_their_bytes(put, listed, client, stranger):
    put("a.txt", b"a")
    (file,) = listed()
    delete = (
        "mutation($f: [ID!]!, $p: Int) { deleteFiles(input: {files: $f, projectId: $p})"
        " { success } }"
    )

    for _ in range(2):
        assert client.data(delete, f=[file["id"]], p=1)["deleteFiles"]["success"] is True

    assert listed() == []
    assert stranger.request("GET", file["url"]).status_code == 404


def test_another_user_deletes_nothing_of_mine(put, listed, service):
    put("a.txt", b"a")
    key = "mallory" + "m" * 40
    service.store.write_sync(accounts.add_user, name="mallory", key=key)
    mallory = service.client(key=key)

    answer = mallory.data(
        "mutation($f: [ID!]!) { deleteFiles(input: {files: $f}) { success } }",
        f=[listed()[0]["id"]],
    )

    assert answer == {"deleteFiles": {"success": True}}  # as for files that never were
    assert len(listed()) == 1


def test_marking_files_uploaded_is_confirmed(client, run_id):
    answer = client.data(
        MAKE.replace("createRunFiles", "markRunFilesUploaded").replace(
            "{ runID uploadHeaders files { name uploadUrl } }", "{ success }"
        ),
        entity="alice",
        project="toy",
        run="r1",
        files=["a.txt"],
    )

    assert answer["markRunFilesUploaded"]["success"] is True


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        pytest.param("127.0.0.1:8080", "https://sweeps.example.org", id="by the public one"),
        pytest.param("service:8080", "http://service:8080", id="inside the compose network"),
    ],
)
def test_links_are_built_from_the_address_that_the_client_can_reach(
    settings, service, host, expected
):
    from starlette.requests import Request

    from sweepd.engine.services import Services

    scope = {
        "type": "http", "scheme": "http", "path": "/graphql", "root_path": "", "query_string": b"",
        "headers": [(b"host", host.encode())],
    }  # fmt: skip
    configured = Services(store=service.store, public_url="https://sweeps.example.org")

    assert base_url(Request(scope), configured, also_at=("http://service:8080",)) == expected


def test_output_file_of_any_size_is_kept_by_its_ends(put, listed, stranger):
    letters = b"".join(letter * (10 << 20) for letter in (b"a", b"b", b"c", b"d", b"e", b"f", b"g"))

    put("output.log", b"the start" + letters + b"the error")

    (file,) = listed(fileNames=["output.log"])
    kept = stranger.request("GET", file["url"]).content
    assert len(kept) == file["sizeBytes"] < 65 << 20
    assert kept.startswith(b"the startaaa")
    assert kept.endswith(b"gggthe error")
    assert b"\n[... 6,291,474 bytes left out: of a run's output the first 48 MiB" in kept
