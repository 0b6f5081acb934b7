"""The words and tables of a report, as plain values that its template escapes."""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sweepd.results.compare import flat
from sweepd.results.front import Front
from sweepd.results.judging import Ranked
from sweepd.results.select import Selection

__all__ = [
    "Account",
    "Cell",
    "Table",
    "account_of",
    "confirmed_table",
    "duration",
    "front_table",
    "in_words_of",
    "moment",
    "ranking_table",
]

_MOST_ROWS = 10


@dataclass(frozen=True)
class Cell:
    """A cell of a table."""

    text: str
    is_number: bool = False
    url: str | None = None


@dataclass(frozen=True)
class Table:
    """A table with a title, and remarks below it."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Account:
    """How a sweep went: facts in words, and the paths of its runs in the order of their start."""

    rows: tuple[tuple[str, str], ...]
    in_order: tuple[str, ...]

    @property
    def n_runs(self) -> int:
        """Return how many runs there are."""
        return len(self.in_order)


def account_of(sweep: Any, runs: Iterable[Any], *, now: datetime) -> Account:
    """Return how a sweep went, from its runs, the earliest first."""
    states: Counter[str] = Counter()
    begins: list[datetime] = []
    ends: list[datetime] = []
    total_s, paths = 0.0, []
    for run in runs:
        paths.append("/".join(run.path))
        states[run.state] += 1
        runtime = dict(run.summary_metrics).get("_runtime")
        runtime_s = float(runtime) if isinstance(runtime, int | float) else 0.0
        total_s += runtime_s
        begun = moment(getattr(run, "created_at", None))
        if begun is not None:
            begins.append(begun)
            is_live = run.state in ("running", "pending")
            ends.append(now if is_live else begun + timedelta(seconds=runtime_s))
    counts = ", ".join(f"{n} {state}" for state, n in states.most_common()) or "none"
    rows = [("state", str(sweep.state).lower()), ("runs", f"{len(paths)}: {counts}")]
    if begins:
        rows.append(("began", f"{min(begins):%Y-%m-%d %H:%M:%S} UTC"))
        rows.append(("from first to last", duration((max(ends) - min(begins)).total_seconds())))
    rows.append(("run time, summed", duration(total_s)))
    return Account(tuple(rows), tuple(paths))


def duration(seconds: float) -> str:
    """Return a duration as people say it: 8 s, 3 min 20 s, 2 h 5 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def in_words_of(found: Selection | Front | None, why: str | None) -> dict[str, Any]:
    """Return the headline, and the sentences below it."""
    if found is None:
        return {"headline": None, "lines": [why]}
    if isinstance(found, Front):
        return {"headline": f"{len(found.runs)} runs on the front", "lines": [found.rule_in_words]}
    best = found.best
    headline = f"{found.metric} {best.value:.4g}: {best.display_name}"
    for again in found.confirmation.ranked[:1]:  # a single value promises too much
        is_one = len(again.values) + again.n_without == 1
        seeds = f"{again.seeds_in_words} fresh seed{'' if is_one else 's'}"
        headline = f"mean {found.metric} {again.mean:.4g} of {seeds}: {best.display_name}"
    lines = [found.rule_in_words, found.confirmed_in_words]
    lines += [f"{name} {value:.4g}" for name, value in best.test_metrics.items()]
    return {"headline": headline, "lines": [line for line in lines if line]}


def ranking_table(found: Selection) -> Table:
    """Return the best runs with what the sweep varied."""
    shown = found.ranking[:_MOST_ROWS]
    names = _columns(shown, found.parameters)
    rows = [
        (_cell(place), _name(run), _cell(run.value), *_varied(run, names))
        for place, run in enumerate(shown, 1)
    ]
    return Table("The best runs", ("#", "run", found.metric, *names), tuple(rows))


def front_table(found: Front) -> Table:
    """Return the runs of a front with their metrics and what the sweep varied."""
    shown = found.runs[: 5 * _MOST_ROWS]
    names = _columns([one.run for one in shown], found.parameters)
    rows = [
        (_name(one.run), *map(_cell, one.values.values()), *_varied(one.run, names))
        for one in shown
    ]
    return Table("Runs that no other one beats", ("run", *found.goals, *names), tuple(rows))


def confirmed_table(found: Selection) -> Table:
    """Return what the leaders came to with fresh seeds."""
    rows = [
        (
            _name(one.leader),
            _cell(one.mean if one.values else None),
            _cell(" to ".join(f"{end:.4g}" for end in one.interval) if one.interval else None),
            _cell(one.seeds_in_words if one.n_without else len(one.values)),
            _cell("tied with the best" if one.is_tied else ""),
            _cell(one.leader.value),
            _cell(one.fall if one.values else None),
        )
        for one in found.confirmation.leaders
    ]
    columns = ("run", f"mean {found.metric}", "90 % interval", "n", "", "its own", "fall")
    seeds = ", ".join(str(seed) for seed in found.confirmation.seeds)
    notes = [f"fresh seeds: {seeds}; the leader's own run is not in the mean"]
    if found.confirmation.n_waiting:
        notes.append(f"{found.confirmation.n_waiting} runs of it have not ended")
    if found.confirmation.n_strangers:
        notes.append(f"left out as of no leader's configuration: {found.confirmation.n_strangers}")
    return Table("Confirmed with fresh seeds", columns, tuple(rows), tuple(notes))


def _columns(runs: Sequence[Ranked], parameters: Sequence[str]) -> list[str]:
    """Return the flat names of what varies; of a nested parameter each inner one."""
    found: dict[str, None] = {}
    for name in parameters:
        inner = [flat({name: run.config[name]}) for run in runs if name in run.config]
        found |= dict.fromkeys(key for config in inner for key in config)
    return list(found)


def _varied(run: Ranked, names: Sequence[str]) -> list[Cell]:
    config = flat(run.config)
    return [_cell(config.get(name)) for name in names]


def _name(run: Ranked) -> Cell:
    url = run.url if run.url.startswith(("http://", "https://")) else None
    return Cell(run.display_name, url=url)


def _cell(value: Any) -> Cell:
    if value is None:
        return Cell("–")
    if isinstance(value, bool):
        return Cell("yes" if value else "no")
    if isinstance(value, float):
        return Cell(f"{value:.4g}", is_number=True)
    if isinstance(value, list | dict):
        return Cell(json.dumps(value, ensure_ascii=False, default=str))
    return Cell(str(value), is_number=isinstance(value, int))


def moment(text: Any) -> datetime | None:
    """Return a moment of the server's, UTC unless it says otherwise; None if it is none."""
    try:
        found = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
