"""The folder through which the agent and a program that trains a pack talk to each other."""

import json
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from sweepd.errors import InvalidInput

__all__ = ["PACK", "Member", "PackFolder"]

#: Names the folder of a pack, whose trials one process trains together.
PACK = "SWEEPD_PACK"
_STOP = "stop-"


@dataclass(frozen=True)
class Member:
    """A trial of a pack: its run's id, and the environment that it would have alone."""

    run: str
    environment: Mapping[str, str]

    def values(self) -> dict[str, Any]:
        """Return the trial's config, as the sweep has it.

        Raises:
            InvalidInput: its file is missing, or not as `wandb.init` reads it.
        """
        path = Path(self.environment["WANDB_SWEEP_PARAM_PATH"])
        try:
            content = yaml.safe_load(path.read_text(encoding="utf-8"))
            del content["wandb_version"]
            return {name: entry["value"] for name, entry in content.items()}
        except (OSError, ValueError, TypeError, KeyError, AttributeError, yaml.YAMLError) as error:
            reason = " ".join(str(error).split())
            raise InvalidInput(f"the config of the trial {self.run} is unreadable: {reason}") from (
                error
            )


class PackFolder:
    """What the agent wrote there, and where it reads how the trials do.

    Args:
        path: of the folder.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()

    def members(self) -> list[Member]:
        """Return the trials, as `pack.json` names them.

        Raises:
            InvalidInput: it is missing or no list of trials.
        """
        path = self._path / "pack.json"
        try:
            trials = json.loads(path.read_text(encoding="utf-8"))["trials"]
            members = [Member(trial["run"], dict(trial["environment"])) for trial in trials]
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise InvalidInput(f"{path} names no trials: {error!r}") from error
        if not members or any("WANDB_SWEEP_PARAM_PATH" not in m.environment for m in members):
            raise InvalidInput(f"{path} must name trials, each with its WANDB_SWEEP_PARAM_PATH")
        return members

    def tell(self, event: str, **more: Any) -> None:
        """Append a line to `events.jsonl`, whole."""
        line = json.dumps({"event": event, **more}) + "\n"
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
        with self._lock:
            file = os.open(self._path / "events.jsonl", flags, 0o644)
            try:
                os.write(file, line.encode())
            finally:
                os.close(file)

    def asked_to_stop(self) -> set[str]:
        """Return the runs that are to stop."""
        with os.scandir(self._path) as entries:
            return {entry.name[len(_STOP) :] for entry in entries if entry.name.startswith(_STOP)}
