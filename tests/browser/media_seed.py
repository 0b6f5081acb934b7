"""A run that logged every kind of media, as the client would have, and one with a hostile page."""

import io
import json
import math
import struct
import wave
from typing import Any

from browser_seed import Lab, png

from sweepd.engine import runs

RUN = "media-run"
HOSTILE_RUN = "hostile-page"
HOSTILE_WORDS = "<img src=x onerror=\"document.title='owned'\">"

#: Tries to get out of its frame by every way that its author could think of; says what it managed.
BREAK_OUT = """<!doctype html><title>x</title><h1>hello</h1>
<form id=f action="/logout" method=post target=_top></form>
<script>
const managed = [];
const attempt = (name, act) => { try { if (act() !== false) managed.push(name); } catch {} };
if (top !== self) {
  attempt("parent", () => { parent.document.title = "owned"; });
  attempt("top", () => { top.location = "/login"; });
}
attempt("cookie", () => { document.cookie = "a=1"; return document.cookie !== ""; });
attempt("storage", () => { localStorage.setItem("a", "1"); });
attempt("frame", () => { frameElement.removeAttribute("sandbox"); return frameElement !== null; });
attempt("popup", () => window.open("/") !== null);
attempt("alert", () => { const began = performance.now(); alert("owned"); return false; });
attempt("worker", () => { navigator.serviceWorker.register("/-/sw.js"); return Boolean(0); });
attempt("form", () => { document.getElementById("f").submit(); return false; });
const reached = (name, promise) => promise.then(() => managed.push(name), () => {});
const picture = new Promise((good, bad) => {
  const image = new Image(); image.onload = good; image.onerror = bad; image.src = "/favicon.ico";
});
const script = new Promise((good, bad) => {
  const one = document.createElement("script"); one.onload = good; one.onerror = bad;
  one.src = "/-/static/x/js/dom.js"; document.head.append(one);
});
Promise.all([
  reached("fetch", fetch("/-/data/entity/admin", { credentials: "include" })),
  reached("graphql", fetch("/graphql", { method: "POST", body: "{}", mode: "no-cors" })),
  reached("beacon", picture), reached("script", script),
]).then(() => {
  document.body.append("managed: " + (managed.join(", ") || "nothing") + "; origin " + origin);
});
</script>"""


def wav(seconds: float = 0.3) -> bytes:
    """Return a tone."""
    told = io.BytesIO()
    with wave.open(told, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(8000)
        samples = [int(9000 * math.sin(i * 0.35)) for i in range(int(8000 * seconds))]
        out.writeframes(struct.pack(f"<{len(samples)}h", *samples))
    return told.getvalue()


class _Run:
    """Uploads files and logs rows that name them."""

    def __init__(self, lab: Lab, name: str, title: str, own: dict[str, Any]) -> None:
        self._lab, self._name, self._line = lab, name, 0
        self.summary: dict[str, Any] = {}
        change = runs.RunChange(
            entity=lab.account.entity,
            project=lab.project,
            name=name,
            host="gpu-node-1",
            display_name=title,
            config=json.dumps({"_wandb": {"value": own}}),
        )
        lab.store.write_sync(runs.upsert_run, actor=lab.account, change=change)

    def file(self, kind: str, path: str, data: bytes, mimetype: str, **more: Any) -> dict[str, Any]:
        self._lab.save(self._name, path, data, mimetype)
        return {"_type": kind, "path": path, "size": len(data), **more}

    def table(self, path: str, columns: list[str], rows: list[list[Any]]) -> dict[str, Any]:
        data = json.dumps({"columns": columns, "data": rows}).encode()
        shape = {"nrows": len(rows), "ncols": len(columns)}
        return self.file("table-file", f"media/table/{path}", data, "application/json", **shape)

    def json(self, kind: str, path: str, data: Any) -> dict[str, Any]:
        return self.file(kind, path, json.dumps(data).encode(), "application/json")

    def log(self, step: int, row: dict[str, Any]) -> None:
        self.summary |= row
        files = {
            "wandb-history.jsonl": {
                "offset": self._line,
                "content": [json.dumps({**row, "_step": step, "_runtime": float(step)})],
            },
            "wandb-summary.json": {"offset": 0, "content": [json.dumps(self.summary)]},
        }
        self._lab.stream(self._name, {"files": files})
        self._line += 1


def seed_media(lab: Lab) -> str:
    """Make the run; return its name."""
    labels = {"type": "mask/class_labels", "value": {"0": "sky", "1": "cat", "2": "dog"}}
    own = {
        "mask/class_labels": {"seg_wandb_delimeter_pred": labels},
        "visualize": {key: _panel(key, *rest) for key, rest in _CHARTS.items()},
    }
    run = _Run(lab, RUN, "every kind of media", own)
    for step in range(4):
        _log_pictures(run, step)
    _log_once(run)
    for name, (columns, rows) in _TABLES.items():
        run.log(20, {name: run.table(f"{name}.table.json", columns, rows)})
    return RUN


def seed_hostile_page(lab: Lab) -> str:
    """Make a run that logged a page which tries to get out; return its name."""
    run = _Run(lab, HOSTILE_RUN, "a hostile page", {})
    page = BREAK_OUT.encode()
    run.log(0, {"page": run.file("html-file", "media/html/p.html", page, "text/html")})
    return HOSTILE_RUN


def _log_pictures(run: _Run, step: int) -> None:
    def shot(name: str, **more: Any) -> dict[str, Any]:
        data = png(28, seed=step + len(name))
        path = f"media/images/{name}_{step}.png"
        return run.file("image-file", path, data, "image/png", width=28, height=28, **more)

    mask = run.file("mask", f"media/images/mask/seg_{step}.png", png(28, seed=step), "image/png")
    box = {"position": {"minX": 0.1, "maxX": 0.5, "minY": 0.2, "maxY": 0.6}, "class_id": 1}
    middle = {"position": {"middle": [20, 20], "width": 8, "height": 6}, "domain": "pixel"}
    boxes = {"box_data": [{**box, "box_caption": HOSTILE_WORDS}, middle], "class_labels": {}}
    path = f"media/metadata/boxes2D/b_{step}.json"
    several = [shot(f"many{place}") for place in range(3)]
    page = f"<h1>step {step}</h1><script>document.body.append('ran')</script>".encode()
    run.log(
        step,
        {
            "shot": shot("shot", caption=f"{HOSTILE_WORDS} {step}"),
            "seg": shot("seg", masks={"pred": mask}),
            "found": shot("found", boxes={"truth": run.json("boxes2D", path, boxes)}),
            "many": {
                "_type": "images/separated",
                "filenames": [one["path"] for one in several],
                "captions": ["first", "second", "third"],
                "width": 28,
                "height": 28,
            },
            "page": run.file("html-file", f"media/html/page_{step}.html", page, "text/html"),
        },
    )


def _log_once(run: _Run) -> None:
    plotly = {"data": [{"type": "bar", "x": ["a", "b"], "y": [1, 2]}], "layout": {}}
    surface = {"data": [{"type": "surface", "z": [[1]]}], "layout": {}}
    run.log(
        10,
        {
            "tone": run.file(
                "audio-file", "media/audio/t.wav", wav(), "audio/x-wav", caption="hum"
            ),
            "clip": run.file("video-file", "media/videos/c.gif", _GIF, "image/gif", caption="loop"),
            "bars": run.json("plotly-file", "media/plotly/bars.plotly.json", plotly),
            "surface": run.json("plotly-file", "media/plotly/surface.plotly.json", surface),
            "cloud": run.json("object3D-file", "media/object3D/c.pts.json", [[0, 0, 0]]),
            "acid": run.file("molecule-file", "media/molecule/a.pdb", b"END\n", "chemical/x-pdb"),
            "late": {"_type": "image-file", "path": "media/images/late.png", "width": 28},
            "net": run.json(
                "graph-file",
                "media/graph/g.graph.json",
                {"nodes": [{"name": "fc", "class_name": "Linear"}], "edges": []},
            ),
        },
    )


_GIF = bytes.fromhex("47494638396101000100800000ff0000ffffff2c00000000010001000002024401003b")

_CHARTS: dict[str, tuple[str, dict[str, str]]] = {
    "curve": ("wandb/line/v0", {"x": "epoch", "y": "loss", "stroke": "name"}),
    "shares": ("wandb/bar/v0", {"label": "name", "value": "share"}),
    "spread": ("wandb/histogram/v0", {"value": "loss"}),
    "cloud2d": ("wandb/scatter/v0", {"x": "epoch", "y": "loss"}),
    "roc": ("wandb/area-under-curve/v0", {"x": "fpr", "y": "tpr", "class": "class"}),
    "mixed": (
        "wandb/confusion_matrix/v1",
        {"Actual": "Actual", "Predicted": "Predicted", "nPredictions": "nPredictions"},
    ),
    "unknown": ("somebody/their-own", {"x": "epoch"}),
}

_LOSSES = [[epoch, 1 / (epoch + 1 + k), "ab"[k]] for k in range(2) for epoch in range(12)]
_TABLES: dict[str, tuple[list[str], list[list[Any]]]] = {
    "curve_table": (["epoch", "loss", "name"], _LOSSES),
    "spread_table": (["epoch", "loss", "name"], _LOSSES),
    "cloud2d_table": (["epoch", "loss", "name"], _LOSSES),
    "unknown_table": (["epoch", "loss", "name"], _LOSSES),
    "shares_table": (["name", "share"], [["cat", 3], ["dog", 5], [HOSTILE_WORDS, 2]]),
    "roc_table": (
        ["class", "fpr", "tpr"],
        [["cat", x / 10, min(1.0, (x / 10) ** 0.5)] for x in range(11)],
    ),
    "mixed_table": (
        ["Actual", "Predicted", "nPredictions"],
        [[a, b, 9 if a == b else 1] for a in ("cat", "dog") for b in ("cat", "dog")],
    ),
    "results": (
        ["i", "name", "score"],
        [[i, f"row {i}", math.nan if i == 3 else 100.0 - i] for i in range(40)],
    ),
}


def _panel(key: str, preset: str, fields: dict[str, str]) -> dict[str, Any]:
    return {
        "panel_type": "Vega2",
        "panel_config": {
            "panelDefId": preset,
            "fieldSettings": fields,
            "stringSettings": {"title": f"The {key}"},
            "userQuery": {},
        },
    }
