"""A small laboratory: sweeps, agents and runs of alice's project `toy`, by the engine's calls."""

import json
from types import SimpleNamespace

import pytest

from sweepd.engine import (
    agents,
    bundles,
    computing,
    outcomes,
    retry,
    runs,
    streams,
    suggest,
    sweeps,
    watchdog,
)
from sweepd.engine.access import Need
from sweepd.engine.services import Limits
from sweepd.store import Store, Tx

RANDOM = """
method: random
metric: {name: loss, goal: minimize}
parameters:
  lr: {min: 0.0, max: 1.0}
  layers: {value: 3}
"""
GRID = """
method: grid
metric: {name: loss, goal: minimize}
parameters:
  a: {values: [1, 2, 3]}
  b: {values: [x, y]}
"""
BAYES = RANDOM.replace("random", "bayes")


class Lab:
    def __init__(self, store, folder, clock, actor):
        self.store, self.folder, self.clock, self.actor = store, folder, clock, actor
        self.limits = Limits()

    def write(self, use_case, **arguments):
        return self.store.write_sync(use_case, **arguments)

    def create(self, definition=RANDOM, **arguments):
        sweep, _ = self.write(
            sweeps.create_sweep,
            actor=self.actor,
            project="toy",
            definition=definition,
            **arguments,
        )
        return sweep

    def register(self, sweep, host="box", device=None):
        """Register an agent: ours if it tells its device, else another client's."""
        agent = self.write(
            agents.register,
            actor=self.actor,
            project="toy",
            sweep=sweep.name,
            host=host,
            device=device,
        )
        return agent.id

    def beat(self, agent, *running):
        """Send a heartbeat; return the command, None if there is none."""
        commands = self.write(
            agents.heartbeat,
            actor=self.actor,
            agent_id=agent,
            running=set(running),
            limits=self.limits,
        )
        assert len(commands) <= 1
        return commands[0] if commands else None

    def beat_ahead(self, agent, *running, **ahead):
        """Send a heartbeat of an agent that fetches ahead; return the first command, if any."""
        commands = self.write(
            agents.heartbeat,
            actor=self.actor,
            agent_id=agent,
            running=set(running),
            ahead=agents.Ahead(
                **{
                    key: frozenset(value) if key != "wants" else value
                    for key, value in ahead.items()
                }
            ),
            limits=self.limits,
        )
        assert len(commands) <= 1 or {command.type for command in commands} == {"stop"}
        return commands[0] if commands else None

    def fill(self, sweep, n=2, *, key="0123456789abcdef", for_s=86_400.0, is_patient=False):
        """Give trials to a bundle; return it and the commands of what it holds, not begun."""
        return self.write(
            bundles.fill,
            actor=self.actor,
            sweep_id=sweep.id,
            key=key,
            n=n,
            for_s=for_s,
            is_patient=is_patient,
        )

    def ask(self, agent):
        """Send an idle heartbeat that must be answered with a trial."""
        command = self.beat(agent)
        assert command is not None
        assert command.type in ("run", "resume"), command
        return command

    def start(self, command, *, lease=True):
        """Do what wandb.init does."""
        header = {"attempt": command.attempt, "token": command.token} if lease else {}
        change = runs.RunChange(name=command.run, project="toy", host="box", **header)
        return self.write(runs.upsert_run, actor=self.actor, change=change)[0]

    def take_up(self, command):
        """Resume a run that has ended, as a person does."""
        run = self.run_of(command).id
        change = runs.RunChange(id=run, name=command.run, project="toy", host="box")
        self.write(runs.upsert_run, actor=self.actor, change=change)

    def stream(self, command, *, rows=(), offset=0, lease=True, console=(), **rest):
        files = {}
        if rows:
            lines = [json.dumps({"_step": offset + i, **row}) for i, row in enumerate(rows)]
            files["wandb-history.jsonl"] = {"offset": offset, "content": lines}
        if console:
            files["output.log"] = {"offset": 0, "content": list(console)}
        header = {"attempt": command.attempt, "token": command.token} if lease else {}
        return self.write(
            streams.append,
            actor=self.actor,
            entity=self.actor.entity,
            project="toy",
            run=command.run,
            body=streams.parse_body(json.dumps({"files": files, **rest})),
            limits=self.limits,
            **header,
        )

    def log(self, command, *values, offset=0, lease=True):
        rows = [{"loss": value} for value in values]
        return self.stream(command, rows=rows, offset=offset, lease=lease)

    def end(self, command, exit_code=0, *, lease=True, **rest):
        return self.stream(command, complete=True, exitcode=exit_code, lease=lease, **rest)

    def run(self, agent, *values, exit_code=0):
        """Take one trial from hand-out to its end as W&B's agent does (no lease header)."""
        command = self.ask(agent)
        self.start(command, lease=False)
        if values:
            self.log(command, *values, lease=False)
        self.end(command, exit_code, lease=False)
        return command

    def report(self, command, reason, **arguments):
        self.write(
            outcomes.report,
            actor=self.actor,
            run=(self.actor.entity, "toy", command.run),
            attempt=command.attempt,
            token=command.token,
            reason=reason,
            limits=self.limits,
            **arguments,
        )

    def leave(self, agent):
        self.write(agents.leave, actor=self.actor, agent_id=agent, limits=self.limits)

    def retry(self, sweep):
        return self.write(retry.retry_sweep, actor=self.actor, sweep_id=sweep.id)

    def set_state(self, sweep, state):
        return self.write(sweeps.set_state, actor=self.actor, sweep_id=sweep.id, state=state)

    def sweep(self, sweep):
        return self.store.read_sync(
            sweeps.sweep_by_id, actor=self.actor, need=Need.READ, sweep_id=sweep.id
        )

    def trials(self, sweep):
        return self.store.read_sync(
            sweeps.trials_of, actor=self.actor, need=Need.READ, sweep_id=sweep.id
        )

    def trial(self, sweep, command):
        run = self.run_of(command)
        return next(one for one in self.trials(sweep) if one.run_id == run.id)

    def run_of(self, command):
        return self.store.read_sync(
            runs.get_run,
            actor=self.actor,
            need=Need.READ,
            entity=None,
            project="toy",
            name=command.run,
        )

    def tick(self, seconds=0):
        """Let time pass under the watchdog's eyes."""

        def watch(tx):
            left = seconds
            while True:
                step = min(left, 5)
                self.clock.advance(step)
                now = Tx(tx.conn, self.clock.now, tx.random, tx.memory)
                watchdog.tick(now, limits=self.limits)
                left -= step
                if not left:
                    return

        self.write(watch)

    def idle(self, seconds, *pairs):
        """Let time pass while agents heartbeat every ten seconds: pairs of agent and runs."""
        for _ in range(seconds // 10):
            self.tick(10)
            for agent, *running in pairs:
                self.beat(agent, *running)

    def think(self):
        """Compute and store suggestions until no sweep wants more; return how many times."""
        for count in range(20):
            job = self.store.read_sync(suggest.next_job, limits=self.limits)
            if job is None:
                return count
            self.write(suggest.store, job=job, answer=computing.compute(job))
        raise AssertionError("the search does not come to rest")

    def at_once(self, job):
        """Do what `job` does with this laboratory in one transaction: it is much quicker."""
        store = self.store

        def do(tx):
            def call(use_case, **arguments):
                now = Tx(tx.conn, self.clock.now, tx.random, tx.memory)
                return use_case(now, **arguments)

            self.store = SimpleNamespace(write_sync=call, read_sync=call)
            job()

        try:
            store.write_sync(do)
        finally:
            self.store = store

    def restart(self):
        """Close the store and open it again, as a new process would."""
        self.store.close()
        self.store = Store.open(self.folder, clock=self.clock)


@pytest.fixture
def lab(store, tmp_path, clock, alice):
    lab = Lab(store, tmp_path / "data", clock, alice)
    yield lab
    lab.store.close()


@pytest.fixture
def texts():
    """Definitions by their method."""
    return {"random": RANDOM, "grid": GRID, "bayes": BAYES}


@pytest.fixture
def held(lab):
    """A sweep, an agent, and a trial that has called wandb.init as our own agent's do."""
    sweep = lab.create()
    agent = lab.register(sweep)
    command = lab.ask(agent)
    lab.start(command)
    return sweep, agent, command
