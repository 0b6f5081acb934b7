"""Measure what a stop rule costs per value that arrives, beside many runs with long curves.

    python bench/stop_rules.py              1,000 runs of 1,000 values each, under a minute
    python bench/stop_rules.py --smoke      100 runs of 100 values

One run more logs 500 values, one at a time; what is measured is the rule's part of it: reading what
it needs and deciding, in the transaction that stores the value. It is processor time, since all is
in memory and what else the machine does is not the rule's affair. Nothing it logs stops the run.
The bar: 5 ms on average, for every rule. Exit code 1 where it is not met.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from sqlalchemy import insert, update

from sweepd.engine import accounts, agents, curves, runs, stopping, sweeps, trials
from sweepd.spec import read_definition
from sweepd.store import Store, Tx
from sweepd.store import tables as t

BAR_S = 0.005
BASE = """
method: random
metric: {name: loss, goal: minimize}
parameters: {lr: {min: 0.0, max: 1.0}}
"""
RULES: Mapping[str, str] = {
    "nan alone": "",
    "hyperband": "early_terminate: {type: hyperband, min_iter: 1}",
    "hyperband, lenient": "early_terminate: {type: hyperband, min_iter: 1, strict: false}",
    "asha": "sweepd: {stop: {rule: asha, max_iter: 1000}}",
    "asha, promote": "sweepd: {stop: {rule: asha, max_iter: 1000, promote: true}}",
    "median": "sweepd: {stop: {rule: median}}",
    "threshold": "sweepd: {stop: {rule: threshold, max: 1.0e+9}}",
    "plateau": "sweepd: {stop: {rule: plateau, patience: 100}}",
}


def fill(tx: Tx, *, sweep_id: int, n_runs: int, n_values: int) -> None:
    """Give a sweep runs that have ended, each with a whole curve that is worse than 0."""
    sweep = tx.conn.execute(t.sweep.select().where(t.sweep.c.id == sweep_id)).one()
    rng = np.random.default_rng(0)
    for i in range(n_runs):
        config = {"lr": i / n_runs}
        trial_id, run_id = trials.add(
            tx, sweep=sweep, config=config, nested=config, key=json.dumps(config), origin="search"
        )
        values = 1.0 + rng.random(n_values)
        totals = np.cumsum(values)
        tx.conn.execute(
            insert(t.curve),
            [
                {"run_id": run_id, "number": k, "line": k, "step": k, "value": v, "total": total}
                for k, (v, total) in enumerate(zip(values.tolist(), totals.tolist(), strict=True))
            ],
        )
        ended = {"state": "ended", "reason": "finished", "n_values": n_values}
        tx.conn.execute(update(t.trial).where(t.trial.c.id == trial_id).values(ended))


class _Row:
    """A history row with one value of the metric."""

    def __init__(self, number: int) -> None:
        self.line = self.step = number
        self.values = {"loss": -float(number)}  # ever better: no rule stops it


def measure(store: Store, *, run_id: int, text: str, n_values: int) -> Iterator[float]:
    """Yield the seconds that the rules of a definition take for each value that a run logs."""
    definition = read_definition(text).definition
    for number in range(n_values):

        def log(tx: Tx, number: int = number) -> float:
            lease = trials.lease_of_run(tx, run_id)
            assert lease is not None
            curve = curves.extend(tx, lease, [_Row(number)], definition=definition)
            assert curve is not None
            began = time.thread_time()
            is_stopped = stopping.stop_if_told(tx, lease, curve, definition=definition)
            took = time.thread_time() - began
            assert not is_stopped
            return took

        yield store.write_sync(log)


def main() -> int:
    """Print a line for each rule; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smoke", action="store_true")
    is_smoke = parser.parse_args().smoke
    n_runs, n_values = (100, 100) if is_smoke else (1_000, 1_000)
    is_good = True
    with tempfile.TemporaryDirectory() as folder:
        store = Store.open(Path(folder) / "data")
        root, _ = store.write_sync(accounts.ensure_first_user, name="root")
        sweep, _ = store.write_sync(
            sweeps.create_sweep, actor=root, project="bench", definition=BASE
        )
        store.write_sync(fill, sweep_id=sweep.id, n_runs=n_runs, n_values=n_values)
        print(f"{n_runs} runs of {n_values} values; per value of one run more, in ms")
        for name, rule in RULES.items():
            agent = store.write_sync(
                agents.register, actor=root, project="bench", sweep=sweep.name, host="box"
            )
            (command,) = store.write_sync(
                agents.heartbeat, actor=root, agent_id=agent.id, running=set()
            )
            change = runs.RunChange(name=command.run, project="bench", host="box")
            run, _ = store.write_sync(runs.upsert_run, actor=root, change=change)
            took = list(
                measure(store, run_id=run.id, text=f"{BASE}{rule}\n", n_values=n_values // 2)
            )
            mean, p99 = statistics.fmean(took), float(np.quantile(took, 0.99))
            is_good &= mean < BAR_S
            print(f"  {name:20} mean {1e3 * mean:6.2f}   p99 {1e3 * p99:6.2f}")
        store.close()
    print("the bar of 5 ms is " + ("met" if is_good else "NOT met"))
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
