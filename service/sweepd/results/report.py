"""Writes what a sweep was and came to as one HTML file that needs no network.

The file has no script and no inline style: it opens under the strictest Content-Security-Policy,
which it brings along itself. All that comes from a server is escaped by the template, and by
`drawing` in its plots.
"""

import base64
import hashlib
import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from sweepd.errors import InvalidInput, NotFound
from sweepd.results import drawing
from sweepd.results.compare import facts_of, flat
from sweepd.results.export import UPLOADED_AS
from sweepd.results.front import Front, best_of
from sweepd.results.judging import Ranked, checked, runs_of
from sweepd.results.pages import (
    Account,
    Table,
    account_of,
    confirmed_table,
    duration,
    front_table,
    in_words_of,
    moment,
    ranking_table,
)
from sweepd.results.select import Selection
from sweepd.results.server import in_words, open_api

__all__ = ["Report", "write_report"]

_HERE = Path(__file__).parent
_MOST_PLOTS = 6
_MOST_DOTS = 2_000
_HUGE = 1e300


@dataclass(frozen=True)
class Report:
    """A report that was written."""

    path: Path
    sweep: str
    n_runs: int
    size_bytes: int


def write_report(
    sweep_path: str,
    *,
    out: Path,
    now: datetime,
    by: str | None = None,
    importance: Mapping[str, Any] | None = None,
    api: Any = None,
) -> Report:
    """Write the report of a sweep, in any state and also without a finished run.

    Args:
        sweep_path: as `select` takes it.
        out: the file; what stands there is replaced once the report is whole.
        now: the moment that it is dated to.
        by: the rule, as `select` takes it.
        importance: `sweepdImportance` of our service; None elsewhere.
        api: a `wandb.Api` to read through; None opens one.

    Raises:
        NotFound: there is no such sweep.
        InvalidInput: there is no such rule.
        Unauthorized, ServerUnreachable: the server's answer, in words.
    """
    if by is not None:
        checked(by)
    api = api or open_api()
    with in_words(f"the sweep {sweep_path}"):
        sweep = api.sweep(sweep_path)
        config = dict(sweep.config)
    path = f"{sweep.entity}/{sweep.project}/{sweep.id}"
    found, why = _found(path, by=by, api=api)
    with in_words(f"the runs of the sweep {path}"):
        account = account_of(sweep, runs_of(api, sweep), now=now)
        leader = _leader(found)
        best = api.run(leader.path) if leader else None
        facts = facts_of(best) if best else {}
        model = _model_of(best) if best else []
    page = {
        "title": config.get("name") or f"sweep {sweep.id}",
        "path": path,
        "url": _web(getattr(sweep, "url", None)),
        "written_at": f"{now.astimezone(UTC):%Y-%m-%d %H:%M} UTC",
        **in_words_of(found, why),
        "went": account.rows,
        "laws": _laws(config),
        "definition": json.dumps(config, indent=2, ensure_ascii=False),
        "environment": [*_versions(), *_told(facts)],
        "model": model,
        **_plots(found, account, config, importance),
        "tables": _tables(found),
    }
    content = _render(page).encode(errors="replace")  # halves of pairs come from servers too
    _write(out, content)
    return Report(out, path, account.n_runs, len(content))


def _found(path: str, *, by: str | None, api: Any) -> tuple[Selection | Front | None, str | None]:
    """Return what the sweep came to, or why there is nothing to rank."""
    try:
        return best_of(path, by=by, api=api), None
    except (NotFound, InvalidInput) as error:
        return None, str(error)


def _leader(found: Selection | Front | None) -> Ranked | None:
    if isinstance(found, Selection):
        return found.best
    return found.runs[0].run if found else None


def _tables(found: Selection | Front | None) -> list[Table]:
    if isinstance(found, Front):
        return [front_table(found)]
    if found is None:
        return []
    tables = [ranking_table(found)]
    return [*tables, confirmed_table(found)] if found.confirmation.leaders else tables


def _plots(
    found: Selection | Front | None,
    account: Account,
    config: Mapping[str, Any],
    importance: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """Return the drawings: curve, front, importance, and the runs over each parameter."""
    if found is None:
        return {"importance_note": None}
    told, note = _importance(importance)
    metric, goal, values = _by_metric(found)
    runs = [run for run in account.in_order if run in values]
    drawn: dict[str, Any] = {"importance": told, "importance_note": note}
    if isinstance(found, Selection) and runs:
        titles = [_title(values[run][0], values[run][1], metric) for run in runs]
        ys = [values[run][1] for run in runs]
        drawn["curve"] = drawing.best_so_far(ys, titles, metric=metric, goal=goal)
    elif isinstance(found, Front):
        drawn["front_plot"] = _front_plot(found)
    leader = _leader(found)
    assert leader is not None, "something was found"
    drawn["plots"] = [
        _parameter_plot(name, values, metric, goal, is_log=name in _log_names(config), best=leader)
        for name in _shown_parameters(values, config, importance)
    ]
    return drawn


def _by_metric(found: Selection | Front) -> tuple[str, str, dict[str, tuple[Ranked, float]]]:
    """Return the (first) metric, its goal, and each compared run with its value, by path."""
    if isinstance(found, Selection):
        return found.metric, found.goal, {run.path: (run, run.value) for run in found.ranking}
    metric, goal = next(iter(found.goals.items()))
    both = (*found.runs, *found.beaten)
    return metric, goal, {one.run.path: (one.run, one.values[metric]) for one in both}


def _front_plot(found: Front) -> Any:
    (y, goal), (x, x_goal) = list(found.goals.items())[:2]
    dots = [
        drawing.Dot(
            one.values[x],
            one.values[y],
            f"{_title(one.run, one.values[y], y)}, {x} {one.values[x]:.4g}",
            is_best=is_best,
        )
        for group, is_best in ((found.beaten, False), (found.runs, True))
        for one in group
    ]
    return drawing.scatter(dots, x_label=x, y_label=y, goal=goal, x_goal=x_goal)


def _importance(importance: Mapping[str, Any] | None) -> tuple[Any, str | None]:
    """Return the drawing of the importances, and what there is to say of them."""
    if importance is None:
        return None, "this server tells the importance of parameters on its pages only"
    if importance["runs"] < importance["runsNeeded"]:
        needed = f"needs {importance['runsNeeded']} finished runs; there are {importance['runs']}"
        return None, f"their importance {needed}"
    rows = [
        (one["name"], one["share"], one["shareLow"] or 0.0, one["shareHigh"] or 0.0)
        for one in sorted(importance["parameters"], key=_by_share)
        if one["share"] is not None
    ]
    words = f"share in what sets the best tenth of {importance['runs']} runs apart from all"
    return (drawing.bars(rows) if rows else None), importance["note"] or words


def _by_share(one: Mapping[str, Any]) -> tuple[float, str]:
    return -(one["share"] or 0.0), one["name"]


def _shown_parameters(
    values: Mapping[str, tuple[Ranked, float]],
    config: Mapping[str, Any],
    importance: Mapping[str, Any] | None,
) -> list[str]:
    """Return the parameters that vary among the runs, the important ones first."""
    order = dict(_laws(config))
    if importance is not None:
        shares = {one["name"]: one["share"] or 0.0 for one in importance["parameters"]}
        order = dict.fromkeys(sorted(order, key=lambda name: -shares.get(name, 0.0)), "")
    had: dict[str, set[str]] = {name: set() for name in order}
    for run, _ in values.values():
        for name, value in flat(run.config).items():
            if name in had:
                had[name].add(json.dumps(value, sort_keys=True, default=str))
    return [name for name in order if len(had[name]) > 1][:_MOST_PLOTS]


def _parameter_plot(
    name: str,
    values: Mapping[str, tuple[Ranked, float]],
    metric: str,
    goal: str,
    *,
    is_log: bool,
    best: Ranked,
) -> Any:
    found = [
        (flat(run.config)[name], run, value)
        for run, value in list(values.values())[:_MOST_DOTS]
        if name in flat(run.config)
    ]
    are_numbers = all(_is_number(x) for x, _, _ in found)
    dots = [
        drawing.Dot(
            float(x) if are_numbers else x if isinstance(x, str) else json.dumps(x, default=str),
            value,
            f"{_title(run, value, metric)}, {name} {x}",
            is_best=run.path == best.path,
        )
        for x, run, value in found
    ]
    is_log = is_log and are_numbers and all(x > 0 for x, _, _ in found)
    return drawing.scatter(dots, x_label=name, y_label=metric, goal=goal, is_log=is_log)


def _title(run: Ranked, value: float, metric: str) -> str:
    return f"{run.display_name}: {metric} {value:.4g}"


def _laws(config: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return each parameter by its flat name with its law as JSON."""
    return [(name, json.dumps(law, ensure_ascii=False)) for name, law in _leaves(config)]


def _leaves(config: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for name, law in (config.get("parameters") or {}).items():
        if isinstance(law, Mapping) and isinstance(law.get("parameters"), Mapping):
            found += _leaves(law, f"{prefix}{name}.")
        else:
            found.append((f"{prefix}{name}", law))
    return found


def _log_names(config: Mapping[str, Any]) -> set[str]:
    return {
        name
        for name, law in _leaves(config)
        if isinstance(law, Mapping) and "log" in str(law.get("distribution", ""))
    }


def _versions() -> list[tuple[str, str]]:
    return [("sweepd", version("sweepd")), ("wandb, of this report", version("wandb"))]


def _told(facts: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Return where the best run ran, by names and in units that people read."""
    told: dict[str, Any] = {}
    for name, value in facts.items():
        if name == "started_at":
            begun = moment(value)
            told["began"] = value if begun is None else f"{begun.astimezone(UTC):%F %T} UTC"
        elif name == "duration_s":
            told["run time"] = duration(value)
        else:
            told[{"gpu": "GPU"}.get(name, name.replace("_", " "))] = value
    return list(told.items())


def _model_of(run: Any) -> list[tuple[str, Any]]:
    """Return what is known of the run's exported model; nothing if it has none."""
    for file in run.files(names=[UPLOADED_AS]):
        if file.name == UPLOADED_AS and file.md5 != "0":
            return [
                ("file", file.name),
                ("run", "/".join(run.path)),
                ("size", f"{file.size:,} bytes"),
                ("MD5, base64", file.md5),
            ]
    return []


def _is_number(value: Any) -> bool:
    """Return whether a value has its place on an axis."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _HUGE


def _web(url: Any) -> str | None:
    """Return an address that a browser may be sent to, None for any other."""
    return url if isinstance(url, str) and url.startswith(("http://", "https://")) else None


def _render(page: Mapping[str, Any]) -> str:
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(_HERE), autoescape=True)
    style = (_HERE / "report.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    own = {"style": Markup(style), "style_hash": f"sha256-{digest}"}  # our own file
    return environment.get_template("report.html").render({**page, **own})


def _write(out: Path, content: bytes) -> None:
    """Write a file under its name only once it is whole."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".report-") as scratch:
        made = Path(scratch) / out.name
        made.write_bytes(content)
        made.replace(out)
