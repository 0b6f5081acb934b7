"""Fault 30 at random: a search that raises, repeats itself, is slow, or dies, each time anew.

Agents beside it get a trial whenever they ask, each configuration once, and the sweep ends when the
last one has been tried.
"""

import random
from pathlib import Path

import pytest
from hand import Hand
from invariants import check_folder
from live import Service, wait_for
from plugins import install_method, kill_workers
from seeds import SEEDS

METHOD = """
import os, random, signal, time

WAYS = ["raises", "leaves", "repeats", "is slow", "dies", *3 * ["works"]]

class Fickle:
    is_instant = False

    def suggest(self, space, trials, pending, n, rng, memo):
        known = [trial.config for trial in trials] + list(pending)
        new = [one for one in (space.sample(rng) for _ in range(400)) if one not in known]
        with open(os.environ["CALLS"], "a") as file:
            file.write(".")
        n_calls = os.path.getsize(file.name)
        luck = random.Random(f"{os.environ['SEED']} {n_calls}")
        how = luck.choice(WAYS) if n_calls > 1 else "works"
        if how == "raises":
            raise ArithmeticError("singular matrix")
        if how == "leaves":
            return [{"a": 99, "b": "z"}], {}
        if how == "repeats" and known:
            return known[:1], {}
        if how == "is slow":
            time.sleep(0.5)
        if how == "dies":
            os.kill(os.getpid(), signal.SIGKILL)
        return new[:n], {}
"""
N_POINTS, MOST_OUT = 30, 4
DEFINITION = {
    "method": "fickle",
    "metric": {"name": "loss", "goal": "minimize"},
    "parameters": {"a": {"values": [1, 2, 3, 4, 5, 6]}, "b": {"values": ["u", "v", "w", "x", "y"]}},
}


@pytest.mark.timeout(240)
@pytest.mark.parametrize("seed", SEEDS)
def test_sweep_whose_search_fails_at_random_tries_each_point_once_and_ends(
    tmp_path: Path, seed: int
) -> None:
    rng = random.Random(seed)
    calls, site = tmp_path / "calls", tmp_path / "site"
    install_method(site, "fickle", METHOD)
    service = Service(tmp_path / "data", PYTHONPATH=str(site), CALLS=str(calls), SEED=str(seed))
    service.start()
    try:
        hand = Hand(service, {**DEFINITION, "sweepd": {"seed": seed}})
        agents = [hand.agent() for _ in range(MOST_OUT)]
        out: dict[str, str] = {}  # by the agent, what it runs
        wait_for("the first suggestion", lambda: hand.has_suggestion)
        for _ in range(N_POINTS):
            if rng.random() < 0.1:
                kill_workers(service)
            if rng.random() < 0.3:  # after a failure it is at rest, longer and longer
                wait_for("a suggestion, or word of it", lambda: hand.has_suggestion or hand.notice)
            agent = rng.choice([one for one in agents if one not in out])
            out[agent] = hand.ask(agent)
            while len(out) > rng.randrange(MOST_OUT):
                hand.tell(out.pop(rng.choice(list(out))), rng.random())
        for run in out.values():
            hand.tell(run, rng.random())

        wait_for("the end", lambda: hand.is_done(agents[0]))
        assert len({str(config) for config in hand.configs}) == N_POINTS
        assert set(hand.origins) == {"search", "filler"}
    finally:
        service.stop()
    check_folder(service.data)
