"""Eight workers that train recorded nets under a simulated clock, for a search and a stop rule."""

import time
from dataclasses import dataclass, field, replace

import numpy as np

from curves.table import N_EPOCHS, Table
from sweepd.names import METHODS
from sweepd.registry import Registry
from sweepd.search import Curves, Memo, Method, Progress, StopRule, Trial, rungs
from sweepd.search.asha import Asha
from sweepd.search.hyperband import Hyperband
from sweepd.spec import Config

__all__ = ["RULES", "SEARCHES", "Simulation"]

N_WORKERS = 8

RULES: dict[str, StopRule | None] = {
    "none": None,
    "hyperband": Hyperband(min_iter=1, eta=3),
    "asha": Asha(min_iter=1, max_iter=N_EPOCHS, eta=3),
    "asha, promoting": Asha(min_iter=1, max_iter=N_EPOCHS, eta=3, promote=True),
}
#: How a search is asked, and whether it is told curves, or the last value of a stopped trial only.
SEARCHES = {
    "bayes": ("bayes", True),
    "bayes, last values": ("bayes", False),
    "random": ("random", False),
}


@dataclass(eq=False)
class Net:
    """A trial: what its curve will be, how far it is, and how it ended."""

    config: Config
    row: np.ndarray
    curve: list[float] = field(default_factory=list)
    rung: int = 0
    state: str = "running"  # then: full, stopped, paused, diverged

    def trial(self, *, with_curve: bool) -> Trial:
        """Return it as a search is told of it: its objective is its best value."""
        if self.state == "diverged":
            return Trial(self.config, None, is_feasible=False)
        told = Trial(self.config, min(self.curve))
        if not with_curve:
            return told
        lows, n = np.minimum.accumulate(self.curve), len(self.curve)
        kept = sorted({*rungs(n), n})
        points = tuple((float(k), float(lows[k - 1])) for k in kept)
        return replace(told, curve=points, is_stopped=self.state != "full")


class Simulation:
    """Eight workers, a search and a stop rule."""

    def __init__(self, table: Table, *, search: str, rule: str, seed: int) -> None:
        method, self.with_curves = SEARCHES[search]
        self.method: Method = Registry("method", METHODS).load(method)()
        self.table, self.rule, self.seed = table, RULES[rule], seed
        self.nets: list[Net] = []
        self.ended: list[Net] = []
        self.workers: list[Net | None] = [None] * N_WORKERS
        self.memo: Memo = {}
        self.epochs, self.asking = 0, 0.0
        self.lows: list[tuple[int, float]] = []

    def run(self, *, budget: int, target: float = -np.inf, least: int = 0) -> None:
        """Train until the budget is spent, or the target reached after at least so many epochs."""
        low = np.inf
        while self.epochs < budget and (low > target or self.epochs < least):
            for at, net in enumerate(self.workers):
                self.workers[at] = net or self._promoted() or self._new()
            for at, net in enumerate(self.workers):
                if net is not None and self.epochs < budget:
                    self.epochs += 1
                    self._train(net)
                    if net.curve and net.curve[-1] < low:
                        low = net.curve[-1]
                        self.lows.append((self.epochs, low))
                    if net.state != "running":
                        self.ended.append(net)
                        self.workers[at] = None

    def _train(self, net: Net) -> None:
        value = float(net.row[len(net.curve)])
        if not np.isfinite(value):
            net.state = "diverged"
            return
        net.curve.append(value)
        if len(net.curve) == len(net.row):
            net.state = "full"
        elif self.rule is not None:
            others = Curves([other.curve for other in self.nets if other is not net])
            decision = self.rule.should_stop(Progress(curve=net.curve, rung=net.rung), others)
            if isinstance(self.rule, Asha):
                net.rung = self.rule.rung_of(len(net.curve))
            if decision is not None:
                net.state = "paused" if decision.is_paused else "stopped"

    def _promoted(self) -> Net | None:
        if not isinstance(self.rule, Asha) or not self.rule.promote:
            return None
        paused = {at: net.rung for at, net in enumerate(self.nets) if net.state == "paused"}
        for at, _ in self.rule.promotable(paused, self._reached):
            net = self.nets[at]
            net.state = "running"
            self.ended.remove(net)
            return net
        return None

    def _reached(self, rung: int) -> list[tuple[int, float]]:
        at_rung = enumerate(net.curve[rung - 1 : rung] for net in self.nets)
        return [(at, values[0]) for at, values in at_rung if values]

    def _new(self) -> Net:
        started = time.process_time()
        trials = [net.trial(with_curve=self.with_curves) for net in self.ended]
        running = [net.config for net in self.workers if net is not None]
        rng = np.random.default_rng([self.seed, len(self.ended)])
        (config,), self.memo = self.method.suggest(
            self.table.space, trials, running, 1, rng, self.memo
        )
        self.asking += time.process_time() - started
        self.nets.append(Net(config, self.table.curve(config)))
        return self.nets[-1]
