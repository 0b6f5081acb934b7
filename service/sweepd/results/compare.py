"""Lays runs side by side, of one project or several: what differs and what came of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sweepd.errors import InvalidInput
from sweepd.results.judging import logged_values
from sweepd.results.server import in_words, open_api
from sweepd.spec import canonical, reduce_curve

__all__ = ["Compared", "Comparison", "Row", "compare", "flat"]

#: Runs that are laid side by side.
_MOST = 50


@dataclass(frozen=True)
class Compared:
    """What is known of one run; a fact that the run does not tell is None."""

    path: str  # entity/project/run
    display_name: str
    state: str
    url: str
    config: Mapping[str, Any]  # by flat names: {"opt.lr": 0.1}
    summary: Mapping[str, Any]  # likewise, without the client's own keys
    curve: Mapping[str, float]  # "best METRIC", "last METRIC" of the metrics of its sweep
    facts: Mapping[str, Any] = field(default_factory=dict)  # duration, host, GPU, git, …

    def as_json(self) -> dict[str, Any]:
        """Return the run as plain JSON values."""
        return {
            "run": self.path,
            "display_name": self.display_name,
            "state": self.state,
            "url": self.url,
            "config": dict(self.config),
            "summary": dict(self.summary),
            "values": dict(self.curve),
            **self.facts,
        }


@dataclass(frozen=True)
class Row:
    """One thing that is compared: a group, a name, and a cell for each run (None: not there)."""

    group: str
    name: str
    cells: tuple[Any, ...]

    @property
    def differs(self) -> bool:
        """Return whether not all runs have the same."""
        return len({canonical(cell) for cell in self.cells}) > 1


@dataclass(frozen=True)
class Comparison:
    """Runs side by side, in the order in which they were named."""

    runs: tuple[Compared, ...]

    def rows(self, *, is_whole: bool = False) -> list[Row]:
        """Return what is compared: of the config what differs, unless it is to be whole."""
        config = self._rows("config", [run.config for run in self.runs])
        return [
            *(row for row in config if is_whole or row.differs),
            *self._rows("values", [run.curve for run in self.runs]),
            *self._rows("summary", [run.summary for run in self.runs]),
            *self._rows("run", [{"outcome": run.state, **run.facts} for run in self.runs]),
        ]

    def as_json(self) -> dict[str, Any]:
        """Return the runs, and the names of the config that differ, as plain JSON values."""
        config = self._rows("config", [run.config for run in self.runs])
        return {
            "differs": [row.name for row in config if row.differs],
            "runs": [run.as_json() for run in self.runs],
        }

    @staticmethod
    def _rows(group: str, columns: Sequence[Mapping[str, Any]]) -> list[Row]:
        names = dict.fromkeys(name for column in columns for name in column)
        rows = [Row(group, name, tuple(column.get(name) for column in columns)) for name in names]
        return [row for row in rows if any(cell is not None for cell in row.cells)]


def compare(paths: Sequence[str], *, api: Any = None) -> Comparison:
    """Lay runs side by side.

    Best and last values are of the metrics of a run's own sweep; a run of no sweep has none.

    Args:
        paths: `entity/project/run`, two or more; of any projects of one server.
        api: a `wandb.Api` to read through; None opens one.

    Raises:
        InvalidInput: fewer than two runs, too many, or one twice.
        NotFound: one of them is not there.
        Unauthorized, ServerUnreachable: the server's answer, in words.
    """
    twice = sorted({path for path in paths if list(paths).count(path) > 1})
    if twice:
        raise InvalidInput(f"{twice[0]} is named twice; name each run once")
    if not 2 <= len(paths) <= _MOST:
        raise InvalidInput(f"{len(paths)} named: name 2 to {_MOST} to compare")
    api = api or open_api()
    return Comparison(tuple(_read(api, path) for path in paths))


def _read(api: Any, path: str) -> Compared:
    with in_words(f"the run {path}"):
        run = api.run(path)
        summary = {
            name: value
            for name, value in sorted(flat(dict(run.summary_metrics)).items())
            if not name.startswith("_") and _is_plain(value)
        }
        return Compared(
            path="/".join(run.path),
            display_name=run.name,
            state=run.state,
            url=run.url,
            config=dict(sorted(flat(dict(run.config)).items())),
            summary=summary,
            curve=_curve(api, run),
            facts=facts_of(run),
        )


def _curve(api: Any, run: Any) -> dict[str, float]:
    """Return the best and the last value of each metric of the run's sweep."""
    name = getattr(run, "sweep_name", None)
    if not name:
        return {}
    config = api.sweep("/".join((*run.path[:2], name))).config
    metrics = config.get("metrics") or [config.get("metric") or {}]
    found: dict[str, float] = {}
    for metric in (one for one in metrics if one.get("name")):
        values = logged_values(run, metric["name"])
        for rule in ("best", "last") if values else ():
            value = reduce_curve(values, rule=rule, goal=metric.get("goal", "minimize"))
            if value is not None:
                found[f"{rule} {metric['name']}"] = value
    return found


def facts_of(run: Any) -> dict[str, Any]:
    """Return where, how long and from which code a run ran, as far as it tells."""
    told = run.metadata or {}
    runtime = dict(run.summary_metrics).get("_runtime")
    git = told.get("git") or {}
    facts = {
        "started_at": told.get("startedAt"),
        "duration_s": runtime if isinstance(runtime, int | float) else None,
        "host": told.get("host"),
        "gpu": _gpu(told),
        "python": told.get("python"),
        "git_commit": git.get("commit"),
        "git_remote": git.get("remote"),
    }
    return {name: value for name, value in facts.items() if value is not None}


def _gpu(told: Mapping[str, Any]) -> str | None:
    name, count = told.get("gpu"), told.get("gpu_count")
    if not isinstance(name, str):
        return None
    return f"{count} × {name}" if isinstance(count, int) and count > 1 else name


def flat(values: Mapping[str, Any], *, prefix: str = "") -> dict[str, Any]:
    """Return nested values by their flat names, as {"opt.lr": 0.1}; media stay whole."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        whole = f"{prefix}{name}"
        if isinstance(value, Mapping) and value and "_type" not in value:
            found |= flat(value, prefix=f"{whole}.")
        else:
            found[whole] = value
    return found


def _is_plain(value: Any) -> bool:
    """Return whether a value says something in a table: media and histograms do not."""
    return isinstance(value, str | int | float | bool)
