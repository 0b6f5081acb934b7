"""What was launched, written down: a folder for each launch, found again by its sweep."""

import contextlib
import json
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sweepd.errors import InvalidInput, SweepdError
from sweepd.names import LAUNCHERS
from sweepd.registry import Registry
from sweepd_agent.launchers import AgentStatus, Launcher, Plan
from sweepd_agent.options import Options

__all__ = ["Launch", "launch", "launches_folder", "launches_of"]

_RECORD = "launch.json"


@dataclass(frozen=True)
class Launch:
    """A launch that was made, by this or an earlier command.

    Args:
        name: its folder's name.
        sweep: `entity/project/id`.
        on: the engine, a row of `LAUNCHERS`.
        began_at: seconds since 1970.
        folder: its own.
        kept: what its launcher remembers.
    """

    name: str
    sweep: str
    on: str
    began_at: float
    folder: Path
    kept: Mapping[str, Any]

    def status(self) -> list[AgentStatus]:
        """Return how every agent is, in order."""
        return list(_launcher(self.on).status(self.folder, self.kept))

    def logs(self, agent: str) -> str:
        """Return what an agent has printed so far.

        Raises:
            InvalidInput: there is no such agent.
        """
        names = [status.name for status in self.status()]
        if agent not in names:
            raise InvalidInput(f"{self.name} has no agent {agent!r}, but {', '.join(names)}")
        return _launcher(self.on).logs(self.folder, self.kept, agent)

    def stop(self) -> None:
        """End every agent in order."""
        _launcher(self.on).stop(self.folder, self.kept)


def launch(
    options: Options,
    *,
    on: str,
    n_agents: int,
    environ: Mapping[str, str],
    settings: Mapping[str, str],
    folder: Path | None = None,
) -> Launch:
    """Start agents on an engine and write down what was started.

    Args:
        options: of each agent.
        on: the engine, a row of `LAUNCHERS`.
        n_agents: how many.
        environ: WANDB_BASE_URL and WANDB_API_KEY.
        settings: of the engine.
        folder: where launches are written down; None is the usual place.

    Raises:
        UnknownName: there is no such engine.
        InvalidInput: the engine has no such setting.
        LaunchError: the engine is not there, or refuses.
    """
    launcher = _launcher(on)
    unknown = sorted(set(settings) - set(launcher.settings))
    if unknown:
        known = ", ".join(launcher.settings) or "none"
        raise InvalidInput(f"{on} has no setting {', '.join(unknown)}; it has: {known}")
    own = _new_folder(folder or launches_folder(), f"{options.sweep.rsplit('/', 1)[-1]}-{on}")
    try:
        kept = launcher.start(Plan(options, n_agents, own, environ, settings))
    except BaseException:
        if not any(own.iterdir()):
            own.rmdir()
        raise
    made = Launch(own.name, options.sweep, on, time.time(), own, kept)
    try:
        _write(made)
    except BaseException:  # what nobody finds again must not run on
        with contextlib.suppress(SweepdError):
            made.stop()
        raise
    return made


def launches_of(sweep: str, *, folder: Path | None = None) -> list[Launch]:
    """Return the launches of a sweep that this person made on this machine, oldest first.

    Records that cannot be read are left out, and told on stderr.
    """
    found = []
    for path in sorted((folder or launches_folder()).glob(f"*/{_RECORD}")):
        try:
            made = _read(path)
        except (OSError, ValueError, LookupError, TypeError) as error:
            print(f"warning: {path} cannot be read and is left out: {error!r}", file=sys.stderr)
            continue
        if _is_same(made.sweep, sweep):
            found.append(made)
    return sorted(found, key=lambda one: one.began_at)


def launches_folder() -> Path:
    """Return where launches are written down."""
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(base) / "sweepd" / "launches"


def _write(made: Launch) -> None:
    """Write a launch down, whole or not at all."""
    record = {"sweep": made.sweep, "on": made.on, "began_at": made.began_at, "kept": made.kept}
    path = made.folder / _RECORD
    partial = path.with_suffix(".partial")
    with partial.open("w", encoding="utf-8") as file:
        json.dump(record, file)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def _read(path: Path) -> Launch:
    record = json.loads(path.read_text(encoding="utf-8"))
    return Launch(
        path.parent.name,
        str(record["sweep"]),
        str(record["on"]),
        float(record["began_at"]),
        path.parent,
        dict(record["kept"]),
    )


def _is_same(one: str, other: str) -> bool:
    """Return whether two names mean the same sweep, either of them maybe its id alone."""
    short, long = sorted((one, other), key=len)
    return long == short or long.endswith(f"/{short}")


def _launcher(on: str) -> Launcher:
    launcher: Launcher = Registry("launcher", LAUNCHERS).load(on)()
    return launcher


def _new_folder(place: Path, stem: str) -> Path:
    place.mkdir(parents=True, exist_ok=True)
    number = 1
    while True:
        folder = place / f"{stem}-{number}"
        try:
            folder.mkdir(mode=0o700)
        except FileExistsError:
            number += 1
            continue
        return folder
