"""A definition is read before the transaction that needs it."""

import pytest
from effort import at_most_calls

from sweepd.engine import sweeps
from sweepd.engine.definitions import read_sent
from sweepd.errors import DefinitionError

LONG = "".join(f"  p{i}: {{values: [{', '.join(map(str, range(40)))}]}}\n" for i in range(100))


def test_the_writer_does_not_read_a_long_definition(lab, texts):
    created, edited = (read_sent(texts["random"] + LONG + f"run_cap: {n}\n") for n in (5, 6))

    def write(tx):
        with at_most_calls(60_000):  # to read one takes ten times that
            sweep, _ = sweeps.create_sweep(tx, actor=lab.actor, project="toy", definition=created)
            return sweeps.update_sweep(tx, actor=lab.actor, sweep_id=sweep.id, definition=edited)

    sweep, _ = lab.write(write)
    assert (sweep.version, sweep.run_cap) == (2, 6)


def test_what_is_wrong_with_it_is_raised_where_it_is_needed(lab, texts):
    wrong = read_sent("method: sideways\nparameters: {}\n")

    with pytest.raises(DefinitionError, match="sideways"):
        lab.create(wrong)
    sweep = lab.create(texts["random"])
    with pytest.raises(DefinitionError, match="sideways"):
        lab.write(sweeps.update_sweep, actor=lab.actor, sweep_id=sweep.id, definition=wrong)
