"""Scalars and ids as they travel."""

import json
import math

import pytest
from graphql import GraphQLError

from sweepd.errors import ProtocolError
from sweepd.wire.ids import read_id, read_int_id, wire_id
from sweepd.wire.resolvers.common import page_size, read_object
from sweepd.wire.scalars import finite, iso_time


def test_numbers_that_json_lacks_travel_as_strings():
    value = {"a": [math.nan, math.inf, -math.inf, 1.5], "b": {"c": (math.nan, None, "x")}}

    assert finite(value) == {
        "a": ["NaN", "Infinity", "-Infinity", 1.5],
        "b": {"c": ["NaN", None, "x"]},
    }


def test_times_are_in_utc_to_the_microsecond():
    assert iso_time(1_795_407_592.061875) == "2026-11-23T04:19:52.061875Z"


def test_an_id_comes_back_as_it_went():
    assert read_id("Agent", wire_id("Agent", "ab:c")) == "ab:c"
    assert read_int_id("Run", wire_id("Run", 7)) == 7


@pytest.mark.parametrize(
    "text",
    ["", "7", "%%%", wire_id("Sweep", 7), wire_id("Run", "x"), wire_id("Run", 10**30), "UnVuOg=="],
)
def test_what_is_not_the_id_of_a_run_is_refused(text):
    with pytest.raises(ProtocolError, match="is not the id of a run"):
        read_int_id("Run", text)


@pytest.mark.parametrize("text", ["{", "[]", "1", '"x"'])
def test_what_is_not_an_object_is_refused(text):
    with pytest.raises(ProtocolError, match="filters"):
        read_object(text, "filters")


@pytest.mark.parametrize("text", [None, "", "null", "{}"])
def test_nothing_is_an_empty_object(text):
    assert read_object(text, "filters") == {}


def test_pages_have_a_largest_size():
    assert page_size(None) == 50
    assert page_size(10**9) == 1000
    with pytest.raises(ProtocolError, match="first"):
        page_size(-1)


def _scalar(name):
    from sweepd.wire.execution import make_schema

    return make_schema([]).type_map[name]


@pytest.mark.parametrize(("value", "taken"), [(7, 7), (7.0, 7), ("7", 7), (1 << 40, 1 << 40)])
def test_whole_numbers_are_taken_in_every_spelling_of_the_client(value, taken):
    assert _scalar("Int64").coerce_input_value(value) == taken


@pytest.mark.parametrize("value", [7.5, "x", None, True, math.nan, math.inf, 1 << 63])
def test_what_is_no_whole_number_is_refused(value):
    with pytest.raises(GraphQLError):
        _scalar("Int64").coerce_input_value(value)


def test_json_text_stays_text_and_values_become_text():
    scalar = _scalar("JSONString")

    assert scalar.coerce_output_value('{"a": 1}') == '{"a": 1}'
    assert json.loads(scalar.coerce_output_value({"a": math.nan})) == {"a": "NaN"}
    with pytest.raises(GraphQLError):
        scalar.coerce_input_value({"a": 1})
