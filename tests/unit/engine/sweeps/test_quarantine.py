"""One bad slot among good ones: it is put aside, what it burnt is mended, and it comes back."""

import heapq
from types import SimpleNamespace

import pytest

from sweepd.engine import agents, slots
from sweepd.engine.access import Need
from sweepd.states import SweepState

WORDS = "RuntimeError: CUDA driver error"


def register(lab, sweep, host, device="gpu 0"):
    return lab.register(sweep, host=host, device=device)


def fail(lab, agent, reason="error"):
    """Take a trial and let it fail after two seconds."""
    command = lab.ask(agent)
    lab.start(command)
    lab.clock.advance(2)
    lab.report(command, reason, exit_code=1, message=WORDS)
    return command


def succeed(lab, agent):
    command = lab.ask(agent)
    lab.start(command)
    lab.log(command, 1.0)
    lab.end(command)
    return command


def bad_slots(lab, sweep):
    return lab.store.read_sync(slots.quarantined, sweep_id=sweep.id)


@pytest.fixture
def fleet(lab, texts):
    """A sweep, a bad slot's agent, and three good ones that are at work for longer."""
    sweep = lab.create(texts["random"])
    bad, *good = [register(lab, sweep, f"node{i}") for i in range(4)]
    commands = [lab.ask(agent) for agent in good]
    for command in commands:
        lab.start(command)
    lab.clock.advance(5)
    return sweep, bad, dict(zip(good, commands, strict=True))


def test_slot_that_fails_where_others_go_on_is_put_aside_and_what_it_burnt_is_taken_back(
    lab, fleet
):
    sweep, bad, good = fleet

    burnt = [fail(lab, bad) for _ in range(3)]

    assert lab.beat(bad) is None
    slot = bad_slots(lab, sweep)[0]
    assert (slot.host, slot.device) == ("node0", "gpu 0")
    assert slot.reason == f"3 trials in a row failed there, the last: {WORDS}"
    states = [(lab.trial(sweep, one).state, lab.trial(sweep, one).reason) for one in burnt]
    assert states == [("queued", None)] * 3
    assert "in quarantine, until a canary passes: node0, gpu 0" in lab.sweep(sweep).notice
    for agent, command in good.items():
        lab.log(command, 1.0)
        lab.end(command)
        given = lab.ask(agent)
        assert given.run != burnt[0].run  # which is kept for the canary
        assert given.attempt == (2 if given.run in (burnt[1].run, burnt[2].run) else 1)


def test_canary_that_passes_returns_the_slot(lab, fleet):
    sweep, bad, _ = fleet
    burnt = [fail(lab, bad) for _ in range(3)]
    lab.clock.advance(lab.limits.canary_s - 1)
    assert lab.beat(bad) is None
    lab.clock.advance(1)

    canary = succeed(lab, bad)

    assert (canary.run, canary.attempt) == (burnt[0].run, 2)
    assert lab.trial(sweep, canary).reason == "finished"
    assert bad_slots(lab, sweep) == []
    assert lab.sweep(sweep).notice is None
    assert lab.ask(bad).run is not None


def test_canary_is_not_an_hour_late_when_the_clock_goes_back_by_one(lab, fleet):
    sweep, bad, _ = fleet
    lab.tick()
    for _ in range(3):
        fail(lab, bad)

    lab.clock.advance(-3600)
    lab.tick()

    left_s = bad_slots(lab, sweep)[0].canary_at - lab.clock.now
    assert left_s == pytest.approx(lab.limits.canary_s, abs=10)


@pytest.mark.parametrize("jump_s", [0, -3600])
def test_canaries_of_a_slot_are_counted_whatever_the_clock_does(lab, fleet, jump_s):
    sweep, bad, good = fleet
    same_host = register(lab, sweep, "node0")
    running = {agent: lab.ask(agent) for agent in good}
    for command in running.values():
        lab.start(command)
    for _ in range(3):
        fail(lab, bad)
    lab.tick()
    lab.clock.advance(jump_s)
    lab.tick()

    n_given = 0
    for _ in range(60):
        lab.tick(10)
        for agent, command in running.items():
            lab.beat(agent, command.run)
        if (canary := lab.beat(bad)) is not None:
            n_given += 1
            assert lab.beat(same_host) is None
            lab.start(canary)
            lab.report(canary, "error", exit_code=1, message=WORDS)

    (slot,) = bad_slots(lab, sweep)
    assert slot.n_canaries == n_given <= 5
    lab.clock.advance(slot.canary_at - lab.clock.now)
    succeed(lab, bad)
    assert bad_slots(lab, sweep) == []


@pytest.mark.parametrize("jump_s", [0, -3600])
def test_slot_that_was_released_is_caught_again_whatever_the_clock_does(lab, fleet, jump_s):
    sweep, bad, good = fleet
    for agent in good:
        lab.start(lab.ask(agent))
    for _ in range(3):
        fail(lab, bad)
    lab.write(agents.release_slot, actor=lab.actor, agent_id=bad)
    lab.tick()
    lab.clock.advance(jump_s)
    lab.tick()

    for _ in range(3):
        assert bad_slots(lab, sweep) == []
        fail(lab, bad)

    assert len(bad_slots(lab, sweep)) == 1


def test_canaries_that_fail_come_one_at_a_time_and_less_and_less_often(lab, fleet):
    sweep, bad, _ = fleet
    same_host = register(lab, sweep, "node0")
    burnt = [fail(lab, bad) for _ in range(3)]

    for n in range(1, 4):
        lab.clock.advance(bad_slots(lab, sweep)[0].canary_at - lab.clock.now)
        canary = lab.ask(bad)
        assert lab.beat(same_host) is None
        assert canary.run == burnt[0].run
        lab.start(canary)
        lab.report(canary, "error", exit_code=1, message=WORDS)
        slot = bad_slots(lab, sweep)[0]
        assert slot.n_canaries == n
        assert slot.canary_at - lab.clock.now == lab.limits.canary_s * 2**n
    assert lab.trial(sweep, burnt[0]).state == "queued"


def test_trial_that_a_bad_slot_burnt_keeps_its_retries_elsewhere(lab, fleet):
    sweep, bad, good = fleet
    burnt = [fail(lab, bad) for _ in range(3)]
    agent, command = next(iter(good.items()))
    lab.log(command, 1.0)
    lab.end(command)

    for _ in range(3):
        again = lab.ask(agent)
        assert again.run == burnt[1].run
        lab.start(again)
        lab.report(again, "preempted")

    assert lab.trial(sweep, again).reason == "preempted"  # two retries, and no more


def test_where_everything_fails_everywhere_it_is_the_program(lab, texts):
    sweep = lab.create(texts["random"])
    crowd = [register(lab, sweep, f"node{i}") for i in range(4)]
    commands = []
    while lab.sweep(sweep).state == SweepState.RUNNING:
        commands = [lab.ask(agent) for agent in crowd]
        for command in commands:
            lab.start(command)
        lab.clock.advance(2)
        for command in commands:
            lab.report(command, "error", exit_code=1, message="ModuleNotFoundError: torch")

    after = lab.sweep(sweep)
    assert after.state == SweepState.FAILED
    assert "ModuleNotFoundError" in after.stop_reason
    assert bad_slots(lab, sweep) == []
    assert after.n_issued == 8


@pytest.mark.parametrize("n_at_work", [0, 1])
def test_failures_alike_end_a_sweep_later_while_another_trial_goes_on(lab, texts, n_at_work):
    sweep = lab.create(texts["random"] + "sweepd: {quarantine: 0}\n")
    bad = register(lab, sweep, "node0")
    for i in range(n_at_work):
        lab.start(lab.ask(register(lab, sweep, f"good{i}")))
    lab.clock.advance(5)

    n = 0
    while lab.sweep(sweep).state == SweepState.RUNNING:
        fail(lab, bad)
        n += 1

    assert n == (20 if n_at_work else 5)
    assert lab.sweep(sweep).state == SweepState.FAILED


def test_slots_that_all_crash_end_the_sweep_in_words_and_for_good(lab, texts):
    sweep = lab.create(texts["random"])
    agent = register(lab, sweep, "node0")
    while lab.sweep(sweep).notice is None:
        fail(lab, agent, "crashed")
    assert lab.sweep(sweep).n_issued == 3  # trials, each tried as often as it may be
    assert lab.sweep(sweep).notice.startswith("every slot is in quarantine")

    for _ in range(lab.limits.max_canaries):
        assert lab.sweep(sweep).state == SweepState.RUNNING
        lab.clock.advance(bad_slots(lab, sweep)[0].canary_at - lab.clock.now)
        fail(lab, agent, "crashed")

    after = lab.sweep(sweep)
    assert after.state == SweepState.FAILED
    assert after.stop_reason.startswith("every slot is in quarantine and no canary has passed")
    assert lab.beat(agent).type == "exit"
    lab.set_state(sweep, "RUNNING")
    assert bad_slots(lab, sweep) == []
    assert lab.sweep(sweep).notice is None


def test_a_person_returns_a_slot(lab, fleet):
    sweep, bad, _ = fleet
    for _ in range(3):
        fail(lab, bad)

    view = lab.store.read_sync(agents.get_agent, actor=lab.actor, need=Need.READ, agent_id=bad)
    assert WORDS in view.quarantine
    assert view.quarantined_at == lab.clock.now
    view = lab.write(agents.release_slot, actor=lab.actor, agent_id=bad)

    assert (view.quarantine, view.device) == (None, "gpu 0")
    fail(lab, bad)
    assert bad_slots(lab, sweep) == []  # what was before is forgotten


def test_zero_in_the_definition_turns_it_off(lab, texts):
    sweep = lab.create(texts["random"] + "sweepd: {quarantine: 0, retries: 0}\n")
    agent = register(lab, sweep, "node0")

    burnt = [fail(lab, agent, "crashed") for _ in range(6)]

    assert bad_slots(lab, sweep) == []
    assert {lab.trial(sweep, one).reason for one in burnt} == {"crashed"}


def test_agents_of_other_clients_are_slots_of_their_own(lab, texts):
    sweep = lab.create(texts["random"])
    bad, good = lab.register(sweep), lab.register(sweep)

    for _ in range(3):
        command = lab.ask(bad)
        lab.start(command)
        lab.report(command, "crashed")

    assert lab.beat(bad) is None
    assert lab.ask(good).type == "resume"


def test_agent_that_leaves_in_order_speaks_against_no_slot(lab, texts):
    sweep = lab.create(texts["random"])
    for _ in range(5):
        agent = register(lab, sweep, "node0")
        command = lab.ask(agent)
        lab.start(command)
        lab.write(agents.leave, actor=lab.actor, agent_id=agent)

    assert bad_slots(lab, sweep) == []
    assert lab.trial(sweep, command).state == "queued"


def test_what_a_bad_slot_holds_for_its_canary_is_finished_by_others_in_the_end(lab, texts):
    sweep = lab.create(texts["random"] + "run_cap: 4\n")
    bad, good = register(lab, sweep, "node0"), register(lab, sweep, "node1")
    for _ in range(3):
        fail(lab, bad, "crashed")

    while lab.sweep(sweep).state == SweepState.RUNNING:
        succeed(lab, good)

    after = lab.sweep(sweep)
    assert (after.n_issued, after.n_finished, after.state) == (4, 4, SweepState.FINISHED)


def test_one_bad_slot_of_eight_costs_under_two_percent_of_a_sweep(lab, texts):
    """Fault 19: it fails in 2 s, the others take 20 s a trial; it is mended after 150 s."""
    sweep = lab.create(texts["random"] + "run_cap: 200\n")
    seen = SimpleNamespace(burnt=[], returned=[])

    lab.at_once(lambda: run_to_the_end(lab, sweep, seen, mended_s=150))

    trials = lab.trials(sweep)
    assert len(seen.burnt) > len(set(seen.burnt)) == 3  # of 200: canaries burn no new ones
    assert seen.returned  # and the slot took trials again
    assert [trial.reason for trial in trials] == ["finished"] * 200
    assert lab.sweep(sweep).notice is None


def run_to_the_end(lab, sweep, seen, *, mended_s):
    """Let eight agents work, the first of them on a bad slot until it is mended."""
    crowd = [register(lab, sweep, f"node{i}") for i in range(8)]
    bad, began, n = crowd[0], lab.clock.now, 8
    waiting = [(0.0, i, agent, None) for i, agent in enumerate(crowd)]
    while crowd:
        at, _, agent, command = heapq.heappop(waiting)
        lab.clock.advance(began + at - lab.clock.now)
        if command is not None and agent == bad and at <= mended_s:
            lab.report(command, "error", exit_code=1, message=WORDS)
            seen.burnt.append(command.run)
        elif command is not None:
            lab.log(command, 1.0)
            lab.end(command)
            if agent == bad:
                seen.returned.append(command.run)
        told = lab.beat(agent)
        if told is not None and told.type == "exit":
            crowd.remove(agent)
            continue
        command = told if told is not None and told.type in ("run", "resume") else None
        if command is not None:
            lab.start(command)
        takes = 5 if command is None else 2 if agent == bad and at < mended_s else 20
        heapq.heappush(waiting, (at + takes, n := n + 1, agent, command))


def condemn(lab, agent, reason="it has fallen off the bus"):
    return lab.write(agents.quarantine_slot, actor=lab.actor, agent_id=agent, reason=reason)


def test_agent_that_finds_its_gpu_unfit_has_it_put_aside_at_once(lab, fleet):
    sweep, bad, _ = fleet
    burnt = fail(lab, bad)

    for _ in range(2):
        view = condemn(lab, bad)

    assert view.quarantine == "it has fallen off the bus"
    assert "node0, gpu 0 (it has fallen off the bus)" in lab.sweep(sweep).notice
    assert lab.trial(sweep, burnt).state == "queued"
    assert lab.beat(bad) is None


def test_trial_that_fails_after_its_gpu_was_put_aside_runs_again_elsewhere(lab, fleet):
    sweep, bad, _ = fleet
    command = lab.ask(bad)
    lab.start(command)
    condemn(lab, bad)

    lab.report(command, "error", exit_code=1, message=WORDS)

    assert lab.trial(sweep, command).state == "queued"


def test_slot_of_a_sweep_without_quarantine_is_not_put_aside(lab, texts):
    sweep = lab.create(texts["random"] + "sweepd: {quarantine: 0}\n")
    agent = register(lab, sweep, "node0")

    condemn(lab, agent)

    assert bad_slots(lab, sweep) == []
    assert lab.beat(agent) is not None
