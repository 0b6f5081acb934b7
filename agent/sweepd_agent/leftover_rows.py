"""What a killed trial had logged and not sent: wandb's own file of the run holds most of it.

wandb-core writes what it is told to `run-ID.wandb`, 32 KiB at a time, beside sending it. If it is
killed, by itself or with its trial, `wandb sync` sends what the server lacks; ours has each row
once. It is done before the trial's end is told, so that the next attempt finds the history whole.
"""

import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from sweepd.errors import Reason
from sweepd_agent.api import Command, Outcome
from sweepd_agent.devices import Slot
from sweepd_agent.trial import Workplace, environment_of

__all__ = ["has_records", "sync_rows"]

_STAGES = ("wandb", ".wandb")  # as wandb names its folder, the second where there is one already
_HEADER_LENGTH = 7  # bytes of a file without a record
_TIMEOUT_S = 30.0  # half of a lease: the slot sends no heartbeats meanwhile
_CUT_OFF = "ends with an incomplete record"  # a killed wandb-core's does; all before it is sent
_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def has_records(folder: Path) -> bool:
    """Return whether wandb has written anything of a run to its folder: it cannot sync nothing."""
    return any(file.stat().st_size > _HEADER_LENGTH for file in folder.glob("run-*.wandb"))


def sync_rows(place: Workplace, command: Command, slot: Slot, outcome: Outcome) -> str | None:
    """Send what the process of a trial wrote to disk if its wandb-core was perhaps killed.

    Args:
        place: of the trial.
        command: likewise.
        slot: it ran on.
        outcome: how it ended.

    Returns:
        What was done, in words; None if there is nothing to send.
    """
    was_killed = outcome.reason == Reason.CRASHED or outcome.signal == signal.SIGKILL
    if not was_killed or command.lease is None or place.is_offline:
        return None
    environment = environment_of(place, command, slot)
    run, file = command.run, _newest_file(command.run, environment)
    if file is None:
        return None
    folder = file.parent
    words = [sys.executable, "-m", "wandb", "sync", "--include-online", str(folder)]
    try:
        done = subprocess.run(
            words,
            env=environment,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=_TIMEOUT_S,
            check=False,
        )
        is_done = any(folder.glob("*.synced")) or _CUT_OFF in " ".join(done.stdout.split())
        problem = None if is_done else _last_line(done.stdout)
    except subprocess.TimeoutExpired:
        problem = f"it took more than {_TIMEOUT_S:g} s"
    except OSError as error:
        problem = str(error)
    if problem is None:
        return f"{run}: sent what wandb had written to {folder} and perhaps not sent"
    return (
        f"{run}: some of what it logged may only be in {folder}; sending it failed ({problem}); "
        f"try: wandb sync {folder}"
    )


def _newest_file(run: str, environment: Mapping[str, str]) -> Path | None:
    """Return the file of a run's latest process, if there is one that holds anything."""
    base = Path(environment["WANDB_DIR"])
    found: list[tuple[float, int, Path]] = []
    for stage in _STAGES:
        for file in (base / stage).glob(f"run-*-{run}/run-{run}.wandb"):
            try:
                facts = file.stat()
            except OSError:  # removed meanwhile
                continue
            found.append((facts.st_mtime, facts.st_size, file))
    if not found:
        return None
    _, size, newest = max(found)
    return newest if size > _HEADER_LENGTH else None


def _last_line(output: str) -> str:
    lines = [_ANSI.sub("", line).strip() for line in output.splitlines()]
    return next((line for line in reversed(lines) if line), "no word")[:300]
