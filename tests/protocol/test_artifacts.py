"""Artifacts, request by request: drafts, bytes, commits, downloads, and who may what."""

import hashlib
import json
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from sweepd.engine import accounts

sys.path.insert(0, str(Path(__file__).parent))

from drafting import COMMIT, COMPLETE, FILES, Drafting, digest_of, manifest_of, md5

NAMED = """query($name: String!) { project(name: "toy", entityName: "alice") {
  artifactCollectionMembership(name: $name) { versionIndex aliases { alias } artifact { id digest
  state size tags { name } fileCount versionIndex artifactSequence { name project { name } } } } }
  }"""
LISTED = """query($alias: String!, $names: [String!], $after: String, $first: Int) {
  project(name: "toy", entityName: "alice") { artifactCollection(name: "data") { __typename
  artifactMembership(aliasName: $alias) { files(names: $names, after: $after, first: $first) {
  totalCount pageInfo { endCursor hasNextPage } edges { node { id name: displayName url sizeBytes
  storagePath mimetype updatedAt digest md5 directUrl } } } } } } }"""
FILE = b"some bytes"


@pytest.fixture
def run(client):
    answer = client.data(
        'mutation { upsertBucket(input: {name: "r1", modelName: "toy", host: "box"})'
        " { bucket { id } } }"
    )
    return answer["upsertBucket"]["bucket"]["id"]


@pytest.fixture
def drafting(service, client, run):
    return Drafting(client, service.client(key=None))


@pytest.fixture
def named(client):
    def named(name):
        return client.data(NAMED, name=name)["project"]["artifactCollectionMembership"]

    return named


@pytest.fixture
def listed(client):
    def listed(alias="latest", **variables):
        collection = client.data(LISTED, alias=alias, **variables)["project"]["artifactCollection"]
        return collection["artifactMembership"]["files"]

    return listed


@pytest.fixture
def kept(service):
    """Counts the files in the blob store."""
    return lambda: sum(1 for path in (service.store.folder / "blobs").rglob("*") if path.is_file())


def test_a_version_is_seen_when_it_is_committed_and_not_before(drafting, named):
    draft = drafting.create(digest=digest_of({"a.txt": FILE}), aliases=["best"])
    drafting.send(draft["id"], {"a.txt": FILE})
    drafting.manifest(draft["id"], manifest_of({"a.txt": FILE}))
    before = named("data:latest"), named("data:best"), named("data:v0")

    version = drafting.commit(draft["id"])

    assert draft["state"] == "PENDING"
    assert draft["artifactSequence"]["latestArtifact"] is None
    assert before == (None, None, None)
    assert version["versionIndex"] == 0
    for name in ("data", "data:latest", "data:best", "data:v0", f"data:{version['digest']}"):
        found = named(name)
        assert found["artifact"]["id"] == version["id"]
        assert {alias["alias"] for alias in found["aliases"]} == {"latest", "best"}
        assert found["artifact"]["size"] == len(FILE)


def test_aliases_and_latest_move_to_the_newer_version(drafting, named):
    drafting.log({"a": b"1"}, aliases=["best", "old"])
    drafting.log({"a": b"2"}, aliases=["best"])

    first, second = named("data:v0"), named("data:v1")

    assert [alias["alias"] for alias in first["aliases"]] == ["old"]
    assert {alias["alias"] for alias in second["aliases"]} == {"best", "latest"}


def test_the_same_contents_are_the_same_version_and_take_aliases_and_tags(drafting, named):
    first = drafting.log({"a": b"1"}, tags=[{"tagName": "old"}])
    drafting.log({"a": b"2"})

    again = drafting.create(
        digest=digest_of({"a": b"1"}), aliases=["latest", "back"], tags=[{"tagName": "new"}]
    )

    assert (again["state"], again["id"]) == ("COMMITTED", first["id"])
    assert {alias["alias"] for alias in named("data:v0")["aliases"]} == {"latest", "back"}
    assert [tag["name"] for tag in named("data:v0")["artifact"]["tags"]] == ["new", "old"]
    assert named("data:v2") is None


def test_a_draft_that_is_asked_for_again_is_the_same_one(drafting):
    first = drafting.create(digest="d", clientID="c1")
    again = drafting.create(digest="d", clientID="c1")
    other = drafting.create(digest="d", clientID="c2")

    assert again["id"] == first["id"]
    assert other["id"] != first["id"]


def test_a_repeated_commit_answers_as_the_first_did(drafting, named):
    version = drafting.log({"a": b"1"})

    assert drafting.commit(version["id"]) == version
    assert named("data:v1") is None


def test_bytes_that_the_project_holds_are_not_sent_again(drafting, kept, run):
    first = drafting.log({"a": FILE})
    before = kept()

    draft = drafting.create("other", "d")
    (node,) = drafting.announce(draft["id"], {"b": FILE})

    assert node["uploadUrl"] is None
    assert node["artifact"]["id"] == first["id"]
    assert kept() == before


def test_a_digest_is_no_way_to_anothers_bytes(service, drafting, kept):
    drafting.log({"a": FILE})
    _, key = service.store.write_sync(accounts.add_user, name="mallory")
    mallory = service.client(key)
    theirs = Drafting(mallory, service.client(key=None), entity="mallory")
    draft = theirs.create(digest=digest_of({"a": FILE}))

    (node,) = theirs.announce(draft["id"], {"a": FILE})
    status, (words,) = _commit_with(theirs, draft["id"], {"a": FILE})

    assert node["uploadUrl"] is not None
    assert node["artifact"]["id"] == draft["id"]
    assert status == 400
    assert words == "the bytes of a have not been uploaded"


def _commit_with(drafting, artifact, files):
    """Send a manifest of files whose bytes were not sent, and try to commit."""
    base, digest, up = None, md5(manifest_of(files)), True
    place = drafting.place
    document = """mutation($input: CreateArtifactManifestInput!, $up: Boolean!) {
      createArtifactManifest(input: $input) { artifactManifest { file { uploadUrl
      @include(if: $up) } } } }"""
    answer = drafting.client.data(
        document,
        up=up,
        input={
            **place,
            "artifactID": artifact,
            "baseArtifactID": base,
            "name": "wandb_manifest.json",
            "digest": digest,
            "runName": "r1",
        },
    )
    link = answer["createArtifactManifest"]["artifactManifest"]["file"]["uploadUrl"]
    drafting.put(link, manifest_of(files))
    return drafting.client.errors(COMMIT, id=artifact)


def test_bytes_that_are_not_what_was_announced_are_refused(drafting, kept):
    draft = drafting.create()
    (node,) = drafting.announce(draft["id"], {"a": FILE})

    answer = drafting.put(node["uploadUrl"], b"other bytes")

    assert answer.status_code == 400
    assert "as was announced" in answer.json()["errors"][0]["message"]
    assert kept() == 0


def test_a_manifest_that_is_not_what_was_announced_is_refused(drafting):
    draft = drafting.create()
    answer = drafting.client.data(
        'mutation($id: ID!) { createArtifactManifest(input: {artifactID: $id, name: "m", '
        'digest: "1B2M2Y8AsgTpgAmY7PhCfg==", entityName: "alice", projectName: "toy", runName: "r1"'
        "}) { artifactManifest { file { uploadUrl } } } }",
        id=draft["id"],
    )
    link = answer["createArtifactManifest"]["artifactManifest"]["file"]["uploadUrl"]

    assert drafting.put(link, b"{}").status_code == 400


@pytest.mark.parametrize(
    ("manifest", "words"),
    [
        pytest.param(b"[]", "version 1", id="no object"),
        pytest.param(b"{", "not JSON", id="no json"),
        pytest.param(b'{"version": 1}', "contents", id="no contents"),
        pytest.param(
            b'{"version": 1, "contents": {"../x": {"digest": "d"}}}', "within", id="leaves"
        ),
        pytest.param(
            b'{"version": 1, "contents": {"a//b": {"digest": "d"}}}', "'a/b'", id="not normal"
        ),
        pytest.param(b'{"version": 1, "contents": {"x": {}}}', "digest", id="no digest"),
        pytest.param(
            b'{"version": 1, "contents": {"x": {"digest": "d", "size": -1}}}', "size", id="size"
        ),
        pytest.param(
            b'{"version": 1, "contents": {"x": {"digest": "d", "ref": 1}}}', "reference", id="ref"
        ),
        pytest.param(
            b'{"version":1,"contents":' + b"[" * 500 + b"]" * 500 + b"}", "deep", id="deep"
        ),
    ],
)
def test_a_manifest_that_is_not_one_is_refused_in_words(drafting, manifest, words):
    draft = drafting.create()
    assert drafting.manifest(draft["id"], manifest).status_code == 200

    status, (message,) = drafting.client.errors(COMMIT, id=draft["id"])

    assert status == 400
    assert words in message


def test_without_a_manifest_there_is_no_commit(drafting):
    draft = drafting.create()

    status, (words,) = drafting.client.errors(COMMIT, id=draft["id"])

    assert status == 400
    assert "no manifest" in words


def test_a_committed_version_can_change_no_more(drafting):
    version = drafting.log({"a": FILE})
    spec = {"artifactID": version["id"], "name": "b", "md5": md5(b"x")}

    status, (words,) = drafting.client.errors(
        FILES, input={"artifactFiles": [spec], "storageLayout": "V2"}
    )

    assert status == 422
    assert "can change no more" in words


def test_files_are_listed_with_references_and_downloaded_without_a_key(drafting, listed, service):
    files = {"a.txt": FILE, "dir/ü x.bin": bytes(range(256))}
    drafting.log(files, refs={"far.csv": "https://example.com/far.csv"})
    stranger = service.client(key=None)

    page = listed()

    nodes = {edge["node"]["name"]: edge["node"] for edge in page["edges"]}
    assert list(nodes) == ["a.txt", "dir/ü x.bin", "far.csv"]
    assert page["totalCount"] == 3
    assert nodes["far.csv"]["directUrl"] == "https://example.com/far.csv"
    assert nodes["far.csv"]["storagePath"] is None
    for name, data in files.items():
        assert stranger.request("GET", nodes[name]["directUrl"]).content == data
        assert nodes[name]["digest"] == md5(data)
        assert nodes[name]["storagePath"].startswith("wandb_artifacts/")
    part = stranger.request("GET", nodes["a.txt"]["directUrl"], headers={"Range": "bytes=2-5"})
    assert (part.status_code, part.content) == (206, FILE[2:6])


def test_files_are_listed_page_by_page(drafting, listed):
    drafting.log({f"{n:02}": str(n).encode() for n in range(7)})

    names, after, pages = [], None, 0
    while True:
        page = listed(first=3, after=after)
        names += [edge["node"]["name"] for edge in page["edges"]]
        pages, after = pages + 1, page["pageInfo"]["endCursor"]
        if not page["pageInfo"]["hasNextPage"]:
            break

    assert names == [f"{n:02}" for n in range(7)]
    assert pages == 3
    assert [e["node"]["name"] for e in listed(names=["./03", "no"])["edges"]] == ["03"]


def test_a_link_serves_its_own_file_and_nothing_else(drafting, listed, service):
    drafting.log({"a": FILE, "b": b"other"})
    stranger = service.client(key=None)
    link = listed()["edges"][0]["node"]["directUrl"]
    parts = urlsplit(link)

    other = stranger.request("GET", link.replace(parts.path, parts.path[:-1] + "b"))
    bare = stranger.request("GET", parts.path)
    put = stranger.request("PUT", link, content=b"x")

    assert (other.status_code, bare.status_code) == (403, 403)
    assert put.status_code in (403, 404, 405)


def test_what_the_client_falls_back_on_takes_a_key(drafting, service, client):
    version = drafting.log({"dir/a.txt": FILE})
    digest = hashlib.md5(FILE).hexdigest()
    with_id = f"/artifactsV2/default/alice/toy/data/{version['id']}/{version['id']}/{digest}/a.txt"
    without = f"/artifactsV2/default/alice/toy/data/{version['id']}/{digest}/a.txt"
    _, key = service.store.write_sync(accounts.add_user, name="mallory")

    assert client.request("GET", with_id).content == FILE
    assert client.request("GET", without).content == FILE
    assert service.client(key=None).request("GET", with_id).status_code == 401
    assert service.client(key).request("GET", with_id).status_code == 404
    assert client.request("GET", with_id.replace(digest, "0" * 32)).status_code == 404
    assert client.request("GET", with_id.replace(digest, "zz")).status_code == 404


def test_a_file_that_was_cut_short_on_the_disk_is_not_sent_as_if_it_were_whole(
    drafting, listed, service
):
    drafting.log({"a": FILE})
    link = listed()["edges"][0]["node"]["directUrl"]
    for path in (service.store.folder / "blobs").rglob("*"):
        if path.is_file() and path.read_bytes() == FILE:
            path.write_bytes(FILE[:-1])

    answer = service.client(key=None).request("GET", link)

    assert answer.status_code == 500


def test_a_file_may_come_in_parts(drafting, listed, service, kept):
    data = bytes(range(256)) * 40
    chunks = [data[:4096], data[4096:8192], data[8192:]]
    parts = [
        {"partNumber": n, "hexMD5": hashlib.md5(chunk).hexdigest()}
        for n, chunk in enumerate(chunks, 1)
    ]
    draft = drafting.create(digest=digest_of({"big": data}))
    (node,) = drafting.announce(draft["id"], {"big": data}, parts={"big": parts})
    upload = node["uploadMultipartUrls"]
    done = []
    for part, chunk in reversed(list(zip(upload["uploadUrlParts"], chunks, strict=True))):
        answer = drafting.put(part["uploadUrl"], chunk)
        done.append({"partNumber": part["partNumber"], "hexMD5": answer.headers["ETag"]})
    wrong = drafting.put(upload["uploadUrlParts"][0]["uploadUrl"], b"wrong")

    answers = [
        drafting.client.data(
            COMPLETE,
            id=draft["id"],
            parts=done,
            path=node["storagePath"],
            upload=upload["uploadID"],
        )
        for _ in range(2)
    ]
    drafting.manifest(draft["id"], manifest_of({"big": data}))
    drafting.commit(draft["id"])

    assert wrong.status_code == 400
    assert [a["completeMultipartUploadArtifact"]["digest"] for a in answers] == [md5(data)] * 2
    link = listed()["edges"][0]["node"]["directUrl"]
    assert service.client(key=None).request("GET", link).content == data
    assert kept() == 2  # the file and the manifest: its parts are gone


def test_parts_that_are_missing_are_named(drafting):
    parts = [{"partNumber": n, "hexMD5": "0" * 32} for n in (1, 2)]
    draft = drafting.create()
    (node,) = drafting.announce(draft["id"], {"big": FILE}, parts={"big": parts})

    status, (words,) = drafting.client.errors(
        COMPLETE,
        id=draft["id"],
        parts=parts,
        path=node["storagePath"],
        upload=node["uploadMultipartUrls"]["uploadID"],
    )

    assert status == 400
    assert words == "parts have not arrived: 1, 2"


def test_an_incremental_version_adds_to_its_base(drafting, listed, named):
    base = drafting.log({"a": b"1", "b": b"2"})
    draft = drafting.create(digest="x")
    drafting.send(draft["id"], {"b": b"3", "c": b"4"})
    added = manifest_of({"b": b"3", "c": b"4"})
    drafting.manifest(draft["id"], added, type="INCREMENTAL", base=base["id"])

    version = drafting.commit(draft["id"])

    names = {e["node"]["name"]: e["node"]["digest"] for e in listed()["edges"]}
    assert names == {"a": md5(b"1"), "b": md5(b"3"), "c": md5(b"4")}
    assert version["digest"] == digest_of({"a": b"1", "b": b"3", "c": b"4"})


def test_several_writers_fill_one_draft(drafting, listed, service):
    first = drafting.create(digest="x", distributedID="all")
    second = drafting.create(digest="y", distributedID="all", clientID="c2")
    for draft, files in ((first, {"a": b"1"}), (second, {"b": b"2"})):
        drafting.send(draft["id"], files)
        drafting.manifest(draft["id"], manifest_of(files), type="PATCH")

    version = drafting.commit(first["id"])

    assert first["id"] == second["id"]
    assert [e["node"]["name"] for e in listed()["edges"]] == ["a", "b"]
    assert version["fileCount"] == 2
    again = drafting.create(digest="z", distributedID="all")
    assert again["id"] != first["id"]


def test_the_manifest_comes_back_as_the_client_wrote_it(drafting, service, client):
    version = drafting.log({"a": FILE})
    answer = client.data(
        "query($id: ID!) { artifact(id: $id) { currentManifest { file { directUrl } } } }",
        id=version["id"],
    )

    link = answer["artifact"]["currentManifest"]["file"]["directUrl"]
    answer = service.client(key=None).request("GET", link)

    assert answer.content == manifest_of({"a": FILE})
    assert "wandb_manifest.json" in link


DELETE = """mutation($id: ID!, $too: Boolean) { deleteArtifact(input: {artifactID: $id,
  deleteAliases: $too}) { artifact { id } } }"""


def test_deleting_frees_what_no_other_version_holds(drafting, named, kept, client, listed):
    first = drafting.log({"a": b"1", "b": b"2"})
    second = drafting.log({"a": b"1", "c": b"3"})
    link = listed("v1", names=["c"])["edges"][0]["node"]["directUrl"]

    client.data(DELETE, id=first["id"])
    status, (words,) = client.errors(DELETE, id=second["id"])
    client.data(DELETE, id=second["id"], too=True)

    assert status == 422
    assert "latest" in words
    assert named("data:v0") is None
    assert kept() == 0
    assert drafting.stranger.request("GET", link).status_code == 404
    assert client.errors(DELETE, id=second["id"], too=True)[0] == 404
    assert drafting.log({"a": b"9"})["versionIndex"] == 2


def test_latest_falls_back_to_the_newest_that_is_left(drafting, named, client):
    drafting.log({"a": b"1"})
    second = drafting.log({"a": b"2"})

    client.data(DELETE, id=second["id"], too=True)

    assert named("data:latest")["versionIndex"] == 0


def test_deleting_a_run_deletes_its_artifacts_only_if_asked(drafting, named, client, run):
    delete = """mutation($id: ID!, $too: Boolean) { deleteRun(input: {id: $id,
      deleteArtifacts: $too}) { clientMutationId } }"""
    drafting.log({"a": b"1"}, runName="r1")
    client.data(delete, id=run, too=False)
    kept = named("data:v0")
    answer = client.data(
        'mutation { upsertBucket(input: {name: "r2", modelName: "toy"}) { bucket { id } } }'
    )
    drafting.log({"a": b"2"}, runName="r2")
    client.data(delete, id=answer["upsertBucket"]["bucket"]["id"], too=True)

    assert kept is not None
    assert named("data:v0") is not None
    assert named("data:v1") is None


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        pytest.param({"type": "model"}, "already exists with type 'dataset'", id="type"),
        pytest.param({"aliases": ["v3"]}, "'v3' is the name of a version", id="version"),
        pytest.param({"aliases": ["a/b"]}, "'/', ':'", id="alias"),
        pytest.param({"tags": [{"tagName": " x"}]}, "Invalid tag", id="tag"),
        pytest.param({"metadata": "[]"}, "JSON object", id="metadata"),
        pytest.param({"ttlDurationSeconds": 0}, "ttlDurationSeconds", id="ttl"),
        pytest.param({"storageRegion": "mars"}, "'mars'", id="region"),
        pytest.param({"digestAlgorithm": "MANIFEST_XXH128"}, "MANIFEST_MD5", id="algorithm"),
        pytest.param({"runName": "nope"}, "there is no run", id="run"),
        pytest.param({"name": "a/b"}, "may not contain '/'", id="name"),
    ],
)
def test_what_is_wrong_with_a_draft_is_told(drafting, fields, words):
    drafting.log({"a": FILE})

    with pytest.raises(AssertionError, match="40") as refused:
        drafting.create(**{"digest": "new", **fields})

    assert words in json.loads(str(refused.value).partition("\n")[0])["errors"][0]["message"]
