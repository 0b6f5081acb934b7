"""Faults 22 and 23: nothing of an agent, its warm parents or the service grows with the trials.

`bench/leaks.py` runs 1,000 of them; here are 60, six of which fail and six are killed on the way.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[2] / "bench" / "leaks.py"


@pytest.mark.timeout(300)
def test_sixty_trials_leave_nothing_behind() -> None:
    done = subprocess.run(
        [sys.executable, str(BENCH), "--trials", "60", "--json"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )

    assert done.stdout, done.stderr
    result = json.loads(done.stdout)
    assert result["problems"] == []
    assert result["ended"] == {"finished": 54, "error": 6, "crashed": 6}
    assert done.returncode == 0
