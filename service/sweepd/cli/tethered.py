"""`python -m sweepd.cli.tethered MODULE …`: runs a module that ends when whoever started it does.

Its standard input is a pipe whose other end only the starter holds. When that closes, be it by
kill -9 of the starter, this process gets SIGTERM and ends in order, as if it had been told.
"""

import os
import runpy
import signal
import sys
import threading
from collections.abc import Sequence

__all__ = ["command"]


def command(module: str, *arguments: str) -> Sequence[str]:
    """Return the command line that runs a module tethered; give it a pipe as standard input.

    `-P` keeps the working folder off the module path: a file of the user's named queue.py must not
    stand in for Python's own.
    """
    return (sys.executable, "-P", "-m", "sweepd.cli.tethered", module, *arguments)


def main() -> None:
    """Run the module that the arguments name as the main program."""
    tether = os.dup(0)  # not inherited by what the module starts
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    threading.Thread(target=_end_with, args=(tether,), name="tether", daemon=True).start()
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


def _end_with(tether: int) -> None:
    while os.read(tether, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
