"""Run one engine in the Python that has it: requests and answers are lines of JSON.

`regret/engines.py` starts this file; it needs the engine's package and nothing of ours.
First {"engine", "axes", "seed"}, then {"ask"} or {"config", "value"}, value null for a failure.
"""

import json
import os
import sys
import time

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"

import logging
import warnings


class Ax:
    """Ax with its defaults: Sobol, then a BoTorch model with log noisy expected improvement."""

    def __init__(self, axes: list, seed: int) -> None:
        import torch
        from ax.api.client import Client
        from ax.api.configs import ChoiceParameterConfig, RangeParameterConfig

        torch.set_num_threads(1)
        self.client, self.running = Client(random_seed=seed), []
        parameters = []
        for axis in axes:
            if "values" in axis:
                types = {type(value) for value in axis["values"]}
                kind = {bool: "bool", int: "int", float: "float"}.get(types.pop(), "str")
                parameters.append(
                    ChoiceParameterConfig(
                        name=axis["name"],
                        parameter_type=kind,
                        values=axis["values"],
                        is_ordered=axis["kind"] == "ordered" or None,
                    )
                )
            else:
                parameters.append(
                    RangeParameterConfig(
                        name=axis["name"],
                        parameter_type=axis["kind"],
                        bounds=(axis["low"], axis["high"]),
                        scaling="log" if axis["log"] else None,
                    )
                )
        self.client.configure_experiment(parameters=parameters)
        self.client.configure_optimization(objective="-loss")

    def ask(self) -> dict:
        """Return the next config."""
        ((index, config),) = self.client.get_next_trials(max_trials=1).items()
        self.running.append((index, dict(config)))
        return dict(config)

    def tell(self, config: dict, value: float | None) -> None:
        """Take what a config came to."""
        at = next(i for i, (_, own) in enumerate(self.running) if own == config)
        index = self.running.pop(at)[0]
        if value is None:
            self.client.mark_trial_failed(trial_index=index)
        else:
            self.client.complete_trial(trial_index=index, raw_data={"loss": value})


class Hebo:
    """HEBO with its defaults."""

    def __init__(self, axes: list, seed: int) -> None:
        import numpy as np
        import torch
        from hebo.design_space.design_space import DesignSpace
        from hebo.optimizers.hebo import HEBO

        torch.set_num_threads(1)
        torch.manual_seed(seed)
        np.random.seed(seed)
        self.np, self.axes = np, axes
        self.engine = HEBO(
            DesignSpace().parse([self._law(axis) for axis in axes]), scramble_seed=seed
        )

    @staticmethod
    def _law(axis: dict) -> dict:
        if axis["kind"] == "category":
            return {
                "name": axis["name"],
                "type": "cat",
                "categories": list(map(str, axis["values"])),
            }
        if axis["kind"] == "ordered":
            return {"name": axis["name"], "type": "int", "lb": 0, "ub": len(axis["values"]) - 1}
        kind = "int" if axis["kind"] == "int" else "pow" if axis["log"] else "num"
        return {"name": axis["name"], "type": kind, "lb": axis["low"], "ub": axis["high"]}

    def ask(self) -> dict:
        """Return the next config."""
        self.asked = self.engine.suggest(n_suggestions=1)
        row, config = self.asked.iloc[0], {}
        for axis in self.axes:
            value = row[axis["name"]]
            if axis["kind"] == "category":
                value = axis["values"][list(map(str, axis["values"])).index(value)]
            elif axis["kind"] == "ordered":
                value = axis["values"][int(value)]
            else:
                value = int(value) if axis["kind"] == "int" else float(value)
            config[axis["name"]] = value
        return config

    def tell(self, config: dict, value: float | None) -> None:
        """Take what a config came to; it drops what is not finite."""
        told = self.np.nan if value is None else value
        self.engine.observe(self.asked, self.np.array([[told]]))


class Smac:
    """SMAC's facade for hyperparameters: a random forest with log expected improvement."""

    def __init__(self, axes: list, seed: int) -> None:
        import tempfile

        from ConfigSpace import (
            CategoricalHyperparameter,
            ConfigurationSpace,
            OrdinalHyperparameter,
            UniformFloatHyperparameter,
            UniformIntegerHyperparameter,
        )
        from smac import HyperparameterOptimizationFacade, Scenario
        from smac.runhistory.dataclasses import TrialValue
        from smac.runhistory.enumerations import StatusType

        self.value, self.crashed = TrialValue, StatusType.CRASHED
        space = ConfigurationSpace(seed=seed)
        for axis in axes:
            if axis["kind"] == "category":
                law = CategoricalHyperparameter(axis["name"], axis["values"])
            elif axis["kind"] == "ordered":
                law = OrdinalHyperparameter(axis["name"], axis["values"])
            elif axis["kind"] == "int":
                law = UniformIntegerHyperparameter(axis["name"], axis["low"], axis["high"])
            else:
                law = UniformFloatHyperparameter(
                    axis["name"], axis["low"], axis["high"], log=axis["log"]
                )
            space.add(law)
        scenario = Scenario(
            space,
            deterministic=True,
            n_trials=50,
            seed=seed,
            output_directory=tempfile.mkdtemp(),
        )
        self.engine = HyperparameterOptimizationFacade(
            scenario, lambda config, seed: 0.0, logging_level=False, overwrite=True
        )
        self.cap = 0.0

    def ask(self) -> dict:
        """Return the next config."""
        self.info = self.engine.ask()
        plain = {}
        for name, value in dict(self.info.config).items():
            plain[name] = value.item() if hasattr(value, "item") else value
        return plain

    def tell(self, config: dict, value: float | None) -> None:
        """Take what a config came to; a failure counts as the worst so far, as its crash cost."""
        if value is None:
            self.engine.tell(self.info, self.value(cost=self.cap, status=self.crashed))
        else:
            self.cap = max(self.cap, value)
            self.engine.tell(self.info, self.value(cost=value))


def main() -> None:
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    replies = os.dup(1)
    os.dup2(2, 1)  # what the packages print is not an answer
    engine, base = None, 0.0
    with os.fdopen(replies, "w") as out:
        for line in sys.stdin:
            message, answer = json.loads(line), None
            if "engine" in message:
                made = {"ax": Ax, "hebo": Hebo, "smac": Smac}[message["engine"]]
                engine = made(message["axes"], message["seed"])
                base = time.process_time()
            elif "ask" in message:
                answer = engine.ask()
            else:
                engine.tell(message["config"], message["value"])
            reply = {"answer": answer, "seconds": time.process_time() - base}
            out.write(json.dumps(reply) + "\n")
            out.flush()


if __name__ == "__main__":
    main()
