"""Tables and media in artifacts, with the unmodified client: read back, joined, linked."""

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]  # three clients share the cores

TABLES = """
import json, os, pathlib, shutil, wandb
import numpy as np
import PIL.Image

def drop_caches():
    shutil.rmtree(os.environ["WANDB_CACHE_DIR"], ignore_errors=True)
    shutil.rmtree("artifacts", ignore_errors=True)

def refused(act):
    try:
        act()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return None

facts = {}
rng = np.random.default_rng(0)
labels = {1: "tree", 2: "car"}
box = {"position": {"minX": 0.1, "maxX": 0.2, "minY": 0.3, "maxY": 0.4}, "class_id": 1,
    "box_caption": "c", "scores": {"acc": 0.1}}
for name in ("one.png", "two.png"):
    PIL.Image.fromarray(rng.integers(0, 255, (8, 8, 3), dtype=np.uint8)).save(name)

def image(path):
    return wandb.Image(path, classes=wandb.Classes([{"id": n, "name": t} for n, t in
        labels.items()]), boxes={"p": {"box_data": [box], "class_labels": labels}},
        masks={"p": {"mask_data": rng.integers(0, 3, (8, 8)), "class_labels": labels}})

first, second = image("one.png"), image("two.png")
cloud, page = wandb.Object3D(rng.random((30, 3))), wandb.Html("<p>x</p>")
sound = wandb.Audio(np.sin(np.arange(800) * 0.3), 8000, "hum")
left = wandb.Table(["id", "picture", "cloud", "page", "sound"],
    [[1, first, cloud, page, sound], [2, second, cloud, page, sound]])
right = wandb.Table(["id", "score"], [[1, 0.5], [3, 0.25]])

with wandb.init(project="tables") as run:
    made = wandb.Artifact("media", "data")
    made.add(first, "picture")
    made.add(left, "left")
    made.add(right, "right")
    made.add(wandb.JoinedTable("left.table.json", "right.table.json", "id"), "joined")
    facts["wrong join"] = refused(
        lambda: made.add(wandb.JoinedTable("no.table.json", "no.table.json", "id"), "bad"))
    for n in range(3):
        made.add(wandb.Table(["n", "text"], [[n, f"part {n}"], [n + 10, "x"]]), f"parts/{n}")
    made.add(wandb.data_types.PartitionedTable(parts_path="parts"), "whole")
    run.log_artifact(made).wait()
    # What is added again is a reference to where it is.
    run.log({"mutable": wandb.Table(["a"], [[1]])})
drop_caches()

with wandb.init(project="tables") as run:
    upstream = run.use_artifact("media:latest")
    middle = wandb.Artifact("middle", "data")
    middle.add(upstream.get("picture"), "again")
    got = upstream.get("left")
    middle.add(wandb.Table(got.columns, got.data[:1]), "slice")
    middle.add(wandb.JoinedTable(upstream.get_entry("left"), upstream.get_entry("right"), "id"),
        "joined")
    middle.add(wandb.Table(["p"], [[wandb.Image(got.data[0][1])]]), "pictures")
    run.log_artifact(middle).wait()
    last = wandb.Artifact("last", "data")
    last.add(middle.get("again"), "thrice")
    last.add(wandb.Table(got.columns, middle.get("slice").data), "slice")
    run.log_artifact(last).wait()
drop_caches()

api = wandb.Api()
upstream, middle, last = (api.artifact(f"tables/{name}:v0") for name in ("media", "middle", "last"))
table = upstream.get("left")
facts["equal"] = [upstream.get("picture") == first, table == left, upstream["right"] == right,
    middle.get("again") == first, last.get("thrice") == first,
    last.get("slice").data[0][1] == first, middle.get("slice").data[0][2] == cloud,
    middle.get("pictures").data[0][0] == first]
joined = upstream.get("joined")
facts["joined"] = [joined._table1 == left, joined._table2 == right, joined._join_key]
facts["joined again"] = middle.get("joined") == wandb.JoinedTable(
    upstream.get("left"), upstream.get("right"), "id")
facts["parts"] = sorted(row for _, row in upstream.get("whole").iterrows())
facts["none"] = [upstream.get("nope"), upstream["nope"]]
facts["refs"] = sorted({entry.ref.partition("://")[0] for entry in
    last.manifest.entries.values() if entry.ref})
facts["whole"] = len(list(pathlib.Path(last.download("back")).rglob("*.json"))) > 0
facts["types"] = sorted({a.type for a in api.run(run.path).used_artifacts()})
print(json.dumps(facts))
"""


def test_tables_and_media_in_artifacts_are_read_back_joined_and_linked(real_client):
    facts = real_client.python(TABLES, timeout_s=280)

    assert "ValueError" in facts["wrong join"]
    assert facts["equal"] == [True] * 8
    assert facts["joined"] == [True, True, "id"]
    assert facts["joined again"]
    assert facts["parts"] == [
        [0, "part 0"], [1, "part 1"], [2, "part 2"], [10, "x"], [11, "x"], [12, "x"],
    ]  # fmt: skip
    assert facts["none"] == [None, None]
    assert facts["refs"] == ["wandb-artifact"]
    assert facts["whole"]
    assert facts["types"] == ["data"]


GROWING = """
import json, wandb
with wandb.init(project="growing", id="grower") as run:
    fixed = wandb.Table(["a"], [[1]])
    run.log({"fixed": fixed})
    mutable = wandb.Table(columns=["a"], log_mode="MUTABLE")
    added = wandb.Table(columns=["a"], log_mode="INCREMENTAL")
    for n in range(3):
        mutable.add_data(n)
        added.add_data(n)
        run.log({"mutable": mutable, "added": added})
api = wandb.Api()
run = api.run("growing/grower")
names = sorted(a.name for a in run.logged_artifacts())
print(json.dumps([names, [api.artifact(f"growing/run-grower-mutable:v{n}").get("mutable").data
    for n in range(3)], [sorted(api.artifact(f"growing/{name}").manifest.entries)
    for name in names if "added" in name], run.summary["fixed"]["nrows"]]))
"""


def test_tables_that_grow_are_versions_of_one_artifact(real_client, needs_client):
    needs_client("0.20.0", why="log_mode of tables")

    names, mutable, added, rows = real_client.python(GROWING)

    assert [name for name in names if "fixed" in name] == ["run-grower-fixed:v0"]
    assert [name for name in names if "mutable" in name] == [
        f"run-grower-mutable:v{n}" for n in range(3)
    ]
    assert mutable == [[[0]], [[0], [1]], [[0], [1], [2]]]
    assert [len(entries) for entries in added] == [1, 2, 3]
    assert rows == 1
