"""Bundles: trials given away in advance, and taken back."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sweepd.engine import bundles
from sweepd.engine.access import Need
from sweepd.engine.bundles import BundleView
from sweepd.engine.views import SweepView
from sweepd.wire.context import Info, Resolvers
from sweepd.wire.ids import read_id, read_int_id
from sweepd.wire.resolvers.agents import command_json
from sweepd.wire.resolvers.common import attribute, ident

__all__ = ["FIELDS"]


async def _fill(root: None, info: Info, input: Mapping[str, Any]) -> Mapping[str, Any]:
    context = info.context
    bundle, commands = await context.write(
        bundles.fill,
        actor=context.account,
        sweep_id=read_int_id("Sweep", input["id"]),
        key=input["key"],
        n=input["n"],
        for_s=input["seconds"],
        is_patient=bool(input.get("isPatient")),
    )
    rows = [command_json(command) for command in commands]
    return {"bundle": bundle, "commands": json.dumps(rows)}


async def _give_back(root: None, info: Info, input: Mapping[str, Any]) -> Mapping[str, Any]:
    context = info.context
    bundle = await context.write(
        bundles.give_back,
        actor=context.account,
        bundle_id=read_id("Bundle", input["id"]),
        limits=context.services.limits,
    )
    return {"bundle": bundle}


async def _bundle(root: None, info: Info, id: str) -> BundleView | None:
    context = info.context
    return await context.read_or_none(
        bundles.get_bundle,
        actor=context.account,
        need=Need.READ,
        bundle_id=read_id("Bundle", id),
    )


async def _bundles(sweep: SweepView, info: Info) -> Sequence[BundleView]:
    context = info.context
    return await context.read(
        bundles.list_bundles, actor=context.account, need=Need.READ, sweep_id=sweep.id
    )


FIELDS: Resolvers = {
    "Query": {"sweepdBundle": _bundle},
    "Sweep": {"sweepdBundles": _bundles},
    "Mutation": {"sweepdFillBundle": _fill, "sweepdGiveBackBundle": _give_back},
    "SweepdBundle": {
        "id": ident("Bundle"),
        "name": attribute("id"),
        "asked": attribute("n_asked"),
        "given": attribute("n_given"),
        "out": attribute("n_out"),
        "createdAt": attribute("created_at"),
        "endedAt": attribute("ended_at"),
        "madeBy": attribute("user_name"),
    },
    "SweepdBundledTrial": {"runName": attribute("run"), "isPresent": attribute("is_present")},
}
