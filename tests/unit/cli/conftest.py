"""The command line in this process, and small W&B servers that hold to the real schema."""

import base64
import http.server
import json
import os
import sys
import threading
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import graphql
import pytest

from sweepd.cli import main

ROOT = Path(__file__).parents[3]
WIRE = ROOT / "service" / "sweepd" / "wire"
KEY = "k" * 40


@dataclass(frozen=True)
class Done:
    """How a command ended and what it printed."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Everything on stdout, as one JSON value."""
        return json.loads(self.out)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """An empty working folder, and an environment that names no server, put back at the end."""
    before = dict(os.environ)
    for name in [n for n in os.environ if n.startswith(("WANDB_", "SWEEPD_", "XDG_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NETRC", str(tmp_path / "home" / ".netrc"))
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    yield folder
    for name in os.environ.keys() - before.keys():
        del os.environ[name]
    os.environ.update(before)


@pytest.fixture
def data(tmp_path):
    """Where a data folder may be made."""
    return tmp_path / "data"


@pytest.fixture
def sweep(monkeypatch, capsys):
    """Run `sweep …` to its end in this process."""

    def run(*arguments: object, code: int | None = None) -> Done:
        monkeypatch.setattr(sys, "argv", ["sweep", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            main()
        printed = capsys.readouterr()
        assert isinstance(left.value.code, int)
        done = Done(left.value.code, printed.out, printed.err)
        assert "Traceback" not in done.err
        assert code is None or done.code == code, done
        return done

    return run


@cache
def read_schema(*, is_ours: bool) -> graphql.GraphQLSchema:
    parts = ["schema.graphql", *(["sweepd.graphql"] if is_ours else [])]
    return graphql.build_schema("\n".join((WIRE / part).read_text() for part in parts))


class FakeServer:
    """Answers GraphQL from a tree of plain values; refuses what the schema does not hold."""

    def __init__(self, *, is_ours: bool) -> None:
        self._schema = read_schema(is_ours=is_ours)
        features = [{"name": "SWEEPD_V1", "isEnabled": True}] if is_ours else []
        self.root: dict[str, Any] = {
            "serverInfo": {"features": features},
            "viewer": {"id": "VXNlcjox", "entity": "alice"},
        }
        self.status = 200  # of every answer; anything else comes as a page of HTML
        self.keys: list[str] = []  # those that were sent
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def register(self, data: Path, *, pid: int | None = None) -> None:
        """Make a data folder look as if this were the service that runs on it."""
        data.mkdir(exist_ok=True)
        place = {"url": self.url, "pid": pid or os.getpid()}
        (data / "server.json").write_text(json.dumps(place))
        (data / "credentials.json").write_text(json.dumps({"user": "alice", "api_key": KEY}))

    def answer(self, body: bytes) -> tuple[int, bytes]:
        if self.status != 200:
            return self.status, b"<html>no</html>"
        asked = json.loads(body)
        result = graphql.graphql_sync(
            self._schema, asked["query"], self.root, variable_values=asked["variables"]
        )
        if result.errors:
            words = [{"message": error.message} for error in result.errors]
            return 400, json.dumps({"errors": words}).encode()
        return 200, json.dumps({"data": result.data}).encode()

    def _handler(self):
        fake = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200)
                self.end_headers()

            def do_POST(self):
                kind, _, token = (self.headers["Authorization"] or " ").partition(" ")
                assert kind == "Basic"
                fake.keys.append(base64.b64decode(token).decode().removeprefix("api:"))
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status, answer = fake.answer(body)
                self.send_response(status)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_):
                pass

        return Handler


@pytest.fixture
def make_server():
    servers = []

    def make(**values):
        servers.append(FakeServer(**values))
        return servers[-1]

    yield make
    for server in servers:
        server.close()


def status(**values):
    """What our server says of a sweep that has run one of three trials."""
    return {
        "issued": 2,
        "running": 1,
        "finished": 1,
        "failed": 0,
        "queued": 0,
        "bundled": 0,
        "expected": 3,
        "agents": 1,
        "metric": "loss",
        "goal": "minimize",
        "bestValue": 0.25,
        "bestRunName": "r1",
        "metrics": [],
        "front": [],
        "stopReason": None,
        "notice": None,
        "createdAt": "2026-01-01T00:00:00Z",
        "endedAt": None,
        "secondsLeft": None,
        "url": "http://here/alice/toys/sweeps/s1",
        **values,
    }


@pytest.fixture
def ours(make_server):
    """Our server with the sweep alice/toys/s1 and the run alice/toys/r1."""
    server = make_server(is_ours=True)
    home = {"name": "toys", "entityName": "alice"}
    entry = {
        "id": "U3dlZXA6MQ==",
        "name": "s1",
        "displayName": "one",
        "state": "RUNNING",
        "method": "random",
        "createdAt": "2026-01-01T00:00:00Z",
        "project": home,
        "sweepdStatus": status(),
        "sweepdAgents": [],
    }
    run = {
        "id": "UnVuOjE=",
        "name": "r1",
        "displayName": "trial-1",
        "files": lambda info, names, first: {
            "edges": [{"node": {"name": name}} for name in names if name == "checkpoint.pt"]
        },
    }
    server.sweep, server.run, server.deleted, server.finished = entry, run, [], []

    def upsert(info, input):
        assert input["id"] == entry["id"]
        assert (input["entityName"], input["projectName"]) == ("alice", "toys")
        server.sweep["state"] = input["state"]
        return {"sweep": entry}

    def delete(info, input):
        server.deleted.append(input["id"])
        return {"success": True}

    def finish(info, input):
        server.finished.append(input["id"])
        return {"run": run}

    def project(info, name, entityName):
        if (name, entityName) != ("toys", "alice"):
            return None
        size = {"runs": 1200, "sweeps": 1, "artifacts": 0, "bytes": 2.5e6}
        one = {"id": "UHJvamVjdDox", "sweepdSize": size}
        return {**home, **one, "run": lambda info, name: run if name == "r1" else None}

    server.root |= {
        "sweepdSweep": lambda info, name: entry if name == "s1" else None,
        "sweepdSweeps": lambda info, entityName, projectName, first: {
            "edges": [{"node": entry}] if projectName in (None, "toys") else []
        },
        "sweepdDeleteSweep": delete,
        "sweepdFinishRun": finish,
        "sweepdCreateLoginLink": {"url": "http://here/login/once"},
        "deleteRun": delete,
        "deleteModel": delete,
        "upsertSweep": upsert,
        "project": project,
    }
    return server


@pytest.fixture
def plain(make_server, monkeypatch):
    """Another W&B server, named by the environment, with the sweep alice/toys/s1."""
    server = make_server(is_ours=False)
    home = {"name": "toys", "entityName": "alice"}
    entry = {
        "id": "U3dlZXA6MQ==",
        "name": "s1",
        "displayName": None,
        "state": "running",
        "method": "bayes",
        "createdAt": "2026-01-01T00:00:00Z",
        "runCount": 5,
        "runCountExpected": None,
        "bestLoss": 0.5,
        "project": home,
    }
    counts = {"running": 1, "finished": 2, "failed": 1, "crashed": 1, "killed": 0}

    def count(info, filters):
        sweep, state = json.loads(filters)["$and"]
        return counts[state["state"]] if sweep == {"sweep": "s1"} else 0

    def project(info, name, entityName):
        if (name, entityName) != ("toys", "alice"):
            return None
        return {
            **home,
            "runCount": count,
            "sweep": lambda info, sweepName: entry if sweepName == "s1" else None,
            "sweeps": {"edges": [{"node": entry}]},
            "run": lambda info, name: None,
        }

    def upsert(info, input):
        entry["state"] = input["state"]
        return {"sweep": entry}

    server.root |= {"project": project, "upsertSweep": upsert}
    server.sweep = entry
    monkeypatch.setenv("WANDB_BASE_URL", server.url)
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    return server
