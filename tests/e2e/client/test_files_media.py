"""Every kind of media and of file that the unmodified client uploads, read back as it was."""

import textwrap

import pytest

pytestmark = pytest.mark.slow

#: What the client's own environment may lack: drawn figures need these.
FIGURES = """
def figures(run):
    done = []
    try:
        import plotly.graph_objects as go
    except ImportError:
        return done
    run.log({"plotly": go.Figure(go.Bar(x=["a", "b"], y=[1, 2]))})
    done.append("plotly")
    try:
        import matplotlib
        matplotlib.use("Agg")
        import matplotlib.pyplot as plt
    except ImportError:
        return done
    drawn, axes = plt.subplots()
    axes.plot([1, 2, 3], [3, 1, 2])
    run.log({"mpl": wandb.Image(drawn)})
    plt.close("all")
    plt.plot([1, 2], [3, 4])
    run.log({"plt": plt})
    return [*done, "mpl", "plt"]
"""

MEDIA = """
import hashlib, json, math, pathlib, wave
import numpy as np
import PIL.Image
import wandb

def wav(name):
    with wave.open(name, "wb") as out:
        out.setnchannels(1); out.setsampwidth(2); out.setframerate(8000)
        out.writeframes((np.sin(np.arange(4000) * 0.3) * 8000).astype("<i2").tobytes())
    return name

frames = [PIL.Image.fromarray(np.full((8, 8), 60 * i, dtype=np.uint8)) for i in range(3)]
frames[0].save("loop.gif", save_all=True, append_images=frames[1:])
pathlib.Path("clip.mp4").write_bytes(b"\\0\\0\\0\\x18ftypmp42" + bytes(200))
pathlib.Path("acid.pdb").write_text("ATOM      1  N   MET A   1      11.104\\nEND\\n")

run = wandb.init(project="media", name="everything")
rng = np.random.default_rng(0)
labels = {0: "sky", 1: "cat"}
for step in range(3):
    picture = rng.integers(0, 255, (12, 16, 3), dtype=np.uint8)
    mask = (picture[:, :, 0] > 128).astype(np.uint8)
    box = {"position": {"minX": 0.1, "maxX": 0.4, "minY": 0.2, "maxY": 0.6}, "class_id": 1}
    run.log({
        "shot": wandb.Image(picture, caption=f"shot <b>{step}"),
        "many": [wandb.Image(picture, caption="a"), wandb.Image(255 - picture, caption="b")],
        "seg": wandb.Image(picture, masks={"pred": {"mask_data": mask, "class_labels": labels}}),
        "found": wandb.Image(picture, boxes={"pred": {"box_data": [box], "class_labels": labels}}),
        "jpeg": wandb.Image(picture, file_type="jpg"),
        "spread": wandb.Histogram(rng.normal(step, 1, 500)),
        "page": wandb.Html(f"<h1>{step}</h1><script>1</script>"),
        "pages": [wandb.Html("<p>one</p>"), wandb.Html("<p>two</p>")],
        r"back\\slash": wandb.Image(picture),
        "dé/ü ö": wandb.Image(picture),
        "nan": math.nan, "loss": 1 / (step + 1),
    })
run.log({
    "clip": wandb.Video("clip.mp4", caption="clip"), "loop": wandb.Video("loop.gif"),
    "clips": [wandb.Video("loop.gif"), wandb.Video("clip.mp4")],
    "tone": wandb.Audio(wav("tone.wav"), caption="hum"), "tones": [wandb.Audio(wav("b.wav"))],
    "acid": wandb.Molecule("acid.pdb"), "cloud": wandb.Object3D(rng.random((50, 3))),
    "cloud6": wandb.Object3D(rng.random((20, 6))),
    "scene": wandb.Object3D({"type": "lidar/beta", "points": rng.random((9, 3)),
        "boxes": np.array([{"corners": np.zeros((8, 3)).tolist(), "label": "b",
        "color": [1, 2, 3]}])}),
    "table": wandb.Table(columns=["i", "x", "pic"], data=[
        [i, math.nan if i == 3 else i / 2, wandb.Image(picture)] for i in range(12)]),
})
rows = wandb.Table(columns=["x", "y", "label"], data=[[i, i % 5, "ab"[i % 2]] for i in range(20)])
classes = [[0.9, 0.1], [0.3, 0.7], [0.6, 0.4], [0.2, 0.8]]
run.log({
    "c/line": wandb.plot.line(rows, "x", "y", stroke="label", title="Line"),
    "c/bar": wandb.plot.bar(rows, "label", "y", title="Bar"),
    "c/scatter": wandb.plot.scatter(rows, "x", "y"),
    "c/histogram": wandb.plot.histogram(rows, "y"),
    "c/series": wandb.plot.line_series([0, 1, 2], [[1, 2, 3], [3, 2, 1]], keys=["u", "v"]),
    "c/matrix": wandb.plot.confusion_matrix(y_true=[0, 1, 0], preds=[0, 1, 1],
        class_names=["cat", "dog"]),
    "c/own": wandb.plot_table("me/mine", rows, {"x": "x", "y": "y"}, {"title": "t"}),
})
try:
    import pandas, sklearn
    run.log({"c/roc": wandb.plot.roc_curve([0, 1, 0, 1], classes, labels=["n", "p"]),
             "c/pr": wandb.plot.pr_curve([0, 1, 0, 1], classes, labels=["n", "p"])})
    curves = ["c/roc", "c/pr"]
except ImportError:
    curves = []
drawn = figures(run)
try:
    import torch
    net = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU())
    run.watch(net, log="all", log_freq=1, log_graph=True)
    net(torch.ones(2, 4)).sum().backward()
    run.log({"after": 1})
    has_torch = True
except ImportError:
    has_torch = False
run.summary["final"] = wandb.Image(picture)
run.finish()

local = {}
for path in pathlib.Path(run.dir).rglob("media/**/*"):
    if path.is_file():
        local[path.relative_to(run.dir).as_posix()] = path.read_bytes()
got = wandb.Api().run(f"media/{run.id}")
files = {file.name: file for file in got.files(per_page=1000)}
media = {name for name in files if name.startswith("media/")}
wrong = []
for name in sorted(media)[:: max(1, len(media) // 40)]:
    back = pathlib.Path(files[name].download(root="back", replace=True).name).read_bytes()
    if name in local and back != local[name]:
        wrong.append(name)
rows = list(got.scan_history())
kinds = {key: value["_type"] for row in rows for key, value in row.items()
         if isinstance(value, dict) and "_type" in value}
named = {value["path"] for row in rows for value in row.values()
         if isinstance(value, dict) and "path" in value}
table = json.loads(pathlib.Path(files[next(
    row["table"]["path"] for row in rows if isinstance(row.get("table"), dict)
)].download(root="back", replace=True).name).read_text())
print(json.dumps({
    "state": got.state, "kinds": kinds, "lost": sorted(named - media),
    "unsent": sorted(set(local) - media), "wrong": wrong, "n_media": len(media),
    "captions": [row["shot"]["caption"] for row in rows if isinstance(row.get("shot"), dict)],
    "table": [table["columns"], len(table["data"])], "drawn": drawn, "curves": curves,
    "has_torch": has_torch, "summary": [key for key, value in got.summary.items()
        if isinstance(value, dict) or hasattr(value, "keys")],
    "visualized": sorted(got.rawconfig["_wandb"]["visualize"]) if "_wandb" in got.rawconfig
        else None,
    "pattern": sorted(f.name for f in got.files(pattern="media/videos/%")) if "pattern" in
        type(got).files.__code__.co_varnames else None,
}))
"""


def test_every_kind_of_media_arrives_whole(real_client):
    found = real_client.python(FIGURES + textwrap.dedent(MEDIA), timeout_s=110)

    assert found["state"] == "finished"
    assert (found["lost"], found["unsent"], found["wrong"]) == ([], [], [])
    kinds = found["kinds"]
    expected = {
        "shot": "image-file", "many": "images/separated", "seg": "image-file",
        "found": "image-file", "spread": "histogram", "page": "html-file", "pages": "html",
        "back\\slash": "image-file", "dé/ü ö": "image-file", "clip": "video-file",
        "loop": "video-file", "clips": "videos", "tone": "audio-file", "tones": "audio",
        "acid": "molecule-file", "cloud": "object3D-file", "cloud6": "object3D-file",
        "scene": "object3D-file", "table": "table-file", "c/line_table": "table-file",
        "c/matrix_table": "table-file",
    }  # fmt: skip
    assert {key: kinds.get(key) for key in expected} == expected
    assert found["captions"] == ["shot <b>0", "shot <b>1", "shot <b>2"]
    assert found["table"] == [["i", "x", "pic"], 12]
    assert "final" in found["summary"]
    assert found["n_media"] > 50
    for key in found["drawn"]:
        assert kinds[key] == ("image-file" if key == "mpl" else "plotly-file")
    for key in found["curves"]:
        assert kinds[f"{key}_table"] == "table-file"
    if found["has_torch"]:
        assert kinds["gradients/0.weight"] == "histogram"
        assert "graph_0" in found["summary"]
    if found["pattern"] is not None:
        assert len(found["pattern"]) >= 2
        assert all(name.startswith("media/videos/") for name in found["pattern"])


FILES = """
import json, os, pathlib, time
import wandb

def waited(condition, seconds=40):
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.3)
    return found

for number in range(300):
    path = pathlib.Path(f"many/{number}.txt")
    path.parent.mkdir(exist_ok=True)
    path.write_text(str(number % 7))
pathlib.Path("empty").write_bytes(b"")
pathlib.Path("large.bin").write_bytes(os.urandom(1 << 20) * 24)
pathlib.Path("ünï cödé 😀.txt").write_text("ü")
pathlib.Path("atend.txt").write_text("first")
run = wandb.init(project="files")
live = pathlib.Path(run.dir) / "live.txt"
live.write_text("one")
run.save("many/*.txt", policy="now")
for name in ("empty", "large.bin", "ünï cödé 😀.txt"):
    run.save(name, policy="now")
run.save("atend.txt", policy="end")
run.save(str(live), base_path=run.dir, policy="live")
api = wandb.Api()
path = f"{run.entity}/files/{run.id}"

def content(name):
    found = list(api.run(path).files([name]))
    if found[0].md5 == "0":
        return None
    return pathlib.Path(found[0].download(root="look", replace=True).name).read_text()

waited(lambda: content("live.txt") == "one")
live.write_text("two, and longer than before")
waited(lambda: content("live.txt") == "two, and longer than before")
pathlib.Path("atend.txt").write_text("last")
run.finish()

got = api.run(path)
names = [file.name for file in got.files(per_page=37)]
large = pathlib.Path(got.file("large.bin").download(root="back").name).read_bytes()
restored = wandb.restore("many/3.txt", run_path=path, root="restored")
pathlib.Path("up").mkdir()
pathlib.Path("up/by hand.txt").write_text("x")
uploaded = got.upload_file("up/by hand.txt")
missing = [[file.name, file.size] for file in got.files(["nothing here"])]
try:
    wandb.restore("nope.txt", run_path=path, root="restored")
    refused = None
except ValueError as error:
    refused = str(error)
before = {file.name for file in got.files(per_page=1000)}
one = got.file("many/9.txt")
one.delete()
after = {file.name for file in api.run(path).files(per_page=1000)}
odd = got.file("./many/8.txt").name
print(json.dumps({
    "names": len(names), "unique": len(set(names)), "sizes": [got.file("empty").size,
        got.file("large.bin").size], "same": large == pathlib.Path("large.bin").read_bytes(),
    "atend": content("atend.txt"), "live": content("live.txt"),
    "unicode": content("ünï cödé 😀.txt"), "restored": restored.read(),
    "uploaded": uploaded.name if uploaded is not None else None, "missing": missing,
    "refused": refused, "deleted": sorted(before - after), "odd": odd,
    "md5": got.file("empty").md5, "mimetype": got.file("many/1.txt").mimetype,
}))
"""


def test_files_are_saved_by_every_policy_and_read_back(real_client, live_service):
    folder = live_service.data / "blobs"

    def n_of_a_byte():
        return sum(path.is_file() and path.stat().st_size == 1 for path in folder.rglob("*"))

    before = n_of_a_byte()

    found = real_client.python(textwrap.dedent(FILES))

    assert found["names"] == found["unique"] >= 306
    assert found["sizes"] == [0, 24 << 20]
    assert found["same"]
    assert (found["atend"], found["live"]) == ("last", "two, and longer than before")
    assert (found["unicode"], found["restored"]) == ("ü", "3")
    assert found["uploaded"] == "up/by hand.txt"
    assert found["missing"] == [["nothing here", 0]]
    assert "nope.txt not found" in found["refused"]
    assert found["deleted"] == ["many/9.txt"]
    assert found["odd"] == "many/8.txt"
    assert found["md5"] == "1B2M2Y8AsgTpgAmY7PhCfg=="
    assert found["mimetype"] == "text/plain"
    assert n_of_a_byte() - before <= 9  # 300 files of seven different contents, and a few more
    assert not list((folder / "tmp").iterdir())
