"""Merges a bundle: sends what its runs wrote by `wandb sync`, and tells how each of them ended.

Every run is noted in the journal once it is done with, so that merging goes on where it stopped.
What was sent but not noted is sent again, which the service knows: each row, line and file counts
once, and an end that was told is not told anew. Every request carries the run's lease, so that a
trial which another attempt has by now stays as it is.
"""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sweepd.errors import NotFound, ProcessDied, ProtocolError
from sweepd_agent.api import AgentApi, Command
from sweepd_agent.bundle import Bundle, Ended, Journal
from sweepd_agent.client import Client
from sweepd_agent.leftover_rows import has_records
from sweepd_agent.server import Server
from sweepd_agent.trial import lease_headers

__all__ = ["GIVE_BACK", "Merged", "merge_bundle"]

_AT_ONCE = 4
_BUNDLE = """
query SweepdBundle($id: ID!) {
  sweepdBundle(id: $id) { out trials { runName attempt isPresent reason } }
}"""
GIVE_BACK = """
mutation SweepdGiveBackBundle($id: ID!) {
  sweepdGiveBackBundle(input: {id: $id}) { bundle { out } }
}"""
_HOW = ("merged", "late", "gone")


@dataclass(frozen=True)
class Merged:
    """Ids of the runs, by what came of them.

    `merged` count, `late` came when another attempt had the trial and are kept without effect,
    `gone` have been deleted meanwhile, `left` were not run yet, `failed` could not be sent, and
    say why.
    """

    merged: tuple[str, ...]
    late: tuple[str, ...]
    gone: tuple[str, ...]
    left: tuple[str, ...]
    failed: Mapping[str, str]


def merge_bundle(
    bundle: Bundle, server: Server, *, gives_back: bool, report: Callable[[str], None]
) -> Merged:
    """Merge what has been run of a bundle; harmless when repeated.

    Args:
        bundle: the bundle.
        server: the service that it came from, and the key there.
        gives_back: let others have what was not run. As long as a run could not be sent the bundle
            keeps all that it holds: others would get the trial of that run, too.
        report: is told of each run, in a sentence; from any thread, one at a time.

    Raises:
        Conflict: if an agent works on the bundle.
        NotFound: if the service knows no such bundle.
        ServerUnreachable, Unauthorized, Forbidden: as the service says.
    """
    with bundle.lock():
        return _Merge(bundle, server, report).run(gives_back=gives_back)


class _Merge:
    """One merging of a bundle."""

    def __init__(self, bundle: Bundle, server: Server, report: Callable[[str], None]) -> None:
        self._bundle, self._server = bundle, server
        self._journal = Journal(bundle)
        self._lock = threading.Lock()
        self._report = report

    def run(self, *, gives_back: bool) -> Merged:
        """Merge all that is done and not merged yet, a few runs at once."""
        known = self._look()
        trials = self._bundle.trials()
        failed: dict[str, str] = {}
        left: list[str] = []
        work = []
        for command in trials:
            ended = self._journal.result(command.run)
            if command.run in self._journal.merged:
                continue
            if ended is None:
                left.append(command.run)
            elif (command.run, _attempt(command)) not in known:
                self._note(command.run, "gone", f"{command.run} has been deleted meanwhile")
            else:
                work.append((command, ended))
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            for (command, _), error in zip(
                work, pool.map(lambda one: self._merge(*one), work), strict=True
            ):
                if error is not None:
                    failed[command.run] = error
        if gives_back and not failed:
            self._ask(GIVE_BACK)
        merged = self._journal.merged
        by = {how: tuple(c.run for c in trials if merged.get(c.run) == how) for how in _HOW}
        return Merged(**by, left=tuple(left), failed=failed)

    def _merge(self, command: Command, ended: Ended) -> str | None:
        """Merge one run; return what went wrong, None if nothing did."""
        client = Client(self._server.url, self._server.api_key)
        try:
            for folder in self._folders(command, ended):
                self._send(folder, command)
            AgentApi(client).report(
                self._bundle.sweep,
                command,
                ended.outcome,
                host=ended.host,
                device=ended.device,
                seconds=ended.seconds,
            )
        except (ProcessDied, ProtocolError) as error:
            is_present = self._look().get((command.run, _attempt(command)))
            if is_present or is_present is None:
                self._say(f"{command.run} was not merged: {error}")
                return str(error)
            text = "another attempt has the trial by now; what it logged is kept without effect"
            self._note(command.run, "late", f"{command.run} came too late: {text}")
        else:
            self._note(command.run, "merged", f"{command.run} merged: {ended.outcome.reason}")
        finally:
            client.close()
        return None

    def _folders(self, command: Command, ended: Ended) -> list[Path]:
        """Return what `wandb` wrote in the try that counts, in the order in which it began."""
        wandb = self._bundle.run_folder(command.run, ended.number) / "wandb"
        return sorted(folder for folder in wandb.glob("offline-run-*") if has_records(folder))

    def _send(self, folder: Path, command: Command) -> None:
        """Send what is in a run's folder, as a process of its own: it carries this run's lease.

        Raises:
            ProcessDied: if it could not be sent, in the client's words.
        """
        for old in folder.glob("*.synced"):
            old.unlink()
        own = {key: value for key, value in os.environ.items() if not key.startswith("WANDB_")}
        done = subprocess.run(
            [sys.executable, "-m", "wandb", "sync", str(folder)],
            cwd=self._bundle.folder,
            env={
                **own,
                "WANDB_BASE_URL": self._server.url,
                "WANDB_API_KEY": self._server.api_key,
                "WANDB_X_EXTRA_HTTP_HEADERS": json.dumps(lease_headers(command)),
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode or not list(folder.glob("*.synced")):
            words = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
            raise ProcessDied(f"wandb sync {folder.name}: {' '.join(words[-3:])[-500:]}")

    def _look(self) -> dict[tuple[str, int], bool]:
        """Return which attempts of the bundle there are, and whether each is its trial's last."""
        found = self._ask(_BUNDLE)["sweepdBundle"]
        if found is None:
            raise NotFound(
                f"{self._server.url} knows nothing of this bundle: its sweep has been deleted, or "
                "it came from another service"
            )
        return {(row["runName"], row["attempt"]): row["isPresent"] for row in found["trials"]}

    def _ask(self, document: str) -> dict[str, Any]:
        client = Client(self._server.url, self._server.api_key)
        try:
            return client.execute(document, {"id": self._bundle.id})
        finally:
            client.close()

    def _note(self, run: str, how: str, words: str) -> None:
        with self._lock:
            self._journal.merge(run, how)
            self._report(words)

    def _say(self, words: str) -> None:
        with self._lock:
            self._report(words)


def _attempt(command: Command) -> int:
    assert command.lease is not None, "a bundle's trials have one"
    return command.lease[0]
