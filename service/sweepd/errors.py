"""The whole error tree, and the reasons a trial can end with.

Each class states once how it leaves the process: as an HTTP status and as an exit code.

SweepdError ................ 500 / 1
├─ DefinitionError ......... 400 / 2   a sweep definition is wrong; carries every violation
├─ InvalidInput ............ 400 / 2   any other wrong input: a flag, a name, a key's form
├─ UnknownName ............. 400 / 2   lists the known names
├─ ProtocolError ........... 400 / 1   a request that this service does not understand
├─ Unauthorized ............ 401 / 1
├─ Forbidden ............... 403 / 1
├─ NotFound ................ 404 / 1
├─ Conflict ................ 409 / 1
│  ├─ IllegalMove .......... 409 / 1   a state cannot follow another
│  ├─ LeaseLost ............ 409 / 1   the trial belongs to a later attempt
│  └─ AlreadyExists ........ 409 / 1
├─ StoreError .............. 503 / 75  75 means: try again
│  ├─ StoreBusy ............ 503 / 75
│  ├─ StoreReadOnly ........ 503 / 1
│  └─ SchemaTooNew ......... 503 / 1
├─ ServerUnreachable ....... 503 / 75  no answer from a W&B server
├─ SearchError ............. 500 / 1
│  └─ FitFailed ............ 500 / 1   the search falls back to random points
├─ LaunchError ............. 500 / 1
│  ├─ NoDevice ............. 500 / 1
│  └─ ProcessDied .......... 500 / 1
├─ DataError ............... 500 / 1   a data set is missing or damaged
└─ ExportError ............. 500 / 1   a model could not be exported or verified
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

__all__ = [
    "AlreadyExists",
    "Conflict",
    "DataError",
    "DefinitionError",
    "ExportError",
    "FitFailed",
    "Forbidden",
    "IllegalMove",
    "InvalidInput",
    "LaunchError",
    "LeaseLost",
    "NoDevice",
    "NotFound",
    "ProcessDied",
    "ProtocolError",
    "Reason",
    "SchemaTooNew",
    "SearchError",
    "ServerUnreachable",
    "StoreBusy",
    "StoreError",
    "StoreReadOnly",
    "SweepdError",
    "Unauthorized",
    "UnknownName",
    "Violation",
]


class SweepdError(Exception):
    """Anything that sweepd reports on purpose."""

    http_status = 500
    exit_code = 1


@dataclass(frozen=True)
class Violation:
    """One problem of a definition: where it is and what is allowed there."""

    path: str
    message: str
    line: int | None = None

    def __str__(self) -> str:
        """Return `path: message`, with the line in front where it is known."""
        where = f"line {self.line}: " if self.line is not None else ""
        return f"{where}{self.path}: {self.message}" if self.path else f"{where}{self.message}"


class DefinitionError(SweepdError, ValueError):
    """A sweep definition is wrong. Carries every violation, not only the first."""

    http_status, exit_code = 400, 2

    def __init__(self, violations: Sequence[Violation], source: str = "definition") -> None:
        self.violations = tuple(violations)
        self.source = source
        count = len(self.violations)
        lines = "\n".join(f"  {violation}" for violation in self.violations)
        super().__init__(f"{source}: {count} problem{'s' if count != 1 else ''}\n{lines}")


class InvalidInput(SweepdError, ValueError):
    """Input other than a definition is wrong: a flag, a name, a key's form."""

    http_status, exit_code = 400, 2


class UnknownName(SweepdError, LookupError):
    """A name is not in its registry; the message lists the known ones."""

    http_status, exit_code = 400, 2


class ProtocolError(SweepdError):
    """A request is not one that this service understands."""

    http_status = 400


class Unauthorized(SweepdError):
    """No key, or one that this service does not know."""

    http_status = 401


class Forbidden(SweepdError):
    """The key is known, the thing belongs to somebody else."""

    http_status = 403


class NotFound(SweepdError):
    """The named thing does not exist."""

    http_status = 404


class Conflict(SweepdError):
    """The request does not fit the present state."""

    http_status = 409


class IllegalMove(Conflict):
    """A state cannot follow another."""


class LeaseLost(Conflict):
    """The trial belongs to a later attempt now."""


class AlreadyExists(Conflict):
    """The name is taken."""


class StoreError(SweepdError):
    """The store cannot answer now."""

    http_status, exit_code = 503, 75


class StoreBusy(StoreError):
    """Another process holds the database; try again."""


class StoreReadOnly(StoreError):
    """The data folder cannot be written to."""

    exit_code = 1


class SchemaTooNew(StoreError):
    """The data folder was written by a newer sweepd."""

    exit_code = 1


class ServerUnreachable(SweepdError):
    """A W&B server did not answer."""

    http_status, exit_code = 503, 75


class SearchError(SweepdError):
    """A search method failed."""


class FitFailed(SearchError):
    """A model could not be fitted; the search falls back to random points."""


class LaunchError(SweepdError):
    """A trial's process could not be started."""


class NoDevice(LaunchError):
    """A device that was asked for is not there."""


class ProcessDied(LaunchError):
    """A process that was needed has ended."""


class DataError(SweepdError):
    """A data set is missing or damaged."""


class ExportError(SweepdError):
    """A model could not be exported, or its export did not pass verification."""


class Reason(StrEnum):
    """Why a trial ended, as stored, shown and told to the search."""

    FINISHED = "finished"
    NO_METRIC = "no_metric"
    DIVERGED = "diverged"
    OUT_OF_MEMORY = "oom"
    ERROR = "error"
    NEVER_INIT = "never_init"
    NEVER_STARTED = "never_started"
    CRASHED = "crashed"
    TIMED_OUT = "timed_out"
    PREEMPTED = "preempted"
    STOPPED_EARLY = "stopped_early"
    KILLED = "killed"
