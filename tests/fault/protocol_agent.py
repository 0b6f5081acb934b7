"""An agent that speaks W&B's protocol itself: thousands of requests where a real one makes ten."""

import contextlib
import http.client
import itertools
import json
import random
import threading
from typing import Any

from connection import Connection
from live import Service

__all__ = ["ProtocolAgent"]

_CREATE = """mutation($sweep: String!) { createAgent(input: {host: "box", sweep: $sweep,
  projectName: "p"}) { agent { id } } }"""
_BEAT = """mutation($id: ID!, $runs: JSONString) { agentHeartbeat(input: {id: $id, metrics: "{}",
  runState: $runs}) { commands } }"""
_UPSERT = """mutation($name: String) { upsertBucket(input: {name: $name, modelName: "p",
  host: "box"}) { bucket { id historyLineCount } inserted } }"""
_N_ROWS = 4


class _Gone(Exception):
    """The run or the sweep was deleted."""


class ProtocolAgent(threading.Thread):
    """Takes trials of a sweep until it is told to exit, and repeats what was not answered.

    Attributes:
        given: for each run that it was given, the attempts.
        acknowledged: for each run's id, `n` of the rows that were answered with 200.
        n_repeats: requests that were sent again.
        n_gone: requests for what was deleted; only where `may_vanish` says that this may happen.
    """

    def __init__(
        self,
        service: Service,
        sweep: str,
        *,
        seed: int,
        ends: threading.Event,
        may_vanish: bool = False,
    ) -> None:
        super().__init__(name=f"agent-{seed}")
        self.given: dict[str, set[int]] = {}
        self.acknowledged: dict[str, set[str]] = {}
        self.n_repeats = self.n_gone = 0
        self._may_vanish = may_vanish
        self.error: BaseException | None = None
        self._service, self._sweep, self._ends = service, sweep, ends
        self._rng = random.Random(seed)
        self._connection: Connection | None = None

    def run(self) -> None:
        """Go on until the sweep or the test ends; a failure is for the test to see."""
        try:
            agent = self._graphql(_CREATE, sweep=self._sweep)["createAgent"]["agent"]["id"]
            while not self._ends.is_set() and self._turn(agent):
                pass
        except _Gone:  # the sweep
            pass
        except BaseException as error:
            if not self._ends.is_set():
                self.error = error
        finally:
            if self._connection is not None:
                self._connection.close()

    def _turn(self, agent: str) -> bool:
        beat = self._graphql(_BEAT, id=agent, runs="{}")["agentHeartbeat"]["commands"]
        commands = json.loads(beat) if isinstance(beat, str) else beat
        if not commands:
            return not self._ends.wait(0.05)
        command = commands[0]
        if command["type"] == "exit":
            return False
        run = command["run_id"]
        lease = command["sweepd"]
        self.given.setdefault(run, set()).add(lease["attempt"])
        with contextlib.suppress(_Gone):  # only this run
            self._train(agent, run, lease)
        return True

    def _train(self, agent: str, run: str, lease: dict[str, Any]) -> None:
        header = {"X-Sweepd-Lease": f"{run};{lease['attempt']};{lease['token']}"}
        bucket = self._graphql(_UPSERT, header, name=run)["upsertBucket"]["bucket"]
        first = bucket["historyLineCount"]
        stream = f"/files/{self._service.user}/p/{run}/file_stream"
        for step in range(_N_ROWS):
            number = f"{self.name}-{run}-{lease['attempt']}-{step}"
            row = {"_step": step, "loss": self._rng.random(), "n": number}
            chunk = {"offset": first + step, "content": [json.dumps(row)]}
            self._ask("POST", stream, {"files": {"wandb-history.jsonl": chunk}}, header)
            self.acknowledged.setdefault(run, set()).add(number)
            self._graphql(_BEAT, id=agent, runs=json.dumps({run: True}))
        self._ask("POST", stream, {"complete": True, "exitcode": 0}, header)

    def _graphql(
        self, document: str, header: dict[str, str] | None = None, **variables: Any
    ) -> dict[str, Any]:
        body = {"query": document, "variables": variables}
        answer = json.loads(self._ask("POST", "/graphql", body, header or {}))
        assert "errors" not in answer, answer
        data: dict[str, Any] = answer["data"]
        return data

    def _ask(self, method: str, path: str, body: Any, header: dict[str, str]) -> str:
        """Return the answer's text; repeat the request as long as nobody answers it."""
        for turn in itertools.count():
            if self._ends.is_set():
                raise EOFError("the test is over")
            try:
                self._connection = self._connection or Connection(self._service)
                status, text, _ = self._connection.send_json(method, path, body, header)
            except (OSError, http.client.HTTPException):
                status, text = 503, ""
            if status == 200:
                return text
            if status == 404 and self._may_vanish:
                self.n_gone += 1
                raise _Gone(text)
            assert status in (429, 500, 502, 503, 504), f"{status} for {path}: {text}"
            self.n_repeats += turn > 0 or status != 200
            if self._connection is not None:
                self._connection.close()
            self._connection = None
            self._ends.wait(0.05)
        raise AssertionError("unreachable")
