"""How long a run has trained."""

from sweepd_trainer.stopwatch import Stopwatch


def test_seconds_are_added_up_while_it_goes_and_after_another_one():
    now = [100.0]
    watch = Stopwatch(lambda: now[0])

    watch.go_on_from(7.0)
    now[0] += 50
    watch.start()
    now[0] += 2
    watch.start()  # it goes already
    now[0] += 3
    going = watch.seconds
    watch.pause()
    now[0] += 10

    assert going == watch.seconds == 12.0
