"""Ranks the runs of a sweep by one stated rule."""

from dataclasses import dataclass, field
from typing import Any

from sweepd.errors import InvalidInput, NotFound
from sweepd.results.confirmed import Confirmation
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
from sweepd.results.rounds import read_confirmed
from sweepd.results.server import in_words, open_api
from sweepd.spec import bounds_in, signed

__all__ = ["Selection", "select"]


@dataclass(frozen=True)
class Selection:
    """The runs of a sweep, best first, and the rule that says so.

    Runs whose configuration was confirmed with fresh seeds come first, by the mean of these; those
    of which seeds came to no value after those of which none did. A confirmation counts once all
    of its runs have ended.
    """

    sweep: str  # entity/project/sweep
    metric: str
    goal: str
    rule: str
    parameters: tuple[str, ...]  # those that the sweep varies, in the definition's order
    ranking: tuple[Ranked, ...]
    by_value: tuple[Ranked, ...]  # by their own values alone; of equals the one that started first
    excluded: tuple[Excluded, ...]
    confirmation: Confirmation = field(default_factory=Confirmation)

    @property
    def best(self) -> Ranked:
        """Return the best run."""
        return self.ranking[0]

    @property
    def rule_in_words(self) -> str:
        """Return the rule, the goal and how many runs were compared, as one sentence."""
        way = "highest" if self.goal == "maximize" else "lowest"
        at = {"best": "its best logged value", "last": "its last logged value"}.get(
            self.rule, f"the mean of its last {self.rule.partition(':')[2]} logged values"
        )
        runs = _count(len(self.ranking), "finished run")
        text = f"{way} {self.metric} of {runs}, each by {at}"
        whys = counted_whys(self.excluded)
        return f"{text}; left out: {whys}" if whys else text

    @property
    def confirmed_in_words(self) -> str | None:
        """Return what was confirmed, and the best single value beside it, or why nothing counts.

        None if there are no confirmations.
        """
        ranked = self.confirmation.ranked
        if not ranked:
            return self.confirmation.open_in_words
        best, single = ranked[0], self.by_value[0]
        seeds = best.seeds_in_words + (" seeds" if best.n_without else "")
        return (
            f"confirmed with fresh seeds: {_count(len(ranked), 'leader')} first, by the mean "
            f"{self.metric}, {best.mean:.4g} of {seeds} for the best; the best single "
            f"value is {single.value:.4g} ({single.display_name})"
        )

    def facts_of_best(self) -> dict[str, Any]:
        """Return the best run's value with its metric and rule, and what fresh seeds came to."""
        facts: dict[str, Any] = {
            "metric": self.metric,
            "goal": self.goal,
            "rule": self.rule,
            "value": self.best.value,
        }
        for best in self.confirmation.ranked[:1]:
            facts |= {
                "confirmed_mean": best.mean,
                "confirmed_seeds": len(best.values),
                "confirmed_without": best.n_without,
            }
            if best.interval is not None:
                facts |= dict(zip(("confirmed_low", "confirmed_high"), best.interval, strict=True))
        return facts

    def as_json(self, *, limit: int | None = None) -> dict[str, Any]:
        """Return the selection as plain JSON values, the ranking cut at `limit` runs."""
        return {
            "sweep": self.sweep,
            "metric": self.metric,
            "goal": self.goal,
            "rule": self.rule,
            "rule_in_words": self.rule_in_words,
            "parameters": list(self.parameters),
            "best": self.best.as_json(),
            "best_single": self.by_value[0].as_json(),
            "confirmation": self.confirmation.as_json(),
            "ranking": [run.as_json() for run in self.ranking[:limit]],
            "excluded": [
                {"run": entry.path, "display_name": entry.display_name, "why": entry.why}
                for entry in self.excluded
            ],
        }


def select(sweep_path: str, *, by: str | None = None, api: Any = None) -> Selection:
    """Rank the finished runs of a sweep, best first; of equals the one that started first.

    Runs whose configuration was confirmed with fresh seeds come first, by the mean of these. Those
    that do not satisfy the definition's `sweepd.outcome_constraints` are left out.

    Args:
        sweep_path: an id, `entity/project/id` or an address, as `wandb.Api().sweep` takes it.
        by: `best`, `last` or `mean:k` over the values a run logged; None is what the definition's
            `sweepd.objective` says, else `best`.
        api: a `wandb.Api` to read through; None opens one.

    Raises:
        NotFound: there is no such sweep, or no run of it can be ranked.
        InvalidInput: there is no such rule, or the sweep has no metric to rank by.
        Unauthorized, ServerUnreachable: the server's answer, in words.
    """
    if by is not None:
        checked(by)
    api = api or open_api()
    with in_words(f"the sweep {sweep_path}"):
        sweep = api.sweep(sweep_path)
        config = sweep.config
    path = f"{sweep.entity}/{sweep.project}/{sweep.id}"
    if config.get("metrics"):
        words = f"the sweep {path} has several metrics: a front of runs, of which none is the best"
        raise InvalidInput(f"{words}; `sweep best` lists it, name one of its runs")
    metric = config.get("metric") or {}
    name, goal = metric.get("name"), metric.get("goal", "minimize")
    if not name:
        raise InvalidInput(f"the sweep {path} has no metric, so its runs have no order")
    rule = by or rule_of(config)
    bounds = bounds_in(config)
    ranked: list[Ranked] = []
    excluded: list[Excluded] = []
    with in_words(f"the runs of the sweep {path}"):
        for run in runs_of(api, sweep):
            judged = came_to(run, metric=name, goal=goal, rule=rule, bounds=bounds)
            (ranked if isinstance(judged, Ranked) else excluded).append(judged)  # type: ignore[arg-type]
    if not ranked:
        said = counted_whys(excluded) or "it has no runs"
        raise NotFound(f"no run of the sweep {path} can be ranked: {said}")
    ranked.sort(key=lambda run: signed(run.value, goal))  # stable: of equals the earlier
    with in_words(f"the confirmations of the sweep {path}"):
        confirmation = read_confirmed(
            api, sweep, ranked, metric=name, goal=goal, rule=rule, bounds=bounds
        )
    first = [one.leader for one in confirmation.ranked]
    leading = {run.path for run in first}
    ranking = [*first, *(run for run in ranked if run.path not in leading)]
    return Selection(
        path,
        name,
        goal,
        rule,
        varied(config),
        tuple(ranking),
        tuple(ranked),
        tuple(excluded),
        confirmation,
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
