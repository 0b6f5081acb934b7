"""Tables and plots of results: ranks, regrets, and the parts of the search."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from regret.problem import Values
from regret.searches import CHECKPOINTS, PROBLEMS

__all__ = ["Regrets", "ablation_table", "plot", "plot_ablation", "ranks", "report", "write_docs"]

Cell = tuple[float, float]  # mean and standard error
#: Regrets of one engine on one problem, by seed.
Seeds = dict[int, float]
#: Regrets that agree to this share a rank.
_TIE = 1e-3
#: Of the curves; the same engine always has the same.
_COLOURS = ("#0b6e99", "#c4511d", "#5a8f29", "#8a4fa3", "#b8860b", "#777777", "#d1477a", "#2f4f9f")


class Regrets:
    """The results by problem, number at a time, number of ended trials and engine.

    Args:
        rows: the results.
        others: more of them, which may hold the best that is known of a problem.
    """

    def __init__(self, rows: Sequence[Values], others: Sequence[Values] = ()) -> None:
        self._cells: dict[tuple[str, int, int], dict[str, Seeds]] = defaultdict(
            lambda: defaultdict(dict)
        )
        lows: dict[str, float] = defaultdict(lambda: math.inf)
        for row in (*rows, *others):
            found = [value for value in row["value"].values() if value is not None]
            lows[row["problem"]] = min(lows[row["problem"]], *found, math.inf)
        for row in rows:
            problem = PROBLEMS[row["problem"]]
            for at, value in row["value"].items():
                worth = math.inf if value is None else value
                regret = problem.regret(worth, lowest=lows[problem.name])
                cell = self._cells[problem.name, row["parallel"], int(at)]
                cell[row["engine"]][row["seed"]] = regret

    def of(self, problem: str, parallel: int, at: int) -> dict[str, Seeds]:
        """Return the regrets of every engine that was tried there."""
        return dict(self._cells.get((problem, parallel, at), {}))

    def mean(self, engine: str, problems: Sequence[str], parallel: int, at: int) -> Cell:
        """Return the mean over problems of an engine's mean regret, with its standard error."""
        own = [self.of(problem, parallel, at).get(engine) for problem in problems]
        cells = [_mean(list(seeds.values())) for seeds in own if seeds]
        return _over_problems(cells) if len(cells) == len(problems) else (math.nan, math.nan)

    def gain(self, engine: str, over: str, problems: Sequence[str], parallel: int, at: int) -> Cell:
        """Return how much lower an engine's mean regret is than another's on the same seeds."""
        cells = []
        for problem in problems:
            found = self.of(problem, parallel, at)
            own, other = found.get(engine, {}), found.get(over, {})
            differences = [other[seed] - own[seed] for seed in own if seed in other]
            if not differences:
                return math.nan, math.nan
            cells.append(_mean(differences))
        return _over_problems(cells)


def ranks(
    regrets: Regrets, *, engines: Sequence[str], problems: Sequence[str], parallel: int, at: int
) -> dict[str, Cell]:
    """Return each engine's rank by regret, 1 the best: mean and standard error.

    A search's rank is 1 + the chance that another engine's search, of any seed, is better, summed
    over the engines; so an engine with five seeds stands beside one with twenty. Means are taken
    over seeds, then over the problems that every engine was tried on.
    """
    cells: dict[str, list[Cell]] = {name: [] for name in engines}
    for problem in problems:
        cell = regrets.of(problem, parallel, at)
        if not all(name in cell for name in engines):
            continue
        for name in engines:
            others = [np.array(list(cell[other].values())) for other in engines if other != name]
            found = []
            for value in cell[name].values():
                tied = [np.abs(values - value) <= _TIE for values in others]
                lower = [values < value - _TIE for values in others]
                chances = zip(lower, tied, strict=True)
                found.append(
                    1.0 + sum(float(low.mean() + 0.5 * tie.mean()) for low, tie in chances)
                )
            cells[name].append(_mean(found))
    return {name: _over_problems(own) for name, own in cells.items() if own}


def report(rows: Sequence[Values], groups: Mapping[str, Sequence[str]]) -> str:
    """Return the tables in markdown: ranks of the fast engines, of all, then the regrets.

    Args:
        rows: of the results files.
        groups: problems by the title of their group.
    """
    regrets, lines = Regrets(rows), list[str]()
    problems = [name for names in groups.values() for name in names]
    tried = {row["engine"] for row in rows}
    fast = [name for name in _FAST if name in tried]
    for parallel, ats in CHECKPOINTS.items():
        lines += _rank_table(regrets, fast, groups, parallel, ats)
    slow = [name for name in _SLOW if name in tried]
    shared = [
        name
        for name in problems
        if all(engine in regrets.of(name, 1, 50) for engine in ("bayes", *slow))
    ]
    if slow and shared:
        group = {"those of the slow engines": shared}
        lines += _rank_table(regrets, [*fast, *slow], group, 1, (25, 50))
    for parallel, ats in CHECKPOINTS.items():
        lines += _ratio_rows(regrets, groups, parallel, ats)
    for parallel, ats in CHECKPOINTS.items():
        engines = [*fast, *(slow if parallel == 1 else ())]
        for at in ats:
            lines += _regret_table(regrets, engines, problems, parallel, at)
    return "\n".join(lines)


_FAST = ("bayes", "optuna-gp", "optuna-tpe", "optuna-cmaes", "wandb-bayes", "random")
_SLOW = ("ax", "hebo", "smac")


def _rank_table(
    regrets: Regrets,
    engines: Sequence[str],
    groups: Mapping[str, Sequence[str]],
    parallel: int,
    ats: Sequence[int],
) -> list[str]:
    """Return the rows of ranks; an engine that was tried on few problems of a group has none there.

    The others' ranks are over the problems that all of them were tried on.
    """
    columns, heads = [], []
    for title, names in groups.items():
        cells = {name: regrets.of(name, parallel, ats[-1]) for name in names}
        tried = {engine: sum(engine in cell for cell in cells.values()) for engine in engines}
        present = [engine for engine in engines if 2 * tried[engine] >= max(1, *tried.values())]
        shared = [name for name in names if all(engine in cells[name] for engine in present)]
        for at in ats:
            found = ranks(regrets, engines=present, problems=shared, parallel=parallel, at=at)
            columns.append(found)
            heads.append(f"{title} ({len(shared)}), at {at}")
    lines = [f"| mean rank, P = {parallel} | {' | '.join(heads)} |"]
    lines.append("|---" * (1 + len(columns)) + "|")
    for name in sorted(engines, key=lambda name: columns[0].get(name, (9.0, 0.0))):
        cells_of = " | ".join(_text(found.get(name)) for found in columns)
        lines.append(f"| {name} | {cells_of} |")
    return [*lines, ""]


def _ratio_rows(
    regrets: Regrets, groups: Mapping[str, Sequence[str]], parallel: int, ats: Sequence[int]
) -> list[str]:
    """Return mean regrets over problems of the fast engines, one row each."""
    columns = [(title, names, at) for title, names in groups.items() for at in ats]
    head = " | ".join(f"{title}, at {at}" for title, _, at in columns)
    lines = [f"| mean regret, P = {parallel} | {head} |", "|---" * (1 + len(columns)) + "|"]
    for name in _FAST:
        cells = [regrets.mean(name, names, parallel, at) for _, names, at in columns]
        lines.append(f"| {name} | {' | '.join(_text(cell) for cell in cells)} |")
    return [*lines, ""]


def _regret_table(
    regrets: Regrets, engines: Sequence[str], problems: Sequence[str], parallel: int, at: int
) -> list[str]:
    head = f"| regret, P = {parallel}, at {at} trials | {' | '.join(engines)} |"
    lines = [head, "|---" * (1 + len(engines)) + "|"]
    for problem in problems:
        cell = regrets.of(problem, parallel, at)
        texts = [_text(_mean(list(cell[n].values()))) if n in cell else "-" for n in engines]
        lines.append(f"| {problem} | {' | '.join(texts)} |")
    return [*lines, ""]


def ablation_table(
    regrets: Regrets, problems: Sequence[str], parts: Sequence[str]
) -> tuple[str, dict[str, dict[tuple[int, int], Cell]]]:
    """Return the mean regret without each part of the search, as markdown and as numbers.

    Args:
        regrets: of the searches.
        problems: that the means are over.
        parts: the names of the searches, that of the whole one first. In brackets the table has
            what the part gains: the mean difference on the same seeds.
    """
    columns = [(parallel, at) for parallel in (1, 8) for at in (25, 50)]
    head = " | ".join(f"P = {parallel}, at {at}" for parallel, at in columns)
    lines = [f"| mean regret (gain of the part) | {head} |", "|---" * (1 + len(columns)) + "|"]
    found = {}
    for part in parts:
        cells = {column: regrets.mean(part, problems, *column) for column in columns}
        found[part] = cells
        texts = [_text(cell) for cell in cells.values()]
        if part != parts[0]:
            gains = [regrets.gain(parts[0], part, problems, *column) for column in columns]
            pairs = zip(texts, gains, strict=True)
            texts = [f"{text} ({_text(gain)})" for text, gain in pairs]
        lines.append(f"| {part} | {' | '.join(texts)} |")
    return "\n".join([*lines, ""]), found


def plot(rows: Sequence[Values], groups: Mapping[str, Sequence[str]], path: Path) -> None:
    """Draw the mean regret of the fast engines against the number of ended trials, as SVG."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "search"  # the same file for the same numbers
    from matplotlib import pyplot

    regrets = Regrets(rows)
    figure, axes = pyplot.subplots(
        len(groups), len(CHECKPOINTS), figsize=(9, 3 * len(groups)), sharey="row", squeeze=False
    )
    for line, (title, names) in zip(axes, groups.items(), strict=True):
        for axis, (parallel, ats) in zip(line, CHECKPOINTS.items(), strict=True):
            for name, colour in zip(_FAST, _COLOURS, strict=False):
                cells = [regrets.mean(name, names, parallel, at) for at in ats]
                if not np.isnan(cells[-1][0]):
                    means, errors = zip(*cells, strict=True)
                    axis.errorbar(ats, means, errors, label=name, color=colour, capsize=2)
            axis.set_title(f"{title}, P = {parallel}", fontsize=9)
            axis.set_xticks(ats)
            axis.set_yscale("log")
            axis.grid(visible=True, alpha=0.2)
        line[0].set_ylabel("mean regret")
    axes[0][0].legend(fontsize=7)
    for axis in axes[-1]:
        axis.set_xlabel("ended trials")
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


def plot_ablation(cells: Mapping[str, Mapping[tuple[int, int], Cell]], path: Path) -> None:
    """Draw how the mean regret changes without each part, at 50 trials, as SVG."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "search"
    from matplotlib import pyplot

    parts = [part for part in cells if not np.isnan(cells[part][1, 50][0])]
    figure, axis = pyplot.subplots(figsize=(8, 0.4 * len(parts) + 1))
    places = np.arange(len(parts))[::-1]
    for offset, parallel, colour in ((0.18, 1, _COLOURS[0]), (-0.18, 8, _COLOURS[1])):
        means, errors = zip(*(cells[part][parallel, 50] for part in parts), strict=True)
        axis.barh(places + offset, means, 0.34, xerr=errors, color=colour, label=f"P = {parallel}")
    axis.set_yticks(places, parts, fontsize=8)
    axis.set_xlabel("mean regret at 50 trials")
    axis.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


def write_docs(path: Path, mark: str, text: str) -> None:
    """Put text between a mark and the end's on a documentation page."""
    page = path.read_text()
    start, end = f"<!-- {mark} -->\n", "<!-- end -->"
    before, rest = page.split(start)
    path.write_text(before + start + text + end + rest.split(end, 1)[1])


def _mean(values: Sequence[float]) -> Cell:
    error = float(np.std(values, ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return float(np.mean(values)), error


def _over_problems(cells: Sequence[Cell]) -> Cell:
    """Return the mean over problems; where one has a single seed, its error is as the others'."""
    means, errors = np.array(cells).T
    known = errors[~np.isnan(errors)]
    error = math.sqrt(float((known**2).mean()) / len(means)) if len(known) else math.nan
    return float(means.mean()), error


def _text(cell: Any) -> str:
    if cell is None or np.isnan(cell[0]):
        return "-"
    return f"{cell[0]:.2f}" + ("" if np.isnan(cell[1]) else f" ± {cell[1]:.2f}")
