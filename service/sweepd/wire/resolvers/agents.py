"""Agents: registering, heartbeats and what each is told."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from graphql import FieldNode

from sweepd.engine import agent_runs, agents, beats
from sweepd.engine.access import Need
from sweepd.engine.views import AgentView, Command
from sweepd.wire.context import Info, Resolvers
from sweepd.wire.ids import read_id
from sweepd.wire.resolvers.common import (
    at_most,
    attribute,
    connection,
    ident,
    page_size,
    read_object,
)

__all__ = ["FIELDS", "command_json"]


@dataclass(frozen=True)
class _Known:
    """An agent of which nothing but the id is asked."""

    id: str


async def _create_agent(root: None, info: Info, input: Mapping[str, Any]) -> Mapping[str, Any]:
    context = info.context
    agent = await context.write(
        agents.register,
        actor=context.account,
        entity=input.get("entityName") or None,
        project=input.get("projectName") or None,
        sweep=input["sweep"],
        host=input["host"],
        device=input.get("sweepdDevice"),
    )
    return {"agent": agent}


async def _heartbeat(root: None, info: Info, input: Mapping[str, Any]) -> Mapping[str, Any]:
    context = info.context
    agent_id = read_id("Agent", input["id"])
    state = read_object(input.get("runState"), "runState")
    running = set(at_most([run for run, is_there in state.items() if is_there], "runs"))
    ahead = agents.Ahead(
        wants=bool(input.get("sweepdAhead")),
        waiting=frozenset(at_most(input.get("sweepdWaiting") or (), "runs")),
        returned=frozenset(at_most(input.get("sweepdReturned") or (), "runs")),
    )
    beat = (
        context.peek(beats.quiet_beat, actor=context.account, agent_id=agent_id, running=running)
        if ahead == agents.Ahead()
        else None
    )
    if beat is not None:
        context.services.beats.note(agent_id, beat)
        return {"agent_id": agent_id, "commands": "[]"}
    commands = await context.write(
        agents.heartbeat,
        actor=context.account,
        agent_id=agent_id,
        running=running,
        ahead=ahead,
        limits=context.services.limits,
    )
    return {
        "agent_id": agent_id,
        "commands": json.dumps([command_json(command) for command in commands]),
    }


async def _runs(
    agent: AgentView,
    info: Info,
    after: str | None = None,
    before: str | None = None,
    first: int | None = None,
    last: int | None = None,
    order: str | None = None,
) -> Mapping[str, Any]:
    page = await info.context.read(
        agent_runs.runs_of_agent,
        actor=info.context.account,
        need=Need.READ,
        agent_id=agent.id,
        order=order,
        after=after,
        before=before,
        first=page_size(first) if first is not None or last is None else None,
        last=None if last is None else page_size(last),
    )
    return connection(page)


async def _heartbeat_agent(payload: Mapping[str, Any], info: Info) -> AgentView | _Known:
    """Return the agent of a heartbeat; the client asks for nothing but its id, which is known."""
    context = info.context
    if _asks_for_id_only(info):
        return _Known(payload["agent_id"])
    return await context.read(
        agents.get_agent, actor=context.account, need=Need.READ, agent_id=payload["agent_id"]
    )


def _asks_for_id_only(info: Info) -> bool:
    selections = [node.selection_set for node in info.field_nodes]
    return all(
        isinstance(field, FieldNode) and field.name.value in ("id", "__typename")
        for selection in selections
        if selection is not None
        for field in selection.selections
    )


def command_json(command: Command) -> dict[str, Any]:
    """Return a command in W&B's shape; `sweepd` is the lease, which W&B's agents overlook."""
    if command.type == "exit":
        return {"type": command.type}
    told: dict[str, Any] = {"type": command.type, "run_id": command.run}
    if command.type in ("run", "resume"):
        told["run_name"] = command.run_name
        told["program"] = command.program
        told["args"] = {name: {"value": value} for name, value in command.config.items()}
        told["logs"] = []
        told["sweepd"] = {"attempt": command.attempt, "token": command.token}
    return told


FIELDS: Resolvers = {
    "Mutation": {"createAgent": _create_agent, "agentHeartbeat": _heartbeat},
    "AgentHeartbeatPayload": {"agent": _heartbeat_agent},
    "Agent": {
        "id": ident("Agent"),
        "totalRuns": attribute("n_runs"),
        "createdAt": attribute("created_at"),
        "heartbeatAt": attribute("heartbeat_at"),
        "runs": _runs,
    },
}
