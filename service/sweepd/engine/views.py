"""What the engine answers with: plain rows, in our own words. JSON text stays text until needed."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Generic, TypeVar

from sweepd.states import AgentState, RunState, SweepState

__all__ = [
    "Access",
    "Account",
    "AgentView",
    "AlertView",
    "Command",
    "FileView",
    "LogLine",
    "MemberView",
    "Page",
    "ProjectView",
    "Role",
    "RunView",
    "SweepView",
    "TeamView",
    "TrialView",
]

T = TypeVar("T")


class Role(StrEnum):
    """What a member may do in a team: read; write; manage members and visibility too."""

    VIEWER = "viewer"
    MEMBER = "member"
    ADMIN = "admin"


class Access(StrEnum):
    """Who may read a project: its entity's members, or everybody with a key of this service."""

    ENTITY = "entity"
    EVERYBODY = "everybody"


@dataclass(frozen=True)
class Account:
    """A user as the rest of the service sees one.

    Attributes:
        id: storage id.
        name: unique, as users are told apart by people.
        email: address, for display.
        is_admin: whether they administer the service: they may read and write everything.
        entity_id: where they work unless told otherwise.
        entity: its name.
        own_id: the entity that is theirs alone; None for a service account.
        is_service: whether this is a service account, whose key machines use.
        key_id: of the key that the request came with; None without one.
    """

    id: int
    name: str
    email: str
    is_admin: bool
    entity_id: int
    entity: str
    own_id: int | None
    is_service: bool = False
    key_id: str | None = None
    person_id: int | None = None  # whom a service account's request is for
    person: str | None = None

    @property
    def author_id(self) -> int:
        """Return the id of the user that what is made now is by."""
        return self.id if self.person_id is None else self.person_id


@dataclass(frozen=True)
class TeamView:
    """A team; `role` is the asking account's in it, None for one who only administers the service.

    Its storage id is that of the entity of the same name.
    """

    id: int
    name: str
    role: Role | None
    n_members: int
    n_projects: int


@dataclass(frozen=True)
class MemberView:
    """A member of a team."""

    user_id: int
    name: str
    email: str
    role: Role
    is_service: bool
    is_default: bool  # whether the team is where they work unless told otherwise
    created_at: float


@dataclass(frozen=True)
class ProjectView:
    """A project and the names in its address."""

    id: int
    name: str
    entity_id: int
    entity: str
    description: str | None
    created_at: float
    user_name: str | None
    access: Access


@dataclass(frozen=True)
class TrialView:
    """A run as the search sees it."""

    id: int
    sweep_id: int
    number: int
    run_id: int
    config: str
    origin: str
    state: str
    attempt: int
    reason: str | None
    message: str | None
    objective: float | None
    best: float | None
    last: float | None
    n_values: int
    n_bad: int  # latest values that are NaN or infinite
    created_at: float
    ended_at: float | None
    version: int = 1  # of the definition that it came from
    rung: int = 0  # of successive halving, the last that it was judged at
    basis_event: int | None = None  # the event that it was suggested from
    position: int | None = None  # among the suggestions of that event, or the first that was tried
    why: str | None = None  # JSON: what the search expected of it
    outcome: str | None = None  # sweepd.spec.Outcome: outcome constraints it does not satisfy
    objectives: str | None = None  # JSON: one for each of several metrics, signed, once ended


@dataclass(frozen=True)
class RunView:
    """A run; `config`, `summary`, `tags`, `system_metrics` and `history_keys` are JSON text."""

    id: int
    name: str
    project_id: int
    project: str
    entity_id: int
    entity: str
    access: Access  # of the project
    sweep_id: int | None
    sweep: str | None
    user_name: str | None
    state: RunState
    display_name: str
    description: str | None
    notes: str | None
    group: str | None
    job_type: str | None
    host: str | None
    program: str | None
    repo: str | None
    commit: str | None
    tags: str
    config: str
    summary: str
    system_metrics: str
    history_keys: str | None
    history_lines: int
    event_lines: int
    log_lines: int
    last_step: int | None
    exit_code: int | None
    stop_requested: str | None
    created_at: float
    started_at: float | None
    heartbeat_at: float | None
    ended_at: float | None
    trial: TrialView | None = None


@dataclass(frozen=True)
class SweepView:
    """A sweep with its progress. `best_value` is the metric as logged, by the definition's rule."""

    id: int
    name: str
    project_id: int
    project: str
    entity: str
    user_name: str | None
    state: SweepState
    display_name: str | None
    description: str | None
    definition: str
    method: str
    run_cap: int | None
    expected: int | None  # trials that the sweep will hand out, where that is known
    controller: str | None
    scheduler: str | None
    n_issued: int
    n_running: int
    n_finished: int
    n_failed: int
    n_queued: int
    n_agents: int  # alive
    metric: str | None
    goal: str  # minimize or maximize
    best_value: float | None
    best_run: str | None
    stop_reason: str | None
    notice: str | None
    created_at: float
    updated_at: float
    heartbeat_at: float | None
    ended_at: float | None
    version: int = 1  # of the definition
    n_bundled: int = 0  # trials given to machines that are cut off


@dataclass(frozen=True)
class AgentView:
    """An agent and what it holds.

    `device` is what its trials run on, where it said so; `quarantine` says why it gets none, and
    `quarantined_at` since when.
    """

    id: str
    name: str
    host: str
    state: AgentState
    n_runs: int
    created_at: float
    heartbeat_at: float
    current_run: str | None = None
    device: str | None = None
    quarantine: str | None = None
    quarantined_at: float | None = None


@dataclass(frozen=True)
class AlertView:
    """What a run told people; `n_repeats` counts what came again and was left out."""

    title: str
    text: str
    severity: str  # INFO, WARN or ERROR
    at: float
    n_repeats: int


@dataclass(frozen=True)
class FileView:
    """A run's file; `md5` is base64, `blob` the key of its bytes."""

    id: int
    run_id: int
    name: str
    size: int
    md5: str
    mimetype: str
    blob: str
    updated_at: float


@dataclass(frozen=True)
class LogLine:
    """One console line; `number` counts from 0."""

    number: int
    text: str
    level: str | None = None
    timestamp: str | None = None
    label: str | None = None


@dataclass(frozen=True)
class Command:
    """What an agent is told: run, stop, exit or resume. `config` is nested, values only."""

    type: str
    run: str | None = None
    run_name: str | None = None
    program: str | None = None
    config: dict[str, object] = field(default_factory=dict)
    attempt: int | None = None
    token: str | None = None


@dataclass(frozen=True)
class Page(Generic[T]):
    """One page of a listing. `cursors` are one per item; `end` is the last or None."""

    items: tuple[T, ...]
    cursors: tuple[str, ...]
    has_next: bool
    total: int | None = None

    @property
    def end(self) -> str | None:
        """Return the cursor that the next page starts after."""
        return self.cursors[-1] if self.cursors else None
