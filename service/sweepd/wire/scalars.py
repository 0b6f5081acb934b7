"""The custom scalars: how a value leaves for the client, and what is taken from it."""

import json
import math
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from graphql import GraphQLError, GraphQLScalarType, GraphQLSchema

__all__ = ["bind_scalars", "finite", "iso_time"]


def iso_time(value: float) -> str:
    """Return unix seconds as ISO-8601 in UTC, to the microsecond."""
    return datetime.fromtimestamp(value, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def finite(value: Any) -> Any:
    """Return a JSON value with NaN and infinities as the strings that the client reads back."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return value


def _json_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(finite(value))


def _read_json_text(value: Any) -> str:
    if not isinstance(value, str):
        raise GraphQLError(f"a JSONString must be a string that holds JSON, not {value!r:.80}")
    return value


def _read_int64(value: Any) -> int:
    """Take an integer, or a float or text that is one: the client sends all three."""
    try:
        number = int(value)
    except (TypeError, ValueError, OverflowError):
        number = None
    is_whole = number is not None and not isinstance(value, bool)
    if isinstance(value, float):
        is_whole = is_whole and value == number
    if number is None or not is_whole or abs(number) >= 1 << 63:
        raise GraphQLError(f"an Int64 must be a whole number below 2^63, not {value!r:.80}")
    return number


def _same(value: Any) -> Any:
    return value


#: Scalar -> (how it leaves, how it is taken).
_SCALARS: Mapping[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "JSONString": (_json_text, _read_json_text),
    "JSON": (finite, _same),
    "DateTime": (iso_time, _same),
    "Duration": (_read_int64, _read_int64),
    "Int64": (_read_int64, _read_int64),
}


def bind_scalars(schema: GraphQLSchema) -> None:
    """Give the scalars of a schema that was built from text their coercions."""
    for name, (outward, inward) in _SCALARS.items():
        scalar = schema.type_map[name]
        assert isinstance(scalar, GraphQLScalarType)
        scalar.coerce_output_value = outward
        scalar.coerce_input_value = inward
