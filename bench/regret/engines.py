"""The engines that are compared: ours, Optuna's, W&B's, and others in a Python of their own."""

import json
import math
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from regret.problem import Problem
from sweepd.names import METHODS
from sweepd.registry import Registry
from sweepd.search import Trial
from sweepd.spec import Config

__all__ = ["ENGINES", "PEERS", "Engine", "Ours", "Peer"]


class Engine(Protocol):
    """A search over one problem: asked for configs, told what came of them."""

    def ask(self) -> Config:
        """Return the next config to try."""
        ...

    def tell(self, config: Config, value: float) -> None:
        """Take what a config that was asked for came to; NaN if it failed."""
        ...

    def seconds(self) -> float:
        """Return the CPU time that it has used so far."""
        ...


class _Here:
    """An engine that runs in this process."""

    def seconds(self) -> float:
        """Return the CPU time that this process has used."""
        return time.process_time()


class Ours(_Here):
    """A method of `sweepd.names`, or one that is given."""

    def __init__(self, method: Any, problem: Problem, seed: int) -> None:
        is_name = isinstance(method, str)
        self.method = Registry("method", METHODS).load(method)() if is_name else method
        self.space, self.seed = problem.space, seed
        self.trials: list[Trial] = []
        self.pending: list[Config] = []
        self.memo: dict[str, Any] = {}

    def ask(self) -> Config:
        """Return the next config to try."""
        rng = np.random.default_rng([self.seed, len(self.trials)])
        configs, self.memo = self.method.suggest(
            self.space, self.trials, self.pending, 1, rng, self.memo
        )
        self.pending.append(configs[0])
        return configs[0]

    def tell(self, config: Config, value: float) -> None:
        """Take what a config came to."""
        self.pending.remove(config)
        failed = math.isnan(value)
        self.trials.append(Trial(config, None if failed else value, is_feasible=not failed))


class Optuna(_Here):
    """One of Optuna's samplers, with its defaults."""

    def __init__(self, sampler: str, problem: Problem, seed: int) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.failed = optuna.trial.TrialState.FAIL
        self.study = optuna.create_study(sampler=getattr(optuna.samplers, sampler)(seed=seed))
        self.laws = {axis["name"]: self._law(axis) for axis in problem.axes()}
        self.running: list[tuple[Config, Any]] = []

    @staticmethod
    def _law(axis: dict[str, Any]) -> Any:
        from optuna import distributions

        if "values" in axis:
            return distributions.CategoricalDistribution(axis["values"])
        if axis["kind"] == "int":
            return distributions.IntDistribution(axis["low"], axis["high"])
        return distributions.FloatDistribution(axis["low"], axis["high"], log=axis["log"])

    def ask(self) -> Config:
        """Return the next config to try."""
        trial = self.study.ask(self.laws)
        self.running.append((dict(trial.params), trial))
        return dict(trial.params)

    def tell(self, config: Config, value: float) -> None:
        """Take what a config came to."""
        at = next(i for i, (own, _) in enumerate(self.running) if own == config)
        trial = self.running.pop(at)[1]
        if math.isnan(value):
            self.study.tell(trial, state=self.failed)
        else:
            self.study.tell(trial, value)


class Wandb(_Here):
    """The Bayesian search of W&B's own engine (package `sweeps`)."""

    def __init__(self, problem: Problem, seed: int) -> None:
        import random

        import sweeps

        self.sweeps, self.definition = sweeps, sweeps.SweepConfig(problem.definition)
        random.seed(seed)
        np.random.seed(seed)
        self.runs: list[Any] = []

    def ask(self) -> Config:
        """Return the next config to try."""
        run = self.sweeps.next_run(self.definition, self.runs)
        run.state = self.sweeps.RunState.running
        self.runs.append(run)
        return {name: entry["value"] for name, entry in run.config.items()}

    def tell(self, config: Config, value: float) -> None:
        """Take what a config came to."""
        for run in self.runs:
            own = {name: entry["value"] for name, entry in run.config.items()}
            if run.state == self.sweeps.RunState.running and own == config:
                if math.isnan(value):
                    run.state = self.sweeps.RunState.failed
                else:
                    run.state, run.summary_metrics = self.sweeps.RunState.finished, {"loss": value}
                return


class Peer:
    """An engine in a process of its own: `peer.py`, run by the Python that has its package.

    Args:
        name: of the engine in `peer.py`.
        python: the interpreter; this one if it is not given.
        problem: what is searched.
        seed: of the engine.
    """

    def __init__(self, name: str, python: str | None, problem: Problem, seed: int) -> None:
        script = Path(__file__).with_name("peer.py")
        self.process = subprocess.Popen(
            [python or sys.executable, str(script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.spent = 0.0
        self._call({"engine": name, "axes": problem.axes(), "seed": seed})

    def ask(self) -> Config:
        """Return the next config to try."""
        config: Config = self._call({"ask": True})
        return config

    def tell(self, config: Config, value: float) -> None:
        """Take what a config came to."""
        self._call({"config": config, "value": None if math.isnan(value) else value})

    def seconds(self) -> float:
        """Return the CPU time that the process has used since it was set up."""
        return self.spent

    def close(self) -> None:
        """End the process."""
        self.process.communicate()

    def _call(self, message: Any) -> Any:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            self.process.stdin.write(json.dumps(message) + "\n")
            self.process.stdin.flush()
            reply = json.loads(self.process.stdout.readline())
        except (BrokenPipeError, json.JSONDecodeError) as error:
            raise SystemExit(f"{self.process.args}: the engine ended, see above") from error
        self.spent = reply["seconds"]
        return reply["answer"]


#: Engines that run in this process, by the name that the tables give them.
ENGINES: dict[str, Callable[[Problem, int], Engine]] = {
    "bayes": lambda problem, seed: Ours("bayes", problem, seed),
    "random": lambda problem, seed: Ours("random", problem, seed),
    "optuna-tpe": lambda problem, seed: Optuna("TPESampler", problem, seed),
    "optuna-cmaes": lambda problem, seed: Optuna("CmaEsSampler", problem, seed),
    "wandb-bayes": Wandb,
    "optuna-gp": lambda problem, seed: Optuna("GPSampler", problem, seed),
}
#: Engines that need a Python of their own, and what to install there.
PEERS = {"ax": "ax-platform", "hebo": "HEBO", "smac": "smac"}
