"""The trap of the warm fork, with the real torch: a parallel operation in the parent."""

import os
import queue
import sys

import pytest

from sweepd_agent.nursery import Ended, Nursery, Started
from sweepd_agent.preload import list_imports

pytest.importorskip("torch")

AT_IMPORT = """
import torch
x = torch.ones(1 << 21).add_(1).sum()          # at import, with as many threads as there are
def train():
    print(torch.get_num_threads(), float(x))
if __name__ == "__main__":
    for _ in range(20):
        torch.ones(1 << 21).add_(1).sum()
    train()
"""
POISON = """
import torch
torch.set_num_threads(4)
torch.ones(1 << 21).add_(1).sum()
"""


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run a program twice from one warm parent; return each run's events, output, notices."""
    (tmp_path / "lib").mkdir()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "lib"))
    nurseries = []

    def run_program(text, *modules, handshake_s=20.0):
        program = tmp_path / "train.py"
        program.write_text(text)
        notices = []
        nursery = Nursery(
            folder=tmp_path,
            modules=[*list_imports(program, [tmp_path]), *modules],
            threads=2,
            handshake_s=handshake_s,
            log=tmp_path / "warm.log",
            notice=notices.append,
        )
        nurseries.append(nursery)
        nursery.open()
        job = {
            "mode": "fork",
            "waits": False,
            "program": "train.py",
            "function": False,
            "argv": [],
            "config": {},
            "exec": [sys.executable, "train.py"],
            "env": {**os.environ, "OMP_NUM_THREADS": "3"},
            "cwd": str(tmp_path),
        }
        seen = []
        for _ in range(2):
            events = queue.SimpleQueue()
            with (tmp_path / "out.txt").open("wb") as log:
                assert nursery.start(job, log.fileno(), events.put) is not None
            seen.append([events.get(timeout=90), events.get(timeout=90)])
        return seen, (tmp_path / "out.txt").read_text(), notices

    yield run_program
    for nursery in nurseries:
        nursery.close()


def test_program_with_a_tensor_operation_at_import_is_forked_and_does_not_hang(run):
    seen, output, notices = run(AT_IMPORT)

    assert [(first.mode, last) for first, last in seen] == [("fork", Ended(0))] * 2
    assert output == f"3 {float(1 << 22)}\n"
    assert notices == []


def test_parent_that_has_run_a_parallel_operation_is_found_out(run, tmp_path):
    (tmp_path / "lib/poison.py").write_text(POISON)

    seen, output, notices = run(AT_IMPORT, "poison", handshake_s=5)

    assert [type(first) for first, _ in seen] == [Started] * 2
    assert [(first.mode, last) for first, last in seen] == [("exec", Ended(0))] * 2
    assert output.endswith(f"{float(1 << 22)}\n")
    assert "trials are started cold" in notices[0]
