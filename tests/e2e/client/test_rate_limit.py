"""The unmodified client on a service that allows its key little: it waits, and nothing is lost."""

import urllib.request

from real import RealClient, started

PROGRAM = """
import json, wandb
with wandb.init(project="slow") as run:
    for step in range(40):
        run.log({"loss": step})
found = [wandb.Api().run(run.path) for _ in range(6)][-1]
rows = [row["loss"] for row in found.scan_history(keys=["loss"])]
print(json.dumps([found.state, rows]))
"""


def test_a_client_that_is_told_to_wait_waits_and_loses_nothing(tmp_path):
    with started(tmp_path / "data", "--rate-limit=1", "--open-metrics") as live:
        state, rows = RealClient(tmp_path, live).python(PROGRAM)
        metrics = urllib.request.urlopen(f"{live.url}/metrics", timeout=10).read().decode()

    assert (state, rows) == ("finished", list(range(40)))
    assert 'status="429"' in metrics
