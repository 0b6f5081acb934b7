"""The first budget that is used up ends a sweep, in words; what runs may finish."""

import json

import pytest

from sweepd.engine import agents, budgets, sweeps
from sweepd.engine.access import Need
from sweepd.states import SweepState


def budget(**limits):
    return f"sweepd: {{budget: {json.dumps(limits)}}}\n"


def spent(lab, sweep):
    found = lab.store.read_sync(
        budgets.budget_of, actor=lab.actor, sweep_id=sweep.id, need=Need.READ
    )
    return {one.name: (round(one.used, 4), one.limit) for one in found}


def register(lab, sweep, device):
    return lab.write(
        agents.register,
        actor=lab.actor,
        project="toy",
        sweep=sweep.name,
        host="box",
        device=device,
    ).id


def pass_time(lab, seconds, *pairs):
    """Let time pass while agents heartbeat, in one transaction: it is much quicker."""
    lab.at_once(lambda: lab.idle(seconds, *pairs))


@pytest.mark.parametrize(
    ("cap", "limit", "n", "words"),
    [
        (5, 2, 2, "budget spent: 2 runs"),
        (2, 5, 2, "run_cap reached: all 2 trials have ended"),
        (None, 3, 3, "budget spent: 3 runs"),
    ],
)
def test_the_smaller_of_cap_and_budget_counts_exactly(lab, texts, cap, limit, n, words):
    text = texts["random"] + budget(runs=limit) + (f"run_cap: {cap}\n" if cap else "")
    sweep = lab.create(text)
    crowd = [lab.register(sweep) for _ in range(8)]

    given = [command for command in map(lab.beat, crowd) if command is not None]

    assert len(given) == n
    assert spent(lab, sweep) == {"runs": (n, limit)}
    for command in given:
        lab.start(command)
        lab.log(command, 1.0)
        lab.end(command)
    after = lab.sweep(sweep)
    assert (after.state, after.stop_reason, after.expected) == (SweepState.FINISHED, words, n)


def test_hours_count_while_the_sweep_runs_and_not_while_it_is_paused(lab, texts):
    sweep = lab.create(texts["random"] + budget(hours=0.05))
    lab.clock.advance(7200)
    agent = lab.register(sweep)
    command = lab.ask(agent)
    lab.start(command)
    pass_time(lab, 90, [agent, command.run])
    lab.set_state(sweep, "PAUSED")
    pass_time(lab, 120, [agent, command.run])
    assert spent(lab, sweep) == {"hours": (0.025, 0.05)}
    lab.set_state(sweep, "RUNNING")

    pass_time(lab, 80, [agent, command.run])
    assert lab.sweep(sweep).stop_reason is None
    pass_time(lab, 20, [agent, command.run])

    view = lab.sweep(sweep)
    assert (view.state, view.stop_reason) == (SweepState.RUNNING, "budget spent: 0.05 hours")
    lab.log(command, 1.0)
    lab.end(command)
    assert lab.sweep(sweep).state == SweepState.FINISHED
    assert lab.beat(agent).type == "exit"


def test_time_without_the_service_is_nobodys(lab, texts):
    sweep = lab.create(texts["random"] + budget(hours=1))
    agent = lab.register(sweep)
    lab.tick(60)
    lab.clock.advance(7200)

    lab.tick(1)

    assert spent(lab, sweep)["hours"][0] < 0.02
    assert lab.ask(agent).run is not None


def test_gpu_hours_are_those_that_agents_held_trials_on_gpus(lab, texts):
    sweep = lab.create(texts["random"] + budget(gpu_hours=0.1))
    crowd = [register(lab, sweep, device) for device in ("gpu 0", "gpu 1", "cpu 0")]
    held = [(agent, lab.ask(agent)) for agent in crowd]
    for _, command in held:
        lab.start(command)

    pass_time(lab, 90, *[(agent, command.run) for agent, command in held])
    assert spent(lab, sweep) == {"gpu_hours": (0.05, 0.1)}
    lab.log(held[0][1], 1.0)
    lab.end(held[0][1])
    pass_time(lab, 170, *[(agent, command.run) for agent, command in held[1:]])
    assert lab.sweep(sweep).stop_reason is None
    pass_time(lab, 20, *[(agent, command.run) for agent, command in held[1:]])

    assert lab.sweep(sweep).stop_reason == "budget spent: 0.1 GPU hours"
    assert lab.beat(crowd[0]) is None


def test_trial_on_several_gpus_spends_the_hours_of_each(lab, texts):
    sweep = lab.create(texts["random"] + budget(gpu_hours=1))
    crowd = [register(lab, sweep, device) for device in ("gpus 0,1,2", "gpu 3")]
    held = [(agent, lab.ask(agent)) for agent in crowd]
    for _, command in held:
        lab.start(command)

    pass_time(lab, 90, *[(agent, command.run) for agent, command in held])

    assert spent(lab, sweep) == {"gpu_hours": (0.1, 1)}


def test_plateau_counts_finished_trials_since_the_best(lab, texts):
    sweep = lab.create(texts["random"] + budget(plateau=3))
    agent = lab.register(sweep)
    for value in (3.0, 2.0, 2.5, 2.0, 1.0, 4.0):
        lab.run(agent, value)
        lab.clock.advance(1)
    lab.run(agent, exit_code=1)  # what fails does not count
    assert spent(lab, sweep) == {"plateau": (1, 3)}

    lab.run(agent, 1.5)
    assert lab.sweep(sweep).state == SweepState.RUNNING
    lab.run(agent, 1.5)

    after = lab.sweep(sweep)
    assert after.state == SweepState.FINISHED
    assert after.stop_reason == "budget spent: 3 finished trials without a better one"


TWO = """
method: random
metrics: [{name: loss, goal: minimize}, {name: acc, goal: maximize}]
parameters: {lr: {min: 0.0, max: 1.0}}
"""


def run_of_two(lab, agent, loss, acc, exit_code=0, **more):
    """Take one trial from hand-out to its end; a second after the one before."""
    lab.clock.advance(1)
    command = lab.ask(agent)
    lab.start(command, lease=False)
    row = {"loss": loss, "acc": acc, **more}
    summary = {"wandb-summary.json": {"offset": 0, "content": [json.dumps(row)]}}
    lab.stream(command, rows=[row], lease=False)
    lab.end(command, exit_code, lease=False, files=summary)
    return command


def test_plateau_of_several_metrics_counts_since_a_trial_joined_the_front(lab):
    sweep = lab.create(TWO + budget(plateau=3))
    agent = lab.register(sweep)
    assert spent(lab, sweep) == {"plateau": (0, 3)}
    counts = []
    for loss, acc in (
        (0.5, 0.5),
        (0.6, 0.6),  # worse in one, better in the other
        (0.6, 0.5),  # beaten by both
        (0.5, 0.5),  # no better than the first
        (0.4, 0.1),
        (0.4, 0.1),
    ):
        run_of_two(lab, agent, loss, acc)
        counts.append(spent(lab, sweep)["plateau"][0])
    assert counts == [0, 0, 1, 2, 0, 1]

    run_of_two(lab, agent, 0.1, 0.9, exit_code=1)  # what fails neither counts nor is better
    assert spent(lab, sweep) == {"plateau": (1, 3)}
    run_of_two(lab, agent, 0.7, 0.5)
    assert lab.sweep(sweep).state == SweepState.RUNNING
    run_of_two(lab, agent, 0.7, 0.5)

    after = lab.sweep(sweep)
    assert after.state == SweepState.FINISHED
    assert after.stop_reason == "budget spent: 3 finished trials without a better one"


def test_trial_out_of_its_outcome_constraints_is_no_better_one_for_the_plateau(lab):
    limits = "sweepd: {budget: {plateau: 3}, outcome_constraints: {size: {max: 5}}}\n"
    sweep = lab.create(TWO + limits)
    agent = lab.register(sweep)
    run_of_two(lab, agent, 0.1, 0.9, size=6)
    assert spent(lab, sweep) == {"plateau": (0, 3)}  # nothing is there yet to be better than

    run_of_two(lab, agent, 0.5, 0.5, size=5)
    run_of_two(lab, agent, 0.4, 0.6, size=6)
    run_of_two(lab, agent, 0.6, 0.4, size=5)
    assert spent(lab, sweep) == {"plateau": (2, 3)}
    run_of_two(lab, agent, 0.3, 0.7, size=6)

    assert lab.sweep(sweep).state == SweepState.FINISHED


def test_plateau_is_seen_though_the_clock_went_back(lab, texts):
    sweep = lab.create(texts["random"] + budget(plateau=3))
    agent = lab.register(sweep)
    lab.run(agent, 1.0)
    lab.tick()
    lab.clock.advance(-3600)
    lab.tick()

    for _ in range(3):
        assert lab.sweep(sweep).state == SweepState.RUNNING
        lab.clock.advance(1)
        lab.run(agent, 2.0)

    assert lab.sweep(sweep).state == SweepState.FINISHED


def test_budget_may_be_raised_while_the_sweep_runs(lab, texts):
    sweep = lab.create(texts["bayes"] + budget(runs=1, hours=1))
    agent = lab.register(sweep)
    live = lab.ask(agent)
    other = lab.register(sweep)
    assert lab.beat(other) is None
    lab.think()

    lab.write(
        sweeps.update_sweep,
        actor=lab.actor,
        sweep_id=sweep.id,
        definition=texts["bayes"] + budget(runs=2),
    )

    assert lab.ask(other).run != live.run
    assert spent(lab, sweep) == {"runs": (2, 2)}
