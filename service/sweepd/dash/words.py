"""What the pages say: states and a sweep's status, in words."""

from collections.abc import Sequence
from dataclasses import dataclass

from sweepd.engine.views import SweepView, TrialView
from sweepd.errors import Reason
from sweepd.states import RunState, SweepState

__all__ = [
    "Badge",
    "Pace",
    "direction_of",
    "ends_in",
    "run_badge",
    "sweep_badge",
    "sweep_sentence",
    "trouble",
]


@dataclass(frozen=True)
class Badge:
    """A state as shown: a word, an icon of the sprite, a tone, and why, where that is known."""

    word: str
    icon: str
    tone: str  # good, bad, warn, run or quiet
    why: str | None = None


_RUNS: dict[RunState, Badge] = {
    RunState.PENDING: Badge("Pending", "pending", "quiet", "waits for its process to start"),
    RunState.RUNNING: Badge("Running", "running", "run"),
    RunState.PREEMPTING: Badge("Preempting", "running", "warn", "its machine takes it away"),
    RunState.PREEMPTED: Badge("Preempted", "killed", "warn"),
    RunState.FINISHED: Badge("Finished", "finished", "good"),
    RunState.FAILED: Badge("Failed", "failed", "bad"),
    RunState.CRASHED: Badge("Crashed", "crashed", "warn", "its process fell silent"),
    RunState.KILLED: Badge("Killed", "killed", "quiet"),
}

_REASONS: dict[str, Badge] = {
    Reason.FINISHED: Badge("Finished", "finished", "good"),
    Reason.NO_METRIC: Badge("No metric", "crashed", "warn", "it never logged the metric"),
    Reason.DIVERGED: Badge("Diverged", "failed", "bad", "the metric became NaN or infinite"),
    Reason.OUT_OF_MEMORY: Badge("Out of memory", "failed", "bad"),
    Reason.ERROR: Badge("Failed", "failed", "bad"),
    Reason.NEVER_INIT: Badge("Died at start", "failed", "bad", "it never called wandb.init"),
    Reason.NEVER_STARTED: Badge("Never started", "crashed", "warn", "its agent fell silent"),
    Reason.CRASHED: Badge("Crashed", "crashed", "warn", "its process fell silent"),
    Reason.TIMED_OUT: Badge("Timed out", "crashed", "warn"),
    Reason.PREEMPTED: Badge("Preempted", "killed", "warn", "its machine took it away"),
    Reason.STOPPED_EARLY: Badge("Stopped early", "early", "quiet", "by the early-stopping rule"),
    Reason.KILLED: Badge("Killed", "killed", "quiet", "stopped by a person"),
}

_SWEEPS: dict[SweepState, Badge] = {
    SweepState.PENDING: Badge("Waiting", "pending", "quiet"),
    SweepState.RUNNING: Badge("Running", "running", "run"),
    SweepState.PAUSED: Badge("Paused", "paused", "warn"),
    SweepState.FINISHED: Badge("Finished", "finished", "good"),
    SweepState.CANCELED: Badge("Cancelled", "killed", "quiet"),
    SweepState.FAILED: Badge("Failed", "failed", "bad"),
}

_LOWER = ("loss", "error", "err", "rmse", "mse", "mae", "perplexity", "latency", "nll")
_HIGHER = ("accuracy", "acc", "auc", "f1", "precision", "recall", "r2", "reward", "score", "bleu")


def sweep_badge(state: SweepState) -> Badge:
    """Return how a sweep's state is shown."""
    return _SWEEPS[state]


def run_badge(state: RunState, trial: TrialView | None = None) -> Badge:
    """Return how a run's state is shown; a trial's reason says more than the run's state."""
    if trial is None:
        return _RUNS[state]
    if trial.state == "queued":
        why = f"handed out again; attempt {trial.attempt} waits for an agent"
        return Badge("Waiting again", "pending", "quiet", why)
    if trial.state != "ended":
        badge = _RUNS[state] if state not in _ENDED else _RUNS[RunState.RUNNING]
        if trial.attempt > 1:
            return Badge(badge.word, badge.icon, badge.tone, f"attempt {trial.attempt}")
        return badge
    badge = _REASONS.get(trial.reason or "", _RUNS[state])
    if trial.outcome is not None:
        badge = Badge("Out of bounds", badge.icon, "warn", badge.why)
    return Badge(badge.word, badge.icon, badge.tone, trial.message or badge.why)


_ENDED = frozenset({RunState.FINISHED, RunState.FAILED, RunState.CRASHED, RunState.KILLED})


@dataclass(frozen=True)
class Pace:
    """How fast a sweep goes: the durations of ended trials and the ages of running ones, s."""

    ended_s: Sequence[float]
    running_s: Sequence[float]


def ends_in(view: SweepView, pace: Pace) -> float | None:
    """Return the seconds until a running sweep has done all its trials; None where unknown.

    The mean of the last 20 trials, spread over as many trials as run now.
    """
    if view.state is not SweepState.RUNNING or view.expected is None:
        return None
    if not pace.ended_s or not pace.running_s:
        return None
    recent = pace.ended_s[-20:]
    each = sum(recent) / len(recent)
    begun = sum(max(0.0, each - age) for age in pace.running_s)
    waiting = max(0, view.expected - view.n_finished - view.n_failed - len(pace.running_s))
    return (begun + waiting * each) / len(pace.running_s)


def sweep_sentence(view: SweepView) -> str:
    """Return a sweep's status as a sentence or two."""
    done = _done(view)
    failed = f", {view.n_failed} failed" if view.n_failed else ""
    again = f", {view.n_queued} waiting to be tried again" if view.n_queued else ""
    running = _count(view.n_running, "running", "running")
    agents = _count(view.n_agents, "agent", "agents")
    away = f", {view.n_bundled} in bundles" if view.n_bundled else ""
    match view.state:
        case SweepState.PENDING:
            return "Waiting for its first agent."
        case SweepState.RUNNING if view.n_agents == 0 and view.n_running == 0:
            return f"No agent is connected: {done}{away}{failed}{again}. Start one and it goes on."
        case SweepState.RUNNING:
            return f"{_sentence(done)}, {running} on {agents}{away}{failed}{again}."
        case SweepState.PAUSED:
            left = f"; {view.n_running} still at work" if view.n_running else ""
            return (
                f"{_sentence(done)}{away}{failed}{again}{left}. Nothing is handed out until you"
                " resume."
            )
        case _:
            left = f"; {view.n_running} still at work" if view.n_running else ""
            return f"{_sentence(done)}{away}{failed}{left}."


def _done(view: SweepView) -> str:
    n_done = view.n_finished + view.n_failed
    if view.expected is not None and view.expected >= n_done:
        return f"{n_done:,} of {_count(view.expected, 'trial', 'trials')} done"
    return f"{_count(n_done, 'trial', 'trials')} done"


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _count(n: int, one: str, many: str) -> str:
    return f"{n:,} {one if n == 1 else many}"


def direction_of(key: str, *, metric: str | None, goal: str) -> int:
    """Return 1 where a higher value of a metric is better, -1 where a lower one is, 0 if unknown.

    The sweep's own metric goes by its goal, others by common words in their names.
    """
    if metric is not None and key == metric:
        return 1 if goal == "maximize" else -1
    parts = key.lower().replace("/", "_").replace(".", "_").replace("-", "_").split("_")
    if any(word in parts for word in _LOWER):
        return -1
    if any(word in parts for word in _HIGHER):
        return 1
    return 0


def trouble(problem: str | None) -> str | None:
    """Return the line above a page of a service that cannot write, or soon cannot."""
    if problem is None:
        return None
    words = " ".join(problem.split())
    return f"New data cannot be kept, or soon cannot: {words}. Clients send it again meanwhile."
