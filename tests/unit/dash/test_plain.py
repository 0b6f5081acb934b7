"""JSON for the pages."""

import json
import math

import pytest

from sweepd.dash.plain import config_values, digest, dump, flatten, parse, summary_number


def test_numbers_that_json_lacks_become_null() -> None:
    assert json.loads(dump({"a": [math.nan, math.inf, 1.5]})) == {"a": [None, None, 1.5]}


def test_text_cannot_end_the_element_it_stands_in() -> None:
    hostile = "</script><!--&amp;\u2028"

    text = dump({hostile: hostile})

    assert "<" not in text
    assert "&" not in text
    assert "\u2028" not in text
    assert json.loads(text) == {hostile: hostile}


@pytest.mark.parametrize("text", [None, "", "[1]", "not json", "[" * 100_000])
def test_what_is_no_object_is_read_as_an_empty_one(text: str | None) -> None:
    assert parse(text) == {}


def test_nested_objects_are_flattened_but_media_are_not() -> None:
    nested = {"a": {"b": {"c": 1}, "d": []}, "picture": {"_type": "image-file"}, "e": {}}

    assert flatten(nested) == {
        "a.b.c": 1,
        "a.d": [],
        "picture": {"_type": "image-file"},
        "e": {},
    }


def test_config_leaves_out_what_the_client_keeps_for_itself() -> None:
    text = json.dumps(
        {"lr": {"value": 0.1}, "opt": {"value": {"name": "sgd"}}, "_wandb": {"value": {"t": 1}}}
    )

    assert config_values(text) == {"lr": 0.1, "opt.name": "sgd"}


@pytest.mark.parametrize(
    ("value", "number"),
    [
        pytest.param(0.5, 0.5, id="number"),
        pytest.param({"min": 0.06}, 0.06, id="define_metric"),
        pytest.param({"best": 0.9, "last": 0.1}, 0.9, id="best first"),
        pytest.param(True, None, id="boolean"),
        pytest.param("0.5", None, id="text"),
        pytest.param(math.nan, None, id="nan"),
        pytest.param({"_type": "histogram"}, None, id="media"),
    ],
)
def test_number_of_a_summary_value(value: object, number: float | None) -> None:
    assert summary_number(value) == number


def test_stamps_that_differ_have_digests_that_differ() -> None:
    assert digest((1, None)) == digest((1, None)) != digest((1, 0))
