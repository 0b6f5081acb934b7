"""Fault 30: a search method raises, hangs, dies, eats memory or returns rubbish.

Show 8 beside it: the same asks and results give the same configurations after a restart.
"""

from pathlib import Path

import pytest
from hand import Hand
from live import Service, wait_for
from plugins import install_method, kill_workers

METHOD = """
import os, time

class Faulty:
    is_instant = False

    def suggest(self, space, trials, pending, n, rng, memo):
        how = space.sample(rng)["how"]
        if len(trials) >= 4:
            known = [trial.config for trial in trials] + list(pending)
            new = (space.sample(rng) for _ in range(1000))
            return [config for config in new if config not in known][:n], {}
        if how == "raises":
            raise ValueError("singular matrix")
        if how == "hangs" or how == "is killed":
            time.sleep(600)
        if how == "eats memory":
            held = [b"x" * (16 << 20) for _ in range(64)]
        return [{"how": how, "x": "rubbish"}], {}
"""
DEFINITION = {
    "method": "faulty",
    "metric": {"name": "loss", "goal": "minimize"},
    "parameters": {"x": {"min": 0.0, "max": 1.0}},
    "sweepd": {"seed": 1},
}
HEALTHY = {**DEFINITION, "method": "bayes"}
WORDS = {
    "raises": "singular matrix",
    "hangs": "no answer within 20 s",
    "is killed": "the computing process died",
    "eats memory": "more than 256 MiB of memory",
    "returns rubbish": "not in the space",
}


@pytest.mark.parametrize("how", WORDS)
def test_a_search_that_fails_costs_its_own_sweep_alone_and_comes_back(
    how: str, tmp_path: Path
) -> None:
    install_method(tmp_path / "site", "faulty", METHOD)
    settings = {"SWEEPD_SUGGEST_MIB": "256"}
    if how in ("hangs", "is killed"):
        settings["SWEEPD_SUGGEST_S"] = "20"
    service = Service(tmp_path / "data", PYTHONPATH=str(tmp_path / "site"), **settings)
    service.start()
    try:
        healthy = Hand(service, HEALTHY)
        parameters = {**DEFINITION["parameters"], "how": {"value": how}}
        bad = Hand(service, {**DEFINITION, "parameters": parameters})
        agents = healthy.agent(), bad.agent()
        run = bad.ask(agents[1])

        def is_said() -> bool:
            if how == "is killed":
                kill_workers(service)
            return WORDS[how] in bad.notice

        wait_for("the notice", is_said, seconds=120)
        assert "space-filling points" in bad.notice
        bad.tell(run, 1.0)
        for _ in range(3):  # beside a search that fails, both go on
            healthy.wait_for_search()
            healthy.step(agents[0])
            bad.step(agents[1])
        assert bad.origins == ["filler"] * 4
        assert healthy.origins == ["search"] * 3
        assert healthy.notice == ""

        bad.wait_for_search(seconds=120)  # it is well again
        bad.step(agents[1])

        assert bad.origins[-1] == "search"
        assert bad.notice == ""
    finally:
        service.stop()


def test_same_asks_and_results_give_the_same_configs_after_a_restart(tmp_path: Path) -> None:
    found = []
    for is_restarted in (False, True):
        folder = tmp_path / f"restarted {is_restarted}"
        folder.mkdir()
        service = Service(folder / "data")
        service.start()
        try:
            hand = Hand(service, HEALTHY)
            agents = [hand.agent(), hand.agent()]
            runs: list[str] = []
            for number in range(12):
                if is_restarted and number == 7:
                    service.kill()
                    service.start()
                hand.wait_for_search()
                agent = hand.agent() if is_restarted else agents[number % 2]
                runs.append(hand.ask(agent))
                if len(runs) == 2:
                    hand.tell(runs.pop(0), float(number % 5))
            assert hand.origins == ["search"] * 12
            service.sweep("replay", hand.sweep, cwd=folder)
        finally:
            service.stop()
        found.append(hand.configs)

    assert found[0] == found[1]
