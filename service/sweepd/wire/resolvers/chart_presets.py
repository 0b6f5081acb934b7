"""Presets of custom charts."""

from collections.abc import Mapping
from typing import Any

from sweepd.engine import presets
from sweepd.errors import InvalidInput
from sweepd.wire.context import Info, Resolvers
from sweepd.wire.resolvers.common import read_object

__all__ = ["FIELDS"]

_LANGUAGE = "vega2"
_ACCESS = {"PRIVATE": False, "PUBLIC": True}


async def _create(root: None, info: Info, input: Mapping[str, Any]) -> Mapping[str, Any]:
    context = info.context
    if input["type"] != _LANGUAGE:
        raise InvalidInput(f"a chart's type must be {_LANGUAGE}, not {input['type']!r:.80}")
    if input["access"] not in _ACCESS:
        allowed = ", ".join(_ACCESS)
        raise InvalidInput(
            f"a chart's access must be one of {allowed}, not {input['access']!r:.80}"
        )
    read_object(input["spec"], "spec")
    kept = await context.write(
        presets.save_preset,
        actor=context.account,
        entity=input["entity"],
        name=input["name"],
        display_name=input["displayName"],
        spec=input["spec"],
        is_public=_ACCESS[input["access"]],
    )
    return {"chart": {"id": kept.id}}


FIELDS: Resolvers = {"Mutation": {"createCustomChart": _create}}
