"""The front of a sweep with several metrics: the runs that no other run beats in all of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sweepd.errors import NotFound
from sweepd.results.judging import (
    Excluded,
    Ranked,
    came_to,
    checked,
    counted_whys,
    rule_of,
    runs_of,
    varied,
)
from sweepd.results.select import Selection, select
from sweepd.results.server import in_words, open_api
from sweepd.spec import Bounds, bounds_in, signed

__all__ = ["Front", "FrontRun", "best_of"]


@dataclass(frozen=True)
class FrontRun:
    """A run of the front with its value in each metric."""

    run: Ranked
    values: Mapping[str, float]

    def as_json(self) -> dict[str, Any]:
        """Return the run as plain JSON values."""
        plain = self.run.as_json()
        del plain["value"]
        return plain | {"values": dict(self.values)}


@dataclass(frozen=True)
class Front:
    """The runs of a sweep that no other one beats, by the first metric, the best first."""

    sweep: str  # entity/project/sweep
    goals: Mapping[str, str]  # metric -> minimize or maximize, in the definition's order
    rule: str
    parameters: tuple[str, ...]
    runs: tuple[FrontRun, ...]
    n_compared: int
    excluded: tuple[Excluded, ...]
    beaten: tuple[FrontRun, ...] = ()  # those that some run of the front beats

    @property
    def rule_in_words(self) -> str:
        """Return what makes the front, and how many runs were compared, as one sentence."""
        ways = " and ".join(
            f"{'highest' if goal == 'maximize' else 'lowest'} {name}"
            for name, goal in self.goals.items()
        )
        text = (
            f"the front of {ways}: {len(self.runs)} of {self.n_compared} finished runs, "
            f"each metric by its {self.rule} value"
        )
        whys = counted_whys(self.excluded)
        return f"{text}; left out: {whys}" if whys else text

    def as_json(self, *, limit: int | None = None) -> dict[str, Any]:
        """Return the front as plain JSON values, cut at `limit` runs."""
        return {
            "sweep": self.sweep,
            "metrics": [{"name": name, "goal": goal} for name, goal in self.goals.items()],
            "rule": self.rule,
            "rule_in_words": self.rule_in_words,
            "parameters": list(self.parameters),
            "front": [one.as_json() for one in self.runs[:limit]],
            "excluded": [
                {"run": entry.path, "display_name": entry.display_name, "why": entry.why}
                for entry in self.excluded
            ],
        }


def best_of(sweep_path: str, *, by: str | None = None, api: Any = None) -> Selection | Front:
    """Return the ranking of a sweep's runs, or their front where it has several metrics.

    Arguments and errors are those of `select`.
    """
    if by is not None:
        checked(by)
    api = api or open_api()
    with in_words(f"the sweep {sweep_path}"):
        sweep = api.sweep(sweep_path)
        config = sweep.config
    metrics = config.get("metrics")
    if not metrics:
        return select(sweep_path, by=by, api=api)
    path = f"{sweep.entity}/{sweep.project}/{sweep.id}"
    goals = {one["name"]: one.get("goal", "minimize") for one in metrics}
    rule = by or rule_of(config)
    bounds = bounds_in(config)
    known: list[FrontRun] = []
    excluded: list[Excluded] = []
    with in_words(f"the runs of the sweep {path}"):
        for run in runs_of(api, sweep):
            judged = _judge(run, goals, rule, bounds)
            (known if isinstance(judged, FrontRun) else excluded).append(judged)  # type: ignore[arg-type]
    if not known:
        said = counted_whys(excluded) or "it has no runs"
        raise NotFound(f"no run of the sweep {path} can be compared: {said}")
    points = [[signed(one.values[name], goal) for name, goal in goals.items()] for one in known]
    front = sorted(
        (points[i][0], i) for i in range(len(known)) if not _is_beaten(points[i], points)
    )
    runs = tuple(known[i] for _, i in front)
    on_front = {i for _, i in front}
    beaten = tuple(one for i, one in enumerate(known) if i not in on_front)
    return Front(path, goals, rule, varied(config), runs, len(known), tuple(excluded), beaten)


def _judge(
    run: Any, goals: Mapping[str, str], rule: str, bounds: Mapping[str, Bounds]
) -> FrontRun | Excluded:
    found: dict[str, Ranked] = {}
    for name, goal in goals.items():
        judged = came_to(run, metric=name, goal=goal, rule=rule, bounds=bounds)
        if isinstance(judged, Excluded):
            return judged
        found[name] = judged
    return FrontRun(next(iter(found.values())), {name: one.value for name, one in found.items()})


def _is_beaten(own: Sequence[float], others: Sequence[Sequence[float]]) -> bool:
    return any(
        all(theirs <= mine for theirs, mine in zip(other, own, strict=True))
        and any(theirs < mine for theirs, mine in zip(other, own, strict=True))
        for other in others
    )
