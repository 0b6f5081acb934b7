"""Measure reading rows back: one run of a million rows, and a service that keeps ten million.

    python bench/history.py                1,000,000 rows, and 10,000 runs x 1,000 rows; minutes
    python bench/history.py --smoke        50,000 rows, and 100 runs x 1,000 rows
    python bench/history.py --json         the same as one JSON object

The service runs in a process of its own on a folder of its own under a temporary directory; it is
first started on all the data, twice, and the second start counts: the first writes Python's
bytecode. A row has seven numbers, `_step`, `_timestamp` and `_runtime` among them. Raw pages are
the client's own document HistoryPage over one connection, 10,000 steps a page, each row parsed.
The client is the unmodified `wandb`, `scan_history(page_size=10_000)` in a process of its
own: live while the run goes on; then after its end, the wait for the file told by itself. The run's
page asks for all seven curves at 600 points. Deleting the run is timed while another client sends
the heartbeats of another run, and what those wait is told.

The bars: 50,000 rows/s over raw HTTP or Parquet and 20,000 through the client, under 200 MB in the
service meanwhile; idle with everything stored under 250 MB; ready within 1.5 s. Exit code 1 where
one is not met.
"""

import argparse
import base64
import http.client
import json
import os
import platform
import random
import re
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from sweepd.engine import accounts, runs
from sweepd.engine.key_stats import KeyStats
from sweepd.store import Store

KEY = "historybench" + "k" * 40
PAGE = 10_000
HISTORY_PAGE = """query HistoryPage($min: Int64!, $max: Int64!, $size: Int!) {
  project(name: "rows", entityName: "bench") { run(name: "big") {
    history(minStep: $min, maxStep: $max, samples: $size) } } }"""
FILES = """{ project(name: "rows", entityName: "bench") { run(name: "big") {
  id parquetHistory(liveKeys: ["_step"]) { parquetUrls } } } }"""
DELETE = "mutation($id: ID!) { deleteRun(input: {id: $id}) { clientMutationId } }"
SCAN = """
import sys, time
import wandb
run = wandb.Api(timeout=60).run("bench/rows/big")
began, n = time.perf_counter(), 0
for row in run.scan_history(page_size=10_000, use_cache=False):
    n += 1
    if n == 1:
        first = time.perf_counter()
print(n, time.perf_counter() - began, first - began)
"""


@dataclass(frozen=True)
class Service:
    """A running service: its address, its process, and how long it took to answer."""

    url: str
    process: "subprocess.Popen[bytes]"
    ready_s: float

    def memory(self, name: str = "VmRSS") -> float:
        """Return its resident memory in MB; its peak with VmHWM."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(rf"{name}:\s+(\d+) kB", status)
        assert found is not None, "Linux tells it"
        return int(found[1]) / 1000

    def forget_peak(self) -> None:
        """Let the peak begin anew."""
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")


@contextmanager
def service(data: Path) -> Iterator[Service]:
    """Run the service on a folder; it is ready once it has written its address."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("WANDB_", "SWEEPD_"))}
    (data / "server.json").unlink(missing_ok=True)
    began = time.perf_counter()
    with data.with_suffix(".log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "sweepd.cli", "serve", "--port=0", f"--data={data}", "--quiet"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**kept, "HOME": str(data.parent), "PYTHONDONTWRITEBYTECODE": ""},
        )
    try:
        while not (data / "server.json").exists():
            if process.poll() is not None or time.perf_counter() > began + 120:
                sys.exit(data.with_suffix(".log").read_text())
            time.sleep(0.005)
        ready_s = time.perf_counter() - began
        yield Service(str(json.loads((data / "server.json").read_text())["url"]), process, ready_s)
    finally:
        process.terminate()
        process.wait(30)


def rows(n: int) -> Iterator[tuple[int, str, dict[str, Any]]]:
    """Yield step, text and values of so many rows."""
    rng = random.Random(1)
    for step in range(n):
        values = {
            "_step": step,
            "_timestamp": 1.7e9 + step / 10,
            "_runtime": step / 10,
            "loss": rng.random(),
            "acc": rng.random(),
            "lr": rng.random() / 1000,
            "epoch": step // 1000,
        }
        yield step, json.dumps(values), values


def fill(data: Path, *, n_rows: int, n_runs: int) -> None:
    """Make a data folder: a run `big` that goes on, and many of a thousand rows that have ended."""
    store = Store.open(data)
    first = store.write_sync(accounts.ensure_first_user, name="bench", key=KEY)
    assert first is not None, "the folder is new"
    change = runs.RunChange(name="big", project="rows", host="bench")
    big, _ = store.write_sync(runs.upsert_run, actor=first[0], change=change)
    change = runs.RunChange(name="beating", project="rows", host="bench")
    store.write_sync(runs.upsert_run, actor=first[0], change=change)
    store.close()
    statement = "INSERT INTO stream_line VALUES (?, 0, ?, 1, ?, ?)"
    with sqlite3.connect(data / "sweepd.db") as database:
        stats = KeyStats()
        for step, text, values in rows(n_rows):
            stats.add(values, step=step)
            database.execute(statement, (big.id, step, step, text))
        database.execute(
            "UPDATE run SET history_lines = ?, last_step = ?, history_keys = ?, summary = ? "
            "WHERE id = ?",
            (n_rows, n_rows - 1, stats.to_json(), text, big.id),
        )
        columns = [row[1] for row in database.execute("PRAGMA table_info(run)")]
        columns = [name for name in columns if name not in ("id", "name", "state")]
        listed = ", ".join(columns)
        database.execute(
            f"INSERT INTO run (name, state, {listed}) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL "
            f"SELECT i + 1 FROM n WHERE i < ?) SELECT 'run' || i, 'finished', {listed} "
            "FROM n, run WHERE run.id = ?",
            (n_runs, big.id),
        )
        database.execute(
            "UPDATE run SET history_lines = 1000, last_step = 999 WHERE state = 'finished'"
        )
        database.execute(
            "INSERT INTO stream_line SELECT run.id, 0, line, 1, step, body FROM run, stream_line "
            "WHERE run.state = 'finished' AND stream_line.run_id = ? AND line < 1000",
            (big.id,),
        )
    database.close()


class Client:
    """Sends requests over one connection."""

    def __init__(self, url: str) -> None:
        self._http = http.client.HTTPConnection(urllib.parse.urlsplit(url).netloc, timeout=300)
        token = base64.b64encode(f"api:{KEY}".encode()).decode()
        self._headers = {"Authorization": f"Basic {token}", "Content-Type": "application/json"}

    def ask(self, method: str, url: str, body: object = None) -> bytes:
        """Return the body of an answer."""
        text = json.dumps(body) if body is not None else None
        self._http.request(method, url, text, self._headers)
        answer = self._http.getresponse()
        data = answer.read()
        if answer.status != 200:
            sys.exit(f"{answer.status}: {data[:500].decode()}")
        return data

    def execute(self, query: str, **variables: Any) -> Any:
        """Return the data of a GraphQL answer."""
        return json.loads(self.ask("POST", "/graphql", {"query": query, "variables": variables}))[
            "data"
        ]


def read_raw(url: str, n_rows: int) -> float:
    """Read all rows in pages, each parsed; return rows a second."""
    client, n = Client(url), 0
    began = time.perf_counter()
    for low in range(0, n_rows, PAGE):
        found = client.execute(HISTORY_PAGE, min=low, max=low + PAGE, size=PAGE)
        n += sum(1 for row in found["project"]["run"]["history"] if json.loads(row))
    if n != n_rows:
        sys.exit(f"{n} of {n_rows} rows came")
    return n / (time.perf_counter() - began)


def scan(url: str, folder: Path, n_rows: int) -> tuple[float, float]:
    """Read all rows with the client; return rows a second, the wait for the first left out."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("WANDB_", "SWEEPD_"))}
    named = {"WANDB_BASE_URL": url, "WANDB_API_KEY": KEY, "WANDB_SILENT": "true"}
    folders = {"HOME": str(folder), "WANDB_CACHE_DIR": str(folder / "cache")}
    done = subprocess.run(
        [sys.executable, "-c", SCAN],
        env={**kept, **named, **folders},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    n, took, first = map(float, done.stdout.split()[-3:])
    if n != n_rows:
        sys.exit(f"{n:.0f} of {n_rows} rows came")
    return n / (took - first), first


def page_times(url: str) -> list[float]:
    """Ask three times for what a run's page draws; return the seconds."""
    times = []
    browser = httpx.Client(base_url=url, timeout=300)
    browser.post("/login", data={"key": KEY}, headers={"Sec-Fetch-Site": "same-origin"})
    keys = "&".join(f"key={key}" for key in ("loss", "acc", "lr", "epoch", "_runtime"))
    for _ in range(3):
        began = time.perf_counter()
        for place in ("", f"/series?{keys}&points=600"):
            browser.get(f"/-/data/run/bench/rows/big{place}").raise_for_status()
        times.append(time.perf_counter() - began)
    return times


def beats_while(url: str, action: Any) -> list[float]:
    """Send heartbeats until `action` is over, and two seconds more; return the waits in seconds."""
    client, waits, is_over = Client(url), [], threading.Event()

    def beat() -> None:
        end = float("inf")
        while time.perf_counter() < end:
            began = time.perf_counter()
            client.ask("POST", "/files/bench/rows/beating/file_stream", {})
            waits.append(time.perf_counter() - began)
            if is_over.is_set() and end == float("inf"):
                end = time.perf_counter() + 2
            time.sleep(0.005)

    thread = threading.Thread(target=beat)
    thread.start()
    action()
    is_over.set()
    thread.join()
    return waits


def measure(folder: Path, *, n_rows: int, n_runs: int) -> dict[str, Any]:
    """Make the data and measure everything once, in the order of the module's docstring."""
    data = folder / "data"
    fill(data, n_rows=n_rows, n_runs=n_runs)
    with service(data):
        pass
    with service(data) as live:
        time.sleep(3)
        found: dict[str, Any] = {"ready_s": live.ready_s, "idle_mb": live.memory()}
        found["stored_gb"] = (data / "sweepd.db").stat().st_size / 1e9
        live.forget_peak()
        found["raw_rows_s"] = read_raw(live.url, n_rows)
        found["client_live_rows_s"], _ = scan(live.url, folder, n_rows)
        client = Client(live.url)
        end = {"complete": True, "exitcode": 0}
        client.ask("POST", "/files/bench/rows/big/file_stream", end)
        began = time.perf_counter()
        while not (
            urls := client.execute(FILES)["project"]["run"]["parquetHistory"]["parquetUrls"]
        ):
            pass
        found["file_made_s"] = time.perf_counter() - began
        began = time.perf_counter()
        path = urllib.parse.urlsplit(urls[0])
        found["file_mb"] = len(client.ask("GET", f"{path.path}?{path.query}")) / 1e6
        found["file_rows_s"] = n_rows / (time.perf_counter() - began)
        found["client_file_rows_s"], _ = scan(live.url, folder, n_rows)
        found["peak_mb"] = live.memory("VmHWM")
        found["page_s"] = page_times(live.url)
        run_id = Client(live.url).execute(FILES)["project"]["run"]["id"]
        waits = beats_while(live.url, lambda: Client(live.url).execute(DELETE, id=run_id))
        found["beats_while_deleting"] = {
            "n": len(waits),
            "median_ms": statistics.median(waits) * 1e3,
            "max_ms": max(waits) * 1e3,
        }
    shutil.rmtree(data)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smoke", action="store_true", help="fewer rows and runs")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    n_rows, n_runs = (50_000, 100) if options.smoke else (1_000_000, 10_000)
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as name:
        found = measure(Path(name), n_rows=n_rows, n_runs=n_runs)
    machine = f"{os.cpu_count()} cores, {platform.machine()}, load {load:.1f} at the start"
    result = {"machine": machine, "python": platform.python_version(), "rows": n_rows}
    result |= {"runs": n_runs, **found, "is_met": verdicts(found)}
    print(json.dumps(result) if options.json else table(result))
    return 0 if all(result["is_met"].values()) or options.smoke else 1


def verdicts(found: Mapping[str, Any]) -> dict[str, bool]:
    """Return which bars are met."""
    client = max(found["client_live_rows_s"], found["client_file_rows_s"])
    return {
        "50,000 rows/s over raw HTTP or Parquet": max(found["raw_rows_s"], found["file_rows_s"])
        >= 50_000,
        "20,000 rows/s through the client": client >= 20_000,
        "under 200 MB meanwhile": found["peak_mb"] < 200,
        "under 250 MB idle": found["idle_mb"] < 250,
        "ready within 1.5 s": found["ready_s"] < 1.5,
    }


def table(result: Mapping[str, Any]) -> str:
    """Return the result for people."""
    beats = result["beats_while_deleting"]
    lines = [
        f"{result['rows']:,} rows of one run, {result['runs']:,} runs of 1,000 rows beside it, "
        f"{result['stored_gb']:.1f} GB",
        f"{result['machine']}; Python {result['python']}",
        f"ready {result['ready_s']:.2f} s after the start; {result['idle_mb']:.0f} MB idle, "
        f"{result['peak_mb']:.0f} MB at most while rows are read",
        f"raw HTTP, live pages: {result['raw_rows_s']:,.0f} rows/s; the file, "
        f"{result['file_mb']:.0f} MB: {result['file_rows_s']:,.0f} rows/s, once made in "
        f"{result['file_made_s']:.1f} s",
        f"the client, page_size=10_000: live {result['client_live_rows_s']:,.0f} rows/s, from the "
        f"file {result['client_file_rows_s']:,.0f} rows/s",
        "the run's page, its data and five curves: "
        + ", ".join(f"{seconds:.2f}" for seconds in result["page_s"])
        + " s, one after the other",
        f"{beats['n']} heartbeats while the run is deleted: median {beats['median_ms']:.1f} ms, "
        f"longest {beats['max_ms']:.0f} ms",
    ]
    lines += [f"{bar}: {'met' if is_met else 'MISSED'}" for bar, is_met in result["is_met"].items()]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
