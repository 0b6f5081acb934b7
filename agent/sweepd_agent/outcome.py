"""How a trial ended, told from outside: its exit code, its signal, and the last it printed."""

import re
import signal
from dataclasses import replace

from sweepd.errors import Reason
from sweepd_agent.api import Outcome
from sweepd_agent.ranks import RankFailure, read_failure

__all__ = ["first_error_line", "judge"]

_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_TRACEBACK = "Traceback (most recent call last):"
_OF_THREAD = "Exception in thread "  # the line before its traceback: the program goes on without it
_FATAL = "Fatal Python error:"  # of faulthandler; what follows it is where, and which modules
_READS_LIKE_ERROR = re.compile(
    r"\b(?:error|exception|fatal|failed|failure|failing|cannot|can't|could not|unable|invalid"
    r"|denied|not found|no such|missing|abort(?:ed|ing)?|assert\w*|refused|usage)\b"
    r"|Error\b|Exception\b",
    re.IGNORECASE,
)
_OOM = re.compile(
    r"OutOfMemoryError|CUDA out of memory|CUDA error: out of memory"
    r"|CU(?:BLAS|DNN)_STATUS_ALLOC_FAILED"
    r"|RESOURCE_EXHAUSTED: (?:Out of memory|Failed to allocate)"  # JAX
    r"|OOM when allocating"  # TensorFlow
    r"|DefaultCPUAllocator: (?:can't|not enough)|^MemoryError|std::bad_alloc",
    re.MULTILINE,
)
_WORKER_KILLED = re.compile(
    r"killed by signal: Killed|BrokenProcessPool|died with <Signals\.SIGKILL"
)
# What speaks with wandb-core, a process beside the program, and what it raises when that has gone.
_OF_CLIENT = re.compile(r"/wandb/sdk/(?:lib/service|mailbox)/")
_LOST = re.compile(
    r"(?:ConnectionResetError|BrokenPipeError|ConnectionAbortedError"
    r"|wandb\.[\w.]+\.(?:MailboxClosedError|HandleAbandonedError|WandbServiceConnectionError))\b"
)
_MESSAGE_LENGTH = 500
_SHELL_SAYS_KILLED = 128 + signal.SIGKILL
_PROGRAM_SIGNALS = frozenset(
    {signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGTRAP}
)


def judge(
    status: int | None, *, error: str | None, tail: str, asked: Reason | None, oom_kills: int
) -> Outcome:
    """Return how a trial ended.

    Args:
        status: its exit code, or minus the signal that ended it; None if nobody saw.
        error: why it could not be run at all, or None.
        tail: the last part of what it printed.
        asked: why it had been told to end, or None if it had not.
        oom_kills: processes of its control group that the kernel killed for memory meanwhile.
    """
    if status is None:
        return Outcome(asked or Reason.CRASHED, message=error)
    if error is not None:
        return Outcome(Reason.ERROR, exit_code=abs(status), message=error)
    if status == 0:
        return Outcome(Reason.FINISHED, exit_code=0)
    number = -status if status < 0 else None
    code = None if number else status
    if asked is not None:
        return Outcome(asked, code, number)
    failure = read_failure(tail) if code is not None else None
    if failure is not None and failure.status != 0:
        return _judge_rank(failure, code=code, oom_kills=oom_kills)
    line = first_error_line(tail)
    if _OOM.search(tail):
        return Outcome(Reason.OUT_OF_MEMORY, code, number, line)
    is_core_gone = code is not None and _is_core_gone(tail, line)
    is_worker_gone = code is not None and _WORKER_KILLED.search(tail) is not None
    if oom_kills and (is_core_gone or is_worker_gone or status == _SHELL_SAYS_KILLED):
        words = "a process of it was killed: the memory limit was reached"
        return Outcome(Reason.OUT_OF_MEMORY, code, None, f"{words}: {line}" if line else words)
    if is_core_gone:
        return Outcome(Reason.CRASHED, code, message=f"wandb's own process has died: {line}")
    if number is None:
        return Outcome(Reason.ERROR, code, message=line or _exit_words(code, tail))
    words = f"killed by {_name_of(number)}"
    if number == signal.SIGKILL and oom_kills:
        return Outcome(Reason.OUT_OF_MEMORY, None, number, f"{words}: the memory limit was reached")
    if number in _PROGRAM_SIGNALS:
        return Outcome(Reason.ERROR, None, number, f"{words}: {line}" if line else words)
    if number == signal.SIGKILL:
        words += " from outside, perhaps for want of memory"
    return Outcome(Reason.CRASHED, None, number, words)


def _judge_rank(failure: RankFailure, *, code: int | None, oom_kills: int) -> Outcome:
    """Return how a trial of several ranks ended: as the rank did that failed, with its own code."""
    ended = judge(failure.status, error=None, tail=failure.output, asked=None, oom_kills=oom_kills)
    message = ended.message
    if message != first_error_line(failure.output):
        message = f"rank {failure.rank}: {message}"
    return replace(ended, exit_code=code, signal=None, message=message)


def first_error_line(output: str) -> str | None:
    """Return the line that says what went wrong, None if none does.

    It is the last exception's, one of a thread beside it only if there is no other; else the last
    printed if that reads like an error. Of what torchrun has started it is the failed rank's.
    """
    failure = read_failure(output)
    lines = _printed(output if failure is None else failure.output)
    trace = _last_traceback(lines)
    fatal = [line for line in lines if line.startswith(_FATAL)]
    if fatal:
        line: str | None = fatal[-1]
    elif trace:
        line = next((line for line in trace if not line.startswith(" ")), None)
    else:
        line = next((line for line in lines[-1:] if _READS_LIKE_ERROR.search(line)), None)
    return line[:_MESSAGE_LENGTH] if line else None


def _last_traceback(lines: list[str]) -> list[str]:
    """Return what follows the head of the last traceback, and of the main thread's if there is one.

    Empty if there is none.
    """
    starts = [i for i, line in enumerate(lines) if line.strip() == _TRACEBACK]
    main = [i for i in starts if i == 0 or not lines[i - 1].startswith(_OF_THREAD)]
    return lines[(main or starts)[-1] + 1 :] if starts else []


def _printed(output: str) -> list[str]:
    """Return the lines that the program itself printed, in plain text."""
    lines = [_ANSI.sub("", line).rstrip() for line in output.splitlines()]
    return [line for line in lines if line and line.partition(" ")[0] != "wandb:"]


def _exit_words(code: int | None, output: str) -> str:
    """Return the exit code, and what was printed last: it need not have to do with it."""
    last = _printed(output)[-1:]
    return f"exit code {code}" + "".join(f", printed last: {line[:200]}" for line in last)


def _is_core_gone(output: str, line: str | None) -> bool:
    """Return whether the program ended because wandb-core did, which is no fault of its own."""
    trace = "\n".join(_last_traceback(_printed(output)))
    return line is not None and bool(_LOST.match(line)) and bool(_OF_CLIENT.search(trace))


def _name_of(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
