"""How many trials share a GPU: the decision, from what trials bring and take."""

import pytest

from sweepd_agent.devices import Slot
from sweepd_agent.doubling import Doubling, Measured, read_measured
from sweepd_agent.sharing import Sharing, Taken

GIB = 1 << 30


class Machine:
    """GPUs whose slots run trials, on a clock that a test moves."""

    def __init__(self, n_gpus=1, kinds=None, cores=16):
        self.slots = [Slot(i, f"gpu {i}", str(i), cores) for i in range(n_gpus)]
        self.said, self.n_grown, self.n_made, self.now = [], 0, n_gpus, 0.0
        alike = {slot.device: "H200" for slot in self.slots}
        self.sharing = Sharing(
            self.slots,
            kinds=alike if kinds is None else kinds,
            cores=cores,
            say=lambda text, facts: self.said.append((text, facts)),
            on_growth=self._grow,
            unknown="nobody tells",
        )

    def _grow(self):
        self.n_grown += 1
        added = self.sharing.new_slots(self.n_made)
        self.slots, self.n_made = self.slots + added, self.n_made + len(added)

    @property
    def per_gpu(self):
        """How many slots each GPU has."""
        devices = [slot.device for slot in self.slots]
        return {device: devices.count(device) for device in devices}

    def begin(self, slots=None):
        chosen = self.slots if slots is None else slots
        return [self.sharing.begin(slot, now=self.now) for slot in chosen]

    def end(self, stays, lasting, /, **taken):
        """Let trials that have begun take so many seconds, all at once."""
        self.now += lasting
        for stay in stays:
            self.sharing.end(stay, now=self.now)
        for stay in stays:
            known = {"peak_bytes": GIB, "total_bytes": 80 * GIB, **taken}
            self.sharing.note(stay, Taken(**{"seconds": lasting, **known}))

    def round(self, lasting, /, **taken):
        """Run one trial in each slot, all at once."""
        self.end(self.begin(), lasting, **taken)

    def leave(self):
        """Let each slot that is one too many leave."""
        self.slots = [slot for slot in self.slots if not self.sharing.must_leave(slot)]


def grow_to(machine, n, **taken):
    """Measure as if each doubling trained twice as much, up to n trials at once on each GPU."""
    while machine.per_gpu["gpu 0"] < n:
        machine.round(10.0, **taken)
    return machine


def test_a_gpu_begins_with_one_trial_that_has_all_of_it():
    machine = Machine()

    fitted = machine.sharing.fitted(machine.slots[0])

    assert (fitted.share, fitted.memory_fraction, fitted.threads) == (1, None, 16)


def test_two_trials_at_once_are_tried_once_two_have_run_alone():
    machine = Machine()

    machine.round(10.0)
    assert machine.per_gpu == {"gpu 0": 1}
    machine.round(10.0)

    assert machine.per_gpu == {"gpu 0": 2}
    ((text, facts),) = machine.said
    assert text == (
        "2 trials at once on each GPU: to be tried, as 1 took 1.0 of the GPU's 80.0 GiB"
    )
    assert (facts["per_gpu"], facts["is_settled"]) == (2, False)


def test_slots_are_doubled_as_long_as_trials_finish_faster_and_at_most_to_sixteen():
    machine = grow_to(Machine(), 16)
    assert machine.per_gpu == {"gpu 0": 16}

    machine.round(10.0)

    text, facts = machine.said[-1]
    assert text == "16 trials at once on each GPU: more than 16 are not tried"
    assert facts["is_settled"]
    assert machine.n_grown == 4


def test_part_of_the_gpu_and_of_the_cores_follows_the_number_at_once():
    machine = grow_to(Machine(), 4)

    fitted = machine.sharing.fitted(machine.slots[0])

    assert (fitted.share, fitted.memory_fraction, fitted.threads) == (4, 0.225, 4)


def test_doubling_that_does_not_pay_is_taken_back_and_said_once():
    machine = grow_to(Machine(), 4)

    machine.round(19.5)
    machine.leave()
    for _ in range(5):
        machine.round(10.0)

    assert machine.per_gpu == {"gpu 0": 2}
    settled = [text for text, facts in machine.said if facts["is_settled"]]
    assert settled == [
        "2 trials at once on each GPU: 4 finish 1.03 times as many trials an hour",
    ]


def test_one_trial_at_a_time_is_said_so():
    machine = grow_to(Machine(), 2)

    machine.round(20.0)
    machine.leave()

    assert machine.said[-1][0] == (
        "1 trial at a time on each GPU: 2 finish 1.00 times as many trials an hour"
    )
    assert machine.per_gpu == {"gpu 0": 1}


def test_rows_a_second_decide_where_programs_tell_them():
    machine = grow_to(Machine(), 2, rows_per_s=100.0)

    machine.round(1.0, rows_per_s=52.0)  # they end soon, and train little

    assert machine.said[-1][0] == (
        "1 trial at a time on each GPU: 2 train 1.04 times as many rows a second"
    )


def test_rows_and_trials_are_not_mixed():
    machine = grow_to(Machine(), 2, rows_per_s=100.0)

    machine.round(30.0)  # nothing is told any more
    assert machine.per_gpu == {"gpu 0": 2}
    machine.round(30.0, rows_per_s=99.0)

    assert machine.per_gpu == {"gpu 0": 4}


def test_trial_that_told_nothing_has_all_counted_by_the_seconds_they_took():
    machine = Machine()
    machine.round(10.0, rows_per_s=100.0)
    machine.round(10.0)
    assert machine.per_gpu == {"gpu 0": 2}

    machine.round(20.0, rows_per_s=100.0)

    assert "trials an hour" in machine.said[-1][0]


def test_trial_that_was_stopped_counts_by_its_rows_alone():
    machine = Machine()

    for _ in range(9):
        machine.round(10.0, seconds=None)
    assert machine.per_gpu == {"gpu 0": 1}
    for _ in range(2):
        machine.round(10.0, seconds=None, rows_per_s=100.0)

    assert machine.per_gpu == {"gpu 0": 2}


def test_the_first_to_begin_judge_though_shorter_ones_end_before():
    machine = grow_to(Machine(), 2)
    first, second = machine.slots

    long = machine.begin([first])
    for _ in range(20):
        machine.end(machine.begin([second]), 2.0, seconds=16.0)
    assert machine.per_gpu == {"gpu 0": 2}
    machine.end(long, 0.0, seconds=24.0)

    assert machine.said[-1][1]["per_gpu"] == 1  # 10 s alone: it would pay if all took 16 s


@pytest.mark.parametrize(("idle_s", "is_counted"), [(1.0, True), (6.0, False)])
def test_trial_beside_slots_that_had_nothing_to_do_is_not_counted(idle_s, is_counted):
    machine = grow_to(Machine(), 2)

    first = machine.begin(machine.slots[:1])
    machine.now += idle_s
    second = machine.begin(machine.slots[1:])
    machine.end(first + second, 10.0 - idle_s, seconds=5.0)

    assert (machine.per_gpu == {"gpu 0": 4}) is is_counted


def test_the_next_number_must_fit_into_four_fifths_of_the_memory():
    machine = grow_to(Machine(), 2, peak_bytes=16 * GIB)

    machine.round(10.0, peak_bytes=17 * GIB)

    text, facts = machine.said[-1]
    assert text == "2 trials at once on each GPU: 2 need 34.0 GiB of the GPU's memory"
    assert facts["is_settled"]


def test_what_others_have_of_the_memory_is_no_room():
    machine = Machine()

    for _ in range(3):
        machine.round(10.0, peak_bytes=4 * GIB, others_bytes=60 * GIB)

    assert [text for text, _ in machine.said] == [
        "2 trials at once on each GPU: to be tried, as 1 took 4.0 of the GPU's 80.0 GiB, of which "
        "others have 60.0",
        "4 trials at once on each GPU: to be tried, as 2 took 8.0 of the GPU's 80.0 GiB, of which "
        "others have 60.0",
    ]
    machine.round(10.0, peak_bytes=4 * GIB, others_bytes=60 * GIB)
    assert machine.said[-1][0] == (
        "4 trials at once on each GPU: 4 need 16.0 GiB of the GPU's memory"
    )


def test_trials_that_differ_much_are_judged_by_more_of_them():
    machine = Machine()

    for rate in (100.0, 200.0, 400.0, 800.0) * 2:
        assert machine.per_gpu == {"gpu 0": 1}
        machine.round(10.0, rows_per_s=rate)

    assert machine.per_gpu == {"gpu 0": 2}


def test_trials_that_differ_much_keep_nobody_where_two_would_not_fit():
    machine = Machine()

    for rate in (100.0, 800.0):
        machine.round(10.0, rows_per_s=rate, peak_bytes=50 * GIB)

    assert machine.said[-1][0].endswith("1 needs 50.0 GiB of the GPU's memory")


@pytest.mark.parametrize(("n_alone", "n"), [(0, 2), (2, 5)])
def test_a_number_at_which_twice_as_many_trials_fail_is_given_up(n_alone, n):
    machine = Machine()
    for _ in range(n_alone):
        machine.round(10.0, seconds=None, has_failed=True)
    grow_to(machine, 2)

    for _ in range(n):
        assert machine.per_gpu == {"gpu 0": 2}
        pair = machine.begin()
        machine.end(pair[:1], 1.0, seconds=None, has_failed=True)
        machine.end(pair[1:], 0.0, seconds=None)
    machine.leave()

    assert machine.per_gpu == {"gpu 0": 1}
    text, facts = machine.said[-1]
    assert text == f"1 trial at a time on each GPU: {n} failed, 2 at once"
    assert facts["is_settled"]


def test_trials_that_fail_alone_decide_nothing():
    machine = Machine()

    for _ in range(9):
        machine.round(10.0, seconds=None, has_failed=True)

    assert machine.said == []


def test_slots_whose_workers_have_ended_make_no_other_leave():
    machine = grow_to(Machine(), 4)
    for slot in machine.slots[:2]:
        machine.sharing.forget(slot)

    run_out(machine, machine.begin(machine.slots[2:3]))

    assert not any(machine.sharing.must_leave(slot) for slot in machine.slots[2:])


def test_the_largest_trial_counts_though_it_judges_nothing():
    machine = Machine()
    machine.round(10.0, seconds=None, peak_bytes=50 * GIB)

    machine.round(10.0)
    machine.round(10.0)

    assert "1 needs 50.0 GiB" in machine.said[-1][0]


def test_without_a_word_on_memory_it_stays_at_one_and_says_why_once():
    machine = Machine()

    for _ in range(9):
        machine.round(10.0, peak_bytes=None, total_bytes=None, rows_per_s=5.0)

    assert [text for text, _ in machine.said] == [
        "1 trial at a time on each GPU: how much memory a trial takes is not known: nobody tells"
    ]


def test_gpus_that_are_alike_learn_from_each_other():
    machine = Machine(n_gpus=4)

    machine.round(10.0)

    assert machine.per_gpu == dict.fromkeys(["gpu 0", "gpu 1", "gpu 2", "gpu 3"], 2)
    assert machine.sharing.fitted(machine.slots[0]).threads == 2  # of 16 cores, for 8 slots


def test_gpus_of_other_kinds_are_judged_by_themselves():
    machine = Machine(n_gpus=2, kinds={"gpu 0": "H200"})
    for _ in range(2):
        machine.end(machine.begin(machine.slots[:1]), 10.0)

    assert machine.per_gpu == {"gpu 0": 2, "gpu 1": 1}
    assert machine.said[-1][0].startswith("2 trials at once on each of gpu 0: ")


def run_out(machine, stays, run="run1"):
    machine.now += 1.0
    for stay in stays:
        machine.sharing.end(stay, now=machine.now)
    return [machine.sharing.note_out_of_memory(stay, f"{run}-{i}") for i, stay in enumerate(stays)]


def test_trial_that_runs_out_of_memory_halves_the_number_for_good():
    machine = grow_to(Machine(), 4)

    is_tried_again = run_out(machine, machine.begin()[:1])
    machine.leave()
    machine.round(1.0)
    machine.round(1.0)

    assert is_tried_again == [True]
    assert machine.per_gpu == {"gpu 0": 2}
    assert machine.said[-1][0] == "2 trials at once on each GPU: one of 4 ran out of memory"
    assert machine.said[-1][1]["is_settled"]


def test_two_that_run_out_of_memory_at_once_halve_it_once():
    machine = grow_to(Machine(), 4)

    is_tried_again = run_out(machine, machine.begin())
    machine.leave()

    assert is_tried_again == [True] * 4
    assert machine.per_gpu == {"gpu 0": 2}


def test_trial_that_ran_out_of_memory_alone_decides_nothing():
    machine = Machine()

    assert run_out(machine, machine.begin()) == [False]

    assert machine.said == []


def test_trial_that_runs_out_of_memory_again_is_not_tried_again():
    machine = grow_to(Machine(), 4)
    run_out(machine, machine.begin()[:1])
    machine.leave()

    assert run_out(machine, machine.begin()[:1]) == [False]

    assert machine.said[-1][0] == "2 trials at once on each GPU: one of 4 ran out of memory"


def test_trial_that_ran_out_of_memory_before_another_was_beside_it_decides_nothing():
    machine = Machine(n_gpus=3)
    first = machine.begin(machine.slots[:2])
    alone = machine.begin(machine.slots[2:])
    machine.end(first, 10.0)
    assert machine.per_gpu["gpu 2"] == 2

    assert run_out(machine, alone) == [False]

    assert machine.per_gpu["gpu 0"] == 2


def test_trial_that_another_came_beside_may_have_run_out_of_memory_for_that():
    machine = Machine()
    machine.round(10.0)
    first = machine.begin()
    machine.end(machine.begin(), 10.0)  # the same slot's next, made ready meanwhile
    assert machine.per_gpu == {"gpu 0": 1}

    assert run_out(machine, first) == [True]


def test_trial_whose_part_was_cut_before_the_others_left_may_have_run_out_of_memory_for_that():
    machine = grow_to(Machine(), 2)
    first, second = machine.slots
    part = machine.sharing.fitted(second)
    run_out(machine, machine.begin([first]))
    machine.leave()

    assert run_out(machine, machine.begin([part]), "run2") == [True]


def test_slots_that_are_too_many_share_the_gpu_until_they_leave():
    machine = grow_to(Machine(), 4)
    run_out(machine, machine.begin()[:1])

    assert machine.sharing.fitted(machine.slots[0]).share == 4
    machine.leave()

    assert machine.sharing.fitted(machine.slots[-1]).share == 2


def test_gpu_that_is_unfit_gets_no_more_slots():
    machine = Machine(n_gpus=2)
    machine.sharing.take_out(machine.slots.pop(0))

    machine.round(10.0)
    machine.round(10.0)

    assert machine.per_gpu == {"gpu 1": 2}


def test_last_slot_of_a_gpu_never_leaves():
    machine = grow_to(Machine(), 2)
    machine.sharing.take_out(machine.slots.pop(0))

    run_out(machine, machine.begin())

    assert not machine.sharing.must_leave(machine.slots[0])


def test_slot_that_could_not_be_added_is_not_counted():
    machine = grow_to(Machine(), 2)

    machine.sharing.forget(machine.slots.pop())
    run_out(machine, machine.begin())

    assert not machine.sharing.must_leave(machine.slots[0])


@pytest.mark.parametrize(
    "said",
    [
        {"rows_per_s": float("nan")},
        {"rows_per_s": float("inf")},
        {"rows_per_s": 0},
        {"rows_per_s": "fast"},
        {"rows_per_s": [1]},
        {"peak_bytes": -1},
        {"total_bytes": float("inf")},
    ],
)
def test_what_nobody_can_have_measured_is_refused(said):
    with pytest.raises((ArithmeticError, TypeError, ValueError)):
        read_measured(said)


def test_what_is_missing_was_not_measured():
    assert read_measured({"peak_bytes": 5, "rows_per_s": None}) == Measured(None, 5, None)


def test_number_that_was_asked_to_be_smaller_than_it_is_stays():
    doubling = Doubling(4, 16)

    assert not doubling.shrink(8)
    assert (doubling.now, doubling.limit, doubling.is_settled) == (4, 8, False)
