"""A sweep worked through one request at a time: each answer is checked, none is repeated."""

import json
import sqlite3
from contextlib import closing
from typing import Any

from connection import Connection
from live import Service, wait_for

__all__ = ["Hand"]

_SWEEP = """mutation($config: String) { upsertSweep(input: {projectName: "p", config: $config})
  { sweep { name } } }"""
_AGENT = """mutation($sweep: String!) { createAgent(input: {host: "box", sweep: $sweep,
  projectName: "p"}) { agent { id } } }"""
_BEAT = """mutation($id: ID!) { agentHeartbeat(input: {id: $id, metrics: "{}", runState: "{}"})
  { commands } }"""
_RUN = """mutation($name: String) { upsertBucket(input: {name: $name, modelName: "p",
  host: "box"}) { bucket { id } } }"""
_STATUS = "query($s: String!) { sweepdSweep(name: $s) { sweepdStatus { notice } } }"
_ORIGINS = """SELECT trial.origin FROM trial JOIN sweep ON sweep.id = trial.sweep_id
  WHERE sweep.name = ? ORDER BY trial.number"""
_ANY = """SELECT count(*) FROM suggestion JOIN sweep ON sweep.id = suggestion.sweep_id
  WHERE sweep.name = ? AND suggestion.origin = 'search'"""
_PREPARED = """SELECT count(*) FROM suggestion JOIN sweep ON sweep.id = suggestion.sweep_id
  WHERE sweep.name = ? AND suggestion.basis_event = (SELECT max(event.id) FROM event
  WHERE event.sweep_id = sweep.id AND event.kind IN ('sweep.created', 'trial.ended'))"""


class Hand:
    """Creates a sweep and works through its trials as W&B's agents do.

    Attributes:
        sweep: its short id.
        configs: what was handed out, in that order, as W&B has it.
    """

    def __init__(self, service: Service, definition: Any) -> None:
        self._service = service
        made = self._graphql(_SWEEP, config=json.dumps(definition))
        self.sweep = str(made["upsertSweep"]["sweep"]["name"])
        self.configs: list[dict[str, Any]] = []

    def agent(self) -> str:
        """Register another agent; return its id."""
        return str(self._graphql(_AGENT, sweep=self.sweep)["createAgent"]["agent"]["id"])

    def ask(self, agent: str) -> str:
        """Ask for a trial, which there must be; return its run."""
        (command,) = self._commands(agent)
        assert command["type"] == "run"
        self.configs.append(command["args"])
        return str(command["run_id"])

    def is_done(self, agent: str) -> bool:
        """Return whether an idle agent is told to exit; a trial for it there must not be."""
        found = [str(command["type"]) for command in self._commands(agent)]
        assert found in ([], ["exit"])
        return bool(found)

    def tell(self, run: str, loss: float) -> None:
        """Let a run log its loss and end."""
        self._graphql(_RUN, name=run)
        row = {"offset": 0, "content": [json.dumps({"loss": loss, "_step": 0})]}
        body = {"files": {"wandb-history.jsonl": row}, "complete": True, "exitcode": 0}
        self._post(f"/files/{self._service.user}/p/{run}/file_stream", body)

    def step(self, agent: str) -> None:
        """Take one trial from its hand-out to its end; its loss is its number modulo five."""
        run = self.ask(agent)
        self.tell(run, float(len(self.configs) % 5))

    @property
    def notice(self) -> str:
        """Return what a person should know of the sweep now."""
        found = self._graphql(_STATUS, s=self.sweep)["sweepdSweep"]["sweepdStatus"]["notice"]
        return str(found or "")

    @property
    def origins(self) -> list[str]:
        """Return where each trial came from, in their order."""
        return [str(row[0]) for row in self._rows(_ORIGINS)]

    @property
    def has_suggestion(self) -> bool:
        """Return whether a suggestion of the search is there."""
        return bool(self._rows(_ANY)[0][0])

    def wait_for_search(self, *, seconds: float = 120) -> None:
        """Wait until a suggestion is there that knows of every result."""
        wait_for("a suggestion", lambda: self._rows(_PREPARED)[0][0], seconds=seconds)

    def _commands(self, agent: str) -> list[dict[str, Any]]:
        found = json.loads(self._graphql(_BEAT, id=agent)["agentHeartbeat"]["commands"])
        assert isinstance(found, list)
        return found

    def _rows(self, statement: str) -> list[Any]:
        with closing(sqlite3.connect(self._service.data / "sweepd.db", timeout=30)) as database:
            return database.execute(statement, (self.sweep,)).fetchall()

    def _graphql(self, document: str, **variables: Any) -> dict[str, Any]:
        answer = json.loads(self._post("/graphql", {"query": document, "variables": variables}))
        assert "errors" not in answer, answer
        data: dict[str, Any] = answer["data"]
        return data

    def _post(self, path: str, body: Any) -> str:
        connection = Connection(self._service)
        try:
            status, text, _ = connection.send_json("POST", path, body, {})
        finally:
            connection.close()
        assert status == 200, f"{status} for {path}: {text}"
        return text
