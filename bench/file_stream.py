"""Measure how fast runs can log, durably, beside MLflow's `log_batch`.

    python bench/file_stream.py              30 s of ours, then MLflow's; about two minutes
    python bench/file_stream.py --smoke      4 s of ours, without MLflow

Ours: 50 writers, each a run of its own on a connection of its own, send one file_stream request
after the other: 10 history rows of 7 metrics, with the client's `_step`, `_timestamp`, `_runtime`
beside them. The service answers once the rows are on the disk (SQLite, synchronous=FULL). Every row
is counted in the database afterwards.

MLflow: its server with its SQLite backend and two workers, in an environment of its own that this
script makes (`--mlflow PYTHON` takes one that is there); requests of `log_batch` with 500
metrics, the most allowed, from 1, 4 and 16 connections; its best is what counts.

The bars: 20,000 rows/s, and ten times MLflow's metrics/s, the bookkeeping keys not counted.
Exit code 1 where one is missed.
"""

import argparse
import json
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

from serving import Load, Served, closed_loop, conditions, post, service, verdict, wrk

N_WRITERS = 50
N_ROWS, N_KEYS = 10, 7
ROWS_BAR, RATIO_BAR = 20_000, 10
PROJECT = "bench"
BATCH = 500

#: One writer a thread. The texts of the rows are JSON inside JSON, as the client sends them.
SCRIPT = r"""
local count = 0
function setup(thread)
  thread:set("writer", count)
  count = count + 1
end
function init(args)
  path = string.format("/files/%s/%s/run%04d/file_stream", args[1], args[2], writer)
  headers = {["Content-Type"] = "application/json", ["Authorization"] = args[3]}
  n_rows, line = tonumber(args[4]), 0
  local keys = {"loss", "accuracy", "val_loss", "val_accuracy", "lr", "grad_norm"}
  for i, key in ipairs(keys) do keys[i] = string.format([[\"%s\":%%.9f]], key) end
  row = '"{' .. table.concat(keys, ",") .. [[,\"epoch\":%d,\"_step\":%d]] ..
    [[,\"_timestamp\":%.6f,\"_runtime\":%.6f}"]]
end
function request()
  local rows = {}
  for i = 1, n_rows do
    local step = line + i - 1
    local loss = 2.5 / (1 + step)
    rows[i] = string.format(row, loss, 1 - loss / 3, loss * 1.1, 1 - loss / 2.5, 0.001, 10 * loss,
      step / 100, step, 1.7e9 + step, step / 10)
  end
  local body = string.format('{"files":{"wandb-history.jsonl":{"offset":%d,"content":[%s]}}}',
    line, table.concat(rows, ","))
  line = line + n_rows
  return wrk.format("POST", path, headers, body)
end
"""


def writer(served: Served, entity: str, run: str) -> Callable[[int], bytes]:
    """Return what makes a writer's requests, as the script does."""

    def make(number: int) -> bytes:
        first = number * N_ROWS
        rows = []
        for step in range(first, first + N_ROWS):
            loss = 2.5 / (1 + step)
            rows.append(
                f'{{"loss":{loss:.9f},"accuracy":{1 - loss / 3:.9f},"val_loss":{loss * 1.1:.9f},'
                f'"val_accuracy":{1 - loss / 2.5:.9f},"lr":0.001000000,"grad_norm":{10 * loss:.9f},'
                f'"epoch":{step // 100},"_step":{step},"_timestamp":{1.7e9 + step:.6f},'
                f'"_runtime":{step / 10:.6f}}}'
            )
        files = {"wandb-history.jsonl": {"offset": first, "content": rows}}
        body = json.dumps({"files": files}).encode()
        return post(served, f"/files/{entity}/{PROJECT}/{run}/file_stream", body)

    return make


def measure_ours(seconds: float, *, python: bool) -> tuple[Load, int, float]:
    """Return the load, the rows in the database afterwards, the service's processor seconds."""
    with service() as served:
        entity, runs = served.make_runs(PROJECT, N_WRITERS)
        load, used_s = None, served.cpu_s()
        if not python:
            load = wrk(
                served.url,
                SCRIPT,
                connections=N_WRITERS,
                threads=N_WRITERS,
                seconds=seconds,
                args=[entity, PROJECT, served.authorization, str(N_ROWS)],
            )
        if load is None:
            makers = [writer(served, entity, run) for run in runs]
            load = closed_loop(served.url, makers, seconds=seconds)
        used_s = served.cpu_s() - used_s
        with sqlite3.connect(f"file:{served.data / 'sweepd.db'}?mode=ro", uri=True) as db:
            query = "SELECT count(*) FROM stream_line WHERE stream = 0"
            stored = int(db.execute(query).fetchone()[0])
    return load, stored, used_s


@contextmanager
def mlflow_server(python: Path, folder: Path) -> Iterator[str]:
    """Run MLflow's server with a SQLite database; give its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    command = [str(python.with_name("mlflow")), "server", "--host", "127.0.0.1"]
    command += ["--port", str(port), "--backend-store-uri", f"sqlite:///{folder}/mlflow.db"]
    command += ["--workers", "2", "--default-artifact-root", f"{folder}/artifacts"]
    with (folder / "mlflow.log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
    try:
        deadline = time.monotonic() + 300
        while not _answers(f"{url}/health"):
            if process.poll() is not None or time.monotonic() > deadline:
                sys.exit((folder / "mlflow.log").read_text())
            time.sleep(0.2)
        yield url
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(20)
        if process.poll() is None:
            process.kill()
            process.wait()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def measure_mlflow(python: Path | None, seconds: float) -> dict[str, object]:
    """Return MLflow's version and its metrics/s from 1, 4 and 16 connections."""
    with tempfile.TemporaryDirectory(prefix="mlflow-bench-") as name:
        folder = Path(name)
        python = python or _make_environment(folder)
        version = subprocess.run(
            [python, "-c", "import mlflow; print(mlflow.__version__)"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        rates = {}
        with mlflow_server(python, folder) as url:
            experiment = _call(url, "experiments/create", {"name": "bench"})["experiment_id"]
            for n in (1, 4, 16):
                runs = [_call(url, "runs/create", {"experiment_id": experiment}) for _ in range(n)]
                ids = [run["run"]["info"]["run_id"] for run in runs]
                load = closed_loop(url, [_batches(url, run) for run in ids], seconds=seconds)
                if load.errors:
                    sys.exit(f"MLflow refused {load.errors} of {load.requests} requests")
                rates[n] = load.per_s * BATCH
    return {"version": version, "metrics_per_s": rates}


def _make_environment(folder: Path) -> Path:
    uv = shutil.which("uv")
    if uv is None:
        sys.exit("uv is needed to install MLflow; or give --mlflow PYTHON, or --no-mlflow")
    place = folder / "venv"
    quiet = {**os.environ, "VIRTUAL_ENV": str(place)}
    subprocess.run([uv, "venv", "-q", "--python", sys.executable, str(place)], check=True)
    subprocess.run([uv, "pip", "install", "-q", "mlflow"], check=True, env=quiet)
    return place / "bin" / "python"


def _call(url: str, name: str, body: dict[str, object]) -> dict[str, object]:
    request = urllib.request.Request(
        f"{url}/api/2.0/mlflow/{name}",
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return dict(json.load(answer))


def _batches(url: str, run: str) -> Callable[[int], bytes]:
    """Return what makes a run's `log_batch` requests: 500 metrics, seven keys step by step."""
    keys = ("loss", "accuracy", "val_loss", "val_accuracy", "lr", "grad_norm", "epoch")
    host = urlsplit(url).netloc

    def make(number: int) -> bytes:
        metrics = []
        for i in range(number * BATCH, (number + 1) * BATCH):
            step, key = i // len(keys), keys[i % len(keys)]
            value = 2.5 / (1 + step)
            metrics.append({"key": key, "value": value, "timestamp": 1_700_000_000_000 + step})
            metrics[-1]["step"] = step
        body = json.dumps({"run_id": run, "metrics": metrics}).encode()
        head = (
            f"POST /api/2.0/mlflow/runs/log-batch HTTP/1.1\r\nHost: {host}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body

    return make


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=30, help="of ours (default: 30)")
    parser.add_argument("--smoke", action="store_true", help="4 s, without MLflow")
    parser.add_argument("--python", action="store_true", help="do not use wrk")
    parser.add_argument("--no-mlflow", action="store_true")
    parser.add_argument("--mlflow", type=Path, help="python of an environment with MLflow")
    options = parser.parse_args()
    print(conditions(), flush=True)
    load, stored, used_s = measure_ours(
        4 if options.smoke else options.seconds, python=options.python
    )
    rows_per_s = load.per_s * N_ROWS
    print(
        f"file_stream, {N_WRITERS} writers, {N_ROWS} rows of {N_KEYS} metrics a request, by "
        f"{load.generator}: {load.per_s:,.0f} requests/s, p50 {load.p50_ms:.1f} ms, "
        f"p99 {load.p99_ms:.1f} ms, worst {load.max_ms:.0f} ms, {load.errors} errors, "
        f"{stored:,} rows on the disk; {1e6 * used_s / max(1, load.requests):.0f} µs of the "
        "service's processor time a request"
    )
    is_good = load.errors == 0 and stored >= load.requests * N_ROWS
    line, is_met = verdict("ours", rows_per_s, ROWS_BAR, unit="rows/s", at_most=False)
    print(line, flush=True)
    if not (options.smoke or options.no_mlflow):
        peer = measure_mlflow(options.mlflow, min(10, options.seconds))
        rates = peer["metrics_per_s"]
        assert isinstance(rates, dict)
        best = max(rates.values())
        words = ", ".join(f"{rate:,.0f} from {n}" for n, rate in rates.items())
        print(f"MLflow {peer['version']}, log_batch of {BATCH}: {words} connections, metrics/s")
        ratio, bar = rows_per_s * N_KEYS / best, RATIO_BAR
        line, is_faster = verdict("ours over MLflow's best", ratio, bar, unit="x", at_most=False)
        print(line)
        is_met = is_met and is_faster
    return 0 if is_good and (is_met or options.smoke) else 1


if __name__ == "__main__":
    sys.exit(main())
