"""Programs that are paused and promoted under the agents of W&B, which learn of it by asking."""

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from halving import check_halving
from real import RealClient, started


def _agent(real_client: RealClient, sweep: str) -> None:
    real_client.wandb("agent", sweep, timeout_s=280, WANDB_AGENT_REPORT_INTERVAL="1")


def _agent_in_a_function(real_client: RealClient, sweep: str) -> None:
    program = f"import wandb\nfrom train import train\nwandb.agent({sweep!r}, function=train)\n"
    real_client.run(sys.executable, "-c", program, timeout_s=280)


@pytest.mark.timeout(320)
@pytest.mark.parametrize("one", [_agent, _agent_in_a_function])
def test_successive_halving_pauses_and_promotes_under_two_agents_of_wandb(one, tmp_path: Path):
    def two(real_client: RealClient, sweep: str) -> None:
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda _: one(real_client, sweep), range(2)))

    with started(tmp_path / "data") as live:
        check_halving(RealClient(tmp_path, live), two)
