"""The `parameters:` block of a definition -> a `Space`."""

import math
import re
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from sweepd.spec.distributions import Distribution
from sweepd.spec.laws import LAWS, Form
from sweepd.spec.numeric import LogUniform, Numeric, Uniform
from sweepd.spec.problems import Problems
from sweepd.spec.space import Parameter, Space
from sweepd.spec.unread import Unread
from sweepd.spec.words import Path, nearest, path_text, show

__all__ = ["read_parameters"]

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_KEYS = frozenset({"distribution", "parameters"}).union(
    *(law.model_fields for law in LAWS.values())
)
#: What other tools call a key or a law, and what it is called here.
_SYNONYMS = {
    **dict.fromkeys(("low", "lower", "from", "start"), "min"),
    **dict.fromkeys(("high", "upper", "to", "stop", "end"), "max"),
    **dict.fromkeys(("choices", "options", "categories"), "values"),
    **dict.fromkeys(("type", "dist", "kind"), "distribution"),
    **dict.fromkeys(("log", "log_scale"), "distribution: log_uniform_values"),
    **dict.fromkeys(("step", "increment"), "distribution: q_uniform with q"),
    **dict.fromkeys(("mean", "loc"), "mu"),
    **dict.fromkeys(("std", "stddev", "scale"), "sigma"),
    **dict.fromkeys(("default", "constant", "fixed"), "value"),
}
_LAW_SYNONYMS = {
    **dict.fromkeys(("int", "integer", "randint"), "int_uniform"),
    **dict.fromkeys(("float", "double", "range"), "uniform"),
    **dict.fromkeys(("choice", "choices", "category"), "categorical"),
    **dict.fromkeys(("log", "loguniform"), "log_uniform_values"),
    **dict.fromkeys(("gauss", "gaussian"), "normal"),
}
#: With a parameter of such a name the client takes the config for one of its own files.
_RESERVED = frozenset({"_wandb", "wandb_version"})
#: A grid over one parameter with more points than this is refused.
_MAX_POINTS = 1_000_000


def read_parameters(data: Any, problems: Problems, *, is_grid: bool) -> tuple[Space, Unread]:
    """Return the space of a `parameters:` block, noting every problem of it, and what is not in it.

    Parameters with problems are left out of the space. Where min and max differ in kind, the
    distribution they mean is written into `data`, since W&B's client refuses to guess it.
    """
    reader = _Reader(problems, is_grid=is_grid)
    reader.group(data, ("parameters",))
    unread = Unread(reader.unread)
    found = [parameter for parameter in reader.found if not unread.covers(parameter.name)]
    return Space(tuple(sorted(found, key=lambda parameter: parameter.path))), unread


class _Reader:
    def __init__(self, problems: Problems, *, is_grid: bool) -> None:
        self._problems = problems
        self._is_grid = is_grid
        self._by_name: dict[str, Path] = {}
        self.found: list[Parameter] = []
        self.unread: set[str] = set()

    def group(self, data: Any, path: Path, names: tuple[str, ...] = ()) -> None:
        """Read a mapping of names to parameters, at any depth."""
        if isinstance(data, Mapping) and data:
            for name, spec in data.items():
                where, before = (*path, name), self._problems.n_errors
                self._parameter(name, spec, where, (*names, name))
                is_group = isinstance(spec, Mapping) and "parameters" in spec
                is_wrong = self._problems.n_errors > before or self._problems.has_failed(where)
                if is_wrong and not is_group:
                    self.unread.add(".".join((*names, name)))
            return
        wrong = "must name at least one parameter"
        if not isinstance(data, Mapping):
            wrong = f"must be a mapping of names, not {show(data)}"
        self._problems.error(path, wrong)
        self.unread.add(".".join(names))

    def _parameter(self, name: str, spec: Any, path: Path, names: tuple[str, ...]) -> None:
        if not _NAME.fullmatch(name):
            words = "a name has letters, digits, _ . and -, and does not start with a digit . or -"
            self._problems.error(path, words)
        if names[0] in _RESERVED and len(names) == 1:
            self._problems.error(path, "is what W&B keeps in the config of each run: take another")
        if not isinstance(spec, Mapping):
            self._problems.error(path, _no_mapping(spec))
        elif "parameters" in spec:
            for key in spec.keys() - {"parameters"}:
                self._problems.error((*path, key), "cannot stand beside parameters, which nests")
            self.group(spec["parameters"], (*path, "parameters"), names)
        else:
            self._leaf(spec, path, names)

    def _leaf(self, spec: Mapping[str, Any], path: Path, names: tuple[str, ...]) -> None:
        flat = ".".join(names)
        other = self._by_name.setdefault(flat, path)
        if other != path:
            words = f"has the same full name, {flat}, as {path_text(other)}"
            self._problems.error(path, words)
        unknown = [key for key in spec if key not in _KEYS]
        for key in unknown:
            self._problems.error((*path, key), _unknown(key, spec[key]))
        kind = self._kind(spec, path, is_silent=bool(unknown))
        if kind is None:
            return
        self._extra_keys(kind, spec, path)
        law = self._law(kind, spec, path)
        if law is not None:
            if self._is_grid:
                self._check_grid(law, kind, path)
            self.found.append(Parameter(flat, names, law))

    def _law(self, kind: str, spec: Mapping[str, Any], path: Path) -> Distribution | None:
        try:
            form: Form = LAWS[kind].model_validate(dict(spec))
        except ValidationError as error:
            self._problems.refused(error, path)
            return None
        for remark in form.remarks():
            self._problems.warn(path, remark)
        return form.law()

    def _kind(self, spec: Mapping[str, Any], path: Path, *, is_silent: bool) -> str | None:
        """Return the distribution's name: the written one, or the one that the keys mean."""
        if "distribution" in spec:
            written = spec["distribution"]
            if isinstance(written, str) and written in LAWS:
                return written
            meant = _LAW_SYNONYMS.get(str(written).lower())
            hint = f"; did you mean {meant}?" if meant else nearest(str(written), LAWS)
            hint = hint or f"; known: {', '.join(LAWS)}"
            where = (*path, "distribution")
            self._problems.error(where, f"unknown distribution {show(written)}{hint}")
            return None
        if "value" in spec:
            return "constant"
        if "values" in spec:
            return "categorical_w_probabilities" if "probabilities" in spec else "categorical"
        if "min" in spec or "max" in spec:
            return self._range_kind(spec, path)
        if not is_silent:
            self._problems.error(path, _undecided(spec))
        return None

    def _range_kind(self, spec: Mapping[str, Any], path: Path) -> str:
        bounds = [spec[key] for key in ("min", "max") if key in spec]
        are_whole = [isinstance(bound, int) for bound in bounds]
        if all(are_whole):
            return "int_uniform"
        if any(are_whole) and all(isinstance(bound, (int, float)) for bound in bounds):
            self._problems.warn(
                path,
                "min and max are a whole number and a float: read as distribution: uniform, which "
                "W&B's client wants written",
            )
            if isinstance(spec, dict):
                spec["distribution"] = "uniform"
        return "uniform"

    def _extra_keys(self, kind: str, spec: Mapping[str, Any], path: Path) -> None:
        allowed = LAWS[kind].model_fields
        for key in spec:
            if key in _KEYS and key not in allowed and key != "distribution":
                keys = ", ".join(allowed)
                hint = _other_kind(key, kind)
                words = f"means nothing to {kind}, which takes {keys}{hint}"
                self._problems.error((*path, key), words)

    def _check_grid(self, law: Distribution, kind: str, path: Path) -> None:
        if kind == "categorical_w_probabilities":
            words = "a grid tries every value once: leave the probabilities out"
            self._problems.error(path, words)
        elif law.grid_size is None:
            words = f"method grid cannot take {kind}, only values, int_uniform and q_uniform"
            self._problems.error(path, f"{words}; {_as_grid(law)}")
        elif law.grid_size > _MAX_POINTS:
            words = f"a grid of {law.grid_size} points over one parameter: at most {_MAX_POINTS}"
            self._problems.error(path, words)


def _no_mapping(spec: Any) -> str:
    if isinstance(spec, list):
        return "must be a mapping, not a list: write values: […]"
    if spec is None:
        return "is empty: needs value, values, or min and max"
    return f"must be a mapping, not {show(spec)}: write value: {show(spec)}"


def _unknown(key: str, value: Any) -> str:
    meant = _SYNONYMS.get(key.lower())
    hint = f"; did you mean {meant}?" if meant else nearest(key, _KEYS)
    if not hint and isinstance(value, Mapping):
        return "unknown key; nested parameters go below a key called parameters"
    known = ", ".join(sorted(_KEYS))
    return f"unknown key{hint}" if hint else f"unknown key; known: {known}"


def _undecided(spec: Mapping[str, Any]) -> str:
    if "mu" in spec or "sigma" in spec:
        return "needs distribution: normal, log_normal, or one of these with q_"
    if "a" in spec or "b" in spec:
        return "needs distribution: beta or q_beta"
    if "probabilities" in spec:
        return "needs values, one for each of the probabilities"
    return "needs value, values, or min and max"


def _other_kind(key: str, kind: str) -> str:
    if key == "q" and kind != "constant":
        better = "q_uniform" if kind == "int_uniform" else f"q_{kind}"
        return f"; for q write distribution: {better}" if better in LAWS else ""
    if key == "probabilities" and kind == "categorical":
        return "; write distribution: categorical_w_probabilities"
    return ""


def _as_grid(law: Distribution) -> str:
    """Say how the values could be counted, and how many there would be."""
    if isinstance(law, Uniform):
        step = _round_step((float(law.high) - float(law.low)) / 10)
        points = Uniform(law.low, law.high, q=step).grid_size
        return f"distribution: q_uniform with q: {step:g} would give {points} points"
    if isinstance(law, Numeric) and law.q is not None and law.size is not None:
        return f"with q: {show(law.q)} it has {law.size} points, which can be listed as values"
    if isinstance(law, LogUniform):
        values = [float(f"{law.ppf(i / 4):.2g}") for i in range(5)]
        return f"values: {values} would be 5 points on its scale"
    return "list values in its place"


def _round_step(step: float) -> float:
    power = 10.0 ** math.floor(math.log10(step))
    return float(f"{min((1, 2, 5, 10), key=lambda m: abs(m * power - step)) * power:.1g}")
