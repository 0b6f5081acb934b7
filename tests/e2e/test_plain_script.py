"""The training script by itself, with no service and no agent."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).parents[2] / "trainer" / "train.py"


def test_a_plain_script_records_offline_and_loads_nothing_it_does_not_need(tmp_path):
    code = (
        "import runpy, sys, atexit\n"
        # Not pandas: the client itself imports it for the first value logged, where it is there.
        "heavy = {'torch._dynamo', 'torchvision', 'sklearn', 'onnx', 'torch.utils.flop_counter'}\n"
        "atexit.register(lambda: print('loaded:', sorted(heavy & set(sys.modules))))\n"
        f"sys.argv = ['train.py', '--epochs=1', '--slice=4']\n"
        f"runpy.run_path({str(SCRIPT)!r}, run_name='__main__')\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", code],
        env=_clean_environment(tmp_path),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert "recording offline" in done.stdout
    assert "loaded: []" in done.stdout
    assert list(tmp_path.glob("wandb/offline-run-*/files/checkpoint.pt"))


def test_sigterm_ends_a_script_cleanly_with_its_checkpoint(tmp_path):
    process = subprocess.Popen(
        [sys.executable, str(SCRIPT), "--epochs=10000", "--slice=4", "--kernels=[2, 2]"],
        env=_clean_environment(tmp_path),
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        deadline = time.monotonic() + 80
        while not list(tmp_path.glob("wandb/*/files/checkpoint.pt")):
            assert process.poll() is None, process.stderr.read()
            assert time.monotonic() < deadline
            threading.Event().wait(0.1)
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=30)
    finally:
        process.kill()
        process.wait()

    assert process.returncode == 143
    assert re.search("stopped by SIGTERM (in|after) epoch", said)
    assert "Traceback" not in said


def _clean_environment(folder: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    return {
        **kept,
        "HOME": str(folder),
        "XDG_CONFIG_HOME": str(folder),
        "WANDB_DIR": str(folder),
        "OMP_NUM_THREADS": "1",
    }
