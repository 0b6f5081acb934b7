"""What the benchmarks of the service share: the service itself, a load generator, the words.

The service is `sweep serve` as it is, in a process and a data folder of its own, on loopback. The
load comes from another process: `wrk` (Debian and Ubuntu: `apt-get install wrk`), which leaves the
service the most of two cores, or else a lean asyncio client. Each result says which it was.
"""

import asyncio
import base64
import http.client
import importlib.metadata
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import uvloop

from sweepd_agent.client import Client
from sweepd_agent.devices import count_cores

__all__ = [
    "Load",
    "Served",
    "closed_loop",
    "conditions",
    "percentile",
    "post",
    "service",
    "verdict",
    "wrk",
]

UPSERT_RUN = """
mutation UpsertBucket($name: String, $project: String) {
  upsertBucket(input: {name: $name, modelName: $project}) { bucket { id } inserted }
}"""

#: Prints what wrk measured as one line of JSON; appended to every script.
_DONE = """
function done(summary, latency, requests)
  local e = summary.errors
  local sockets = e.connect + e.read + e.write + e.timeout
  io.write(string.format(
    '\\nRESULT {"requests": %d, "seconds": %f, "failed": %d, "sockets": %d, ' ..
    '"p50_ms": %f, "p99_ms": %f, "max_ms": %f}\\n',
    summary.requests, summary.duration / 1e6, e.status, sockets,
    latency:percentile(50) / 1e3, latency:percentile(99) / 1e3, latency.max / 1e3))
end
"""


@dataclass(frozen=True)
class Served:
    """A running service: its address, a key, and the folder of its data."""

    url: str
    key: str
    data: Path
    pid: int

    @property
    def authorization(self) -> str:
        """Return the header's value that the client sends."""
        return "Basic " + base64.b64encode(f"api:{self.key}".encode()).decode()

    def cpu_s(self) -> float:
        """Return the processor time that the service's process has used, in seconds."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def settle(self) -> None:
        """Wait until the service has imported in the background what it will need some day."""
        deadline, used_s = time.monotonic() + 60, -1.0
        while self.cpu_s() - used_s > 0.02 and time.monotonic() < deadline:
            used_s = self.cpu_s()
            time.sleep(0.5)

    def client(self) -> Client:
        """Return a GraphQL client of this service."""
        return Client(self.url, self.key)

    def sign_in(self) -> str:
        """Sign a browser in; return the cookie that it sends from then on."""
        parts = urlsplit(self.url)
        line = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=60)
        headers = {
            "Content-Type": "application/x-www-form-urlencoded",
            "Sec-Fetch-Site": "same-origin",
        }
        line.request("POST", "/login", urlencode({"key": self.key}), headers)
        answer = line.getresponse()
        cookie = answer.headers.get("set-cookie", "")
        answer.read()
        line.close()
        if not cookie:
            sys.exit(f"signing in failed: {answer.status}")
        return cookie.partition(";")[0]

    def environment(self, home: Path) -> dict[str, str]:
        """Return the environment of a client's process that is signed in, at home in a folder."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith("WANDB_")}
        signed_in = {"WANDB_BASE_URL": self.url, "WANDB_API_KEY": self.key}
        return {**kept, **signed_in, "HOME": str(home)}

    def make_runs(self, project: str, n: int) -> tuple[str, list[str]]:
        """Make so many runs in a project; return the entity's name and theirs."""
        client, names = self.client(), [f"run{i:04}" for i in range(n)]
        entity = client.execute("query { viewer { entity } }", {})["viewer"]["entity"]
        for name in names:
            client.execute(UPSERT_RUN, {"name": name, "project": project})
        client.close()
        return entity, names


@dataclass(frozen=True)
class Load:
    """What a generator measured of closed loops: one request after the other on each connection."""

    generator: str
    requests: int
    seconds: float
    errors: int
    p50_ms: float
    p99_ms: float
    max_ms: float

    @property
    def per_s(self) -> float:
        """Return requests answered in a second."""
        return self.requests / self.seconds


@contextmanager
def service(*, environment: dict[str, str] | None = None) -> Iterator[Served]:
    """Run `sweep serve` in a folder of its own until the block ends."""
    with tempfile.TemporaryDirectory(prefix="sweepd-bench-") as name:
        folder = Path(name)
        data = folder / "data"
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("WANDB_", "SWEEPD_"))}
        with (folder / "service.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "sweepd.cli", "serve", "--port", "0", "--data", str(data)],
                env=kept | (environment or {}),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        try:
            deadline = time.monotonic() + 60
            while not (data / "server.json").exists():
                if process.poll() is not None or time.monotonic() > deadline:
                    sys.exit((folder / "service.log").read_text())
                time.sleep(0.02)
            url = json.loads((data / "server.json").read_text())["url"]
            key = json.loads((data / "credentials.json").read_text())["api_key"]
            served = Served(url, key, data, process.pid)
            served.settle()
            yield served
        finally:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(20)
            if process.poll() is None:
                process.kill()
                process.wait()


def conditions() -> str:
    """Return the machine, its load and the versions, in one line."""
    versions = {name: importlib.metadata.version(name) for name in ("sqlalchemy", "uvicorn")}
    words = ", ".join(f"{name} {version}" for name, version in versions.items())
    load = os.getloadavg()[0]
    return (
        f"{count_cores()} cores, {platform.machine()}, load {load:.1f} at the start; "
        f"Python {platform.python_version()}, {words}"
    )


def wrk(
    url: str, script: str, *, connections: int, threads: int, seconds: float, args: Sequence[str]
) -> Load | None:
    """Run wrk with a Lua script; None if it is not installed.

    Args:
        url: what it connects to.
        script: Lua with `init` and `request`; `done` is added.
        connections: in all; each sends one request after the other.
        threads: with as many as there are connections, each has a Lua state of its own.
        seconds: how long.
        args: what `init` is given.
    """
    program = shutil.which("wrk")
    if program is None:
        return None
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as file:
        file.write(script + _DONE)
        file.flush()
        command = [program, f"-t{threads}", f"-c{connections}", f"-d{max(1, round(seconds))}s"]
        command += ["--timeout", "30s", "-s", file.name, url, "--", *args]
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 60)
    line = next((row for row in done.stdout.splitlines() if row.startswith("RESULT ")), None)
    if line is None:
        sys.exit(f"wrk failed:\n{done.stdout}\n{done.stderr}")
    found = json.loads(line.removeprefix("RESULT "))
    return Load(
        "wrk",
        found["requests"],
        found["seconds"],
        found["failed"] + found["sockets"],
        found["p50_ms"],
        found["p99_ms"],
        found["max_ms"],
    )


def closed_loop(url: str, makers: Sequence[Callable[[int], bytes]], *, seconds: float) -> Load:
    """Send requests from this process over plain sockets, one connection for each maker.

    Args:
        url: of the service.
        makers: each gives its connection's request number i, whole, as bytes.
        seconds: how long.
    """
    latencies, errors = uvloop.run(_closed_loops(url, makers, seconds))
    return Load(
        "asyncio over plain sockets, in Python",
        len(latencies),
        seconds,
        errors,
        percentile(latencies, 50),
        percentile(latencies, 99),
        max(latencies, default=0.0),
    )


async def _closed_loops(
    url: str, makers: Sequence[Callable[[int], bytes]], seconds: float
) -> tuple[list[float], int]:
    parts = urlsplit(url)
    latencies: list[float] = []
    errors = 0
    end = time.perf_counter() + seconds

    async def loop(make: Callable[[int], bytes]) -> None:
        nonlocal errors
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        number = 0
        while (began := time.perf_counter()) < end:
            writer.write(make(number))
            status, _ = await read_answer(reader)
            latencies.append(1e3 * (time.perf_counter() - began))
            errors += status != 200
            number += 1
        writer.close()

    await asyncio.gather(*map(loop, makers))
    return latencies, errors


async def read_answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Read one HTTP answer with a content-length; return its status and body."""
    head = await reader.readuntil(b"\r\n\r\n")
    status = int(head[9:12])
    _, _, rest = head.lower().partition(b"content-length:")
    return status, await reader.readexactly(int(rest.partition(b"\r\n")[0])) if rest else b""


def post(served: Served, path: str, body: bytes) -> bytes:
    """Return a whole HTTP request with a JSON body."""
    host = urlsplit(served.url).netloc
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: {served.authorization}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def percentile(values: Sequence[float], percent: float) -> float:
    """Return a percentile of values, 0 of none."""
    if len(values) < 2:
        return values[0] if values else 0.0
    if percent == 50:
        return statistics.median(values)
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def verdict(name: str, value: float, bar: float, *, unit: str, at_most: bool) -> tuple[str, bool]:
    """Return a line that compares a result with its bar, and whether it is met."""
    is_met = value <= bar if at_most else value >= bar
    sign = "≤" if at_most else "≥"
    words = "met" if is_met else "MISSED"
    return f"{name}: {_short(value)} {unit} (bar {sign} {_short(bar)} {unit}: {words})", is_met


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def printed(result: dict[str, Any], lines: Sequence[str], *, as_json: bool) -> None:
    """Print a result as JSON or as lines."""
    print(json.dumps(result, indent=2) if as_json else "\n".join(lines), flush=True)
