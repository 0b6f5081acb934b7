"""What a forked child does: it waits for its trial, becomes that trial, and runs the program."""

import contextlib
import faulthandler
import importlib
import io
import json
import mmap
import os
import signal
import socket
import subprocess
import sys
import tempfile
import types
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from sweepd_agent import call, finish
from sweepd_agent.framing import receive, send
from sweepd_agent.preload import ImportNotes
from sweepd_agent.readiness import find_libraries, reseed, set_threads
from sweepd_agent.scratch import Scratch

__all__ = ["Assignment", "open_gpu", "run_trial", "wait_for_assignment"]


@dataclass(frozen=True)
class Assignment:
    """The trial of this process, the socket to the warm parent, and what the trial is told by."""

    job: Mapping[str, Any]
    link: socket.socket
    mark: mmap.mmap  # what the program forks has it too


def wait_for_assignment(link: socket.socket, *, scratch: Scratch) -> Assignment:
    """Return this process's trial when it comes; by then the process is ready to run it.

    It starts wandb-core meanwhile, so that `wandb.init` finds one running. That is this process's
    own and ends with it: a shared one would keep the run of a killed trial alive.

    Args:
        link: the socket to the warm parent.
        scratch: where wandb-core may leave things.
    """
    os.setsid()
    reseed()
    libraries = find_libraries()
    core = _start_core(scratch) if "wandb" in sys.modules else None
    received = receive(link)
    if received is None:
        os._exit(0)
    log, file = received[1]
    mark = mmap.mmap(file, 0, access=mmap.ACCESS_READ)
    os.close(file)
    job = json.loads(mark[:])
    null = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((null, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    os.close(null)
    os.close(log)
    environ = dict(job["env"])
    if core is not None and core[0].poll() is None:
        environ["WANDB_SERVICE"] = core[1]
    os.environ.clear()
    os.environ.update(environ)
    set_threads(environ, libraries)
    return Assignment(job, link, mark)


def run_trial(assignment: Assignment) -> NoReturn:
    """Run the program as Python itself would, to the end of the process."""
    job, link = assignment.job, assignment.link
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, _leave_orderly)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # what was printed survives a kill
    faulthandler.enable()
    notes = ImportNotes()
    sys.meta_path.insert(0, notes)
    os.register_at_fork(after_in_child=link.close)
    try:
        os.chdir(job["cwd"])
        if job["waits"]:
            if job.get("opens_gpu"):
                open_gpu()
            _wait_for_go(link)
        send(link, {"ok": True})
        run = _run_function if job["function"] else _run_script
        run(job)
        code = 0
    except SystemExit as error:
        code = finish.exit_code(error)
    except BaseException as error:
        # As the interpreter would, less the lines that are ours; wandb's hook notes the failure.
        error.__traceback__ = _own_part(error.__traceback__)
        sys.excepthook(type(error), error, error.__traceback__)
        code = -signal.SIGINT if isinstance(error, KeyboardInterrupt) else 1
    finish.finish(code, link=link, notes=notes)


def _wait_for_go(link: socket.socket) -> None:
    """Say that all is ready, and wait until the trial may begin."""
    send(link, {"ready": True})
    if receive(link) is None:
        os._exit(0)


def open_gpu() -> None:
    """Have torch open the trial's GPU, if torch was imported: that takes half a second.

    Where it cannot, as while another process has a GPU that takes one at a time, the trial does so
    itself, or meets the error.
    """
    torch = sys.modules.get("torch")
    if torch is None:
        return
    with contextlib.suppress(RuntimeError, AssertionError):  # the latter of a torch without CUDA
        torch.cuda.init()
        torch.empty(1, device="cuda")  # with what torch itself loads there


def _run_script(job: Mapping[str, Any]) -> None:
    """Run the program's file as `__main__`."""
    path = job["program"]
    sys.argv = [path, *job["argv"]]
    sys.path.insert(0, os.path.dirname(os.path.abspath(path)))
    main = types.ModuleType("__main__")
    main.__dict__.update(__file__=path, __builtins__=__builtins__, __cached__=None)
    with open(path, "rb") as file:
        text = file.read()
    sys.modules["__main__"] = main
    exec(compile(text, path, "exec", dont_inherit=True), main.__dict__)


def _run_function(job: Mapping[str, Any]) -> None:
    """Call the program, which is `module:function`."""
    sys.argv = [job["program"], *job["argv"]]
    sys.path.insert(0, os.getcwd())
    call.call_function(job["program"], lambda: job["config"])


def _start_core(scratch: Scratch) -> "tuple[subprocess.Popen[bytes], str] | None":
    """Start a wandb-core for this process alone; None if this wandb has another way of doing it."""
    folder = scratch.make(os.getpid())
    if folder is not None:
        os.environ["TMPDIR"] = str(folder)  # wandb-core's: the program has an environment to come
        tempfile.tempdir = None  # what the parent has looked up
    try:
        from wandb.errors import Error
        from wandb.sdk.lib.service import service_process
        from wandb.sdk.wandb_settings import Settings
    except ImportError:
        return None
    try:
        started = service_process.start(Settings())
        return started._process, started.token.env_value
    except (Error, OSError, AttributeError, TypeError) as error:
        print(f"wandb-core was not started ahead: {error!r}", file=sys.stderr, flush=True)
        return None
    finally:
        tempfile.tempdir = None  # the program's is where its own environment says


def _leave_orderly(number: int, frame: types.FrameType | None) -> NoReturn:
    """End on SIGTERM as on `sys.exit`: wandb sends what it has. A program may handle it itself."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(128 + number)


def _own_part(trace: types.TracebackType | None) -> types.TracebackType | None:
    """Return the part of a traceback that is the program's."""
    here = {__file__, call.__file__, importlib.__file__}
    while trace is not None and (
        trace.tb_frame.f_code.co_filename in here
        or trace.tb_frame.f_code.co_filename.startswith("<frozen importlib")
    ):
        trace = trace.tb_next
    return trace
