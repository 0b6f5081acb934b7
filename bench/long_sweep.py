"""Measure what a hand-out and a search job cost beside many trials: the part of `asks.py --trials`.

The engine alone, in this process: a sweep of `bayes` with that many trials that have ended, written
as rows, 64 agents, and as many suggestions prepared.
"""

import json
import pickle
import random
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sqlalchemy import insert

from serving import verdict
from sweepd.engine import accounts, agents, observed, suggest, sweeps
from sweepd.engine.computing import Answer
from sweepd.engine.services import Limits
from sweepd.store import Store, Tx
from sweepd.store import tables as t

__all__ = ["measure"]

HAND_OUT_MS = 10.0
N_AGENTS = 64


def measure(definition: Mapping[str, Any], n_trials: int) -> bool:
    """Print what is found; return whether the bar is met.

    Args:
        definition: of a sweep whose parameters lie between 0 and 1.
        n_trials: that have ended.
    """
    with tempfile.TemporaryDirectory() as folder:
        store = Store.open(Path(folder) / "data")
        try:
            return _measure(store, definition, n_trials)
        finally:
            store.close()


def _measure(store: Store, definition: Mapping[str, Any], n_trials: int) -> bool:
    account, _ = store.write_sync(accounts.ensure_first_user, name="root")
    text = json.dumps(definition)
    sweep, _ = store.write_sync(sweeps.create_sweep, actor=account, project="asks", definition=text)
    crowd = [
        store.write_sync(
            agents.register, actor=account, project="asks", sweep=sweep.name, host=f"box{i}"
        ).id
        for i in range(N_AGENTS)
    ]
    names, draws = list(definition["parameters"]), random.Random(1)

    def config() -> dict[str, float]:
        return {name: draws.random() for name in names}

    configs = [config() for _ in range(n_trials)]
    store.write_sync(_fill, sweep=sweep, agent=crowd[0], configs=configs)
    limits = Limits()
    first_s, job = _timed(lambda: store.read_sync(suggest.next_job, limits=limits))
    assert job is not None, "a sweep with agents and results wants suggestions"
    assert len(job.trials) == n_trials
    again_s, _ = _timed(lambda: store.read_sync(suggest.next_job, limits=limits))
    read = sweeps.definition_of(sweep)
    observe_s, _ = _timed(lambda: store.read_sync(observed.observe, sweep.id, read))
    pickle_s, sent = _timed(lambda: pickle.dumps(job))
    answer = Answer(tuple(config() for _ in range(job.n)))
    store_s, _ = _timed(lambda: store.write_sync(suggest.store, job=job, answer=answer))

    def ask(tx: Tx) -> list[float]:
        took = []
        for agent in crowd:
            began = time.thread_time()
            (command,) = agents.heartbeat(tx, actor=account, agent_id=agent, running=())
            took.append(1e3 * (time.thread_time() - began))
            assert command.type == "run"
        return took

    took = sorted(store.write_sync(ask)[1:])  # the first one compiles the statements
    words = f"a hand-out beside {n_trials} trials, processor time, the worst of {N_AGENTS}"
    line, is_met = verdict(words, took[-1], HAND_OUT_MS, unit="ms", at_most=True)
    print(f"{line}; median {took[len(took) // 2]:.2f} ms")
    print(
        f"a search job, processor time: {1e3 * first_s:.0f} ms to read the first time, "
        f"{1e3 * again_s:.0f} ms later ({1e3 * observe_s:.0f} ms of it to observe), "
        f"{1e3 * pickle_s:.0f} ms to pickle {len(sent) / 2**20:.1f} MiB, "
        f"{1e3 * store_s:.0f} ms to store {job.n} suggestions"
    )
    return is_met


def _timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Return the seconds of processor time of this process that something took, and its result."""
    began = time.process_time()
    found = work()
    return time.process_time() - began, found


def _fill(tx: Tx, *, sweep: Any, agent: str, configs: list[dict[str, float]]) -> None:
    """Write trials that have ended, with their runs, attempts and events."""
    runs, trials, attempts, events = [], [], [], []
    for number, config in enumerate(configs, 1):
        text, loss = json.dumps(config), sum((x - 0.3) ** 2 for x in config.values())
        runs.append(
            {
                "id": number,
                "project_id": sweep.project_id,
                "name": f"run{number}",
                "sweep_id": sweep.id,
                "state": "finished",
                "display_name": f"trial-{number}",
                "config": text,
                "created_at": tx.now,
            }
        )
        trials.append(
            {
                "id": number,
                "sweep_id": sweep.id,
                "number": number,
                "run_id": number,
                "config": text,
                "config_key": f"key {number}",
                "origin": "search",
                "state": "ended",
                "reason": "finished",
                "objective": loss,
                "best": loss,
                "last": loss,
                "n_values": 1,
                "created_event": 1000 + 2 * number,
                "ended_event": 1001 + 2 * number,
                "created_at": tx.now,
                "ended_at": tx.now,
            }
        )
        attempts.append(
            {
                "trial_id": number,
                "number": 1,
                "token": "t",
                "agent_id": agent,
                "issued_at": tx.now,
                "seen_at": tx.now,
                "started_at": tx.now,
                "ended_at": tx.now,
                "reason": "finished",
            }
        )
        for shift, kind in enumerate(("trial.issued", "trial.ended")):
            events.append(
                {
                    "id": 1000 + 2 * number + shift,
                    "at": tx.now,
                    "actor": agent,
                    "kind": kind,
                    "project_id": sweep.project_id,
                    "sweep_id": sweep.id,
                    "run_id": number,
                    "data": "{}",
                }
            )
    tables = ((t.run, runs), (t.trial, trials), (t.attempt, attempts), (t.event, events))
    for table, rows in tables:
        tx.conn.execute(insert(table), rows)
