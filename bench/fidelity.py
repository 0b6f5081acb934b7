"""Epochs that a search needs for a loss, with and without stop rules, on recorded learning curves.

    python bench/fidelity.py                   # into bench/results/*_fidelity.jsonl, resumable
    python bench/fidelity.py --report --docs   # what came out, into docs/search.md
    python bench/fidelity.py --smoke           # a short one, for CI

Eight workers train nets of `bench/results/*_curves.npz` (made by `bench/fidelity_table.py`) under a
simulated clock: every epoch takes one tick, and a worker whose net has ended asks for the next one.
The budget is the epochs of all workers together; a promoted trial goes on where it was paused.
Searches and stop rules are the service's own.

What a search has reached is what its user gets: the lowest validation loss of any epoch so far.
The target is what `bayes` without a stop rule reaches after 100 full trials, median over the seeds.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from curves.simulation import RULES, SEARCHES, Simulation
from curves.table import N_EPOCHS, TABLES, Table, path_of

HERE = Path(__file__).parent
RESULTS, DOCS = HERE / "results", HERE.parent / "docs" / "search.md"
N_SEEDS, N_TRIALS = 10, 100
BUDGET = N_EPOCHS * N_TRIALS
#: Every search goes on for so many epochs, a fifth of the budget; the loss is reported there.
LEAST = BUDGET // 5
#: What the others are measured against.
PLAIN = ("bayes", "none")


def read_results(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a results file; none if there is no such file."""
    lines = path.read_text().splitlines() if path.exists() else []
    return [json.loads(line) for line in lines if line]


def measure(path: Path, table: Table, *, cases: Sequence[tuple[str, str]], seeds: int) -> None:
    """Append a line for every search, rule and seed that the file does not hold yet.

    Plain `bayes` comes first, with all seeds; the others end once they have what it reaches.
    """
    jobs = [(*PLAIN, seed) for seed in range(seeds)]
    jobs += [(*case, seed) for seed in range(seeds) for case in cases if case != PLAIN]
    for search, rule, seed in jobs:
        rows = read_results(path)
        if (search, rule, seed) not in {(row["search"], row["rule"], row["seed"]) for row in rows}:
            target = -np.inf if (search, rule) == PLAIN else target_of(rows)
            simulation = Simulation(table, search=search, rule=rule, seed=seed)
            simulation.run(budget=BUDGET, target=target, least=LEAST)
            n = len(simulation.nets)
            row = {
                "search": search,
                "rule": rule,
                "seed": seed,
                "lows": simulation.lows,
                "trials": n,
                "epochs": simulation.epochs,
                "ms_per_suggestion": round(1e3 * simulation.asking / n, 1),
            }
            with path.open("a") as file:
                file.write(json.dumps(row) + "\n")
            print(
                f"{search:18} {rule:16} seed {seed}: {simulation.lows[-1]}, {n} trials", flush=True
            )


def loss_at(row: dict[str, Any], epochs: int) -> float:
    """Return the lowest loss that a search has seen after so many epochs."""
    return min((low for at, low in row["lows"] if at <= epochs), default=np.inf)


def epochs_to(row: dict[str, Any], target: float) -> float:
    """Return the epochs after which a search has seen the target; inf if it never has."""
    return min((at for at, low in row["lows"] if low <= target), default=np.inf)


def target_of(rows: Sequence[dict[str, Any]]) -> float:
    """Return what plain `bayes` reaches after 100 full trials, median over the seeds."""
    plain = [row for row in rows if (row["search"], row["rule"]) == PLAIN]
    return float(np.median([loss_at(row, BUDGET) for row in plain]))


def report(rows: Sequence[dict[str, Any]]) -> str:
    """Return the table in markdown, the fewest epochs first."""
    own: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        own.setdefault((row["search"], row["rule"]), []).append(row)
    target = target_of(rows)
    plain = np.array([epochs_to(row, target) for row in own[PLAIN]])
    own_first = np.median(np.minimum(plain, BUDGET))
    n_had = np.isfinite(plain).sum()
    lines = [
        f"Target {target:.4f}; {n_had} of {len(plain)} searches of plain `bayes` have it, after "
        f"{own_first:.0f} epochs in the median, where never counts as {BUDGET}.",
        "",
        f"| search | stop rule | epochs to the target / {BUDGET}: mean | median "
        f"| / {own_first:.0f}: median | reached by "
        f"| loss at {LEAST} epochs | epochs a trial | ms a suggestion |",
        "|---" * 9 + "|",
    ]
    found = []
    for (search, rule), mine in own.items():
        ratios = np.array([epochs_to(row, target) for row in mine]) / BUDGET
        capped, median = np.minimum(ratios, 1.0), float(np.median(ratios))
        losses = np.array([loss_at(row, LEAST) for row in mine])
        cells = [
            search,
            rule,
            f"{capped.mean():.2f} ± {_error(capped):.2f}",
            f"{median:.2f}" if np.isfinite(median) else "> 1",
            f"{'' if np.isfinite(median) else '> '}{min(median, 1.0) * BUDGET / own_first:.2f}",
            f"{np.isfinite(ratios).sum()} of {len(mine)}",
            f"{losses.mean():.4f} ± {_error(losses):.4f}",
            f"{np.mean([row['epochs'] / row['trials'] for row in mine]):.1f}",
            f"{np.mean([row['ms_per_suggestion'] for row in mine]):.0f}",
        ]
        found.append((capped.mean(), "| " + " | ".join(cells) + " |"))
    return "\n".join([*lines, *(line for _, line in sorted(found))]) + "\n"


def _error(values: np.ndarray) -> float:
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else 0.0


def write_docs(path: Path, name: str, found: str) -> None:
    """Put what was found on a table between its marks on a documentation page."""
    mark = f"<!-- bench/fidelity.py {name} -->\n"
    before, rest = path.read_text().split(mark)
    path.write_text(before + mark + found + rest[rest.index("<!-- end") :])


def smoke(table: Table) -> int:
    """Return 0 if `bayes` with ASHA gets further than random search in half the epochs, else 1."""
    gains = []
    for seed in range(3):
        full = Simulation(table, search="random", rule="none", seed=seed)
        full.run(budget=BUDGET // 4)
        early = Simulation(table, search="bayes", rule="asha", seed=seed)
        early.run(budget=BUDGET // 8)
        gains.append(np.log(full.lows[-1][1] / early.lows[-1][1]))
        print(f"seed {seed}: random search {full.lows[-1]}, bayes with ASHA {early.lows[-1]}")
    return 0 if np.mean(gains) > 0 else 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, or report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        "--results", type=Path, default=RESULTS, help="folder of NAME_fidelity.jsonl"
    )
    parser.add_argument("--tables", nargs="+", choices=TABLES, default=list(TABLES))
    parser.add_argument("--searches", nargs="+", choices=SEARCHES, default=list(SEARCHES))
    parser.add_argument("--rules", nargs="+", choices=RULES, default=list(RULES))
    parser.add_argument("--seeds", type=int, default=N_SEEDS)
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--report", action="store_true")
    parser.add_argument("--docs", action="store_true", help="with --report: write docs/search.md")
    options = parser.parse_args(arguments)
    cases = [(search, rule) for search in options.searches for rule in options.rules]
    cases = [case for case in cases if case != ("bayes, last values", "none")]
    if options.smoke:
        return max(smoke(Table(path_of(name))) for name in options.tables)
    for name in options.tables:
        path = options.results / f"{name}_fidelity.jsonl"
        if not options.report:
            measure(path, Table(path_of(name)), cases=cases, seeds=options.seeds)
            continue
        rows = read_results(path)
        if not any((row["search"], row["rule"]) == PLAIN for row in rows):
            print(f"{name}: nothing to compare with: {path} has no line of plain bayes")
            continue
        found = report(rows)
        print(f"{name}\n{found}")
        if options.docs:
            write_docs(DOCS, name, found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
