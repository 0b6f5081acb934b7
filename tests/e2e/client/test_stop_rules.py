"""Stop rules and promotions as programs meet them, under our agent."""

import sys

import pytest
from halving import check_halving

pytestmark = pytest.mark.slow


def _agent_of_ours(real_client, sweep):
    command = (sys.executable, "-m", "sweepd_agent", sweep, "--gpus=none", "--slots=2")
    real_client.run(*command, timeout_s=280)


@pytest.mark.timeout(320)
def test_successive_halving_pauses_and_promotes_programs_that_resume(real_client):
    check_halving(real_client, _agent_of_ours)
