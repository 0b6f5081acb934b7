"""What the agent tells whoever started it: an event for all that a person would ask about."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

__all__ = ["AgentEvent", "EventKind", "Report"]


class EventKind(StrEnum):
    """Everything that an agent reports."""

    AGENT_STARTED = "agent_started"
    TRIAL_STARTED = "trial_started"
    TRIAL_ENDED = "trial_ended"
    SERVER_LOST = "server_lost"
    SERVER_BACK = "server_back"
    SLOT_OUT = "slot_out"
    GPU_SHARED = "gpu_shared"
    NOTICE = "notice"
    AGENT_ENDED = "agent_ended"


@dataclass(frozen=True)
class AgentEvent:
    """One thing that happened: a sentence for people, and the facts behind it for programs."""

    kind: EventKind
    text: str
    data: Mapping[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Return the event as one JSON-able object."""
        return {"event": str(self.kind), "text": self.text, **self.data}


#: Takes each event as it happens; it may be called from any of the agent's threads, one at a time.
Report = Callable[[AgentEvent], None]
