"""A data folder that looks like a day's work, made through the engine's own use cases."""

import itertools
import json
import math
import random
import struct
import time
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sweepd.engine import (
    accounts,
    agents,
    computing,
    files,
    outcomes,
    runs,
    streams,
    suggest,
    sweeps,
)
from sweepd.engine.access import Need
from sweepd.engine.views import Account, AgentView, Command
from sweepd.store import Store, Tx
from sweepd.store import tables as t

PROJECT = "mnist"

DEFINITION = """\
# Bayesian search over a small convolutional network on MNIST.
name: mnist-convnet
program: trainer/train.py
method: bayes
metric:
  name: val_accuracy
  goal: maximize
parameters:
  learning_rate:
    distribution: log_uniform_values
    min: 1.0e-4
    max: 1.0e-1
  batch_size:
    values: [32, 64, 128, 256]
  optimizer:
    values: [adam, adamw, sgd]
  dropout:
    min: 0.0
    max: 0.5
  epochs:
    value: 12
  kernels:
    values: [[8, 16], [16, 32], [32, 64]]
  weight_decay:
    distribution: log_uniform_values
    min: 1.0e-6
    max: 1.0e-2
early_terminate:
  type: hyperband
  min_iter: 4
run_cap: 60
sweepd:
  seed: 7
"""

HOSTILE = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"

HOSTILE_DEFINITION = json.dumps(
    {
        "method": "random",
        "name": HOSTILE,
        "program": "train.py",
        "metric": {"name": f"loss {HOSTILE}", "goal": "minimize"},
        "parameters": {
            "mode": {"values": [HOSTILE, "</script><script>alert(1)</script>", None]},
            "x": {"min": 0.0, "max": 1.0},
        },
    }
)


class Clock:
    """Unix seconds that move only when told to, and by themselves once released."""

    def __init__(self, now: float) -> None:
        self.now = now
        self._released_at: float | None = None

    def release(self) -> None:
        self._released_at = time.monotonic()

    def __call__(self) -> float:
        if self._released_at is None:
            return self.now
        return self.now + time.monotonic() - self._released_at


@dataclass
class Seeded:
    """What a test needs to find its way in the folder."""

    store: Store
    clock: Clock
    account: Account
    key: str
    sweep: str = ""
    hostile: str = ""
    hostile_run: str = ""
    stoppable: str = ""
    best: str = ""
    failed: str = ""
    running: str = ""
    runs: list[str] = field(default_factory=list)
    finished: list[str] = field(default_factory=list)  # best first

    @property
    def project_url(self) -> str:
        return f"/{self.account.entity}/{PROJECT}"

    @property
    def sweep_url(self) -> str:
        return f"{self.project_url}/sweeps/{self.sweep}"


@dataclass(frozen=True)
class _Mishap:
    """A failure in the first trial that reaches `epoch` once so many trials have ended."""

    after: int
    epoch: int
    reason: str
    message: str


class Lab:
    """Agents that run made-up trials against an open store, on its clock."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        account: Account,
        *,
        is_searching: bool = False,
        project: str = PROJECT,
    ) -> None:
        self.store, self.clock, self.account = store, clock, account
        self.is_searching = is_searching
        self.project = project
        self.mishaps = [
            _Mishap(5, 2, "oom", "CUDA out of memory: tried to allocate 2.4 GiB"),
            _Mishap(9, 1, "error", "ValueError: too many values to unpack"),
        ]
        self.rng = random.Random(7)

    def create(self, definition: str) -> str:
        view, _ = self.store.write_sync(
            sweeps.create_sweep,
            actor=self.account,
            entity=self.account.entity,
            project=self.project,
            definition=definition,
        )
        return view.name

    def edit(self, sweep: str, definition: str) -> None:
        """Give a sweep another definition, as somebody else does."""
        view = self.store.read_sync(
            sweeps.find_sweep, actor=self.account, need=Need.READ, name=sweep
        )
        self.store.write_sync(
            sweeps.update_sweep, actor=self.account, sweep_id=view.id, definition=definition
        )

    def explain(self, run: str, seeded: "Seeded") -> None:
        """Leave with a trial what a model would have said of it."""
        found = self.run(run).trial
        near = self.store.read_sync(
            sweeps.trials_of, actor=self.account, need=Need.READ, sweep_id=found.sweep_id
        )
        first = min((one for one in near if one.ended_at), key=lambda one: one.ended_at or 0.0)
        objective = found.objective
        nearest = [
            {"number": first.number, "distance": 0.25, "is_feasible": True},
            {"number": None, "distance": 0.5, "is_feasible": False},
        ]
        why = {
            "origin": "model",
            "mean": objective + 0.01,
            "low": objective - 0.05,
            "high": objective + 0.07,
            "log_ei": -1.5,
            "p_feasible": 0.9,
            "nearest": nearest,
        }

        def write(tx: Tx) -> None:
            row = t.trial.c.id == found.id
            tx.conn.execute(
                t.trial.update()
                .where(row)
                .values(why=json.dumps(why), origin="search", basis_event=t.trial.c.created_event)
            )

        self.store.write_sync(write)

    def agent(self, sweep: str, host: str) -> AgentView:
        return self.store.write_sync(
            agents.register, actor=self.account, project=self.project, sweep=sweep, host=host
        )

    def ask(self, agent: AgentView, running: set[str]) -> Command | None:
        """Return the trial that an agent's heartbeat brings, None if none."""
        job = self.store.write_sync(suggest.next_job) if self.is_searching else None
        if job is not None:
            self.store.write_sync(suggest.store, job=job, answer=computing.compute(job))
        commands = self.store.write_sync(
            agents.heartbeat, actor=self.account, agent_id=agent.id, running=running
        )
        return next((one for one in commands if one.type == "run"), None)

    def start(self, command: Command, host: str, **more: Any) -> None:
        """Do what `wandb.init` does."""
        wrapped = {key: {"value": value} for key, value in command.config.items()}
        change = runs.RunChange(
            entity=self.account.entity,
            project=self.project,
            name=command.run,
            host=host,
            program="trainer/train.py",
            commit="0f3c9a1d52",
            config=json.dumps({**wrapped, "_wandb": {"value": {"t": {"1": [1]}}}}),
            **more,
        )
        self.store.write_sync(runs.upsert_run, actor=self.account, change=change)

    def stream(self, run: str, body: dict[str, Any]) -> bool:
        """Send a file_stream request; return whether the run should stop."""
        reply = self.store.write_sync(
            streams.append,
            actor=self.account,
            entity=self.account.entity,
            project=self.project,
            run=run,
            body=streams.parse_body(json.dumps(body)),
        )
        return reply.stopped

    def log(self, run: str, line: int, row: dict[str, Any]) -> bool:
        """Log one history row and the summary that follows from it."""
        kept = {key: value for key, value in row.items() if not isinstance(value, dict)}
        return self.stream(
            run,
            {
                "files": {
                    "wandb-history.jsonl": {"offset": line, "content": [json.dumps(row)]},
                    "wandb-summary.json": {"offset": 0, "content": [json.dumps(kept)]},
                }
            },
        )

    def save(self, run: str, name: str, data: bytes, kind: str) -> None:
        """Upload a file."""
        view = self.run(run)
        with self.store.blobs.writer() as writer:
            writer.write(data)
            written = writer.commit()
        kept = self.store.write_sync(
            files.register, run_id=view.id, name=name, mimetype=kind, written=written
        )
        self.store.blobs.settle(written, kept.blob)

    def run(self, name: str) -> Any:
        return self.store.read_sync(
            runs.get_run,
            actor=self.account,
            need=Need.READ,
            entity=self.account.entity,
            project=self.project,
            name=name,
        )


def row_of(config: dict[str, Any], epoch: int, began: float, rng: random.Random) -> dict[str, Any]:
    """Return what a training with this config would log after an epoch, `_timestamp` aside."""
    lr, batch = math.log10(config["learning_rate"]), config["batch_size"]
    ideal = {"adam": -3.2, "adamw": -3.0, "sgd": -1.5}[config["optimizer"]]
    width = config["kernels"][0]
    miss = 0.006 * (lr - ideal) ** 2 + 0.003 * abs(math.log2(batch / 128))
    miss += 0.02 * abs(config["dropout"] - 0.36) + 0.009 * (width == 8) + 0.004 * (width == 16)
    miss += 0.004 * (config["optimizer"] == "sgd") + 0.002 * (config["optimizer"] == "adam")
    miss += 0.0012 * (math.log10(config["weight_decay"]) + 4.8) ** 2 / 2
    pace = 0.55 + 0.25 * (lr > ideal - 0.5)
    rest = 0.35 * math.exp(-pace * epoch)
    value = max(0.1, min(0.9965, 0.9940 - miss - rest + rng.gauss(0, 0.0004)))
    train = 0.02 + 3 * miss + 2.1 * math.exp(-pace * epoch) + abs(rng.gauss(0, 0.004))
    return {
        "val_accuracy": value,
        "val/loss": 0.035 + 2.5 * miss + 1.6 * math.exp(-pace * epoch) + abs(rng.gauss(0, 0.003)),
        "train/loss": train,
        "train/accuracy": min(1.0, value + 0.004),
        "learning_rate": config["learning_rate"] * 0.5 * (1 + math.cos(math.pi * epoch / 12)),
        "samples_per_s": 5300 * rng.uniform(0.94, 1.03) * (1 if width < 32 else 0.6),
        "epoch": epoch,
        "_step": epoch * 12000,
        "_runtime": epoch * began,
    }


def events_body(start: float, seconds: float, rng: random.Random) -> dict[str, Any]:
    """Return system metrics each 15 s."""
    rows = []
    for i in range(max(2, int(seconds / 15))):
        rows.append(
            json.dumps(
                {
                    "_wandb": True,
                    "_timestamp": start + 15 * i,
                    "_runtime": 15.0 * i,
                    "system.cpu": 38 + 14 * math.sin(i / 2) + rng.uniform(-4, 4),
                    "system.memory_percent": 41 + 0.2 * i,
                    "system.proc.memory.rssMB": 1320 + 9 * i,
                    "system.disk./.usagePercent": 62.1,
                    "system.network.sent": 1e5 * i,
                    "system.gpu.0.gpu": 82 + rng.uniform(-9, 9),
                    "system.gpu.0.memoryAllocated": 47.0 + rng.uniform(-0.5, 0.5),
                    "system.gpu.0.temp": 61 + 6 * (1 - math.exp(-i / 3)),
                    "system.gpu.0.powerWatts": 212 + rng.uniform(-14, 14),
                }
            )
        )
    return {"files": {"wandb-events.jsonl": {"offset": 0, "content": rows}}}


def console(config: dict[str, Any], n_epochs: int) -> list[str]:
    """Return console lines with colours, as the trainer prints them."""
    lines = [
        "\x1b[1mtrainer/train.py\x1b[0m on cuda:0 (NVIDIA H200), torch 2.15",
        f"config: {json.dumps(config)}",
        "data: mnist, 10000 train, 2000 validation, 10000 test",
    ]
    for epoch in range(1, n_epochs + 1):
        lines.append(
            f"epoch {epoch:2d}/12  loss \x1b[36m{0.5 / epoch:.4f}\x1b[0m  "
            f"val_accuracy \x1b[32m{0.98 + 0.0009 * epoch:.4f}\x1b[0m  "
            f"\x1b[90m5.3k samples/s\x1b[0m"
        )
        if epoch == 4:
            lines.append(
                "\x1b[33mUserWarning: the learning rate is near the edge of its range\x1b[0m"
            )
    return [
        f"2026-11-23T09:{i // 60:02d}:{i % 60:02d}.123456 {text}" for i, text in enumerate(lines)
    ]


def histogram_of(epoch: int, rng: random.Random, *, width: float) -> dict[str, Any]:
    """Return a bell that narrows over the epochs, as `wandb.watch` logs one."""
    spread = width * (0.25 + math.exp(-epoch / 4))
    bins = [-width + 2 * width * i / 64 for i in range(65)]
    middles = [(a + b) / 2 for a, b in itertools.pairwise(bins)]
    values = [
        int(4000 * math.exp(-((x / spread) ** 2) / 2) * rng.uniform(0.9, 1.1)) for x in middles
    ]
    return {"_type": "histogram", "bins": bins, "values": values}


def png(size: int, *, seed: int) -> bytes:
    """Return a small grey picture."""
    rng = random.Random(seed)
    cx, cy, r = size / 2 + rng.uniform(-3, 3), size / 2, size * rng.uniform(0.2, 0.3)
    rows = b""
    for y in range(size):
        rows += b"\0" + bytes(
            int(255 * max(0.0, 1 - abs(math.hypot(x - cx, y - cy) - r) / 2.5)) for x in range(size)
        )

    def chunk(kind: bytes, data: bytes) -> bytes:
        check = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)

    head = struct.pack(">IIBBBBB", size, size, 8, 0, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def seed(folder: Path, *, now: float, n_done: int, is_searching: bool, n_hosts: int = 4) -> Seeded:
    """Fill a new data folder: a sweep in full swing, and a hostile one.

    A real Bayesian search takes a minute; else the points are random, which takes seconds.
    """
    clock = Clock(now - 2 * 3600)
    store = Store.open(folder, clock=clock)
    made = store.write_sync(accounts.ensure_first_user, name="ada")
    assert made is not None
    account, key = made
    seeded = Seeded(store, clock, account, key)
    lab = Lab(store, clock, account, is_searching=is_searching)
    seeded.hostile = lab.create(HOSTILE_DEFINITION)
    seeded.hostile_run = _hostile_run(lab, seeded.hostile)
    clock.now = now - 1630
    definition = DEFINITION
    if not is_searching:
        definition = definition.replace("method: bayes", "method: random")
    seeded.sweep = lab.create(definition)
    _work(lab, seeded, n_done=n_done, n_hosts=n_hosts)
    clock.now += 4
    clock.release()
    return seeded


def _hostile_run(lab: Lab, sweep: str) -> str:
    agent = lab.agent(sweep, HOSTILE)
    command = lab.ask(agent, set())
    assert command is not None
    assert command.run is not None
    lab.start(command, HOSTILE, display_name=HOSTILE, notes=HOSTILE, tags=(HOSTILE,))
    row = {f"loss {HOSTILE}": 0.5, HOSTILE: 1.0, "note": HOSTILE, "_step": 0, "_runtime": 1.0}
    lab.log(command.run, 0, row)
    text = f"2026-11-23T09:00:00.000000 {HOSTILE} \x1b]8;;javascript:alert(1)\x07x\x1b]8;;\x07"
    lab.stream(command.run, {"files": {"output.log": {"offset": 0, "content": [text]}}})
    lab.save(command.run, HOSTILE.replace("/", "_"), b"x", "text/html")
    lab.stream(command.run, {"complete": True, "exitcode": 0})
    return command.run


@dataclass
class _Live:
    command: Command
    host: str
    epoch: int
    began: float
    each: float
    config: dict[str, Any]


def _work(lab: Lab, seeded: Seeded, *, n_done: int, n_hosts: int) -> None:
    """Run trials on four machines, epoch by epoch, until enough are done."""
    hosts = [f"gpu-node-{i + 1:02d}" for i in range(n_hosts)]
    machines = {host: lab.agent(seeded.sweep, host) for host in hosts}
    live: dict[str, _Live] = {}
    done = 0
    while done < n_done:
        for host, agent in machines.items():
            if host not in live:
                command = lab.ask(agent, set())
                assert command is not None, "the sweep handed nothing out"
                assert command.run is not None
                lab.start(command, host)
                config = dict(command.config)
                live[host] = _Live(command, host, 0, lab.clock.now, lab.rng.uniform(10, 22), config)
                seeded.runs.append(command.run)
        host = min(live, key=lambda one: live[one].began + live[one].each * (live[one].epoch + 1))
        trial = live[host]
        lab.clock.now = max(lab.clock.now, trial.began + trial.each * (trial.epoch + 1))
        if _step(lab, trial, seeded, done):
            del live[host]
            done += 1
    _settle(lab, seeded, live, machines)


def _step(lab: Lab, trial: _Live, seeded: Seeded, done: int) -> bool:
    """Train one epoch; return whether the trial has ended."""
    run = trial.command.run
    assert run is not None
    trial.epoch += 1
    for mishap in lab.mishaps:
        if done >= mishap.after and trial.epoch == mishap.epoch:
            lab.mishaps.remove(mishap)
            return _fail(lab, trial.command, mishap, seeded)
    row = row_of(trial.config, trial.epoch, trial.each, lab.rng)
    row["_timestamp"] = lab.clock.now
    if trial.epoch > 2 or done > 30:
        row["gradients/conv1.weight"] = histogram_of(trial.epoch, lab.rng, width=0.02)
        row["parameters/fc.weight"] = histogram_of(12 - trial.epoch, lab.rng, width=0.3)
    is_stopped = lab.log(run, trial.epoch - 1, row)
    if trial.epoch < 12 and not is_stopped:
        return False
    _finish(lab, run, trial)
    return True


def _finish(lab: Lab, run: str, trial: _Live) -> None:
    lab.stream(run, events_body(trial.began, lab.clock.now - trial.began, lab.rng))
    lines = console(trial.config, trial.epoch)
    lab.stream(run, {"files": {"output.log": {"offset": 0, "content": lines}}})
    lab.save(run, "model.onnx", bytes(81_422), "application/octet-stream")
    lab.save(run, "config.yaml", b"learning_rate: 0.01\n", "text/plain")
    lab.stream(run, {"complete": True, "exitcode": 0})


def _fail(lab: Lab, command: Command, mishap: _Mishap, seeded: Seeded) -> bool:
    """End a trial as our agent does: it says why."""
    run = command.run
    assert run is not None
    assert command.attempt is not None
    assert command.token is not None
    lines = [f"ERROR 2026-11-23T09:00:00.000000 \x1b[31m{mishap.message}\x1b[0m"]
    lab.stream(run, {"files": {"output.log": {"offset": 0, "content": lines}}})
    lab.store.write_sync(
        outcomes.report,
        actor=lab.account,
        run=(lab.account.entity, lab.project, run),
        attempt=command.attempt,
        token=command.token,
        reason=mishap.reason,
        exit_code=1,
        message=mishap.message,
        device="0",
    )
    lab.stream(run, {"complete": True, "exitcode": 1})
    seeded.failed = run
    return True


def _settle(
    lab: Lab, seeded: Seeded, live: dict[str, _Live], machines: dict[str, AgentView]
) -> None:
    """Let the agents say that they are there, and give the best run a whole page."""
    for trial in live.values():
        assert trial.command.run is not None
        lab.store.write_sync(
            agents.heartbeat,
            actor=lab.account,
            agent_id=machines[trial.host].id,
            running={trial.command.run},
        )
        lab.stream(trial.command.run, {})
    view = lab.store.read_sync(
        sweeps.find_sweep, actor=lab.account, need=Need.READ, name=seeded.sweep
    )
    assert view.best_run is not None
    seeded.best = view.best_run
    names = {trial.command.run or "": trial for trial in live.values()}
    if seeded.best in names:
        _finish(lab, seeded.best, names.pop(seeded.best))
    seeded.stoppable, seeded.running = list(names)[-2:]
    trials = lab.store.read_sync(
        sweeps.trials_of, actor=lab.account, need=Need.READ, sweep_id=view.id
    )
    by_id = {lab.run(name).id: name for name in seeded.runs}
    ended = [trial for trial in trials if trial.reason == "finished"]
    ended.sort(key=lambda trial: trial.objective if trial.objective is not None else math.inf)
    seeded.finished = [by_id[trial.run_id] for trial in ended]
    _decorate(lab, seeded.best)


def _decorate(lab: Lab, run: str) -> None:
    """Give the best run pictures."""
    view = lab.run(run)
    rows = []
    for i in range(4):
        name = f"media/images/examples_{i}.png"
        lab.save(run, name, png(28, seed=i), "image/png")
        media = {"_type": "image-file", "path": name, "caption": f"predicted {i}", "size": 1}
        step = (view.last_step or 0) + 1 + i
        rows.append(json.dumps({"examples": media, "_step": step, "_runtime": 200.0 + i}))
    lab.stream(
        run, {"files": {"wandb-history.jsonl": {"offset": view.history_lines, "content": rows}}}
    )
    lab.stream(run, {"complete": True, "exitcode": 0})
