"""Measure the public API's query over many runs, through HTTP, as the client sends it.

    python bench/runs_query.py                10,000 runs, and 100,000 for the pages; three minutes
    python bench/runs_query.py --smoke        1,000 and 2,000
    python bench/runs_query.py --json         the same as one JSON object

The service runs in a process of its own on a folder of its own under a temporary directory. Each
run has 50 config keys, 24 summary metrics and the columns that a client fills. A request is the
client's own document `Runs` with the whole fragment: a filter on a parameter and a metric, ordered
by another metric, the first fifty runs and the count of all that pass. The first request of a kind
sets the values apart that it asks for, and is told by itself. Paging walks through all runs a
thousand at a time, sorted by a metric, and tells the slowest of its pages.
The bar: a median under 100 ms with 10,000 runs. Exit code 1 where it is not met.
"""

import argparse
import base64
import http.client
import json
import os
import platform
import random
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.parse
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import insert

from sweepd.engine import accounts, projects
from sweepd.engine.access import Need
from sweepd.store import Store, Tx
from sweepd.store import tables as t

BAR_MS = 100.0
KEY = "runsquery-" + "k" * 40
DOCUMENT = """
query Runs($project: String!, $entity: String!, $cursor: String, $perPage: Int = 50,
           $order: String, $filters: JSONString) {
  project(name: $project, entityName: $entity) {
    internalId
    runCount(filters: $filters)
    readOnly
    runs(filters: $filters, after: $cursor, first: $perPage, order: $order) {
      edges { node { projectId ...RunFragment } cursor }
      pageInfo { endCursor hasNextPage }
    }
  }
}
fragment RunFragment on Run {
  id tags name displayName sweepName state config group jobType commit readOnly createdAt
  heartbeatAt description notes systemMetrics summaryMetrics historyLineCount
  user { name username } historyKeys
}"""
LIGHT = DOCUMENT.replace(" config group", " group").replace(" systemMetrics summaryMetrics", "")
LIGHT = LIGHT.replace(" historyKeys\n", "\n")
FILTER = {
    "$and": [{"config.parameter_00.value": "adam"}, {"summary_metrics.metric_03": {"$gt": 0.5}}]
}
ORDER = "-summary_metrics.loss"


def run_row(number: int, project_id: int, user_id: int, rng: random.Random) -> dict[str, Any]:
    """Return a run as it stands in the store."""
    config: dict[str, Any] = {
        f"parameter_{key:02}": {
            "value": rng.choice(("adam", "sgd", "lion")) if key % 5 == 0 else round(rng.random(), 6)
        }
        for key in range(50)
    }
    config["_wandb"] = {"value": {"cli_version": "0.31.0", "t": {"3": [1, 2, 3]}, "m": []}}
    summary = {f"metric_{key:02}": rng.random() for key in range(20)}
    summary |= {"loss": rng.random(), "_step": 999, "_runtime": 12.5, "_timestamp": 1.7e9}
    entry = {"typeCounts": [{"type": "number", "count": 1000}], "monotonic": False}
    keys = {"keys": dict.fromkeys(summary, entry), "lastStep": 999, "sets": []}
    began = 1.7e9 + number
    return {
        "project_id": project_id,
        "user_id": user_id,
        "name": f"run{number:06}",
        "display_name": f"swift-heron-{number}",
        "state": rng.choice(("finished", "failed", "crashed")),
        "run_group": f"group-{number % 20}",
        "tags": '["a","b"]' if number % 3 else "[]",
        "config": json.dumps(config, separators=(",", ":")),
        "summary": json.dumps(summary, separators=(",", ":")),
        "system_metrics": json.dumps({f"system.gpu.{n}.memory": rng.random() for n in range(16)}),
        "history_keys": json.dumps(keys, separators=(",", ":")),
        "history_lines": 1000,
        "last_step": 999,
        "created_at": began,
        "started_at": began,
        "heartbeat_at": began + 50,
        "ended_at": began + 50,
    }


def fill(folder: Path, n_runs: int) -> None:
    """Make a data folder with one project of so many runs."""
    store = Store.open(folder)
    first = store.write_sync(accounts.ensure_first_user, name="bench", key=KEY)
    assert first is not None, "the folder is new"
    address = {"actor": first[0], "entity": None, "name": "many"}
    project = store.write_sync(projects.ensure_project, need=Need.WRITE, **address)
    rng = random.Random(1)
    for start in range(0, n_runs, 2_000):
        rows = [
            run_row(number, project.id, first[0].id, rng)
            for number in range(start, min(n_runs, start + 2_000))
        ]

        def store_rows(tx: Tx, rows: list[dict[str, Any]] = rows) -> None:
            tx.conn.execute(insert(t.run), rows)

        store.write_sync(store_rows)
    store.close()


@contextmanager
def service(data: Path) -> Iterator[str]:
    """Run the service on a folder; give its address."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("WANDB_", "SWEEPD_"))}
    with data.with_suffix(".log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "sweepd.cli", "serve", "--port", "0", "--data", str(data)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**kept, "HOME": str(data.parent)},
        )
    try:
        deadline = time.monotonic() + 60
        while not (data / "server.json").exists():
            if process.poll() is not None or time.monotonic() > deadline:
                sys.exit(data.with_suffix(".log").read_text())
            time.sleep(0.05)
        yield str(json.loads((data / "server.json").read_text())["url"])
    finally:
        process.terminate()
        process.wait(20)


class Client:
    """Sends the client's document over one connection and takes the time."""

    def __init__(self, url: str) -> None:
        self._http = http.client.HTTPConnection(urllib.parse.urlsplit(url).netloc, timeout=120)
        token = base64.b64encode(f"api:{KEY}".encode()).decode()
        self._headers = {"Authorization": f"Basic {token}", "Content-Type": "application/json"}

    def ask(self, document: str = DOCUMENT, **variables: Any) -> tuple[float, dict[str, Any]]:
        """Return the seconds that an answer took, and the project in it."""
        variables = {"project": "many", "entity": "bench", "perPage": 50, **variables}
        body = json.dumps({"query": document, "variables": variables, "operationName": ""})
        began = time.perf_counter()
        self._http.request("POST", "/graphql", body, self._headers)
        answer = self._http.getresponse()
        data = answer.read()
        took = time.perf_counter() - began
        if answer.status != 200:
            sys.exit(f"{answer.status}: {data[:500].decode()}")
        return took, json.loads(data)["data"]["project"]


def milliseconds(times: list[float]) -> dict[str, float]:
    """Return the median and the 99th percentile of some seconds, in milliseconds."""
    ordered = sorted(times)
    p99 = ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)]
    return {"median_ms": statistics.median(times) * 1e3, "p99_ms": p99 * 1e3}


def queries(url: str, n_requests: int) -> dict[str, Mapping[str, float]]:
    """Time requests of several kinds; the kinds take turns, so that all meet the same machine."""
    client = Client(url)
    filters = json.dumps(FILTER)
    kinds: dict[str, dict[str, Any]] = {
        "filter and order by metrics": {"filters": filters, "order": ORDER},
        "the same, without config": {"filters": filters, "order": ORDER, "document": LIGHT},
        "order by a metric": {"filters": "{}", "order": ORDER},
        "newest first": {"filters": "{}", "order": "-created_at"},
        "filter by state": {"filters": '{"state": "failed"}', "order": "+created_at"},
    }
    first = {kind: client.ask(**variables)[0] for kind, variables in kinds.items()}
    times: dict[str, list[float]] = {kind: [] for kind in kinds}
    for _ in range(n_requests):
        for kind, variables in kinds.items():
            times[kind].append(client.ask(**variables)[0])
    return {kind: {"first_ms": first[kind] * 1e3, **milliseconds(times[kind])} for kind in kinds}


def paging(url: str) -> dict[str, float]:
    """Walk through all runs by a metric, a thousand at a time; every run must come once."""
    client = Client(url)
    client.ask(LIGHT, order=ORDER, filters="{}", perPage=1)  # sets the metric apart
    times, seen, cursor = [], set(), None
    while True:
        took, project = client.ask(LIGHT, order=ORDER, filters="{}", perPage=1000, cursor=cursor)
        times.append(took)
        edges = project["runs"]["edges"]
        seen.update(edge["node"]["name"] for edge in edges)
        if not project["runs"]["pageInfo"]["hasNextPage"]:
            break
        cursor = edges[-1]["cursor"]
    if len(seen) != project["runCount"]:
        sys.exit(f"{len(seen)} of {project['runCount']} runs came")
    return {"pages": len(times), "worst_ms": max(times) * 1e3, **milliseconds(times)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smoke", action="store_true", help="fewer runs and requests")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    few, many, n_requests = (1_000, 2_000, 20) if options.smoke else (10_000, 100_000, 100)
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as name:
        fill(Path(name) / "few", few)
        with service(Path(name) / "few") as url:
            asked = queries(url, n_requests)
        fill(Path(name) / "many", many)
        with service(Path(name) / "many") as url:
            paged = paging(url)
    result = {
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, load {load:.1f} at the start",
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "runs": few,
        "requests": n_requests,
        "queries": asked,
        "paged_runs": many,
        "paging": paged,
        "bar_ms": BAR_MS,
    }
    print(json.dumps(result) if options.json else table(result))
    is_met = asked["filter and order by metrics"]["median_ms"] < BAR_MS
    return 0 if is_met or options.smoke else 1


def table(result: Mapping[str, Any]) -> str:
    """Return the result for people."""
    lines = [
        f"the first fifty of {result['runs']:,} runs of 50 config keys, with the count, over HTTP",
        f"{result['machine']}; Python {result['python']}; SQLite {result['sqlite']}; "
        f"{result['requests']} requests of each kind, taking turns",
        f"{'':32}{'first':>12}{'median':>12}{'p99':>12}",
    ]
    for kind, facts in result["queries"].items():
        times = "".join(f"{facts[key]:>9.1f} ms" for key in ("first_ms", "median_ms", "p99_ms"))
        lines.append(f"{kind:32}{times}")
    median = result["queries"]["filter and order by metrics"]["median_ms"]
    verdict = "met" if median < result["bar_ms"] else "MISSED"
    lines.append(f"the bar: a median under {result['bar_ms']:.0f} ms ({verdict})")
    paged = result["paging"]
    lines.append(
        f"{result['paged_runs']:,} runs by a metric in {paged['pages']} pages of a thousand: "
        f"median {paged['median_ms']:.0f} ms a page, p99 {paged['p99_ms']:.0f} ms, "
        f"the slowest {paged['worst_ms']:.0f} ms"
    )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
