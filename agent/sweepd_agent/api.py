"""The operations that an agent needs of a W&B server, in our words."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sweepd.errors import InvalidInput, NotFound, ProtocolError, Reason
from sweepd.states import SweepState, is_terminal
from sweepd_agent.client import Client
from sweepd_agent.options import SweepPath

__all__ = ["OURS", "AgentApi", "Ahead", "Command", "Outcome", "Sweep", "read_command", "read_sweep"]

#: The server feature that tells our service from W&B's.
OURS = "SWEEPD_V1"
_OVER = {str(state) for state in SweepState if is_terminal(state)}

_FEATURES = "query ServerFeaturesQuery { serverInfo { features { name isEnabled } } }"
_VIEWER = "query Viewer { viewer { id entity } }"
_SWEEP = """
query GetSweep($name: String!, $project: String, $entity: String) {
  project(name: $project, entityName: $entity) {
    sweep(sweepName: $name) { id name state config }
  }
}"""
_FIND_SWEEP = """
query SweepdFindSweep($name: String!) {
  sweepdSweep(name: $name) { name state config project { name entity { name } } }
}"""
_REGISTER = """
mutation CreateAgent($host: String!, $project: String, $entity: String, $sweep: String!) {
  createAgent(input: {host: $host, projectName: $project, entityName: $entity, sweep: $sweep}) {
    agent { id }
  }
}"""
_REGISTER_SLOT = """
mutation CreateAgent(
  $host: String!, $project: String, $entity: String, $sweep: String!, $device: String
) {
  createAgent(input: {
    host: $host, projectName: $project, entityName: $entity, sweep: $sweep, sweepdDevice: $device
  }) {
    agent { id }
  }
}"""
_HEARTBEAT = """
mutation Heartbeat($id: ID!, $metrics: JSONString, $runState: JSONString) {
  agentHeartbeat(input: {id: $id, metrics: $metrics, runState: $runState}) {
    agent { id }
    commands
  }
}"""
_HEARTBEAT_AHEAD = """
mutation Heartbeat(
  $id: ID!, $metrics: JSONString, $runState: JSONString,
  $ahead: Boolean, $waiting: [String!], $returned: [String!]
) {
  agentHeartbeat(input: {
    id: $id, metrics: $metrics, runState: $runState,
    sweepdAhead: $ahead, sweepdWaiting: $waiting, sweepdReturned: $returned
  }) {
    agent { id }
    commands
  }
}"""
_REPORT = """
mutation SweepdReportOutcome($input: SweepdReportOutcomeInput!) {
  sweepdReportOutcome(input: $input) { success }
}"""
_QUARANTINE = """
mutation SweepdQuarantineSlot($input: SweepdQuarantineSlotInput!) {
  sweepdQuarantineSlot(input: $input) { agent { id } }
}"""
_LEAVE = """
mutation SweepdLeaveAgent($id: ID!) {
  sweepdLeaveAgent(input: {id: $id}) { success }
}"""


@dataclass(frozen=True)
class Sweep:
    """The sweep that an agent works for."""

    entity: str
    project: str
    name: str
    program: str | None
    command: tuple[str, ...] | None
    is_over: bool = False  # it was when it was looked up


@dataclass(frozen=True)
class Command:
    """One command of the server; `args` are nested values, `lease` is (attempt, token) or None.

    With `offline`, a folder, the trial's run is written there and sent nowhere.
    """

    type: str
    run: str = ""
    program: str | None = None
    args: Mapping[str, Any] = field(default_factory=dict)
    lease: tuple[int, str] | None = None
    offline: Path | None = None


@dataclass(frozen=True)
class Ahead:
    """What a slot says of trials that it fetches while another one runs; runs by their ids."""

    wants: bool = False  # one more, to get it ready
    waiting: tuple[str, ...] = ()  # named as running, and not begun
    returned: tuple[str, ...] = ()  # given back, not begun


@dataclass(frozen=True)
class Outcome:
    """How a trial's process ended, seen from outside.

    Attributes:
        reason: why.
        exit_code: None if a signal ended it.
        signal: that ended it.
        message: the first line of its error.
        is_crowded: it ran out of memory, and others had a part of its GPU.
    """

    reason: Reason
    exit_code: int | None = None
    signal: int | None = None
    message: str | None = None
    is_crowded: bool = False


class AgentApi:
    """Speaks for one agent; one thread at a time."""

    def __init__(self, client: Client) -> None:
        self.client = client

    @property
    def retry_after_s(self) -> float | None:
        """Return the seconds that the server asked to wait in its last refusal, if it did."""
        return self.client.retry_after_s

    def hurry(self, timeout_s: float) -> None:
        """Wait for no answer longer than that from now on."""
        self.client.timeout_s = timeout_s

    def close(self) -> None:
        """Close the connection."""
        self.client.close()

    def is_ours(self) -> bool:
        """Return whether the server is sweepd, which can do more than W&B's."""
        try:
            info = self.client.execute(_FEATURES, {}).get("serverInfo") or {}
        except ProtocolError:
            return False
        features = info.get("features") or []
        return any(row and row.get("name") == OURS and row.get("isEnabled") for row in features)

    def find_sweep(
        self, path: SweepPath, *, is_ours: bool, entity: str | None, project: str | None
    ) -> Sweep:
        """Return the sweep that `path` names; `entity` and `project` fill in what it leaves open.

        Raises:
            NotFound: if there is no such sweep.
            InvalidInput: if the project is not known and the server cannot tell it.
        """
        entity, project = path.entity or entity, path.project or project
        if is_ours and path.project is None:
            found = self.client.execute(_FIND_SWEEP, {"name": path.name}).get("sweepdSweep")
            if found:
                home = found["project"]
                return read_sweep(home["entity"]["name"], home["name"], found)
        if not entity:
            viewer = self.client.execute(_VIEWER, {}).get("viewer") or {}
            entity = viewer.get("entity")
        if is_ours and not project:
            raise NotFound(f"there is no sweep {path.name} on {self.client.url}")
        if not project:
            raise InvalidInput(
                f"the project of sweep {path.name} is not known; use ENTITY/PROJECT/ID"
            )
        variables = {"name": path.name, "project": project, "entity": entity}
        home = self.client.execute(_SWEEP, variables).get("project") or {}
        found = home.get("sweep")
        if not found:
            raise NotFound(f"there is no sweep {entity}/{project}/{path.name} on {self.client.url}")
        return read_sweep(str(entity), project, found)

    def has_ended(self, sweep: Sweep) -> bool:
        """Return whether a sweep is over, so that it takes no more agents."""
        variables = {"name": sweep.name, "project": sweep.project, "entity": sweep.entity}
        home = self.client.execute(_SWEEP, variables).get("project") or {}
        return _is_over(home.get("sweep") or {})

    def register(self, sweep: Sweep, *, host: str, device: str | None = None) -> str:
        """Register one agent and return its id; only our service is told of a device."""
        variables = {
            "host": host,
            "project": sweep.project,
            "entity": sweep.entity,
            "sweep": sweep.name,
        }
        document = _REGISTER
        if device is not None:
            document, variables = _REGISTER_SLOT, {**variables, "device": device}
        return str(self.client.execute(document, variables)["createAgent"]["agent"]["id"])

    def heartbeat(
        self, agent: str, *, running: Iterable[str], ahead: Ahead | None = None
    ) -> list[Command]:
        """Say what runs now, and return what the server wants; only ours is told of `ahead`.

        Raises:
            NotFound: if the sweep, or the agent, has been deleted.
        """
        variables: dict[str, Any] = {
            "id": agent,
            "metrics": "{}",
            "runState": json.dumps(dict.fromkeys(running, True)),
        }
        document = _HEARTBEAT
        if ahead is not None:
            document = _HEARTBEAT_AHEAD
            variables |= {
                "ahead": ahead.wants,
                "waiting": list(ahead.waiting),
                "returned": list(ahead.returned),
            }
        answer = self.client.execute(document, variables)["agentHeartbeat"]
        try:
            rows = json.loads(answer["commands"] or "[]")
            return [read_command(row) for row in rows]
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ProtocolError(f"the server's commands cannot be read: {error}") from error

    def report(
        self,
        sweep: Sweep,
        command: Command,
        outcome: Outcome,
        *,
        host: str,
        device: str,
        seconds: float | None = None,
    ) -> None:
        """Tell our service how an attempt ended; how long it took where nobody watched it."""
        assert command.lease is not None
        attempt, token = command.lease
        values = {
            "entityName": sweep.entity,
            "projectName": sweep.project,
            "runName": command.run,
            "attempt": attempt,
            "token": token,
            "reason": str(outcome.reason),
            "exitcode": outcome.exit_code,
            "signal": outcome.signal,
            "message": outcome.message,
            "host": host,
            "device": device,
            **({"isCrowded": True} if outcome.is_crowded else {}),
            **({} if seconds is None else {"seconds": seconds}),
        }
        self.client.execute(_REPORT, {"input": values})

    def quarantine(self, agent: str, reason: str) -> None:
        """Tell our service that the place where this agent works is unfit, and why."""
        self.client.execute(_QUARANTINE, {"input": {"id": agent, "reason": reason}})

    def leave(self, agent: str) -> None:
        """Tell our service that this agent asks for nothing more."""
        self.client.execute(_LEAVE, {"id": agent})


def _is_over(found: Mapping[str, Any]) -> bool:
    return str(found.get("state") or "").upper() in _OVER


def read_sweep(entity: str, project: str, found: Mapping[str, Any]) -> Sweep:
    """Return a sweep as the server describes it: its name, and its definition as YAML."""
    import yaml  # 40 ms, and not before it is needed

    config = yaml.safe_load(found.get("config") or "") or {}
    command = config.get("command")
    if isinstance(command, str):
        command = [command]
    return Sweep(
        entity,
        project,
        str(found["name"]),
        program=config.get("program"),
        command=tuple(str(item) for item in command) if command else None,
        is_over=_is_over(found),
    )


def read_command(row: Mapping[str, Any]) -> Command:
    """Return one command as a heartbeat's answer holds it."""
    ours = row.get("sweepd")
    return Command(
        type=str(row["type"]),
        run=str(row.get("run_id") or ""),
        program=row.get("program"),
        args={key: value["value"] for key, value in (row.get("args") or {}).items()},
        lease=(int(ours["attempt"]), str(ours["token"])) if ours else None,
    )
