"""What the parts above the engine are given, and every timing in one place."""

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Protocol

from sweepd.engine.beats import Beats
from sweepd.engine.health import Health
from sweepd.engine.importance import Importances
from sweepd.engine.keys import KeyUses
from sweepd.engine.parquet import ExportJob
from sweepd.engine.turns import Turns
from sweepd.store import Store

__all__ = ["Exporting", "Limits", "Services"]


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Every timing and count of the service. Seconds are wall-clock."""

    lease_s: float = 60.0  # silence after which a trial of our agent, or one not begun, is given up
    run_silence_s: float = 300.0  # the same for a run of other clients, in a sweep or not
    agent_silence_s: float = 60.0  # silence after which an agent is shown as lost
    resend_s: float = 30.0  # how long a trial that was not seen running is handed out again
    max_sends: int = 3  # answers that carry one attempt, the first included
    send_gap_s: float = 4.5  # between two that count: W&B's agents ask each 5 s, or repeat at once
    retries: int = 2  # further attempts after an infrastructure failure
    n_alike: int = 5  # failures alike, with none finished between, that end a sweep
    tick_s: float = 1.0  # between two looks of the watchdog
    expire_s: float = 60.0  # between two looks for artifacts past their time
    gap_s: float = 10.0  # between two looks, beyond which the service was away, not the agents
    key_use_s: float = 60.0  # between two writes of when keys were last used
    canary_s: float = 30.0  # until a slot in quarantine is first tried again; then twice as long
    max_canary_s: float = 1800.0  # the longest pause between two canaries
    max_canaries: int = 5  # that fail on every slot before the sweep is given up
    max_prepared: int = 64  # suggestions prepared ahead for one sweep
    log_head_size: int = 48 << 20  # characters of a run's console that are kept of its beginning
    log_tail_size: int = 16 << 20  # and of its end; what is between the two is left out

    def scaled(self, time_scale: float) -> "Limits":
        """Return the same limits with every duration multiplied by `time_scale`."""
        times = {
            name: getattr(self, name) * time_scale
            for name in self.__dataclass_fields__
            if name.endswith("_s")
        }
        return replace(self, **times)


class Exporting(Protocol):
    """Makes Parquet files of runs' rows, elsewhere than in this process."""

    async def export(self, job: ExportJob) -> None:
        """Make a file; return once it is there, or once it takes too long to wait for."""


@dataclass(frozen=True)
class Services:
    """What `wire` and `dash` are built with. An empty `public_url` means: as the request came.

    Without an `exporter`, rows are only to be had live.
    """

    store: Store
    public_url: str = ""
    limits: Limits = Limits()
    key_uses: KeyUses = field(default_factory=KeyUses)
    exporter: Exporting | None = None
    beats: Beats = field(default_factory=Beats)
    turns: Turns = field(default_factory=Turns)
    importances: Importances = field(default_factory=Importances)

    @cached_property
    def health(self) -> Health:
        """Return what knows whether the store can be written to."""
        return Health(self.store)
