"""The end of a forked trial: what the interpreter does at its end, less the taking apart of itself.

The interpreter frees every object of every module, which after `import torch` takes seconds, and in
a forked process copies the parent's memory only to free it. So a trial ends as a child of
`multiprocessing` does, by `os._exit`; before that, threads are waited for, exit handlers run, the
program's own objects are freed and what is written is flushed.
"""

import atexit
import contextlib
import gc
import io
import os
import signal
import socket
import sys
import threading
import traceback
from typing import NoReturn

from sweepd_agent.framing import send
from sweepd_agent.preload import ImportNotes, is_installed

__all__ = ["exit_code", "finish"]


def exit_code(error: SystemExit) -> int:
    """Return the code that SystemExit stands for; a message is printed, as Python does."""
    if error.code is None:
        return 0
    if isinstance(error.code, int):
        return error.code & 0xFF
    print(error.code, file=sys.stderr)
    return 1


def finish(code: int, *, link: socket.socket, notes: ImportNotes) -> NoReturn:
    """End this process in order, with an exit code, or by minus a signal."""
    try:
        threading._shutdown()  # type: ignore[attr-defined]
    except SystemExit as error:  # told to end while its threads went on
        code = exit_code(error)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the program is over, and its code stands
    try:
        _finish_runs(code if code >= 0 else 128 - code)
        atexit._run_exitfuncs()
    except SystemExit as error:
        code = exit_code(error)
    _free_own_objects(notes)
    _flush_files()
    with contextlib.suppress(OSError):
        send(link, {"modules": notes.installed()})
    if code < 0:
        signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


def _finish_runs(code: int) -> None:
    """Finish the runs that the program left open, the latest first.

    The client does that at exit for a wandb-core that it started itself, and for no other: the
    trial's was started before.
    """
    client = sys.modules.get("wandb.sdk.wandb_setup")
    state = getattr(client, "_singleton", None)
    while (run := getattr(state, "most_recent_active_run", None)) is not None:
        try:
            run.finish(exit_code=code)
        except Exception:  # as of an exit handler: it is printed, and the code stands
            traceback.print_exc()
        if getattr(state, "most_recent_active_run", None) is run:
            return


def _free_own_objects(notes: ImportNotes) -> None:
    """Empty the program's own modules, so that what they hold is closed by its own rules."""
    for name in ("__main__", *reversed(dict.fromkeys(notes.names))):
        module = sys.modules.get(name)
        path = getattr(module, "__file__", None)
        if module is not None and path is not None and not is_installed(path):
            vars(module).clear()
    gc.collect()


def _flush_files() -> None:
    for thing in gc.get_objects():
        if isinstance(thing, io.TextIOWrapper | io.BufferedWriter | io.BufferedRandom):
            with contextlib.suppress(OSError, ValueError):
                thing.flush()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()
