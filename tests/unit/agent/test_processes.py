"""What a warm parent does with processes, by itself."""

import os
import signal

from sweepd_agent import processes


def test_signal_to_processes_of_another_user_is_let_be(monkeypatch):
    def refuse(pid, number):
        raise PermissionError

    monkeypatch.setattr(os, "killpg", refuse)
    monkeypatch.setattr(os, "kill", refuse)

    processes.signal_child(os.getpid(), signal.SIGTERM)
