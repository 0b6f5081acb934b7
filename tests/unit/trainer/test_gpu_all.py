"""The one command for whoever has a GPU: how its parts end, and what is written of them."""

import importlib
import json
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[3] / "bench"


@pytest.fixture(scope="module")
def gpu_all():
    sys.path.insert(0, str(BENCH))
    try:
        yield importlib.import_module("gpu_all")
    finally:
        sys.path.remove(str(BENCH))


@pytest.fixture
def run(gpu_all, tmp_path):
    """Return a function that runs programs as parts, and returns how they ended and the file."""

    def run(*programs: str, limit_s: float = 100.0, budget_s=None, needs=()):
        parts = [
            gpu_all.Part(f"part {n}", [sys.executable, "-S", "-c", program], limit_s, needs)
            for n, program in enumerate(programs)
        ]
        results = tmp_path / "gpu.jsonl"
        ended = gpu_all.run(parts, facts={"device": "a GPU"}, results=results, budget_s=budget_s)
        return ended, [json.loads(line) for line in results.read_text().splitlines()]

    return run


@pytest.mark.parametrize(
    ("program", "outcome", "is_fine"),
    [
        pytest.param("print('{\"is_met\": true}')", "met", True, id="met"),
        pytest.param("print('1 passed')", "passed", True, id="nothing to judge"),
        pytest.param("print('{\"is_met\": false}'); exit(1)", "missed", False, id="missed"),
        pytest.param("exit(1)", "failed: exit code 1", False, id="failed"),
        pytest.param(
            "import sys; print('cifar10 is left out: no data', file=sys.stderr)",
            "left out: no data",
            True,
            id="without data",
        ),
    ],
)
def test_how_a_part_ends(run, program, outcome, is_fine):
    (ended,), _ = run(program)

    assert (ended.outcome, ended.is_fine) == (outcome, is_fine)


def test_every_line_is_written_with_the_names_of_part_and_device(run, capsys):
    _, written = run("print('begun'); print('{\"seconds_mean\": 0.1}')")

    assert written[0] == {"part": "part 0", "device": "a GPU", "seconds_mean": 0.1}
    assert written[1]["outcome"] == "passed"
    assert "begun\n" in capsys.readouterr().out


def test_a_part_that_takes_too_long_is_ended_and_what_it_had_stands(run):
    program = "import time; print('{\"is_met\": true}', flush=True); time.sleep(600)"

    (late,), written = run(program, limit_s=5.0)

    assert late.outcome == "out of time after 5 s"
    assert not late.is_fine
    assert written[0]["is_met"] is True


def test_no_part_is_begun_once_the_budget_is_spent(run):
    (ended,), _ = run("print('never')", budget_s=1.0)

    assert ended.outcome == "not run: the budget is spent"
    assert not ended.is_fine


def test_a_part_whose_packages_are_not_installed_is_left_out(run):
    (ended,), _ = run("print('never')", needs=("no_such_package",))

    assert ended.outcome == "left out: no_such_package not installed"
    assert ended.is_fine


def test_every_benchmark_of_the_gpu_and_its_tests_have_a_part(gpu_all):
    commands = " ".join(word for part in gpu_all.PARTS for word in part.command)
    scripts = {path.name for path in BENCH.glob("gpu_*.py")} - {"gpu_all.py"}

    assert [name for name in scripts if f"bench/{name}" not in commands] == []
    assert "tests/gpu" in commands
    assert "bench/turnaround.py --cuda" in commands
    assert all(
        (BENCH.parent / part.command[1]).exists() or part.name == "tests" for part in gpu_all.PARTS
    )


def test_every_work_of_the_trainer_has_a_part(gpu_all):
    works = importlib.import_module("gpu_trainer").WORKS

    assert [name for name in works if name not in {part.name for part in gpu_all.PARTS}] == []


def test_the_table_has_each_part_with_its_numbers(gpu_all):
    part = gpu_all.Part("packs", [], 1.0)
    line = {"trials": 32, "throughput_ratio": 9.1, "bar_ratio": 8.0, "mode": "cuda graph"}

    assert gpu_all.table([gpu_all.Ended(part, "met", 12.0, [line])]).splitlines() == [
        "packs            12 s  met",
        "                       trials 32, throughput_ratio 9.1, bar_ratio 8.0",
    ]
