"""Regret of search methods on test functions and live problems, and the time of a suggestion.

    python bench/search.py                 `bayes` and the fast engines: what is not there yet
    python bench/search.py --peers ax --python /path/to/a/python/with/ax
    python bench/search.py --report        the tables; with --docs writes page and plots
    python bench/search.py --ablation      `bayes` without each of its parts; with --docs likewise
    python bench/search.py --latency       time per suggestion; with --docs likewise
    python bench/search.py --smoke         two minutes: fails unless `bayes` beats random search

P trials run at a time (1, 8 or 32): the oldest ends, then a new one is asked for. Regret is
normalised: 0 is the optimum (of a live problem: the best that anyone has found), 100 the median
random config. Each search appends one line to a file of results; a search that is there already is
not run again. A peer is an engine that needs a Python of its own: make one with
`python -m venv DIR && DIR/bin/pip install ax-platform` (or HEBO, or smac).
"""

import os

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"  # before numpy

import argparse
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

from regret.ablation import PARTS, SEEDS, TUNED, run_ablation
from regret.engines import ENGINES, PEERS, Engine, Peer
from regret.latency import latency_table
from regret.problem import Problem
from regret.searches import CHECKPOINTS, HELD_OUT, PROBLEMS, measure, read_results, search
from regret.tables import Regrets, ablation_table, plot, plot_ablation, report, write_docs

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "search.jsonl"
ABLATION = HERE / "results" / "ablation.jsonl"
DOCS = HERE.parent / "docs" / "search.md"
N_SEEDS = 20
#: A peer's searches: few of them, since each takes minutes.
N_PEER_SEEDS, N_PEER_TRIALS = 5, 50
GROUPS = {
    "tuned on": tuple(name for name in PROBLEMS if name not in HELD_OUT),
    "held out": HELD_OUT,
}


def smoke() -> int:
    """Return 0 if `bayes` beats random search on a few short searches, 1 if not."""
    wins, total = 0, 0
    for name in ("branin", "hartmann6", "ackley5", "mixed-failing"):
        problem = PROBLEMS[name]
        for parallel in (1, 8):
            for seed in range(3):
                regret = {}
                for engine in ("bayes", "random"):
                    made = ENGINES[engine](problem, seed)
                    worth = search(made, problem, parallel=parallel, n_trials=40)
                    regret[engine] = problem.regret(worth[-1])
                wins, total = wins + (regret["bayes"] < regret["random"]), total + 1
                print(f"{name:13} P={parallel} seed {seed}: {regret}", flush=True)
    print(f"bayes beat random search in {wins} of {total} searches")
    return 0 if wins >= 0.8 * total else 1


def peer(name: str, python: str | None) -> Callable[[Problem, int], Engine]:
    return lambda problem, seed: Peer(name, python, problem, seed)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=list(ENGINES))
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=[])
    parser.add_argument("--python", help="the interpreter that has the peers")
    parser.add_argument("--problems", nargs="+", choices=PROBLEMS, default=list(PROBLEMS))
    parser.add_argument("--parallel", nargs="+", type=int, choices=CHECKPOINTS)
    parser.add_argument("--seeds", type=int)
    parser.add_argument("--report", action="store_true")
    parser.add_argument("--ablation", action="store_true")
    parser.add_argument("--latency", action="store_true")
    parser.add_argument("--docs", action="store_true", help="write docs/search.md and its plots")
    parser.add_argument("--smoke", action="store_true")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    warnings.simplefilter("ignore")  # of the other engines
    if options.smoke:
        return smoke()
    if options.latency:
        table, mark = latency_table(), "latency"
    elif options.ablation:
        run_ablation(ABLATION, seeds=options.seeds or SEEDS)
        table, cells = ablation_table(
            Regrets(read_results(ABLATION), read_results(options.results)), TUNED, list(PARTS)
        )
        mark = "ablation"
        if options.docs:
            plot_ablation(cells, DOCS.parent / "search-ablation.svg")
    elif options.report:
        rows = read_results(options.results)
        table, mark = report(rows, GROUPS), "report"
        if options.docs:
            plot(rows, GROUPS, DOCS.parent / "search-regret.svg")
    elif options.peers:
        measure(
            options.results,
            engines={name: peer(name, options.python) for name in options.peers},
            problems=options.problems,
            parallels=options.parallel or (1,),
            seeds=range(options.seeds or N_PEER_SEEDS),
            n_trials=N_PEER_TRIALS,
        )
        return 0
    else:
        measure(
            options.results,
            engines={name: ENGINES[name] for name in options.engines},
            problems=options.problems,
            parallels=options.parallel or tuple(CHECKPOINTS),
            seeds=range(options.seeds or N_SEEDS),
        )
        return 0
    print(table)
    if options.docs:
        write_docs(DOCS, f"bench/search.py --{mark}", table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
