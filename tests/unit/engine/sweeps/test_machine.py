"""Sweeps, agents, leases, clocks and faults against a small model: RELIABILITY.md's invariants.

I1 one trial per suggestion, I2 at most one live lease per trial, I3 a grid ends with each point
once, I4 run_cap, I5 no acknowledged row is lost, I6 moves along the graph, I7 the events tell what
the tables say, I8 the best is that of the stored history, I9 nothing starts after stop or cancel,
I10 nothing refers to bytes that are not there.

`SWEEPD_MACHINE=200` tries that many examples of 250 steps, `SWEEPD_MACHINE_SEEDS=7,8` other ones.
"""

import json
import math
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)
from stored import Tables

from sweepd.engine import accounts, bundles, files, runs, sweeps
from sweepd.engine.row_reads import read_rows
from sweepd.errors import Conflict, LeaseLost, NotFound
from sweepd.schedule import TRIAL_MOVES
from sweepd.spec import canonical
from sweepd.states import SWEEP_MOVES, SweepState, is_terminal
from sweepd.store import Store

NUMBERS = [int(one) for one in os.environ.get("SWEEPD_MACHINE_SEEDS", "0").split(",")]
METRIC = "metric: {name: loss, goal: minimize}\n"
#: Definitions, each with the number of trials after which it must be at its end, and for a search
#: the number of its configs: one whose run was deleted may be tried again.
SWEEPS = [
    (
        "method: grid\nparameters: {a: {values: [1, 2]}, b: {values: [x, y]}}\n" + METRIC,
        4,
        math.inf,
    ),
    ("method: random\nrun_cap: 5\nparameters: {lr: {min: 0.0, max: 1.0}}\n" + METRIC, 5, math.inf),
    ("method: bayes\nrun_cap: 6\nparameters: {n: {min: 1, max: 4}}\n" + METRIC, 6, 4),
    (
        "method: random\nrun_cap: 6\nparameters: {lr: {min: 0.0, max: 1.0}}\n"
        "early_terminate: {type: hyperband, min_iter: 1, eta: 2}\n" + METRIC,
        6,
        math.inf,
    ),
    (
        "method: random\nrun_cap: 6\nparameters: {lr: {min: 0.0, max: 1.0}}\n"
        "sweepd: {stop: {rule: asha, eta: 2, promote: true}}\n" + METRIC,
        6,
        math.inf,
    ),
]
_VALUES = st.sampled_from([0.5, 1.0, 2.0, 3.0, math.nan, math.inf])
_LUCK = st.sampled_from(["good", "good", "good", "good", "bad"])
TERMINAL = (SweepState.FINISHED, SweepState.CANCELED)


class Model:
    """A sweep as it should be: who may be given what."""

    def __init__(self, view, cap, n_configs):
        self.view, self.cap, self.n_configs = view, cap, n_configs
        self.attempts = {}  # run -> the attempt that was handed out last
        self.begun = set()  # the runs that called `wandb.init`
        self.state, self.seen, self.n_at_end = SweepState.PENDING, {}, None

    def give(self, command):
        assert self.n_at_end is None, "a trial was handed out after the end"
        known = self.attempts.get(command.run, 0)
        assert command.attempt in (known, known + 1)
        assert command.type == ("resume" if command.run in self.begun else "run")
        self.attempts[command.run] = command.attempt


class Agent:
    """One of ours (its processes carry the lease) or W&B's; the runs that its heartbeat names."""

    def __init__(self, id_, model, *, is_ours):
        self.id, self.model, self.is_ours, self.running = id_, model, is_ours, {}


class Process:
    """What trains: it logs rows from where the run stood when it called `wandb.init`."""

    def __init__(self, agent, command):
        self.agent, self.command, self.is_ours = agent, command, agent.is_ours
        self.has_begun = self.has_ended = False
        self.line = self.step = 0


class World(RuleBasedStateMachine):
    """Everything that may happen; each example on a data folder of its own."""

    agents, processes = Bundle("agents"), Bundle("processes")
    lab_class = clock_class = empty_folder = None  # what the test gives

    @initialize(target=agents, chosen=st.sampled_from(range(len(SWEEPS))))
    def begin(self, chosen):
        self.clock = self.clock_class()
        self.scratch = tempfile.TemporaryDirectory()
        folder = Path(self.scratch.name) / "data"
        shutil.copytree(self.empty_folder, folder)
        store = Store.open(folder, clock=self.clock)
        user, _ = store.write_sync(accounts.ensure_first_user, name="root")
        self.lab = self.lab_class(store, folder, self.clock, user)
        self.tables = Tables(folder)
        self.models, self.n_rows, self.n_bundles = [], 0, 0
        self.acknowledged, self.deleted = {}, set()
        self.lab.tick()
        model = self._create(chosen)
        return multiple(*(self._join(model, is_ours=n > 0) for n in range(3)))

    def teardown(self):
        if hasattr(self, "lab"):
            self.tables.close()
            self.lab.store.close()
            self.scratch.cleanup()

    def _create(self, chosen):
        text, *limits = SWEEPS[chosen]
        self.models.append(Model(self.lab.create(text), *limits))
        return self.models[-1]

    def _join(self, model, *, is_ours):
        return Agent(self.lab.register(model.view), model, is_ours=is_ours)

    def _any(self, number):
        return self.models[number % len(self.models)]

    # Agents

    @rule(target=agents, chosen=st.sampled_from(range(len(SWEEPS))), is_ours=st.booleans())
    def create_and_join(self, chosen, is_ours):
        is_over = all(is_terminal(model.state) for model in self.models)
        if len(self.models) > 1 and not is_over:
            return multiple()
        return self._join(self._create(chosen), is_ours=is_ours)

    @rule(target=agents, number=st.integers(0, 9), is_ours=st.booleans())
    def join(self, number, is_ours):
        model = self._any(number)
        if is_terminal(model.state):
            with pytest.raises(Conflict):
                self._join(model, is_ours=is_ours)
            return multiple()
        return self._join(model, is_ours=is_ours)

    @rule(target=processes, agent=agents, luck=st.sampled_from(["lost", "twice", "ok", "ok", "ok"]))
    def heartbeat(self, agent, luck):
        """The agent asks; its answer may be lost, or its request delivered twice."""
        process = self._ask(agent, luck)
        return multiple() if process is None else process

    def _ask(self, agent, luck="ok"):
        command = self.lab.beat(agent.id, *agent.running)
        if command is not None and command.type in ("run", "resume"):
            agent.model.give(command)
        if luck == "twice":
            again = self.lab.beat(agent.id, *agent.running)
            if again is not None and again.type in ("run", "resume"):
                agent.model.give(again)
            command = again
        if command is None or luck == "lost":
            return None
        if command.type == "exit":
            assert is_terminal(self.lab.sweep(agent.model.view).state)
            return None
        if command.type == "stop":
            process = agent.running.pop(command.run)
            process.has_ended = True
            return None
        agent.running[command.run] = process = Process(agent, command)
        return process

    @rule(target=processes, agent=agents, luck=st.sampled_from(["lost", "ok", "ok"]))
    def fetch_ahead(self, agent, luck):
        """It asks for one more trial than it runs; those that have not begun may be taken back."""
        if not (agent.is_ours and agent.running):
            return multiple()
        waiting = [run for run, one in agent.running.items() if not one.has_begun]
        command = self.lab.beat_ahead(
            agent.id, *agent.running, wants=len(agent.running) < 2, waiting=waiting
        )
        if command is None:
            return multiple()
        if command.type == "stop":
            agent.running.pop(command.run).has_ended = True
            return multiple()
        agent.model.give(command)
        if luck == "lost":
            return multiple()
        agent.running[command.run] = process = Process(agent, command)
        return process

    @rule(agent=agents)
    def return_trials(self, agent):
        """It gives back what it has not begun."""
        if not agent.is_ours:
            return
        returned = [run for run, one in agent.running.items() if not one.has_begun]
        for run in returned:
            agent.running.pop(run).has_ended = True
        if agent.running:
            self.lab.beat_ahead(agent.id, *agent.running, returned=returned)

    @rule(
        target=processes,
        number=st.integers(0, 9),
        n=st.integers(1, 3),
        luck=st.sampled_from(["lost", "twice", "ok", "ok"]),
        for_s=st.sampled_from([60.0, 300.0, 3_000.0]),
    )
    def fill_bundle(self, number, n, luck, for_s):
        """Trials are given to a machine that is cut off; what it runs comes back at any time."""
        self.n_bundles += 1
        model, key = self._any(number), f"{self.n_bundles:016}"
        before = model.n_at_end
        for _ in range(2 if luck == "twice" else 1):
            try:
                bundle, commands = self.lab.fill(model.view, n, key=key, for_s=for_s)
            except Conflict:  # it has ended, or is paused
                return multiple()
        assert before is None or bundle.n_given == 0
        away = Agent(bundle.id, model, is_ours=True)
        for command in commands:
            if model.attempts.get(command.run) != command.attempt:
                model.give(command)
        return multiple(*([] if luck == "lost" else [Process(away, one) for one in commands]))

    @rule(process=processes)
    def give_bundle_back(self, process):
        if process.agent.id.startswith("bundle-"):
            self.lab.write(bundles.give_back, actor=self.lab.actor, bundle_id=process.agent.id)

    @rule(agent=agents, values=st.lists(_VALUES, min_size=1, max_size=5), luck=_LUCK)
    def work(self, agent, values, luck):
        """It runs trials to their ends, as most of them do."""
        for _ in range(3):
            process = next(iter(agent.running.values()), None) or self._ask(agent)
            if process is not None:
                self._init(process)
                is_stopped = any(self._log(process, [value]) for value in values)
                self._end(process, "error" if luck == "bad" or is_stopped else "ok")

    @rule(agent=agents)
    def restart_agent(self, agent):
        """It comes back under its id without its processes, which are orphans now."""
        agent.running = {}

    @rule(target=agents, agent=agents)
    def twin(self, agent):
        """Another process speaks under its id and knows nothing of what the first one runs."""
        return Agent(agent.id, agent.model, is_ours=agent.is_ours)

    @rule(agent=agents, luck=_LUCK)
    def leave(self, agent, luck):
        if luck == "good":
            return
        agent.running = {}
        self.lab.leave(agent.id)

    # Processes

    @rule(process=processes, resumes=st.booleans())
    def init(self, process, resumes):
        """It calls `wandb.init`; a later attempt goes on at its checkpoint, or from the start."""
        self._init(process, resumes=resumes)

    def _init(self, process, *, resumes=True):
        if process.has_begun or process.has_ended or process.command.run in self.deleted:
            return
        run = self.lab.start(process.command, lease=process.is_ours)
        process.has_begun, process.line = True, run.history_lines
        if run.started_at is not None:  # not by an attempt that was late
            process.agent.model.begun.add(process.command.run)
        process.step = run.last_step + 1 if resumes and run.last_step is not None else 0

    @rule(
        process=processes,
        values=st.lists(_VALUES, min_size=1, max_size=3),
        luck=st.sampled_from(["lost", "twice", "ok", "ok"]),
    )
    def log(self, process, values, luck):
        self._log(process, values, luck)

    def _log(self, process, values, luck="ok"):
        """Send rows until they are answered; return whether the process is told to stop."""
        if not process.has_begun or process.has_ended:
            return False
        rows = []
        for value in values:
            self.n_rows += 1
            step = process.step + len(rows)
            rows.append({"_step": step, "loss": _json(value), "n": self.n_rows})
        for _ in range(2 if luck != "ok" else 1):  # what was not answered is sent again
            try:
                reply = self.lab.stream(
                    process.command, rows=rows, offset=process.line, lease=process.is_ours
                )
            except NotFound:
                assert process.command.run in self.deleted
                process.has_ended = True
                return False
        process.line, process.step = process.line + len(rows), process.step + len(rows)
        kept = self.acknowledged.setdefault(process.command.run, set())
        kept.update(row["n"] for row in rows)
        return reply.stopped

    @rule(process=consumes(processes), how=st.sampled_from(["ok", "ok", "error", "preempted"]))
    def end(self, process, how):
        self._end(process, how)

    def _end(self, process, how):
        agent, command = process.agent, process.command
        if process.has_ended or command.run in self.deleted:
            return
        process.has_ended = True
        agent.running.pop(command.run, None)
        code = 0 if how == "ok" else 1
        if process.has_begun and how != "preempted":
            for _ in range(2):
                self.lab.end(command, code, lease=process.is_ours)
        if process.is_ours:
            with suppress(LeaseLost):  # a later attempt may have it
                self.lab.report(command, "finished" if how == "ok" else how, exit_code=code)

    @rule(process=consumes(processes))
    def die(self, process):
        """It is killed without a word, and its agent sees it."""
        process.has_ended = True
        process.agent.running.pop(process.command.run, None)

    @rule(process=processes)
    def forget(self, process):
        """Its agent loses it, but it goes on: a zombie."""
        process.agent.running.pop(process.command.run, None)

    @rule(process=processes, name=st.sampled_from(["model.pt", "notes.txt"]))
    def save_file(self, process, name):
        if process.has_begun and process.command.run not in self.deleted:
            run = self.lab.run_of(process.command)
            with self.lab.store.blobs.writer() as writer:
                writer.write(f"{self.n_rows} {name}".encode())
                written = writer.commit()
            found = self.lab.write(
                files.register, run_id=run.id, name=name, mimetype="text/plain", written=written
            )
            self.lab.store.blobs.settle(written, found.blob)
            for key in found.freed:
                self.lab.store.blobs.delete(key)

    # Time, the search, the service

    @rule(seconds=st.sampled_from([1, 20, 70, 400]))
    def wait(self, seconds):
        self.lab.tick(seconds)

    @rule(seconds=st.sampled_from([-3600, 3600]))
    def clock_jumps(self, seconds):
        self.clock.advance(seconds)
        self.lab.tick(1)

    @rule()
    def think(self):
        self.lab.think()

    @rule(seconds=st.sampled_from([0, 5, 500]))
    def restart_service(self, seconds):
        self.clock.advance(seconds)
        self.tables.close()
        self.lab.restart()
        self.tables = Tables(self.lab.folder)
        self.lab.tick(1)

    # People

    @rule(number=st.integers(0, 9), state=st.sampled_from(["PAUSED", "RUNNING", "RUNNING"]))
    def pause_or_resume(self, number, state):
        self._command_twice(self._any(number), state)

    @rule(number=st.integers(0, 9), state=st.sampled_from(["FINISHED", "CANCELED"]), luck=_LUCK)
    def stop(self, number, state, luck):
        model = self._any(number)
        if luck == "bad" and len(model.attempts) > 2:
            self._command_twice(model, state)

    def _command_twice(self, model, state):
        for _ in range(2):
            before = self.lab.sweep(model.view).state
            try:
                self.lab.set_state(model.view, state)
            except Conflict:
                assert before != state

    @rule(number=st.integers(0, 9), more=st.sampled_from([0, 1]))
    def edit_cap(self, number, more):
        model = self._any(number)
        text = self.lab.sweep(model.view).definition
        if "run_cap" not in text or "grid" in text:
            return
        cap = self.lab.sweep(model.view).run_cap + more
        edited = "\n".join(
            f"run_cap: {cap}" if line.startswith("run_cap") else line for line in text.splitlines()
        )
        with suppress(Conflict):  # it has ended, or is about to
            self.lab.write(
                sweeps.update_sweep,
                actor=self.lab.actor,
                sweep_id=model.view.id,
                definition=edited,
            )
            model.cap = max(model.cap, cap)

    @rule(number=st.integers(0, 9))
    def retry(self, number):
        """Failed trials are put back; a sweep that ended by itself goes on then."""
        model = self._any(number)
        with suppress(Conflict):  # a person has ended it
            self.lab.retry(model.view)
            model.n_at_end = None

    @rule(process=processes)
    def stop_run(self, process):
        if process.command.run not in self.deleted:
            run = self.lab.run_of(process.command)
            self.lab.write(runs.request_stop, actor=self.lab.actor, run_id=run.id)

    @rule(process=processes, luck=_LUCK)
    def delete_run(self, process, luck):
        if luck == "bad" and process.command.run not in self.deleted:
            run = self.lab.run_of(process.command)
            freed = self.lab.write(runs.delete_run, actor=self.lab.actor, run_id=run.id)
            for key in freed:
                self.lab.store.blobs.delete(key)
            self.deleted.add(process.command.run)

    # What holds after each step

    @invariant()
    def all_invariants_hold(self):
        if not hasattr(self, "lab"):
            return
        stored = self.tables.look()
        if stored is None:  # nothing was written since they were last checked
            return
        for model in self.models:
            sweep, trials = stored.sweeps[model.view.id], stored.trials[model.view.id]
            self._every_trial_is_handed_out_once_and_held_by_one(model, sweep, trials, stored.live)
            self._states_move_along_the_graph_and_ends_are_ends(model, sweep, trials)
            said = {trial.run_id: (trial.state, trial.attempt, trial.reason) for trial in trials}
            assert {run: stored.told[run] for run in said} == said  # I7
        self._what_was_acknowledged_is_stored_and_the_best_is_in_it(stored)
        for key in stored.blobs:  # I10
            with self.lab.store.blobs.open(key) as blob:
                assert blob.read()

    def _every_trial_is_handed_out_once_and_held_by_one(self, model, sweep, trials, live):
        gone = len(self.deleted.intersection(model.attempts))
        assert len(trials) + gone == sweep.n_issued == len(model.attempts)
        assert sweep.n_issued <= min(model.cap, model.n_configs + gone)  # I4
        assert len({canonical(json.loads(trial.config)) for trial in trials}) == len(trials)  # I1
        assert len({trial.run_id for trial in trials}) == len(trials)
        held = {trial.id: trial.state == "leased" for trial in trials}
        assert {trial: live.get(trial, 0) for trial in held} == held  # I2

    def _states_move_along_the_graph_and_ends_are_ends(self, model, sweep, trials):
        for trial in trials:  # I6
            old = model.seen.get(trial.id, trial.state)
            assert trial.state == old or _reaches(TRIAL_MOVES, old, trial.state)
            model.seen[trial.id] = trial.state
        assert sweep.state == model.state or _reaches(SWEEP_MOVES, model.state, sweep.state)
        has_just_failed = sweep.state == SweepState.FAILED != model.state
        if has_just_failed and "the same way" in sweep.stop_reason:
            assert not {trial.reason for trial in trials} & {"finished", "stopped_early"}
        model.state = sweep.state
        if sweep.state in TERMINAL:  # I9
            attempts = sum(trial.attempt for trial in trials)
            assert model.n_at_end is None or attempts <= model.n_at_end
            model.n_at_end = attempts
            assert all(trial.state != "queued" for trial in trials)
        if sweep.state == SweepState.FINISHED and "every" in (sweep.stop_reason or ""):  # I3
            assert sweep.n_issued >= min(model.cap, model.n_configs)
            assert all(trial.state == "ended" and trial.reason for trial in trials)

    def _what_was_acknowledged_is_stored_and_the_best_is_in_it(self, stored):
        for run, numbers in self.acknowledged.items():
            if run not in self.deleted:
                assert numbers <= stored.rows[run]  # I5
        trials = [trial for model in self.models for trial in stored.trials[model.view.id]]
        ids = [trial.run_id for trial in trials]
        seen = self.lab.store.read_sync(_visible_losses, run_ids=ids)
        for trial in trials:  # I8
            finite = [value for value in seen[trial.run_id] if math.isfinite(value)]
            assert trial.best == min(finite, default=None)


def _json(value):
    return value if math.isfinite(value) else {"nan": "NaN", "inf": "Infinity"}[str(value)]


def _visible_losses(tx, *, run_ids):
    return {
        run_id: [float(json.loads(row.body)["loss"]) for row in read_rows(tx, run_id=run_id)]
        for run_id in run_ids
    }


def _reaches(moves, old, new):
    """Return whether `new` follows `old` in one or more legal moves."""
    found, left = set(), [old]
    while left:
        nexts = {str(state) for state in moves.get(left.pop(), ())} - found
        found |= nexts
        left.extend(nexts)
    return str(new) in found


@pytest.mark.parametrize("number", NUMBERS)
def test_invariants_hold_whatever_happens(number, lab, clock, empty_folder):
    class Here(World):
        lab_class, clock_class = type(lab), type(clock)

    Here.empty_folder = empty_folder
    n_examples = int(os.environ.get("SWEEPD_MACHINE", "4"))
    run_state_machine_as_test(
        seed(number)(Here),
        settings=settings(
            max_examples=n_examples,
            stateful_step_count=250 if "SWEEPD_MACHINE" in os.environ else 50,
            deadline=None,
            database=None,
            print_blob=True,
            phases=[Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        ),
    )
