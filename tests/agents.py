"""Our agent as a process on the real service: sweeps for it, its events, what became of trials."""

import json
from dataclasses import dataclass

DEFINITION = {
    "program": "train.py",
    "project": "agents",
    "method": "random",
    "metric": {"name": "loss", "goal": "minimize"},
    "parameters": {"x": {"min": -1.0, "max": 1.0}},
}
UPSERT = """mutation UpsertSweep($config: String) {
  upsertSweep(input: {config: $config}) {
    sweep { name project { name entity { name } } } configValidationWarnings
  }
}"""
TRIALS = """
SELECT sweep.state, trial.state, trial.attempt, trial.reason, trial.message, run.state,
       run.history_lines
FROM trial JOIN run ON run.id = trial.run_id JOIN sweep ON sweep.id = trial.sweep_id
WHERE sweep.name = ? ORDER BY trial.number
"""


@dataclass(frozen=True)
class Trial:
    sweep_state: str
    state: str
    attempt: int
    reason: str | None
    message: str | None
    run_state: str
    rows: int


def events_of(process, timeout=100):
    out, _ = process.communicate(timeout=timeout)
    assert process.returncode == 0, out
    return [json.loads(line) for line in out.splitlines()]
