"""A pack of trials as an agent hands it to a program, made by hand."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from live import Service

__all__ = ["PackByHand", "events_in", "make_pack", "write_pack"]

_SWEEP = """mutation($config: String) { upsertSweep(input: {projectName: "p", config: $config})
  { sweep { name } } }"""
_AGENT = """mutation($sweep: String!) { createAgent(input: {host: "box", sweep: $sweep,
  projectName: "p"}) { agent { id } } }"""
_BEAT = """mutation($id: ID!) { agentHeartbeat(input: {id: $id, metrics: "{}", runState: "{}"})
  { commands } }"""


@dataclass(frozen=True)
class PackByHand:
    """A pack of a sweep's trials.

    Attributes:
        folder: what `SWEEPD_PACK` names.
        runs: of its trials, in their order.
        environments: what each would have beside the rest, alone.
        environment: of the process that trains them.
    """

    folder: Path
    runs: list[str]
    environments: list[dict[str, str]]
    environment: dict[str, str]


def write_pack(folder: Path, configs: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Write `pack.json` of trials r0, r1 and so on; return the environment of each."""
    folder.mkdir(parents=True)
    environments = []
    for number, config in enumerate(configs):
        environments.append(_environment(folder, f"r{number}", config))
    _write(folder, [f"r{number}" for number in range(len(configs))], environments)
    return environments


def make_pack(
    service: Service, folder: Path, definition: Mapping[str, Any], *, n: int
) -> PackByHand:
    """Create a sweep, take its first n trials, and write the folder of their pack."""
    folder.mkdir(parents=True)
    made = service.graphql(_SWEEP, config=json.dumps(dict(definition)))
    sweep = made["upsertSweep"]["sweep"]["name"]
    runs, environments = [], []
    for _ in range(n):
        agent = service.graphql(_AGENT, sweep=sweep)["createAgent"]["agent"]["id"]
        beat = service.graphql(_BEAT, id=agent)["agentHeartbeat"]["commands"]
        (command,) = json.loads(beat)
        run, lease = command["run_id"], command["sweepd"]
        values = {name: entry["value"] for name, entry in command["args"].items()}
        header = {"X-Sweepd-Lease": f"{run};{lease['attempt']};{lease['token']}"}
        own = _environment(folder, run, values)
        runs.append(run)
        environments.append(own | {"WANDB_X_EXTRA_HTTP_HEADERS": json.dumps(header)})
    _write(folder, runs, environments)
    common = {
        "WANDB_SWEEP_ID": sweep,
        "WANDB_PROJECT": "p",
        "WANDB_ENTITY": service.user,
        "WANDB_X_FILE_STREAM_TRANSMIT_INTERVAL": "1",
        "WANDB_DIR": str(folder.parent),
    }
    return PackByHand(
        folder,
        runs,
        environments,
        service.environment(SWEEPD_PACK=str(folder), **common, **environments[0]),
    )


def events_in(folder: Path) -> list[dict[str, Any]]:
    """Return what the program told the agent so far."""
    path = folder / "events.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def _environment(folder: Path, run: str, config: Mapping[str, Any]) -> dict[str, str]:
    path = folder / f"config-{run}.yaml"
    values = {name: {"value": value} for name, value in config.items()}
    path.write_text(yaml.safe_dump({"wandb_version": 1, **values}))
    return {"WANDB_RUN_ID": run, "WANDB_SWEEP_PARAM_PATH": str(path)}


def _write(folder: Path, runs: Sequence[str], environments: Sequence[Mapping[str, str]]) -> None:
    pairs = zip(runs, environments, strict=True)
    trials = [{"run": run, "environment": dict(environment)} for run, environment in pairs]
    (folder / "pack.json").write_text(json.dumps({"trials": trials}))
