"""Measure how soon a page shows what was logged.

    python bench/visible.py              40 POSTs and 12 values of a run under our agent, a minute
    python bench/visible.py --smoke      8 POSTs and 3 values

A signed-in page is played by this process: it listens to the page's server-sent events and fetches
the run's curve at each, as the page's script does. The clock stops when the answer holds the
value.

First rows come by POST, at random moments, to a run without a sweep. Then `sweep agent` runs a
trial with the unmodified client, whose program notes the time at which it calls `run.log`; our
agent sets the client's interval to 1 s. With W&B's agent the client's own 15 s stand.

The bars, for the worst value: 0.3 s after the POST, 1.5 s after `run.log`.
Exit code 1 where one is missed.
"""

import argparse
import http.client
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from serving import Served, conditions, percentile, service, verdict

POST_BAR_S, LOG_BAR_S = 0.3, 1.5
PROJECT = "visible"
DEFINITION = """\
program: trial.py
method: random
run_cap: 1
metric: {name: value, goal: maximize}
parameters:
  x: {min: 0.0, max: 1.0}
"""
TRIAL = """
import json, os, random, time
import wandb

run = wandb.init()
time.sleep(2)
for value in range(1, int(os.environ["BENCH_VALUES"]) + 1):
    time.sleep(1.5 + random.random())
    with open(os.environ["BENCH_STAMPS"], "a") as file:
        file.write(json.dumps([value, time.time()]) + "\\n")
    run.log({"value": value})
time.sleep(3)
run.finish()
"""


FIRST_RUN = """
query($s: String!) { sweepdSweep(name: $s) { runs(first: 1) { edges { node { name } } } } }"""


class Page:
    """A signed-in page of a run: tells when a value of the metric `value` was first seen."""

    def __init__(self, served: Served, entity: str, run: str, *, feed: str) -> None:
        self._served = served
        self._cookie = served.sign_in()
        self._curve = f"/-/data/run/{entity}/{PROJECT}/{run}/series?key=value"
        self._feed = feed
        self.seen_at: dict[int, float] = {}
        self.changed = threading.Condition()
        threading.Thread(target=self._listen, daemon=True).start()

    def wait(self, value: int, *, seconds: float = 30) -> float:
        """Return when a value was seen, as unix seconds; wait for it."""
        with self.changed:
            if not self.changed.wait_for(lambda: value in self.seen_at, seconds):
                sys.exit(f"value {value} was not seen within {seconds} s")
            return self.seen_at[value]

    def _connect(self) -> http.client.HTTPConnection:
        parts = urlsplit(self._served.url)
        return http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=60)

    def _listen(self) -> None:
        feed = self._connect()
        feed.request("GET", self._feed, headers={"Cookie": self._cookie})
        answer = feed.getresponse()
        if answer.status != 200:
            sys.exit(f"{self._feed}: {answer.status} {answer.read()!r}")
        for line in answer:
            if line.startswith(b"event: change"):
                data = self._connect()
                data.request("GET", self._curve, headers={"Cookie": self._cookie})
                curve = json.loads(data.getresponse().read()).get("value") or {"y": []}
                now = time.time()
                data.close()
                with self.changed:
                    for value in curve["y"]:
                        self.seen_at.setdefault(round(value), now)
                    self.changed.notify_all()


def measure_posts(served: Served, n_values: int) -> list[float]:
    """Return the seconds from each POST to its value on the page."""
    entity, (run, *_) = served.make_runs(PROJECT, 1)
    page = Page(served, entity, run, feed=f"/-/feed/runs/{entity}/{PROJECT}/{run}")
    parts, seconds = urlsplit(served.url), []
    line = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=60)
    headers = {"Authorization": served.authorization, "Content-Type": "application/json"}
    for value in range(1, n_values + 1):
        time.sleep(random.uniform(0.05, 1.2))
        row = json.dumps({"value": value, "_step": value - 1})
        chunk = {"offset": value - 1, "content": [row]}
        body = json.dumps({"files": {"wandb-history.jsonl": chunk}})
        began = time.time()
        line.request("POST", f"/files/{entity}/{PROJECT}/{run}/file_stream", body, headers)
        answer = line.getresponse()
        answer.read()
        if answer.status != 200:
            sys.exit(f"the POST was answered with {answer.status}")
        seconds.append(page.wait(value) - began)
    return seconds


def measure_logs(served: Served, n_values: int) -> list[float]:
    """Return the seconds from each `run.log` under our agent to its value on the page."""
    with tempfile.TemporaryDirectory(prefix="sweepd-bench-") as name:
        folder = Path(name)
        (folder / "trial.py").write_text(TRIAL)
        (folder / "sweep.yaml").write_text(DEFINITION)
        environment = _environment(served, folder, n_values)
        command = [sys.executable, "-m", "sweepd.cli"]
        made = subprocess.run(
            [*command, "create", "sweep.yaml", "--project", PROJECT, "--json"],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        sweep = json.loads(made.stdout)["sweep"]
        with _agent([*command, "agent", sweep, "--gpus", "none"], folder, environment):
            run = _first_run(served, sweep.rsplit("/", 1)[-1])
            entity = sweep.split("/")[0]
            page = Page(served, entity, run, feed=f"/-/feed/runs/{entity}/{PROJECT}/{run}")
            seen = {value: page.wait(value, seconds=90) for value in range(1, n_values + 1)}
        stamps = (folder / "stamps").read_text().splitlines()
        return [seen[value] - at for value, at in map(json.loads, stamps)]


def _environment(served: Served, folder: Path, n_values: int) -> Mapping[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("WANDB_")}
    return {
        **kept,
        "HOME": str(folder),
        "WANDB_BASE_URL": served.url,
        "WANDB_API_KEY": served.key,
        "WANDB_SILENT": "true",
        "BENCH_VALUES": str(n_values),
        "BENCH_STAMPS": str(folder / "stamps"),
    }


@contextmanager
def _agent(command: list[str], folder: Path, environment: Mapping[str, str]) -> Iterator[None]:
    with (folder / "agent.log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
    try:
        yield
    finally:
        process.terminate()
        process.wait(60)


def _first_run(served: Served, sweep: str) -> str:
    client, deadline = served.client(), time.monotonic() + 90
    while time.monotonic() < deadline:
        edges = client.execute(FIRST_RUN, {"s": sweep})["sweepdSweep"]["runs"]["edges"]
        if edges:
            return str(edges[0]["node"]["name"])
        time.sleep(0.1)
    sys.exit("the agent started no trial within 90 s")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--smoke", action="store_true", help="8 POSTs and 3 values")
    options = parser.parse_args()
    n_posts, n_logs = (8, 3) if options.smoke else (40, 12)
    print(conditions(), flush=True)
    with service() as served:
        results = (
            ("POST to page", measure_posts(served, n_posts), POST_BAR_S),
            ("run.log to page under our agent", measure_logs(served, n_logs), LOG_BAR_S),
        )
    all_met = True
    for name, seconds, bar in results:
        line, is_met = verdict(f"{name}, worst", max(seconds), bar, unit="s", at_most=True)
        all_met = all_met and is_met
        print(f"{line}; {len(seconds)} values, median {percentile(seconds, 50):.3f} s")
    return 0 if all_met or options.smoke else 1


if __name__ == "__main__":
    sys.exit(main())
