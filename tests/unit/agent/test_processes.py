"""What a warm parent does with processes, by itself."""

import os
import signal
import subprocess
import sys

from sweepd_agent import processes


def test_signal_to_processes_of_another_user_is_let_be(monkeypatch):
    def refuse(pid, number):
        raise PermissionError

    monkeypatch.setattr(os, "killpg", refuse)
    monkeypatch.setattr(os, "kill", refuse)

    processes.signal_child(os.getpid(), signal.SIGTERM)


MARKED = """
import mmap, signal, sys
from sweepd_agent import processes
with processes.unnamed_file(processes.mark(sys.argv[1].encode())) as file:
    file.write(b"job")
    file.flush()
    mapped = mmap.mmap(file.fileno(), 0)
print("mapped", flush=True)
signal.pause()
"""


def test_run_that_nobody_watches_is_killed_by_what_its_processes_have_mapped():
    own, other = (processes.identity(processes.new_identity()) for _ in range(2))
    command = [sys.executable, "-c", MARKED]
    with (
        subprocess.Popen([*command, own], stdout=subprocess.PIPE) as its,
        subprocess.Popen([*command, other], stdout=subprocess.PIPE) as others,
    ):
        assert its.stdout.readline() == others.stdout.readline() == b"mapped\n"

        processes.kill_run(its.pid, own)

        assert its.wait(10) == -signal.SIGKILL
        assert others.poll() is None
        others.kill()
