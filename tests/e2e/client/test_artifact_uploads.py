"""How the bytes of artifacts come, with the unmodified client: once, in parts, broken off."""

import os
import signal
import subprocess
import textwrap
import threading

import pytest
from between import between
from live import wait_for
from real import CLIENT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]  # three clients share the cores


@pytest.fixture
def way(live_service):
    """What stands between the client and the service."""
    with between(live_service.url) as way:
        yield way


@pytest.fixture
def through(real_client, way):
    """The client, whose requests all go through `way`."""
    real_client.environment["WANDB_BASE_URL"] = way.url
    return real_client


ONCE = """
import json, wandb

def log(name, **files):
    artifact = wandb.Artifact(name, "data")
    for path, text in files.items():
        with artifact.new_file(path) as file:
            file.write(text)
    return run.log_artifact(artifact).wait().version

with wandb.init(project="PROJECT") as run:
    open("saved.txt", "w").write("saved" * 100)
    run.save("saved.txt", policy="now")
    found = [log("one", big="b" * 10_000, small="s"), log("one", big="b" * 10_000, small="t"),
        log("two", other="b" * 10_000, twin="b" * 10_000), log("one", big="b" * 10_000, small="s"),
        log("one", big="b" * 10_000, small="u")]
print(json.dumps(found))
"""


def test_bytes_that_a_project_holds_are_sent_once_and_equal_contents_are_one_version(through, way):
    first = through.python(ONCE.replace("PROJECT", "once"))
    sent = way.sent("/draft_files/")
    second = through.python(ONCE.replace("PROJECT", "once"))
    sent_later = way.sent("/draft_files/")
    third = through.python(ONCE.replace("PROJECT", "elsewhere"))
    sent_elsewhere = way.sent("/draft_files/")

    assert first == second == third == ["v0", "v1", "v0", "v0", "v2"]
    assert sorted(one.size for one in sent) == [1, 1, 1, 10_000]
    assert sent_later == []
    assert sorted(one.size for one in sent_elsewhere) == [1, 1, 1, 10_000]


BROKEN = """
import json, wandb
with wandb.init(project="broken", id="half", resume="allow") as run:
    artifact = wandb.Artifact("data", "data")
    for name in ("1", "2", "3"):
        with artifact.new_file(name) as file:
            file.write(name * 2_000)
    run.log_artifact(artifact, aliases=["best"]).wait()
print(json.dumps(artifact.version))
"""
SEEN = """
import json, wandb
api = wandb.Api()
print(json.dumps([api.artifact_exists(f"broken/data:{name}") for name in ("v0", "latest", "best")]
    + [len(api.artifacts("data", "broken/data")), len(api.run("broken/half").logged_artifacts())]))
"""


def test_a_client_killed_while_it_sends_leaves_nothing_and_the_next_try_succeeds(through, way):
    sent, may_go_on = [], threading.Event()

    def hold(method, path, size):
        if method == "PUT" and "/draft_files/" in path:
            sent.append(path)
            if path.partition("?")[0].endswith(("/2", "/3")):
                may_go_on.wait(60)
                return 503
        return None

    way.refuse = hold
    broken = subprocess.Popen(
        [CLIENT, "-c", BROKEN], cwd=through.folder, env=through.environment, start_new_session=True
    )
    wait_for("all three files being sent", lambda: len(sent) == 3)
    wait_for("one having been stored", lambda: [p for p in way.passed if p.method == "PUT"])
    os.killpg(broken.pid, signal.SIGKILL)
    broken.wait(10)
    may_go_on.set()
    way.refuse = lambda method, path, size: None
    wait_for("the others being refused", lambda: sum(p.status == 503 for p in way.passed) == 2)
    seen = through.python(SEEN)
    way.sent("")

    version = through.python(BROKEN)

    assert seen == [False, False, False, 0, 0]
    assert version == "v0"
    names = sorted(one.path.partition("?")[0][-1] for one in way.sent("/draft_files/"))
    assert names == ["2", "3"]
    assert through.python(SEEN) == [True, True, True, 1, 1]


FLAKY = """
import json, wandb
with wandb.init(project="flaky", id="maker") as run:
    artifact = wandb.Artifact("data", "data")
    for name in ("a", "b"):
        with artifact.new_file(name) as file:
            file.write(name * 2)
    run.log_artifact(artifact, aliases=["best"], tags=["t"]).wait()
    linked = run.link_artifact(artifact, "shelf", aliases=["top"])
    used = run.use_artifact("data:best")
print("0")
"""
AFTERWARDS = """
import json, pathlib, wandb
api = wandb.Api()
run = api.run("flaky/maker")
files = pathlib.Path(api.artifact("flaky/data:v0").download("back"))
print(json.dumps([
    {one.version: sorted(one.aliases) for one in api.artifacts("data", "flaky/data")},
    [one.name for one in api.artifacts("data", "flaky/shelf")],
    [one.name for one in run.logged_artifacts()],
    [one.name for one in run.used_artifacts()],
    {path.name: path.read_text() for path in files.iterdir()},
]))
"""


def test_answers_that_are_lost_change_nothing(through, way):
    seen = set()

    def lose(method, path, size):
        """Lose the first answer to each request that changes something."""
        is_change = method == "PUT" or (method == "POST" and path == "/graphql")
        request = (path.partition("?")[0], size)
        if not is_change or request in seen:
            return None
        seen.add(request)
        return 502

    way.lose = lose
    through.python(FLAKY, timeout_s=280)
    way.lose = lambda method, path, size: None

    versions, shelf, logged, used, files = through.python(AFTERWARDS)

    assert sum(one.status == 502 for one in way.passed) > 10
    assert versions == {"v0": ["best", "latest"]}
    assert shelf == ["shelf:v0"]
    assert logged == used == ["data:v0"]
    assert files == {"a": "aa", "b": "bb"}


EXPIRED = """
import json, pathlib, wandb
with wandb.init(project="expired") as run:
    artifact = wandb.Artifact("data", "data")
    for name in ("whole", "parts"):
        with artifact.new_file(name) as file:
            file.write(name)
    run.log_artifact(artifact).wait()
artifact = wandb.Api().artifact("expired/data:v0")
found = []
for name in ("whole", "parts"):
    place = artifact.download(
        name, path_prefix=name, skip_cache=True, multipart=name == "parts" or None)
    found.append(pathlib.Path(place, name).read_text())
print(json.dumps(found))
"""


def test_a_link_that_has_expired_is_asked_for_anew(through, way):
    expired = []

    def refuse(method, path, size):
        """Answer the first request for each file as the service does when its link has expired."""
        name = path.partition("?")[0].rpartition("/")[2]
        if "/storage/wandb_artifacts/" in path and name not in expired:
            expired.append(name)
            return 403
        return None

    way.refuse = refuse

    found = through.python(EXPIRED)

    assert found == ["whole", "parts"]
    assert expired == ["whole", "parts"]


LARGE = textwrap.dedent(
    """
    import json, os, wandb
    size = (2 << 30) + 5
    with open("large.bin", "wb") as file:
        file.truncate(size)
        file.seek(size - 5)
        file.write(b"tail!")
    with wandb.init(project="large") as run:
        artifact = wandb.Artifact("large", "data")
        artifact.add_file("large.bin", policy="immutable", skip_cache=True)
        run.log_artifact(artifact).wait()
    os.remove("large.bin")
    path = wandb.Api().artifact("large/large:v0").download("back", skip_cache=True)
    with open(os.path.join(path, "large.bin"), "rb") as file:
        file.seek(size - 5)
        found = [file.read(), os.path.getsize(file.name) - size]
    os.remove(os.path.join(path, "large.bin"))
    print(json.dumps([found[0].decode(), found[1], artifact.size - size]))
    """
)


@pytest.mark.timeout(600)  # two gibibytes are sent, hashed, joined and read back
def test_a_file_of_two_gibibytes_goes_in_parts_one_of_which_fails_once(through, way, needs_client):
    needs_client("0.31.0", why="once is enough for what takes so long")
    failed = []

    def fail_once(method, path, size):
        if method == "PUT" and path.partition("?")[0].endswith("/3") and not failed:
            failed.append(path)
            return 500
        return None

    way.refuse = fail_once

    found = through.python(LARGE, timeout_s=550)

    parts = way.sent("/draft_parts/")
    assert found == ["tail!", 0, 0]
    assert len(failed) == 1
    assert [one.status for one in parts].count(200) == 21
    assert len(parts) == 22
