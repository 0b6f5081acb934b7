"""Run all that needs a GPU on this machine's first one: its tests, then every benchmark.

    python bench/gpu_all.py                          all of it, up to half an hour
    python bench/gpu_all.py --budget 540             as much as fits into 9 minutes
    python bench/gpu_all.py --only tutorial mnist    these parts alone
    SWEEP_DATA=DIR python bench/gpu_all.py           with the data sets that DIR has

The parts run one after the other, each a process of its own with a time limit of its own, those
first that are short and matter most. The device's name is printed first; what each part prints is
passed on, and every line of JSON is appended, as it comes, to gpu.jsonl in the folder $OUT, or else
in bench/results, with the part's and the device's name; so is how each part ended. A table ends it.
Exit code 1 where a bar is missed, a test fails, a part runs out of time or is not begun for want of
it. What lacks a package or a data set is left out, which the table says, and does not count. torch,
numpy and pytest are enough for most parts.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
RESULTS = Path(os.environ.get("OUT") or Path(__file__).parent / "results") / "gpu.jsonl"
#: A part is not begun with less time than this, in seconds.
LEAST_S = 20.0
#: After an interrupt, until it is killed.
_GRACE_S = 10.0
_LEFT_OUT = " is left out: "
#: Of a line, what the table shows.
_SHOWN = (
    *("trials", "seconds_mean", "bar_s", "ratio", "teraflops_per_s", "share_of_peak"),
    *("test_accuracy", "throughput_ratio", "bar_ratio", "share_of_steps", "bar_share"),
)
_DEVICE = """
import json, torch
found = torch.cuda.is_available()
name = torch.cuda.get_device_name(0) if found else None
print(json.dumps({"device": name, "torch": str(torch.__version__), "cuda": torch.version.cuda}))
"""


@dataclass(frozen=True)
class Part:
    """A command that is run, for so many seconds at most, where these packages are installed."""

    name: str
    command: Sequence[str]
    limit_s: float
    needs: Sequence[str] = ()


@dataclass
class Ended:
    """How a part ended: in a word, after how long, and the lines of JSON that it printed."""

    part: Part
    outcome: str
    seconds: float = 0.0
    lines: list[dict[str, Any]] = field(default_factory=list)

    @property
    def is_fine(self) -> bool:
        """Return whether it passed, or was left out."""
        return self.outcome in ("met", "passed") or self.outcome.startswith("left out")


def _bench(
    name: str, limit_s: float, script: str, *options: str, needs: Sequence[str] = ()
) -> Part:
    return Part(name, [sys.executable, f"bench/{script}.py", *options], limit_s, needs)


def _trainer(name: str, limit_s: float, *options: str) -> Part:
    return _bench(name, limit_s, "gpu_trainer", "--only", name, *options)


_TESTS = ["-o", "addopts=", "-o", "filterwarnings=default", "--import-mode=importlib", "-q"]
_SERVICE = ("wandb", "sqlalchemy", "uvicorn", "starlette", "graphql")
PARTS = (
    _trainer("tutorial", 180),
    _trainer("mnist", 60),
    _bench("packs", 120, "gpu_packs", "--sizes", "1", "32", "--repeats", "3"),
    Part("tests", [sys.executable, "-m", "pytest", *_TESTS, "tests/gpu"], 240, ["pytest"]),
    _trainer("resnet9", 90, "--repeats", "3"),
    _trainer("fashion", 150, "--repeats", "3"),
    _bench("turnaround", 240, "turnaround", "--cuda", "--json", needs=_SERVICE),
    _trainer("histograms", 60),
    _trainer("cifar10", 240, "--repeats", "2"),
    _bench("more packs", 300, "gpu_packs", "--sizes", "2", "4", "8", "16", "64", "--repeats", "3"),
)


def run(
    parts: Sequence[Part], *, facts: Mapping[str, Any], results: Path, budget_s: float | None
) -> list[Ended]:
    """Run the parts in turn, append what comes to a file, and return how they ended.

    Args:
        parts: to be run.
        facts: of the device, for every line.
        results: the file.
        budget_s: for all of them; None: as long as each may.
    """
    ends_at = float("inf") if budget_s is None else time.monotonic() + budget_s
    every = []
    results.parent.mkdir(parents=True, exist_ok=True)
    for part in parts:
        print(f"\n== {part.name}", flush=True)

        def note(line: Mapping[str, Any], name: str = part.name) -> None:
            with results.open("a") as file:
                file.write(json.dumps({"part": name, **facts, **line}) + "\n")

        ended = run_part(part, left_s=ends_at - time.monotonic(), note=note)
        note({"outcome": ended.outcome, "seconds": round(ended.seconds, 1)})
        print(f"{part.name}: {ended.outcome}", flush=True)
        every.append(ended)
    return every


def run_part(part: Part, *, left_s: float, note: Callable[[Mapping[str, Any]], None]) -> Ended:
    """Run a part to its end or its limit, pass on what it prints, and return how it ended.

    Args:
        part: to be run.
        left_s: time that there is for it.
        note: is given each line of JSON.
    """
    missing = [name for name in part.needs if find_spec(name) is None]
    if missing:
        return Ended(part, f"left out: {', '.join(missing)} not installed")
    if left_s < LEAST_S:
        return Ended(part, "not run: the budget is spent")
    limit_s, begun = min(part.limit_s, left_s), time.monotonic()
    process = subprocess.Popen(
        part.command,
        cwd=ROOT,
        env=_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    lines: list[dict[str, Any]] = []
    reasons: list[str] = []
    reader = threading.Thread(target=_read, args=(process, lines, reasons, note), daemon=True)
    reader.start()
    is_late = not _wait(process, limit_s)
    reader.join(_GRACE_S)  # what a part has left running may hold the pipe open
    seconds = time.monotonic() - begun
    if is_late:
        outcome = f"out of time after {limit_s:.0f} s"
    else:
        outcome = _outcome(process.returncode, lines, reasons)
    return Ended(part, outcome, seconds, lines)


def _read(
    process: "subprocess.Popen[str]",
    lines: list[dict[str, Any]],
    reasons: list[str],
    note: Callable[[Mapping[str, Any]], None],
) -> None:
    """Pass on what a process prints; keep lines of JSON, and why something was left out."""
    assert process.stdout is not None
    with process.stdout as printed:
        for text in printed:
            print(text, end="", flush=True)
            if _LEFT_OUT in text:
                reasons.append(text.split(_LEFT_OUT, 1)[1].strip())
            if not text.startswith("{"):
                continue
            with suppress(ValueError):
                lines.append(json.loads(text))
                note(lines[-1])


def _wait(process: "subprocess.Popen[str]", limit_s: float) -> bool:
    """Wait for a process; end it, and all of its group, if it takes longer. Return if it did not.

    It is interrupted first, for it may have processes of its own to end.
    """
    try:
        process.wait(limit_s)
        return True
    except subprocess.TimeoutExpired:
        for number in (signal.SIGINT, signal.SIGKILL):
            with suppress(ProcessLookupError):
                os.killpg(process.pid, number)
            with suppress(subprocess.TimeoutExpired):
                process.wait(_GRACE_S)
        return False


def _outcome(exit_code: int, lines: Sequence[Mapping[str, Any]], reasons: Sequence[str]) -> str:
    if any(line.get("is_met") is False for line in lines):
        return "missed"
    if exit_code:
        return f"failed: exit code {exit_code}"
    if reasons and not lines:
        return f"left out: {reasons[0]}"
    return "met" if any(line.get("is_met") for line in lines) else "passed"


def _environment() -> dict[str, str]:
    """Return the environment of a part: ours is found where it is not installed, too."""
    folders = [str(ROOT / name) for name in ("service", "agent", "trainer")]
    path = os.pathsep.join(filter(None, [*folders, os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}


def table(every: Sequence[Ended]) -> str:
    """Return how the parts ended, for people."""
    rows = []
    for ended in every:
        rows.append(f"{ended.part.name:12}{ended.seconds:>7.0f} s  {ended.outcome[:120]}")
        rows += [f"{'':23}{shown(line)}" for line in ended.lines]
    return "\n".join(rows)


def shown(line: Mapping[str, Any]) -> str:
    """Return the numbers of a line that are judged, or told beside those."""
    told = [f"{name} {line[name]}" for name in _SHOWN if line.get(name) is not None]
    agents = line.get("agents") or {}
    told += [f"{name} {facts['median_s']:.2f} s" for name, facts in agents.items()]
    return ", ".join(told)


def device_facts() -> dict[str, Any]:
    """Return what torch says of the first GPU; exit in words where it finds none.

    It is asked in a process of its own: this one is to hold no memory there.
    """
    asked = subprocess.run(
        [sys.executable, "-c", _DEVICE], stdout=subprocess.PIPE, text=True, check=True
    )
    facts: dict[str, Any] = json.loads(asked.stdout)
    if facts["device"] is None:
        sys.exit(f"torch {facts['torch']} finds no CUDA device here")
    return facts


def main() -> int:
    """Run the parts, print the table, and return the exit code."""
    names = [part.name for part in PARTS]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=names, nargs="+", default=names)
    parser.add_argument("--budget", type=float, help="seconds for all of it together")
    parser.add_argument("--results", type=Path, default=RESULTS, help="file that is appended to")
    options = parser.parse_args()
    facts = device_facts()
    print(f"{facts['device']}, torch {facts['torch']}, CUDA {facts['cuda']}")
    parts = [part for part in PARTS if part.name in options.only]
    every = run(parts, facts=facts, results=options.results, budget_s=options.budget)
    print(f"\n{facts['device']}, torch {facts['torch']}, CUDA {facts['cuda']}\n{table(every)}")
    return 0 if all(ended.is_fine for ended in every) else 1


if __name__ == "__main__":
    sys.exit(main())
