"""Which runs made and used artifacts, with the unmodified client: online, offline, by commands."""

import json
import textwrap

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]  # three clients share the cores

HEAD = """
import datetime, json, os, pathlib, wandb

def refused(act):
    try:
        act()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return None

def file_of(artifact, name, text):
    with artifact.new_file(name) as file:
        file.write(text)
    return artifact

"""


def program(text):
    return HEAD + textwrap.dedent(text)


MANY = program(
    """
    count = 120
    with wandb.init(project="many", id="maker") as run:
        for n in range(count):
            run.log_artifact(file_of(wandb.Artifact(f"a{n:03}", "data"), "n", str(n)))
    api = wandb.Api()
    maker = api.run("many/maker")
    with wandb.init(project="users", id="user") as run:
        for n in range(count):
            run.use_artifact(f"admin/many/a{n:03}:v0")
        cross = run.use_artifact("many/a000:latest")
        facts = {"cross": [cross.qualified_name, cross.project]}
    for n in range(3):
        with wandb.init(project="users", id=f"also{n}") as run:
            run.use_artifact("many/a001:v0", use_as=None)
    user = api.run("users/user")
    logged, used = maker.logged_artifacts(), user.used_artifacts()
    facts["counts"] = [len(logged), len(list(logged)), len(used), len(list(used))]
    facts["sets"] = [{a.name for a in logged} == {f"a{n:03}:v0" for n in range(count)},
        {a.name for a in used} == {f"a{n:03}:v0" for n in range(count)}]
    facts["projects"] = sorted({a.project for a in used})
    one = api.artifact("many/a001:v0")
    facts["used by"] = sorted("/".join(run.path[1:]) for run in one.used_by())
    facts["logged by"] = one.logged_by().id
    later = api.artifact("many/a002:v0")
    facts["manual"] = [api.run("users/also0").use_artifact(later).name,
        maker.log_artifact(api.artifact("many/a003:v0"), **json.loads(os.environ["MORE"])).name]
    facts["manual used"] = sorted(r.id for r in api.artifact("many/a002:v0").used_by())
    facts["alias"] = api.artifact_exists("many/a003:api")
    fresh = wandb.Artifact("draft", "data")
    facts["draft"] = [refused(lambda: maker.log_artifact(fresh)) is not None,
        refused(lambda: maker.use_artifact(fresh)) is not None,
        refused(lambda: maker.use_artifact("many/a001:v0")) is not None,
        refused(lambda: maker.log_artifact("many/a001:v0")) is not None]
    print(json.dumps(facts))
    """
)


def test_what_a_run_logged_and_used_is_told_over_pages_and_projects(real_client, client_version):
    # The public API of older clients sends aliases as bare texts, which no server takes.
    takes_aliases = client_version >= (0, 30, 0)
    more = {"aliases": ["api"]} if takes_aliases else {}

    facts = real_client.python(MANY, timeout_s=280, MORE=json.dumps(more))

    assert facts["cross"] == ["admin/many/a000:latest", "many"]
    assert facts["counts"] == [120, 120, 120, 120]
    assert facts["sets"] == [True, True]
    assert facts["projects"] == ["many"]
    assert facts["used by"] == ["users/also0", "users/also1", "users/also2", "users/user"]
    assert facts["logged by"] == "maker"
    assert facts["manual"] == ["a002:v0", "a003:v0"]
    assert facts["manual used"] == ["also0", "user"]
    assert facts["alias"] == takes_aliases
    assert facts["draft"] == [True] * 4


AFTERWARDS = program(
    """
    with wandb.init(project="afterwards", id="maker") as run:
        run.log_artifact(file_of(wandb.Artifact("made", "data"), "n", "1"))
    made = wandb.Api().artifact("afterwards/made:v0")
    wandb.Api().run("afterwards/maker").log_artifact(made, aliases=["api"], tags=["late"])
    named = wandb.Api().artifact("afterwards/made:api")
    print(json.dumps([named.version, sorted(named.aliases), named.tags]))
    """
)


def test_a_run_gives_a_version_aliases_and_tags_through_the_public_api(real_client, needs_client):
    needs_client(
        "0.30", why="0.29's Run.log_artifact sends aliases and tags in a form of no server"
    )

    assert real_client.python(AFTERWARDS) == ["v0", ["api", "latest"], ["late"]]


OFFLINE = program(
    """
    with wandb.init(project="late", id="off") as run:
        first = file_of(wandb.Artifact("made", "data", metadata={"k": 1}), "t", "text")
        first.ttl = datetime.timedelta(days=1)
        run.log_artifact(first, aliases=["best"], tags=["tag"])
        run.log({"table": wandb.Table(columns=["a"], data=[[1], [2]])})
        pathlib.Path("net.bin").write_text("net")
        run.log_model("net.bin", "net", aliases=["live"])
        facts = [refused(lambda: run.use_artifact("made:latest"))]
    print(json.dumps([*facts, run.settings.sync_dir]))
    """
)
SYNCED = program(
    """
    api = wandb.Api()
    made = api.artifact("late/made:best")
    run = api.run("late/off")
    print(json.dumps([made.metadata, made.tags, made.ttl.days, made.version,
        made.logged_by().id, sorted(a.name for a in run.logged_artifacts()),
        api.artifact("late/run-off-table:v0").get("table").data,
        pathlib.Path(api.artifact("late/made:v0").file("back")).read_text(),
        api.artifact("late/net:live").type]))
    """
)


def test_an_offline_run_logs_its_artifacts_when_it_is_synced(real_client):
    unused, folder = real_client.python(OFFLINE, WANDB_MODE="offline")
    real_client.wandb("sync", folder)
    once = real_client.python(SYNCED)
    real_client.wandb("sync", "--include-synced", folder)
    twice = real_client.python(SYNCED)

    assert "offline mode" in unused  # the client's own words: it would have to ask the service
    metadata, tags, days, version, maker, logged, table, text, kind = once
    assert (metadata, tags, days, version, maker) == ({"k": 1}, ["tag"], 1, "v0", "off")
    assert logged == ["made:v0", "net:v0", "run-off-table:v0"]
    assert table == [[1], [2]]
    assert (text, kind) == ("text", "model")
    assert twice == once


MODELS = program(
    """
    facts = {}
    pathlib.Path("net.bin").write_text("net")
    pathlib.Path("code").mkdir()
    pathlib.Path("code/train.py").write_text("print(1)")
    pathlib.Path("code/other.txt").write_text("no code")
    with wandb.init(project="models", id="trainer", config={"lr": 1}) as run:
        run.log_model("net.bin", "net", aliases=["good"])
        run.link_model("net.bin", "shelf", "net", aliases=["prod"])
        code = run.log_code("code").wait()
        facts["code"] = [code.type, sorted(code.manifest.entries)]
        data = run.log_artifact(file_of(wandb.Artifact("data", "dataset"), "d", "d")).wait()
        run.log_artifact(file_of(wandb.Artifact("odd", "dataset"), "d", "d")).wait()
        run.config["set"] = data
        run.config.update({"updated": data})
        facts["nested"] = refused(lambda: run.config.update({"x": {"y": data}}))
    config = {"text": "wandb-artifact://admin/models/data:v0", "object": data,
        "digest": f"wandb-artifact://_id/{data.id}"}
    with wandb.init(project="models", id="user", config=config) as run:
        facts["model"] = pathlib.Path(run.use_model("net:good")).read_text()
        facts["linked"] = pathlib.Path(run.use_model("model-registry/shelf:prod")).read_text()
        facts["odd"] = refused(lambda: run.use_model("odd:v0"))
        draft = wandb.Artifact("unmade", "dataset")
        run.use_artifact(file_of(draft, "e", "e"), aliases=["a"]).wait()
        facts["draft"] = [draft.name, draft.digest is not None]
        later = run.use_artifact("data:latest")
        later.metadata["seen"] = True
        later.save()
    api = wandb.Api()
    kept = {name: api.run(f"models/{name}").config for name in ("trainer", "user")}
    facts["config"] = [kept["trainer"]["set"], kept["trainer"]["updated"]["id"] == data.id,
        *(kept["user"][name]["id"] == data.id for name in config)]
    facts["used"] = sorted(a.name for a in api.run("models/user").used_artifacts())
    facts["logged"] = sorted(a.name.partition("-")[0] for a in
        api.run("models/trainer").logged_artifacts())
    facts["seen"] = api.artifact("models/data:v0").metadata
    facts["steps"] = []
    with wandb.init(project="models", id="steps") as run:
        for n in range(2):
            run.log_artifact(file_of(wandb.Artifact("stepped", "data"), "n", str(n)))
            run.log({"x": n})
    facts["steps"] = [api.artifact(f"models/stepped:v{n}").history_step for n in range(2)]
    alone = file_of(wandb.Artifact("alone", "data"), "n", "1")
    alone.save(project="models")
    alone.wait()
    facts["alone"] = [alone.qualified_name, alone.url.rsplit("/", 5)[1:]]
    code = pathlib.Path(code.download("src"))
    facts["code text"] = (code / "train.py").read_text()
    print(json.dumps(facts))
    """
)


def test_models_code_and_configs_lead_to_artifacts(real_client):
    facts = real_client.python(MODELS, timeout_s=280)

    assert facts["code"] == ["code", ["train.py"]]
    assert "top level keys" in facts["nested"]
    assert facts["model"] == facts["linked"] == "net"
    assert facts["odd"] is not None
    assert facts["draft"] == ["unmade:v0", True]
    stored, *rest = facts["config"]
    assert {**stored, "id": None} == {
        "_type": "artifactVersion", "_version": "v0", "id": None, "version": "v0",
        "sequenceName": "data", "usedAs": None,
    }  # fmt: skip
    assert rest == [True] * 4
    assert facts["used"] == ["data:v0", "net:v0", "odd:v0", "unmade:v0"]
    assert facts["logged"] == ["data:v0", "net:v0", "odd:v0", "source"]
    assert facts["seen"] == {"seen": True}
    assert facts["steps"] == [None, 0]
    assert facts["alone"] == [
        "admin/models/alone:v0", ["models", "artifacts", "data", "alone", "v0"],
    ]  # fmt: skip
    assert facts["code text"] == "print(1)"


def test_the_command_line_puts_lists_and_gets(real_client):
    (real_client.folder / "artifact.txt").write_text("My artifact")
    (real_client.folder / "folder").mkdir()
    (real_client.folder / "folder" / "in.txt").write_text("in")

    first = real_client.wandb("artifact", "put", "artifact.txt", "-n", "cli/simple", "-d", "said")
    again = real_client.wandb(
        "artifact", "put", "folder", "-n", "cli/simple", "-t", "dataset", "-a", "tip", "-a", "b"
    )
    listed = real_client.wandb("artifact", "ls", "cli")
    other = real_client.wandb("artifact", "ls", "cli", "-t", "model", is_good=False)
    got = real_client.wandb("artifact", "get", "cli/simple:v0", "--root", "back")
    tip = real_client.wandb("artifact", "get", "cli/simple:tip", "--root", "tip")
    wrong = real_client.wandb("artifact", "get", "cli/simple:v9", is_good=False)
    cleaned = real_client.wandb("artifact", "cache", "cleanup", "0GB")

    assert "cli/simple:v0" in first
    assert 'run.use_artifact("admin/cli/simple:v1")' in again
    assert "simple:v1" in listed
    assert "2.0B" in listed
    assert "Could not find artifact type 'model'" in other
    assert "Artifact downloaded to" in got
    assert (real_client.folder / "back" / "artifact.txt").read_text() == "My artifact"
    assert "Artifact downloaded to" in tip
    assert (real_client.folder / "tip" / "in.txt").read_text() == "in"
    assert "simple:v9" in wrong
    assert "Reclaimed" in cleaned
