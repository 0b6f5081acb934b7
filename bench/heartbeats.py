"""Measure heartbeats of a thousand agents while runs log.

    python bench/heartbeats.py              60 s at full size
    python bench/heartbeats.py --smoke      5 s with 100 agents and 20 runs

A thousand agents are registered with one sweep and hold a trial each, whose process has called
`wandb.init`. They heartbeat every 5 s, 200 a second in all, as W&B's agents do; 200 of the runs log
meanwhile, a POST of 20 rows every 15 s each. Requests are sent when they are due, whether or not
earlier ones have been answered, and a latency counts from then. The load comes from this process,
an asyncio client over plain sockets: at this rate it needs little of a core.

The bar: p99 under 50 ms, and no error. Exit code 1 where it is missed.
"""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import uvloop

from serving import Served, conditions, percentile, post, read_answer, service, verdict

BAR_MS = 50.0
BEAT_S, LOG_S, N_ROWS = 5.0, 15.0, 20
PROJECT = "bench"
HEARTBEAT = """
mutation Heartbeat($id: ID!, $metrics: JSONString, $runState: JSONString) {
  agentHeartbeat(input: {id: $id, metrics: $metrics, runState: $runState}) {
    agent { id }
    commands
  }
}"""
UPSERT_SWEEP = """
mutation UpsertSweep($config: String, $project: String) {
  upsertSweep(input: {config: $config, projectName: $project}) { sweep { name } }
}"""
CREATE_AGENT = """
mutation CreateAgent($host: String!, $project: String, $sweep: String!) {
  createAgent(input: {host: $host, projectName: $project, sweep: $sweep}) { agent { id } }
}"""
UPSERT_RUN = """
mutation UpsertBucket($name: String, $project: String, $sweep: String) {
  upsertBucket(input: {name: $name, modelName: $project, sweep: $sweep, host: "box"}) {
    bucket { id }
  }
}"""


@dataclass
class Found:
    """Latencies in ms, and what was not answered with 200."""

    beats: list[float] = field(default_factory=list)
    logs: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


class Lines:
    """Connections, each taken for one request; more are opened when all are out."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._address = parts.hostname, parts.port
        self._free: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def ask(self, request: bytes) -> tuple[int, bytes]:
        """Send a request and return the answer's status and body."""
        while self._free:
            line = self._free.pop()
            line[1].write(request)
            try:
                answer = await read_answer(line[0])
            except (asyncio.IncompleteReadError, ConnectionError) as error:
                if getattr(error, "partial", b""):
                    raise
                continue  # it lay idle too long and was closed; every client takes another then
            self._free.append(line)
            return answer
        line = await asyncio.open_connection(*self._address)
        line[1].write(request)
        answer = await read_answer(line[0])
        self._free.append(line)
        return answer


def prepare(served: Served, n_agents: int) -> tuple[str, list[tuple[str, str]]]:
    """Make a sweep, its agents and their runs; return the entity and (agent, run) of each."""
    definition = {
        "program": "train.py",
        "method": "random",
        "metric": {"name": "loss", "goal": "minimize"},
        "parameters": {"x": {"min": 0.0, "max": 1.0}},
    }
    client = served.client()
    entity = client.execute("query { viewer { entity } }", {})["viewer"]["entity"]
    made = client.execute(UPSERT_SWEEP, {"config": json.dumps(definition), "project": PROJECT})
    sweep = made["upsertSweep"]["sweep"]["name"]
    pairs = []
    for number in range(n_agents):
        named = {"host": f"box{number}", "project": PROJECT, "sweep": sweep}
        agent = client.execute(CREATE_AGENT, named)["createAgent"]["agent"]["id"]
        nothing = {"id": agent, "metrics": "{}", "runState": "{}"}
        (command,) = json.loads(client.execute(HEARTBEAT, nothing)["agentHeartbeat"]["commands"])
        run = command["run_id"]
        client.execute(UPSERT_RUN, {"name": run, "project": PROJECT, "sweep": sweep})
        pairs.append((agent, run))
    client.close()
    return entity, pairs


async def load(
    served: Served,
    entity: str,
    pairs: Sequence[tuple[str, str]],
    *,
    n_logging: int,
    seconds: float,
    beat_s: float = BEAT_S,
    log_s: float = LOG_S,
) -> Found:
    """Heartbeat for every agent and log for some of the runs; return what was measured."""
    lines, found = Lines(served.url), Found()
    start = time.perf_counter() + 0.5
    tasks = [
        beat(
            served,
            lines,
            found,
            pair,
            start=start + beat_s * n / len(pairs),
            seconds=seconds,
            every_s=beat_s,
        )
        for n, pair in enumerate(pairs)
    ]
    for n, (_, run) in enumerate(pairs[:n_logging]):
        path = f"/files/{entity}/{PROJECT}/{run}/file_stream"
        due = start + log_s * n / n_logging
        tasks.append(log(served, lines, found, path, start=due, end=start + seconds, every_s=log_s))
    await asyncio.gather(*tasks)
    return found


async def beat(
    served: Served,
    lines: Lines,
    found: Found,
    pair: tuple[str, str],
    *,
    start: float,
    seconds: float,
    every_s: float,
) -> None:
    """Heartbeat in turn; the first round, which is written at once, is not measured."""
    agent, run = pair
    variables = {"id": agent, "metrics": "{}", "runState": json.dumps({run: True})}
    body = {"query": HEARTBEAT, "variables": variables, "operationName": "Heartbeat"}
    request = post(served, "/graphql", json.dumps(body).encode())
    for number in range(1 + round(seconds / every_s)):
        due = start + number * every_s
        await asyncio.sleep(due - time.perf_counter())
        status, answer = await lines.ask(request)
        if number:
            found.beats.append(1e3 * (time.perf_counter() - due))
        if status != 200 or b'"commands":"[]"' not in answer:
            found.errors.append(f"{status}: {answer[:200].decode()}")


async def log(
    served: Served,
    lines: Lines,
    found: Found,
    path: str,
    *,
    start: float,
    end: float,
    every_s: float,
) -> None:
    """Send twenty rows at a time."""
    number = 0
    while (due := start + number * every_s) < end:
        await asyncio.sleep(due - time.perf_counter())
        first = number * N_ROWS
        rows = [
            json.dumps({"loss": 1 / (1 + step), "_step": step, "_runtime": step / 10})
            for step in range(first, first + N_ROWS)
        ]
        body = {"files": {"wandb-history.jsonl": {"offset": first, "content": rows}}}
        status, answer = await lines.ask(post(served, path, json.dumps(body).encode()))
        found.logs.append(1e3 * (time.perf_counter() - due))
        if status != 200:
            found.errors.append(f"{status}: {answer[:200].decode()}")
        number += 1


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--smoke", action="store_true", help="5 s, 100 agents, 20 runs")
    options = parser.parse_args()
    n_agents, n_logging = (100, 20) if options.smoke else (1_000, 200)
    seconds = 5.0 if options.smoke else options.seconds
    print(conditions(), flush=True)
    with service() as served:
        entity, pairs = prepare(served, n_agents)
        used_s = served.cpu_s()
        found = uvloop.run(load(served, entity, pairs, n_logging=n_logging, seconds=seconds))
        used_s = served.cpu_s() - used_s
    p50, p99 = percentile(found.beats, 50), percentile(found.beats, 99)
    print(
        f"{n_agents} agents, {n_agents / BEAT_S:.0f} heartbeats/s, {n_logging} runs that log, "
        f"{seconds:.0f} s, by asyncio over plain sockets: {len(found.beats)} heartbeats, "
        f"p50 {p50:.1f} ms, p99 {p99:.1f} ms, worst {max(found.beats):.1f} ms; "
        f"{len(found.logs)} POSTs, p50 {percentile(found.logs, 50):.1f} ms, "
        f"p99 {percentile(found.logs, 99):.1f} ms; "
        f"{100 * used_s / seconds:.0f} % of a core"
    )
    for error in found.errors[:5]:
        print(error)
    line, is_met = verdict("heartbeats, p99", p99, BAR_MS, unit="ms", at_most=True)
    print(f"{line}; {len(found.errors)} errors")
    return 0 if not found.errors and (is_met or options.smoke) else 1


if __name__ == "__main__":
    sys.exit(main())
