import json
import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweepd.engine import history
from sweepd.engine.row_reads import pick
from sweepd.engine.sampling import chosen, evenly
from sweepd.errors import ProtocolError


def row(step, **values):
    return {"_step": step, "_timestamp": 1_800_000_000.0 + step, "_runtime": step / 2, **values}


@pytest.fixture
def logged(upsert, stream):
    """Makes a run with the given history rows."""

    def logged(rows, **rest):
        run = upsert()
        stream(run, history=rows, **rest)
        return run

    return logged


@pytest.fixture
def read(store):
    """Reads with one of history's functions."""

    def read(function, run, **arguments):
        return store.read_sync(function, run_id=run.id, **arguments)

    return read


@pytest.fixture
def steps(read):
    """Reads the steps of the rows that come back."""

    def steps(run, **arguments):
        return [json.loads(text)["_step"] for text in read(history.rows, run, **arguments)]

    return steps


def test_rows_come_by_step_between_bounds(logged, steps):
    run = logged([row(step, a=step) for step in (0, 5, 10, 15)])

    assert steps(run) == [0, 5, 10, 15]
    assert steps(run, min_step=5, max_step=15) == [5, 10]
    assert steps(run, min_step=5, max_step=5) == []
    assert steps(run, min_step=-(10**30), max_step=10**30) == [0, 5, 10, 15]


def test_rows_of_one_step_are_merged_and_the_later_line_wins(logged, read, stream):
    run = logged([row(0, a=1, b=1), row(1, a=2)])
    stream(run, history=[row(0, a=9, c=3)], offset=2)

    texts = read(history.rows, run)

    assert [json.loads(text) for text in texts] == [row(0, a=9, b=1, c=3), row(1, a=2)]
    assert read(history.sampled, run, keys=["b", "c"]) == [{"b": 1, "c": 3}]


def test_sampled_rows_keep_first_last_and_extremes(logged, steps):
    run = logged(
        [row(step, a=(100 if step == 333 else -100 if step == 77 else 0)) for step in range(500)]
    )

    found = steps(run, samples=20)

    assert len(found) == 20
    assert {0, 77, 333, 499} <= set(found)
    assert max(b - a for a, b in pairwise(found)) < 500 / 10


def test_very_long_history_is_sampled_evenly(logged, steps):
    run = logged([row(step) for step in range(20_001)])

    assert steps(run, samples=5) == [0, 5000, 10_000, 15_000, 20_000]


@pytest.mark.parametrize(
    ("samples", "expected"), [(0, []), (1, [9]), (2, [0, 9]), (99, list(range(10)))]
)
def test_few_samples_are_the_ends(logged, steps, samples, expected):
    run = logged([row(step) for step in range(10)])

    assert steps(run, samples=samples) == expected


def test_sampled_keys_drop_rows_that_lack_any(logged, read):
    run = logged([row(0, a=1), row(1, a=2, b=2), row(2, b=3), row(3, a=4, b=float("nan"))])

    keys = ["_step", "a", "b", "_step"]

    assert read(history.sampled, run, keys=keys, min_step=0, max_step=3, samples=10) == [
        {"_step": 1, "a": 2, "b": 2},
        {"_step": 3, "a": 4, "b": "NaN"},
    ]
    assert read(history.sampled, run, keys=keys, min_step=0, max_step=2) == [
        {"_step": 1, "a": 2, "b": 2}
    ]
    assert read(history.sampled, run, keys=[]) == []


@pytest.mark.parametrize("key", ["val/acc", "nest.a", "dot.ted", "deep.er.key", "ü", 'quo"te'])
def test_any_key_can_be_sampled(logged, read, key):
    values = {
        "val/acc": 1,
        "nest": {"a": 1},
        "dot.ted": 1,
        "deep": {"er.key": 1},
        "ü": 1,
        'quo"te': 1,
    }
    run = logged([row(0), row(1, **values)])

    assert read(history.sampled, run, keys=[key]) == [{key: 1}]


def test_sampled_curve_keeps_its_peaks(logged, read):
    run = logged([row(step, a=1000 if step == 123 else step) for step in range(300)])

    found = read(history.sampled, run, keys=["_step", "a"], samples=30)

    assert len(found) == 30
    assert {"_step": 123, "a": 1000} in found
    assert [found[0]["_step"], found[-1]["_step"]] == [0, 299]


def test_tail_is_the_last_row_as_text_in_a_list(logged, read):
    run = logged([row(0, a=1), row(1, a=2)], events=[{"system.cpu": 3}])

    (last,) = json.loads(read(history.tail, run, stream="history"))
    (event,) = json.loads(read(history.tail, run, stream="events"))

    assert json.loads(last) == row(1, a=2)
    assert json.loads(event) == {"system.cpu": 3}
    with pytest.raises(ProtocolError):
        read(history.tail, run, stream="files")


def test_run_without_rows_has_empty_answers(upsert, read):
    run = upsert()

    assert read(history.rows, run, samples=10) == []
    assert read(history.sampled, run, keys=["a"]) == []
    assert read(history.events, run) == []
    assert read(history.tail, run, stream="history") == "[]"
    assert read(history.log_lines, run).items == ()
    assert read(history.event_keys, run) == []
    assert history.history_keys(run) is None
    assert history.keys_by_kind(run) == {}
    empty = read(history.series, run, keys=["a"])["a"]
    assert (empty.x, empty.n) == ((), 0)


def test_events_are_sampled_evenly(logged, read):
    run = logged([], events=[{"_runtime": float(n), "system.cpu": n} for n in range(11)])

    texts = read(history.events, run, samples=3)

    assert [json.loads(text)["system.cpu"] for text in texts] == [0, 5, 10]
    assert read(history.event_keys, run) == ["system.cpu"]


def test_keys_are_told_apart_by_kind(logged, reread):
    media = {"_type": "image-file", "path": "x.png"}
    run = logged(
        [
            row(0, loss=1, g={"_type": "histogram"}, pic=media, note="text", many=[1]),
            row(1, loss="NaN", tab={"_type": "table-file"}, pics={"_type": "images/separated"}),
        ]
    )

    assert history.keys_by_kind(reread(run)) == {
        "scalar": ["loss"],
        "histogram": ["g"],
        "image": ["pic", "pics"],
        "text": ["note"],
        "table": ["tab"],
        "other": ["many"],
    }


# Charts.


def test_short_curve_has_every_point(logged, read):
    run = logged([row(step, a=step * step) for step in range(4)])

    curve = read(history.series, run, keys=["a"])["a"]

    assert curve.x == (0, 1, 2, 3)
    assert curve.last == curve.low == curve.high == (0, 1, 4, 9)
    assert (curve.n, curve.n_bad) == (4, 0)


def test_long_curve_is_bucketed_with_its_peaks(logged, read):
    run = logged([row(step, a=-5 if step == 501 else step % 7) for step in range(1000)])

    curve = read(history.series, run, keys=["a"], max_points=10)["a"]

    assert len(curve.x) == len(curve.last) == len(curve.low) == len(curve.high) == 10
    assert (min(curve.low), max(curve.high)) == (-5, 6)
    assert curve.x[-1] == 999
    assert curve.last[-1] == 999 % 7
    assert curve.n == 1000


def test_curve_leaves_out_what_is_no_finite_number(logged, read):
    values = [1, float("nan"), "text", True, None, {"b": 1}, float("inf"), 2]
    run = logged([row(step, a=value) for step, value in enumerate(values)])

    curve = read(history.series, run, keys=["a"])["a"]

    assert (curve.x, curve.last) == ((0, 7), (1, 2))
    assert (curve.n, curve.n_bad) == (2, 2)


def test_curve_over_another_key_and_a_part_of_the_axis(logged, read):
    run = logged([row(step, a=step, epoch=-step) for step in range(10)])

    by_epoch = read(history.series, run, keys=["a"], x="epoch")["a"]
    part = read(history.series, run, keys=["a"], min_x=2, max_x=4)["a"]
    by_time = read(history.series, run, keys=["a"], x="_runtime", min_x=4)["a"]

    assert by_epoch.x == tuple(range(-9, 1))
    assert part.x == (2, 3, 4)
    assert by_time.x == (4.0, 4.5)


def test_curves_of_system_metrics_are_over_time(logged, read):
    run = logged([], events=[{"_runtime": n / 2, "system.gpu.0.temp": n} for n in range(3)])

    curve = read(history.series, run, keys=["system.gpu.0.temp"], stream="events")
    assert curve["system.gpu.0.temp"].x == (0, 0.5, 1)


@pytest.mark.parametrize("wrong", [{"keys": ["a"] * 201}, {"max_points": 0}, {"stream": "x"}])
def test_curves_without_sense_are_refused(upsert, read, wrong):
    with pytest.raises(ProtocolError, match="series: "):
        read(history.series, upsert(), **{"keys": ["a"], **wrong})


# The console.


def test_console_lines_are_read_in_both_formats(upsert, stream, read):
    run = upsert()
    stream(
        run,
        console=[
            "2026-11-23T04:20:12.345678 plain \x1b[32mok\x1b[0m",
            "ERROR 2026-11-23T04:20:13.345678 it broke",
            '{"level":"error","ts":"2026-11-23T04:20:14","label":"rank 1","content":"structured"}',
            '{"content":"bare"}',
            '{"loss": 1}',
            "no time at all",
            "2026-11-23T04:20:15 [epoch 1] loss 3",
        ],
    )

    found = read(history.log_lines, run).items

    assert [(line.number, line.text, line.level, line.label) for line in found] == [
        (0, "plain \x1b[32mok\x1b[0m", None, None),
        (1, "it broke", "error", None),
        (2, "structured", "error", "rank 1"),
        (3, "bare", None, None),
        (4, '{"loss": 1}', None, None),
        (5, "no time at all", None, None),
        (6, "[epoch 1] loss 3", None, None),
    ]
    assert found[0].timestamp == "2026-11-23T04:20:12.345678"
    assert found[2].timestamp == "2026-11-23T04:20:14"


def test_console_is_paged_forwards_and_from_its_end(upsert, stream, read):
    run = upsert()
    stream(run, console=[str(number) for number in range(10)])

    def numbers(page):
        return [line.number for line in page.items]

    first = read(history.log_lines, run, first=4)
    second = read(history.log_lines, run, first=4, after=first.end)
    third = read(history.log_lines, run, first=4, after=second.end)
    tail = read(history.log_lines, run, last=3)
    above = read(history.log_lines, run, last=3, before=tail.cursors[0])

    assert [numbers(page) for page in (first, second, third)] == [
        [0, 1, 2, 3],
        [4, 5, 6, 7],
        [8, 9],
    ]
    assert [page.has_next for page in (first, second, third)] == [True, True, False]
    assert (numbers(tail), tail.has_next) == ([7, 8, 9], False)
    assert (numbers(above), above.has_next) == ([4, 5, 6], True)
    with pytest.raises(ProtocolError, match="not both"):
        read(history.log_lines, run, first=1, last=1)


# The helpers.


@given(n=st.integers(0, 500), samples=st.integers(0, 500))
def test_even_sample_has_both_ends_and_no_repeats(n, samples):
    found = evenly(n, samples)

    assert len(found) == min(n, samples)
    assert found == sorted(set(found))
    if n and samples >= 2:
        assert (found[0], found[-1]) == (0, n - 1)
    if len(found) > 2:
        gaps = [b - a for a, b in pairwise(found)]
        assert max(gaps) - min(gaps) <= 1


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("a", (True, 1)),
        ("b.c", (True, 2)),
        ("b.d.e", (True, 3)),
        ("f.g", (True, 4)),
        ("h.i.j", (True, 5)),
        ("b.x", (False, None)),
        ("a.x", (False, None)),
        ("", (False, None)),
        (".", (False, None)),
    ],
)
def test_key_is_found_whole_or_as_a_path(key, expected):
    values = {"a": 1, "b": {"c": 2, "d.e": 3}, "f.g": 4, "h.i": {"j": 5}}

    assert pick(values, key) == expected


def test_curve_values_are_finite(logged, read):
    run = logged([row(0, a=10**400), row(1, a=1)])

    curve = read(history.series, run, keys=["a"])["a"]

    assert all(math.isfinite(value) for value in curve.last)


@given(n=st.integers(1, 300), samples=st.integers(0, 300), extremes=st.sets(st.integers(0, 299)))
def test_chosen_rows_are_as_many_as_asked_for_without_repeats(n, samples, extremes):
    found = chosen(n, samples, sorted(index for index in extremes if index < n))

    assert found == sorted(set(found))
    assert len(found) == min(n, samples)
    assert all(0 <= index < n for index in found)
