"""Measure how long 64 agents wait for their next trial while the search fits its model.

    python bench/asks.py              50 rounds within a second each, 20 in one instant
    python bench/asks.py --smoke      6 and 3
    python bench/asks.py --trials N   the engine alone, beside N trials: a hand-out, a search job

A sweep of `bayes` over eight parameters, with a thousand trials behind it in the full run, has 64
agents. In each round every one of them ends its trial, which asks for new fits, and then asks for
the next: spread evenly over one second, or all in the same instant. Requests are sent when they are
due, whether or not earlier ones have been answered, and a latency counts from then. The load comes
from this process, an asyncio client over plain sockets.

The bars: p99 of the heartbeat under 50 ms within a second, under 250 ms in one instant; never two
configurations alike; a hand-out beside any number of trials under 10 ms. Exit code 1
where one is missed.
"""

import argparse
import asyncio
import json
import sqlite3
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import uvloop

import long_sweep
from heartbeats import CREATE_AGENT, HEARTBEAT, UPSERT_RUN, UPSERT_SWEEP, Lines
from serving import Served, conditions, percentile, post, service, verdict

SPREAD_MS, INSTANT_MS = 50.0, 250.0
N_AGENTS = 64
PROJECT = "asks"
DEFINITION = {
    "program": "train.py",
    "method": "bayes",
    "metric": {"name": "loss", "goal": "minimize"},
    "parameters": {f"x{i}": {"min": 0.0, "max": 1.0} for i in range(8)},
    "sweepd": {"seed": 1},
}


@dataclass
class Found:
    """Latencies in ms by kind of round, every config, and what was not answered as it should."""

    waits: dict[str, list[float]] = field(default_factory=lambda: {"spread": [], "instant": []})
    configs: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


@dataclass
class Agent:
    """An agent, and the trial that it has."""

    id: str
    run: str = ""
    config: Mapping[str, Any] = field(default_factory=dict)


class Crowd:
    """The agents, and how they talk to the service."""

    def __init__(self, served: Served, entity: str, agents: Sequence[Agent]) -> None:
        self._served, self._entity, self._agents = served, entity, agents
        self._lines = Lines(served.url)
        self.found = Found()

    async def round(self, kind: str, *, within_s: float, is_measured: bool = True) -> None:
        """Let every agent end its trial, if it has one, and ask for the next."""
        await asyncio.gather(*(self._finish(agent) for agent in self._agents if agent.run))
        start = time.perf_counter() + 0.02
        await asyncio.gather(
            *(
                self._ask(
                    agent,
                    kind,
                    due=start + within_s * n / len(self._agents),
                    is_measured=is_measured,
                )
                for n, agent in enumerate(self._agents)
            )
        )

    async def _ask(self, agent: Agent, kind: str, *, due: float, is_measured: bool) -> None:
        variables = {"id": agent.id, "metrics": "{}", "runState": "{}"}
        request = self._graphql(HEARTBEAT, variables, "Heartbeat")
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        due = max(due, time.perf_counter() - 1e-3) if not is_measured else due
        status, answer = await self._lines.ask(request)
        if is_measured:
            self.found.waits[kind].append(1e3 * (time.perf_counter() - due))
        commands = self._commands(status, answer)
        if len(commands) != 1 or commands[0].get("type") != "run":
            self.found.errors.append(f"{status}: {answer[:200].decode()}")
            return
        agent.run, agent.config = commands[0]["run_id"], commands[0]["args"]
        self.found.configs.append(json.dumps(agent.config, sort_keys=True))

    async def _finish(self, agent: Agent) -> None:
        variables = {"name": agent.run, "project": PROJECT, "sweep": None}
        await self._lines.ask(self._graphql(UPSERT_RUN, variables, "UpsertBucket"))
        loss = sum((item["value"] - 0.3) ** 2 for item in agent.config.values())
        row = {"offset": 0, "content": [json.dumps({"loss": loss, "_step": 0})]}
        body = {"files": {"wandb-history.jsonl": row}, "complete": True, "exitcode": 0}
        path = f"/files/{self._entity}/{PROJECT}/{agent.run}/file_stream"
        status, answer = await self._lines.ask(post(self._served, path, json.dumps(body).encode()))
        if status != 200:
            self.found.errors.append(f"{status}: {answer[:200].decode()}")

    def _graphql(self, query: str, variables: Mapping[str, Any], name: str) -> bytes:
        body = {"query": query, "variables": variables, "operationName": name}
        return post(self._served, "/graphql", json.dumps(body).encode())

    @staticmethod
    def _commands(status: int, answer: bytes) -> list[dict[str, Any]]:
        if status != 200:
            return []
        told = json.loads(answer)["data"]["agentHeartbeat"]["commands"]
        found: list[dict[str, Any]] = json.loads(told)
        return found


def prepare(served: Served) -> tuple[str, str, list[Agent]]:
    """Make the sweep and its agents; return the entity, the sweep and the agents."""
    client = served.client()
    entity = client.execute("query { viewer { entity } }", {})["viewer"]["entity"]
    made = client.execute(UPSERT_SWEEP, {"config": json.dumps(DEFINITION), "project": PROJECT})
    sweep = made["upsertSweep"]["sweep"]["name"]
    agents = []
    for number in range(N_AGENTS):
        named = {"host": f"box{number}", "project": PROJECT, "sweep": sweep}
        agents.append(Agent(client.execute(CREATE_AGENT, named)["createAgent"]["agent"]["id"]))
    client.close()
    return entity, sweep, agents


async def load(crowd: Crowd, *, n_before: int, n_spread: int, n_instant: int) -> None:
    """Send the rounds; those before the first measured one fill the sweep with trials."""
    for _ in range(n_before):
        await crowd.round("instant", within_s=0.0, is_measured=False)
    for _ in range(n_spread):
        await crowd.round("spread", within_s=1.0)
    for _ in range(n_instant):
        await asyncio.sleep(1.0)
        await crowd.round("instant", within_s=0.0)


def origins(served: Served) -> Counter[str]:
    """Return how many trials came from where."""
    with closing(sqlite3.connect(served.data / "sweepd.db")) as conn:
        return Counter(dict(conn.execute("SELECT origin, count(*) FROM trial GROUP BY origin")))


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--smoke", action="store_true", help="6 rounds and 3, no trials before")
    parser.add_argument("--trials", type=int, help="measure the engine alone beside so many trials")
    options = parser.parse_args()
    if options.trials is not None:
        print(conditions(), flush=True)
        return 0 if long_sweep.measure(DEFINITION, options.trials) else 1
    n_spread = 6 if options.smoke else options.rounds
    n_before, n_instant = (1, 3) if options.smoke else (16, 20)
    print(conditions(), flush=True)
    with service() as served:
        entity, _, agents = prepare(served)
        crowd = Crowd(served, entity, agents)
        uvloop.run(load(crowd, n_before=n_before, n_spread=n_spread, n_instant=n_instant))
        came = origins(served)
    found = crowd.found
    n_alike = len(found.configs) - len(set(found.configs))
    lines = []
    is_good = not n_alike and not found.errors
    for kind, bar in (("spread", SPREAD_MS), ("instant", INSTANT_MS)):
        waits = found.waits[kind]
        words = "within one second" if kind == "spread" else "in one instant"
        line, is_met = verdict(
            f"{N_AGENTS} agents ask {words}, p99",
            percentile(waits, 99),
            bar,
            unit="ms",
            at_most=True,
        )
        is_good = is_good and is_met
        lines.append(
            f"{line}; {len(waits)} asks, p50 {percentile(waits, 50):.1f} ms, "
            f"worst {max(waits):.1f} ms"
        )
    print("\n".join(lines))
    share = came["search"] / max(1, sum(came.values()))
    print(
        f"{len(found.configs)} configurations, {n_alike} alike; {100 * share:.0f} % suggested by "
        f"the search, {came['filler']} space-filling points while it was busy"
    )
    for error in found.errors[:5]:
        print(error)
    return 0 if is_good or (options.smoke and not n_alike and not found.errors) else 1


if __name__ == "__main__":
    sys.exit(main())
