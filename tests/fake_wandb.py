"""A W&B server as small as an agent needs it: no runs, no rows, only trials to hand out."""

import json
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = "k" * 40


def wait_for(condition, timeout_s=20.0):
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if result := condition():
            return result
        threading.Event().wait(0.01)
    raise AssertionError("not in time")


@dataclass
class FakeServer:
    """Hands out `n_trials` trials of one sweep, one to an idle agent, and then `exit`."""

    config: dict[str, Any] = field(default_factory=dict)
    n_trials: int = 1
    is_ours: bool = True
    status: int | None = None  # answered to every request, if set
    outages: dict[str, int] = field(
        default_factory=dict
    )  # operation -> answers it with 503 so often
    hold: bool = False  # hand out nothing for now
    args: dict[str, Any] = field(default_factory=lambda: {"lr": 0.1})
    own_args: dict[str, dict[str, Any]] = field(default_factory=dict)  # by run, on top of `args`
    stop: set[str] = field(default_factory=set)
    is_deleted: bool = False
    state: str = "RUNNING"
    requests: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    issued: list[str] = field(default_factory=list)
    outcomes: list[dict[str, Any]] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    quarantined: list[dict[str, Any]] = field(default_factory=list)
    returned: list[str] = field(default_factory=list)  # trials that were fetched ahead in vain
    agents: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self):
        self.lock = threading.Lock()
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with fake.lock:
                    status, answer = fake.answer(body["query"], body["variables"])
                data = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *args):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()

    def close(self):
        self.http.shutdown()
        self.http.server_close()

    def answer(self, query: str, variables: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        name = query.split("(")[0].split("{")[0].split()[-1]
        self.requests.append((name, variables))
        if self.status is not None:
            return self.status, {"errors": [{"message": f"made to answer {self.status}"}]}
        if self.outages.get(name, 0) > 0:
            self.outages[name] -= 1
            return 503, {"errors": [{"message": "made to be away"}]}
        if name == "CreateAgent" and self.state != "RUNNING":
            return 422, {"errors": [{"message": "sweep sw1 has ended"}]}
        data = getattr(self, f"on_{name}")(variables)
        if data is None:
            return 404, {"errors": [{"message": "it was deleted"}]}
        return 200, {"data": data}

    def on_ServerFeaturesQuery(self, variables):
        features = [{"name": "SWEEPD_V1", "isEnabled": True}] if self.is_ours else []
        return {"serverInfo": {"features": features}}

    def on_Viewer(self, variables):
        return {"viewer": {"id": "1", "entity": "alice"}}

    def on_GetSweep(self, variables):
        sweep = {"id": "S", "name": "sw1", "state": self.state, "config": json.dumps(self.config)}
        return {"project": {"sweep": sweep if variables["name"] == "sw1" else None}}

    def on_SweepdFindSweep(self, variables):
        home = {"name": "toy", "entity": {"name": "alice"}}
        sweep = {"name": "sw1", "config": json.dumps(self.config), "project": home}
        return {"sweepdSweep": sweep if variables["name"] == "sw1" else None}

    def on_CreateAgent(self, variables):
        self.agents.append(variables)
        return {"createAgent": {"agent": {"id": f"agent-{len(self.agents)}"}}}

    def on_Heartbeat(self, variables):
        if self.is_deleted:
            return None
        running = json.loads(variables["runState"])
        commands = [{"type": "stop", "run_id": run} for run in running if run in self.stop]
        self.returned += variables.get("returned") or []
        is_left = len(self.issued) < self.n_trials
        is_ahead = variables.get("ahead") and is_left and not commands
        if is_ahead or not (running or self.hold):
            commands = [self.next_command()]
        return {"agentHeartbeat": {"agent": {"id": "x"}, "commands": json.dumps(commands)}}

    def next_command(self):
        if len(self.issued) >= self.n_trials:
            return {"type": "exit"}
        run = f"run{len(self.issued) + 1}"
        self.issued.append(run)
        command = {
            "type": "run",
            "run_id": run,
            "program": self.config.get("program"),
            "args": {
                key: {"value": value}
                for key, value in {**self.args, **self.own_args.get(run, {})}.items()
            },
        }
        if self.is_ours:
            command["sweepd"] = {"attempt": 1, "token": f"token-{run}"}
        return command

    def on_SweepdReportOutcome(self, variables):
        self.outcomes.append(variables["input"])
        return {"sweepdReportOutcome": {"success": True}}

    def on_SweepdQuarantineSlot(self, variables):
        self.quarantined.append(variables["input"])
        return {"sweepdQuarantineSlot": {"agent": {"id": variables["input"]["id"]}}}

    def on_SweepdLeaveAgent(self, variables):
        self.left.append(variables["id"])
        return {"sweepdLeaveAgent": {"success": True}}
