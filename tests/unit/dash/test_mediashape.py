"""What the client logs as media, in every shape that it has."""

import json
from typing import Any

import pytest

from sweepd.dash.mediashape import charts, class_labels, items, media_keys


def file(name: str, path: str, **more: Any) -> dict[str, Any]:
    return {"_type": name, "path": path, "sha256": "0" * 64, "size": 9, **more}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param(
            file("image-file", "media/a.png", caption="seven", width=4, height=3),
            [{"kind": "image", "path": "media/a.png", "caption": "seven", "width": 4, "height": 3}],
            id="an image",
        ),
        pytest.param(
            {
                "_type": "images/separated",
                "filenames": ["b.png", "c.png"],
                "captions": ["x"],
                "width": 2,
            },
            [
                {"kind": "image", "path": "b.png", "caption": "x", "width": 2},
                {"kind": "image", "path": "c.png", "caption": None, "width": 2},
            ],
            id="images",
        ),
        pytest.param(
            {"_type": "videos", "videos": [file("video-file", "v.mp4")], "captions": False},
            [{"kind": "video", "path": "v.mp4", "caption": None}],
            id="videos",
        ),
        pytest.param(
            {"_type": "audio", "audio": [file("audio-file", "a.wav", caption="hum")], "count": 1},
            [{"kind": "audio", "path": "a.wav", "caption": "hum"}],
            id="sounds",
        ),
        pytest.param(
            {"_type": "molecule", "filenames": ["m.pdb"], "captions": ["x"]},
            [{"kind": "molecule", "path": "m.pdb", "caption": "x"}],
            id="molecules",
        ),
        pytest.param(
            {"_type": "object3D", "filenames": ["p"], "objects": [file("object3D-file", "p.json")]},
            [{"kind": "object3d", "path": "p.json", "caption": None}],
            id="3D objects",
        ),
        pytest.param(
            file("table-file", "media/t.table.json", nrows=2, ncols=1),
            [
                {
                    "kind": "table",
                    "path": "media/t.table.json",
                    "caption": None,
                    "nrows": 2,
                    "ncols": 1,
                }
            ],
            id="a table",
        ),
        pytest.param(file("image-file", "../secret"), [], id="a path out of the folder"),
        pytest.param(file("image-file", "/etc/passwd"), [], id="an absolute path"),
        pytest.param({"_type": "image-file", "path": 7}, [], id="a path that is none"),
        pytest.param({"_type": "images", "filenames": "abc"}, [], id="names that are none"),
        pytest.param({"_type": "videos", "videos": [7, {}]}, [], id="members that are none"),
        pytest.param({"_type": "histogram"}, [], id="a histogram"),
        pytest.param({"_type": {}}, [], id="a type that is none"),
        pytest.param([1], [], id="a list"),
        pytest.param(None, [], id="nothing"),
    ],
)
def test_media_are_told_file_by_file(value: Any, expected: list[dict[str, Any]]) -> None:
    assert items(value) == expected


def test_layers_of_an_image_come_with_it() -> None:
    mask = {"pred": file("mask", "m.png"), "bad": {"path": "../x"}}
    alone = file("image-file", "a.png", masks=mask, boxes={"truth": file("boxes2D", "b.json")})
    together = {"_type": "images/separated", "filenames": ["a.png"], "all_masks": [mask]}

    (first,), (second,) = items(alone), items(together)

    assert first["masks"] == second["masks"] == [{"name": "pred", "path": "m.png"}]
    assert first["boxes"] == [{"name": "truth", "path": "b.json"}]


def test_keys_of_the_summary_alone_are_media_too() -> None:
    summary = {
        "graph_0": file("graph-file", "g.json"),
        "seen": file("image-file", "s.png"),
        "sounds": {"_type": "audio", "audio": [file("audio-file", "a.wav")]},
        "acc": 0.5,
    }

    found = media_keys({"scalar": ["acc"], "image": ["seen"]}, json.dumps(summary))

    assert found == {"image": ["seen"], "audio": ["sounds"], "graph": ["graph_0"]}


def config(**own: Any) -> str:
    return json.dumps({"_wandb": {"value": own}})


def test_classes_of_masks_are_read_from_the_config() -> None:
    entry = {"type": "mask/class_labels", "value": {"0": "sky", "1": "cat"}}
    text = config(**{"mask/class_labels": {"seg_wandb_delimeter_pred": entry}})

    assert class_labels(text, "seg") == {"pred": {"0": "sky", "1": "cat"}}
    assert class_labels(text, "other") == {}


def panel(table_key: str | None) -> dict[str, Any]:
    arguments = [{"name": "tableKey", "value": table_key}] if table_key else []
    fields = [{"name": "summaryTable", "args": arguments, "fields": []}]
    return {
        "panel_type": "Vega2",
        "panel_config": {
            "panelDefId": "wandb/line/v0",
            "fieldSettings": {"x": "epoch", "y": "loss", "stroke": None},
            "stringSettings": {"title": "Loss"},
            "userQuery": {"queryFields": [{"name": "runSets", "args": [], "fields": fields}]},
        },
    }


@pytest.mark.parametrize(
    ("named", "key"),
    [
        ("c_table", "c_table"),
        (None, "c_table"),
        ("gone", "c_table"),
        (None, "Custom Chart Tables/c_table"),
    ],
)
def test_custom_chart_finds_its_table(named: str | None, key: str) -> None:
    summary = json.dumps({key: file("table-file", "t.json", nrows=3)})

    (chart,) = charts(config(visualize={"c": panel(named)}), summary)

    assert (chart["key"], chart["preset"], chart["table_key"]) == ("c", "wandb/line/v0", key)
    assert chart["fields"] == {"x": "epoch", "y": "loss"}
    assert chart["strings"] == {"title": "Loss"}
    assert chart["table"]["path"] == "t.json"


def test_chart_of_the_older_kind_finds_its_table() -> None:
    summary = json.dumps({"c": file("table-file", "t.json")})

    (chart,) = charts(config(viz={"c": {"id": "wandb/old/v0"}}), summary)

    assert (chart["preset"], chart["table_key"]) == ("wandb/old/v0", "c")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"_wandb": 7}',
        '{"_wandb": {"value": []}}',
        config(visualize=[]),
        config(visualize={"c": 7}),
        config(visualize={"c": {"panel_config": []}}),
        config(visualize={"c": {"panel_config": {"panelDefId": 7}}}),
        config(visualize={"c": panel("no table")}),
        config(viz={"c": []}),
    ],
)
def test_config_without_charts_has_none(text: str) -> None:
    assert charts(text, '{"c_table": {"_type": "image-file", "path": "a.png"}}') == []
