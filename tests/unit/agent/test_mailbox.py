"""What happens to a slot is taken in order, also what came as it waited for something else."""

import threading

from sweepd_agent.mailbox import Mailbox


def test_what_comes_during_a_wait_is_taken_later_and_first():
    box = Mailbox[str]()
    box.put("started")

    box.wait(60.0)
    box.put("ended")

    assert [box.take(0.0), box.take(0.0), box.take(0.0)] == ["started", "ended", None]


def test_wait_lasts_although_something_is_still_to_be_taken():
    box, woken = Mailbox[str](), threading.Event()
    box.put("started")
    box.wait(60.0)

    def wait():
        box.wait(60.0)
        woken.set()

    thread = threading.Thread(target=wait)
    thread.start()
    assert not woken.wait(0.05)
    box.wake()
    thread.join(10)

    assert woken.is_set()
    assert box.take(0.0) == "started"
