"""What artifacts hold, with the unmodified wandb client: files, references, additions, shares."""

import base64
import hashlib
import http.server
import textwrap
import threading

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]  # three clients share the cores


class _Far(http.server.BaseHTTPRequestHandler):
    """Serves one file with an ETag, as any web server does."""

    data = b"from far away"

    def do_GET(self):
        self.send_response(200 if self.path == "/far.bin" else 404)
        self.send_header("Content-Length", str(len(self.data)))
        self.send_header("ETag", '"tag-1"')
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(self.data)

    do_HEAD = do_GET

    def log_message(self, format, *args):
        """Say nothing."""


@pytest.fixture
def far():
    """The address of a file on a web server that the client can reach."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Far)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/far.bin"
    server.shutdown()
    server.server_close()
    thread.join()


HEAD = """
import json, os, pathlib, shutil, wandb

def refused(act):
    try:
        act()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return None

def texts(folder):
    folder = pathlib.Path(folder)
    return {p.relative_to(folder).as_posix(): p.read_text() for p in folder.rglob("*")
            if p.is_file()}

def file_of(artifact, name, text):
    with artifact.new_file(name) as file:
        file.write(text)
    return artifact

def drop_caches():
    shutil.rmtree(os.environ["WANDB_CACHE_DIR"], ignore_errors=True)
    shutil.rmtree("artifacts", ignore_errors=True)

"""


def program(text):
    return HEAD + textwrap.dedent(text)


REFERENCES = program(
    """
    from wandb.sdk.artifacts.artifact_manifest_entry import ArtifactManifestEntry as Entry

    far, facts = os.environ["FAR"], {}
    pathlib.Path("near").mkdir()
    for name in ("one.txt", "two.txt"):
        pathlib.Path("near", name).write_text(name)
    near = pathlib.Path("near").resolve().as_uri()
    with wandb.init(project="refs") as run:
        own = file_of(file_of(wandb.Artifact("own", "data"), "d/a.txt", "mine"), "b.txt", "b")
        run.log_artifact(own).wait()
        refs = wandb.Artifact("refs", "data")
        file_of(refs, "kept.txt", "kept")
        refs.add_reference(far)
        refs.add_reference(near, name="near")
        refs.add_reference(own.get_entry("d/a.txt"), "theirs/a.txt")
        run.log_artifact(refs).wait()
        second = wandb.Artifact("second", "data")
        second.add_reference(refs.get_entry("theirs/a.txt"), "again.txt")
        second.add_reference(far, name="far")
        run.log_artifact(second).wait()
        lost = wandb.Artifact("lost", "data")
        lost.manifest.add_entry(Entry(path="s3", ref="s3://no-such/key", digest="d", size=3))
        lost.add_reference(near + "/one.txt", name="unsummed.txt", checksum=False)
        lost.add_reference("odd://somewhere/x", name="odd")
        run.log_artifact(lost).wait()
        draft = file_of(wandb.Artifact("draft", "data"), "z.txt", "z")
        table = wandb.Table(columns=["a"], data=[[1]])
        draft.add(table, "t")
        run.log_artifact(draft)
        follower = wandb.Artifact("follower", "data")
        follower.add(table, "u")
        facts["refs"] = [follower.manifest.entries["u.table.json"].ref]
        run.log_artifact(follower).wait()
    drop_caches()
    api = wandb.Api()
    refs = api.artifact("refs/refs:latest")
    entries = refs.manifest.entries
    facts["entries"] = {name: [e.ref, e.size, e.digest] for name, e in sorted(entries.items())}
    facts["etag"] = entries["far.bin"].extra
    facts["counts"] = [refs.file_count, refs.size, own.size]
    facts["listed"] = [f.name for f in refs.files()]
    facts["one"] = [f.name for f in refs.files(names=["near/one.txt", "nope"])]
    facts["back"] = texts(refs.download())
    refs.verify()
    facts["again"] = texts(api.artifact("refs/second:latest").download())
    facts["targets"] = [refs.get_entry("far.bin").ref_target(),
        refused(refs.get_entry("kept.txt").ref_target),
        refs.get_path("kept.txt").ref is None]
    lost = api.artifact("refs/lost:latest")
    facts["lost"] = [{n: [e.ref, e.digest] for n, e in sorted(lost.manifest.entries.items())},
        [f.name for f in lost.files()], refused(lost.download)]
    follower = api.artifact("refs/follower:latest")
    facts["refs"].append(follower.manifest.entries["u.table.json"].ref)
    facts["follower"] = api.artifact("refs/follower:latest").get("u").data
    print(json.dumps(facts))
    """
)


def test_references_are_kept_and_followed_by_the_client(real_client, far):
    facts = real_client.python(REFERENCES, FAR=far)

    near = (real_client.folder / "near").resolve().as_uri()
    entries = facts["entries"]
    assert entries["far.bin"] == [far, 13, "tag-1"]
    assert facts["etag"] == {"etag": '"tag-1"'}
    assert entries["near/one.txt"][:2] == [f"{near}/one.txt", 7]
    assert entries["theirs/a.txt"][0].startswith("wandb-artifact://")
    assert facts["counts"][0] == 5
    assert facts["counts"][2] == 5
    assert facts["listed"] == [
        "far.bin", "kept.txt", "near/one.txt", "near/two.txt", "theirs/a.txt",
    ]  # fmt: skip
    assert facts["one"] == ["near/one.txt"]
    assert facts["back"] == {
        "far.bin": "from far away", "kept.txt": "kept", "near/one.txt": "one.txt",
        "near/two.txt": "two.txt", "theirs/a.txt": "mine",
    }  # fmt: skip
    assert facts["again"] == {"again.txt": "mine", "far": "from far away"}
    assert facts["targets"][0] == far
    assert "ValueError" in facts["targets"][1]
    assert facts["targets"][2]
    unsummed = base64.b64encode(hashlib.md5(f"{near}/one.txt".encode()).digest()).decode()
    assert facts["lost"][:2] == [
        {"odd": ["odd://somewhere/x", "odd://somewhere/x"], "s3": ["s3://no-such/key", "d"],
         "unsummed.txt": [f"{near}/one.txt", unsummed]},
        ["odd", "s3", "unsummed.txt"],
    ]  # fmt: skip
    assert facts["lost"][2] is not None
    assert [ref.partition("://")[0] for ref in facts["refs"]] == [
        "wandb-client-artifact", "wandb-artifact",
    ]  # fmt: skip
    assert facts["follower"] == [[1]]


DOWNLOADS = program(
    """
    facts = {}
    with wandb.init(project="loads") as run:
        data = wandb.Artifact("data", "data")
        for name in ("a.txt", "some/b.txt", "some-other.txt", "some/deep/c ü+%.txt"):
            file_of(data, name, name)
        file_of(data, "empty", "")
        run.log_artifact(data).wait()
        single = run.log_artifact(
            file_of(wandb.Artifact("single", "data"), "only.txt", "1")).wait()
        pathlib.Path("folder").mkdir()
        pathlib.Path("folder/x.txt").write_text("x")
        straight = [run.log_artifact(pathlib.Path("folder")).wait().source_name,
            run.log_artifact("folder/x.txt", name="named").wait().source_name]
        facts["straight"] = [name.replace(run.id, "ID") for name in straight]
        unhurried = refused(lambda: run.log_artifact(
            file_of(wandb.Artifact("late", "data"), "l", "l")).wait(timeout=0))
    drop_caches()
    api = wandb.Api()
    data = api.artifact("loads/data:v0")
    facts["all"] = texts(data.download())
    facts["prefix"] = sorted(texts(data.download("p1", path_prefix="some")))
    facts["folder"] = sorted(texts(data.download("p2", path_prefix="some/")))
    facts["parts"] = sorted(texts(data.download("p3", multipart=True, skip_cache=True)))
    facts["skipped"] = texts(data.download("p4", skip_cache=True)) == facts["all"]
    pathlib.Path("p4/a.txt").write_text("spoilt")
    facts["spoilt"] = refused(lambda: data.verify("p4"))
    facts["mended"] = texts(data.download("p4", skip_cache=True)) == facts["all"]
    pathlib.Path("p4/more.txt").write_text("more")
    facts["more"] = refused(lambda: data.verify("p4"))
    facts["checkout"] = texts(data.checkout("p4")) == facts["all"]
    facts["file"] = pathlib.Path(api.artifact("loads/single:v0").file("p5")).read_text()
    facts["not one"] = refused(lambda: data.file("p6"))
    facts["repr"] = str(data.files()).split("/", 1)[1]
    facts["names"] = [f.name for f in data.files(names=["a.txt", "empty"])]
    shown = data.files(per_page=2)[0]
    facts["shown"] = [shown.name, shown.size, shown.mimetype, shown.md5 == data.manifest.entries[
        "a.txt"].digest, shown.url is not None]
    shown.download("p7")
    facts["shown text"] = pathlib.Path("p7/a.txt").read_text()
    entry = data.get_entry("some/deep/c ü+%.txt")
    facts["entry"] = pathlib.Path(entry.download("p8", skip_cache=True)).read_text()
    facts["no entry"] = refused(lambda: data.get_entry("nope"))
    facts["final"] = refused(lambda: data.remove("a.txt"))
    facts["late"] = [unhurried.split(":")[0], api.artifact_exists("loads/late:v0")]
    print(json.dumps(facts))
    """
)


def test_files_are_downloaded_whole_in_parts_and_by_name(real_client):
    facts = real_client.python(DOWNLOADS)

    names = ["a.txt", "some-other.txt", "some/b.txt", "some/deep/c ü+%.txt"]
    assert facts["all"] == {"empty": "", **{name: name for name in names}}
    assert facts["prefix"] == names[1:]
    assert facts["folder"] == names[2:]
    assert facts["parts"] == sorted([*names, "empty"])
    assert facts["skipped"]
    assert "ValueError" in facts["spoilt"]
    assert facts["mended"]
    assert "ValueError" in facts["more"]
    assert facts["checkout"]
    assert facts["file"] == "1"
    assert "ValueError" in facts["not one"]
    assert facts["repr"] == "loads/data:v0 (5)>"
    assert facts["names"] == ["a.txt", "empty"]
    assert facts["shown"] == ["a.txt", 5, "text/plain", True, True]
    assert facts["shown text"] == "a.txt"
    assert facts["entry"] == names[3]
    assert "KeyError" in facts["no entry"]
    assert "ArtifactFinalizedError" in facts["final"]
    assert facts["straight"] == ["run-ID-folder:v0", "named:v0"]
    assert facts["late"] == ["WaitTimeoutError", True]


WRITER = """
import os, wandb
with wandb.init(project="adds", group="together", id=os.environ["ID"]) as run:
    share = wandb.Artifact("shared", "data", metadata={"by": run.id})
    with share.new_file(f"from-{run.id}.txt") as file:
        file.write(run.id)
    run.upsert_artifact(share, distributed_id="job")
"""

ADDITIONS = program(
    """
    import subprocess, sys
    facts = {}

    def names(path):
        return {n: e.size for n, e in sorted(wandb.Api().artifact(path).manifest.entries.items())}

    with wandb.init(project="adds") as run:
        base = file_of(file_of(wandb.Artifact("grow", "data"), "a", "1"), "b", "1")
        base.description, base.ttl = "first", None
        run.log_artifact(base, aliases=["first"], tags=["t"]).wait()
        more = wandb.Artifact("grow", "data", incremental=True)
        file_of(file_of(more, "b", "22"), "c", "3")
        run.log_artifact(more).wait()
        whole = file_of(wandb.Artifact("grow", "data"), "z", "9")
        run.log_artifact(whole).wait()
        facts["first incremental"] = refused(lambda: run.log_artifact(
            file_of(wandb.Artifact("fresh", "data", incremental=True), "a", "1")).wait())
    for n in range(3):
        facts[f"v{n}"] = names(f"adds/grow:v{n}")
    draft = wandb.Api().artifact("adds/grow:v1").new_draft()
    draft.remove("a")
    file_of(draft, "d", "4444")
    with wandb.init(project="adds") as run:
        run.log_artifact(draft).wait()
    facts["draft"] = [names("adds/grow:latest"), draft.version, draft.description]
    facts["text"] = texts(wandb.Api().artifact("adds/grow:latest").download())
    facts["fresh"] = names("adds/fresh:v0")

    writer = [sys.executable, "-c", os.environ["WRITER"]]
    running = [subprocess.Popen(writer, env={**os.environ, "ID": name}) for name in ("w1", "w2")]
    facts["writers"] = [one.wait(60) for one in running]
    facts["early"] = wandb.Api().artifact_exists("adds/shared:v0")
    with wandb.init(project="adds", group="together", id="w3") as run:
        last = file_of(wandb.Artifact("shared", "data"), "end.txt", "end")
        run.finish_artifact(last, distributed_id="job").wait()
        facts["no id"] = None
    facts["shared"] = texts(wandb.Api().artifact("adds/shared:v0").download())
    facts["loggers"] = {name: [a.name for a in wandb.Api().run(f"adds/{name}").logged_artifacts()]
                        for name in ("w1", "w2", "w3")}
    with wandb.init(project="adds", group="g2", id="w4") as run:
        run.upsert_artifact(file_of(wandb.Artifact("ofgroup", "data"), "a", "a"))
    with wandb.init(project="adds", group="g2", id="w5") as run:
        run.finish_artifact(file_of(wandb.Artifact("ofgroup", "data"), "b", "b")).wait()
    facts["of group"] = names("adds/ofgroup:v0")
    print(json.dumps(facts))
    """
)


def test_versions_are_added_to_and_filled_by_several_runs(real_client):
    facts = real_client.python(ADDITIONS, timeout_s=280, WRITER=WRITER)

    assert facts["v0"] == {"a": 1, "b": 1}
    assert facts["v1"] == {"a": 1, "b": 2, "c": 1}
    assert facts["v2"] == {"z": 1}
    assert facts["draft"] == [{"b": 2, "c": 1, "d": 4}, "v3", None]
    assert facts["text"] == {"b": "22", "c": "3", "d": "4444"}
    assert facts["first incremental"] is None
    assert facts["fresh"] == {"a": 1}
    assert facts["writers"] == [0, 0]
    assert facts["early"] is False
    assert facts["shared"] == {"from-w1.txt": "w1", "from-w2.txt": "w2", "end.txt": "end"}
    assert facts["loggers"] == {name: ["shared:v0"] for name in ("w1", "w2", "w3")}
    assert facts["of group"] == {"a": 1, "b": 1}


MANY = program(
    """
    pathlib.Path("many").mkdir()
    for n in range(1_100):
        pathlib.Path("many", f"{n:04}").write_text(str(n))
    with wandb.init(project="crowd") as run:
        crowd = wandb.Artifact("crowd", "data")
        crowd.add_dir("many")
        run.log_artifact(crowd).wait()
    drop_caches()
    crowd = wandb.Api().artifact("crowd/crowd:v0")
    back = texts(crowd.download("back"))
    print(json.dumps([crowd.file_count, len(back), all(back[f"{n:04}"] == str(n)
        for n in range(1_100)), len(crowd.files())]))
    """
)


def test_an_artifact_of_more_files_than_a_page_lists_comes_back_whole(real_client):
    assert real_client.python(MANY) == [1_100, 1_100, True, 1_100]
