"""Specifications that are one of the known presets in other words, and those that are not."""

import json
from typing import Any

import pytest

from sweepd.dash.vegalite import as_preset

X = {"field": "${field:x}", "type": "quantitative"}
NAME = {"field": "${field:x}", "type": "nominal"}
Y = {"field": "${field:y}", "type": "quantitative"}
COLOR = {"field": "${field:c}", "type": "nominal"}
FIELDS = {"x": "epoch", "y": "loss", "c": "name"}


def spec(mark: Any, **more: Any) -> str:
    encoding = more.pop("encoding", {"x": X, "y": Y})
    return json.dumps({"data": {"name": "wandb"}, "mark": mark, "encoding": encoding, **more})


@pytest.mark.parametrize(
    ("text", "preset", "fields"),
    [
        (spec("line"), "wandb/line/v0", {"x": "epoch", "y": "loss"}),
        (spec({"type": "point"}), "wandb/scatter/v0", {"x": "epoch", "y": "loss"}),
        (
            spec("line", encoding={"x": X, "y": Y, "color": COLOR}, title="t"),
            "wandb/line/v0",
            {"x": "epoch", "y": "loss", "stroke": "name"},
        ),
        (
            spec("bar", encoding={"x": NAME, "y": Y, "tooltip": [X]}),
            "wandb/bar/v0",
            {"label": "epoch", "value": "loss"},
        ),
        (
            spec("circle", encoding={"x": {"field": "a"}, "y": {"field": "b"}}),
            "wandb/scatter/v0",
            {"x": "a", "y": "b"},
        ),
    ],
)
def test_plain_chart_is_drawn_as_a_known_one(
    text: str, preset: str, fields: dict[str, str]
) -> None:
    assert as_preset(text, FIELDS) == (preset, fields)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="nothing"),
        pytest.param("[]", id="a list"),
        pytest.param("{", id="no JSON"),
        pytest.param(spec("area"), id="another mark"),
        pytest.param(spec(None), id="no mark"),
        pytest.param(spec("line", encoding=[]), id="no encoding"),
        pytest.param(spec("line", encoding={"x": X}), id="one axis"),
        pytest.param(spec("line", encoding={"x": X, "y": Y, "row": COLOR}), id="rows of charts"),
        pytest.param(spec("line", encoding={"x": X, "y": {**Y, "aggregate": "mean"}}), id="a mean"),
        pytest.param(spec("bar", encoding={"x": {**X, "bin": True}, "y": Y}), id="bins"),
        pytest.param(spec("bar"), id="bars at numbers"),
        pytest.param(spec("line", transform=[{"filter": "true"}]), id="a transform"),
        pytest.param(spec("line", layer=[]), id="layers"),
        pytest.param(
            spec("line", encoding={"x": {**X, "scale": {"type": "log"}}, "y": Y}), id="a log scale"
        ),
        pytest.param(
            spec("line", encoding={"x": {"field": "${field:z}"}, "y": Y}), id="an unknown field"
        ),
        pytest.param(spec("line", encoding={"x": {"field": 7}, "y": Y}), id="a field that is none"),
    ],
)
def test_anything_else_is_not(text: str) -> None:
    assert as_preset(text, FIELDS) is None
