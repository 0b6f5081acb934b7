"""Names of artifacts with the unmodified wandb client: aliases, versions, collections, links."""

import textwrap

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]  # three clients share the cores

#: What the programs below begin with.
HEAD = """
import datetime, json, os, pathlib, time, wandb

def refused(act):
    try:
        act()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return None

def made(name, type, text, **more):
    artifact = wandb.Artifact(name, type, **more)
    with artifact.new_file("text.txt") as file:
        file.write(text)
    return artifact

def logged(run, name, type, text, aliases=(), **more):
    return run.log_artifact(made(name, type, text, **more), aliases=list(aliases)).wait()

"""


def program(text):
    return HEAD + textwrap.dedent(text)


VERSIONS = program(
    """
    with wandb.init(project="names") as run:
        for n in range(4):
            logged(run, "data", "dataset", str(n), ["best"] if n < 2 else [f"a{n}"])
        logged(run, "other", "dataset", "0")
        logged(run, "net", "model", "0")
        wrong = refused(lambda: run.log_artifact(made("data", "model", "0")))

    def aliases():
        versions = wandb.Api().artifacts("dataset", "names/data")
        return {one.version: sorted(one.aliases) for one in versions}

    api, facts = wandb.Api(), {"wrong": wrong, "first": aliases()}
    one = api.artifact("names/data:v2")
    one.aliases.append("best")
    one.aliases.remove("a2")
    one.aliases += ["new", "Ünï c-0.de"]
    one.tags = ["keep", "drop me"]
    one.description, one.metadata["n"] = "two", {"deep": [1, None, float("nan")]}
    one.ttl = datetime.timedelta(days=2)
    one.save()
    facts["moved"] = aliases()
    one = api.artifact("names/data:best")
    facts["saved"] = [one.version, one.description, one.metadata, one.tags, str(one.ttl)]
    one.tags, one.ttl, one.metadata, one.description = ["keep", "new"], None, {"m": 1}, ""
    one.save()
    one = api.artifact("names/data:new")
    facts["again"] = [one.description, one.metadata, sorted(one.tags), one.ttl]
    facts["tagged"] = [a.version for a in api.artifacts("dataset", "names/data", tags=["keep"])]
    facts["bad tag"] = refused(lambda: (one.tags.append("!x"), one.save()))
    facts["no delete"] = refused(lambda: api.artifact("names/data:v3").delete())
    facts["bare delete"] = refused(lambda: api.artifact("names/data:v1").delete())
    api.artifact("names/data:v3").delete(delete_aliases=True)
    facts["deleted"] = aliases()
    facts["gone"] = refused(lambda: api.artifact("names/data:v3"))
    with wandb.init(project="names") as run:
        facts["next"] = logged(run, "data", "dataset", "3").version
        facts["same"] = logged(run, "data", "dataset", "0", ["old"]).version
    facts["end"] = aliases()
    facts["digest"] = api.artifact(f"names/data:{api.artifact('names/data:v0').digest}").version
    facts["ordered"] = [a.name for a in api.artifacts("dataset", "names/data", order="createdAt")]
    facts["paged"] = [a.name for a in api.artifacts("dataset", "names/data", per_page=1)]
    facts["length"] = len(api.artifacts("dataset", "names/data", per_page=1))
    facts["versions"] = [a.name for a in api.artifact_versions("dataset", "names/data")]
    types = api.artifact_types("names")
    facts["types"] = sorted(t.name for t in types)
    kind = api.artifact_type("dataset", "names")
    facts["collections"] = sorted(c.name for c in kind.collections())
    facts["by pages"] = sorted(c.name for c in kind.collections(per_page=1))
    facts["of type"] = sorted(c.name for c in api.artifact_collections("names", "dataset"))
    facts["no type"] = refused(lambda: api.artifact_type("nope", "names").id)
    facts["exists"] = [api.artifact_exists("names/data:a3"), api.artifact_exists("names/data:best"),
        api.artifact_exists("names/data:best", "model"),
        api.artifact_collection_exists("names/data", "dataset"),
        api.artifact_collection_exists("names/data", "model")]
    print(json.dumps(facts))
    """
)


def test_aliases_move_and_versions_change_and_go(real_client):
    facts = real_client.python(VERSIONS)

    assert "already exists with type 'dataset'" in facts["wrong"]
    assert facts["first"] == {"v3": ["a3", "latest"], "v2": ["a2"], "v1": ["best"], "v0": []}
    assert facts["moved"] == {
        "v3": ["a3", "latest"], "v2": ["best", "new", "Ünï c-0.de"], "v1": [], "v0": [],
    }  # fmt: skip
    deep = {"n": {"deep": [1, None, None]}}
    assert facts["saved"] == ["v2", "two", deep, ["drop me", "keep"], "2 days, 0:00:00"]
    assert facts["again"] == ["", {"m": 1}, ["keep", "new"], None]
    assert facts["tagged"] == ["v2"]
    assert "Invalid tag" in facts["bad tag"]
    assert "delete_aliases=True" in facts["no delete"]
    assert facts["bare delete"] is None
    assert facts["deleted"] == {"v2": ["best", "latest", "new", "Ünï c-0.de"], "v0": []}
    assert "v3" in facts["gone"]
    assert (facts["next"], facts["same"]) == ("v4", "v0")
    assert facts["end"] == {
        "v4": [], "v2": ["best", "new", "Ünï c-0.de"], "v0": ["latest", "old"],
    }  # fmt: skip
    assert facts["digest"] == "v0"
    assert facts["ordered"] == ["data:v0", "data:v2", "data:v4"]
    assert facts["paged"] == facts["versions"] == ["data:v4", "data:v2", "data:v0"]
    assert facts["length"] == 3
    assert {"dataset", "model"} <= set(facts["types"])
    assert facts["collections"] == facts["by pages"] == facts["of type"] == ["data", "other"]
    assert facts["no type"] is not None
    assert facts["exists"] == [False, True, False, True, False]


COLLECTIONS = program(
    """
    import math
    from wandb.sdk.artifacts._internal_artifact import InternalArtifact

    facts, api = {}, wandb.Api()
    with wandb.init(project="places", id="maker") as run:
        for n in range(3):
            first = logged(run, "images", "data", str(n), ["a"] if n == 0 else [])
        links = [run.link_artifact(first, "shelf", aliases=["top"]),
            run.link_artifact(first, "far/shelf"),
            run.link_artifact(made("drafted", "data", "x"), "shelf")]
        facts["links"] = [[a.qualified_name, a.source_qualified_name, a.is_link, a.is_draft(),
            sorted(a.aliases), a.version, a.source_version] for a in links]
        facts["same id"] = links[0].id == links[1].id == first.id
        facts["twice"] = run.link_artifact(first, "shelf", aliases=["more"]).version
        used = run.use_artifact("shelf:v0")
        facts["used"] = [used.is_link, used.source_artifact.qualified_name,
            used.linked_at is not None]
        inner = run.log_artifact(InternalArtifact("inner", "wandb-history")).wait()
    facts["own not unlinked"] = refused(first.unlink)
    free = made("free", "data", "free")
    facts["draft link"] = free.link("places/shelf").qualified_name
    facts["linked"] = sorted(a.qualified_name for a in first.linked_artifacts)
    facts["onto own"] = refused(lambda: first.link("places/drafted"))
    shelf = api.artifact_collection("data", "places/shelf")
    facts["shelf"] = [[a.name, a.is_link, sorted(a.aliases)] for a in shelf.artifacts()]
    facts["shelf aliases"] = sorted(shelf.aliases)
    facts["shelf type"] = refused(lambda: setattr(shelf, "type", "other"))
    top = api.artifact("places/shelf:top")
    top.aliases = ["portfolio"]
    top.aliases.append("boom")
    top.save()
    facts["link aliases"] = [sorted(api.artifact("places/shelf:v0").aliases),
        sorted(api.artifact("places/images:v2").aliases)]
    shelf.name, shelf.description, shelf.tags = "rack", None, ["t"]
    shelf.save()
    shelf = api.artifact("places/rack:v0").collection
    facts["rack"] = [shelf.name, shelf.description, shelf.tags, shelf.is_sequence()]
    facts["old name"] = api.artifact_collection_exists("places/shelf", "data")
    api.artifact("places/rack:v0").unlink()
    api.artifact("places/rack:v1").delete()
    rack = api.artifact_collection("data", "places/rack")
    facts["unlinked"] = [[a.name for a in rack.artifacts()],
        api.artifact_exists("places/images:v2"), api.artifact_exists("places/drafted:v0"),
        sorted(a.qualified_name for a in first.linked_artifacts)]
    images = api.artifact_collection("data", "places/images")
    images.name, images.type, images.description = "pictures", "pixels", "new"
    images.tags = ["a", "b"]
    images.save()
    images = api.artifact("places/pictures:latest").collection
    images.tags = ["b", "c"]
    images.save()
    images = api.artifact_collection("pixels", "places/pictures")
    facts["images"] = [images.name, images.type, images.description, sorted(images.tags),
        api.artifact("places/pictures:a").type, images.is_sequence()]
    facts["versions"] = [a.name for a in images.artifacts(per_page=2)]
    facts["taken"] = refused(lambda: (setattr(images, "name", "rack"), images.save()))
    facts["reserved"] = refused(lambda: (setattr(images, "type", "wandb-x"), images.save()))
    facts["bad names"] = [refused(lambda: setattr(images, "name", n)) for n in ("a" * 129, "a/b")]
    inner = inner.collection
    facts["inner"] = refused(lambda: (setattr(inner, "type", "model"), inner.save()))
    facts["run"] = sorted(a.name for a in api.run("places/maker").logged_artifacts())
    api.artifact_collection("data", "places/rack").delete()
    facts["rack gone"] = [api.artifact_collection_exists("places/rack", "data"),
        api.artifact_exists("uncategorized/free:v0")]
    api.artifact_collection("pixels", "places/pictures").delete()
    facts["images gone"] = [api.artifact_collection_exists("places/pictures", "pixels"),
        api.artifact_exists("places/pictures:v0"), api.artifact_exists("far/shelf:latest")]
    print(json.dumps(facts))
    """
)


def test_links_and_collections_are_made_changed_and_deleted(real_client):
    facts = real_client.python(COLLECTIONS, timeout_s=280)

    assert facts["links"] == [
        ["admin/places/shelf:v0", "admin/places/images:v2", True, False, ["latest", "top"],
         "v0", "v2"],
        ["admin/far/shelf:v0", "admin/places/images:v2", True, False, ["latest"], "v0", "v2"],
        ["admin/places/shelf:v1", "admin/places/drafted:v0", True, False, ["latest"], "v1", "v0"],
    ]  # fmt: skip
    assert facts["same id"]
    assert facts["twice"] == "v0"
    assert facts["used"] == [True, "admin/places/images:v2", True]
    assert "use 'delete' instead" in facts["own not unlinked"].replace("Artifact.", "")
    assert facts["draft link"] == "admin/places/shelf:v2"
    assert facts["linked"] == ["admin/far/shelf:v0", "admin/places/shelf:v0"]
    assert "another name" in facts["onto own"]
    assert facts["shelf"] == [
        ["shelf:v2", True, ["latest"]], ["shelf:v1", True, []],
        ["shelf:v0", True, ["more", "top"]],
    ]  # fmt: skip
    assert facts["shelf aliases"] == ["latest", "more", "top"]
    assert "ValueError" in facts["shelf type"]
    assert facts["link aliases"] == [["boom", "portfolio"], ["latest"]]
    assert facts["rack"] == ["rack", None, ["t"], False]
    assert facts["old name"] is False
    assert facts["unlinked"] == [["rack:v2"], True, True, ["admin/far/shelf:v0"]]
    assert facts["images"] == ["pictures", "pixels", "new", ["b", "c"], "pixels", True]
    assert facts["versions"] == ["pictures:v2", "pictures:v1", "pictures:v0"]
    assert "rack" in facts["taken"]
    assert "reserved for internal use" in facts["reserved"]
    assert None not in facts["bad names"]
    assert "internal type and cannot be changed" in facts["inner"]
    assert facts["run"][:1] == ["drafted:v0"]
    assert facts["rack gone"] == [False, True]
    assert facts["images gone"] == [False, False, False]
