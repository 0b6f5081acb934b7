"""YAML text -> `Definition`: every problem of the text at once, warnings apart from errors."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from sweepd.errors import DefinitionError, Violation
from sweepd.names import METHODS
from sweepd.registry import Registry, missing_extra
from sweepd.spec.checks import check_command, check_hyperband, check_initial, check_whole
from sweepd.spec.definition import (
    Budget,
    Confirms,
    Definition,
    EarlyTerminate,
    Metric,
    OwnBlock,
    Timeout,
)
from sweepd.spec.document import Unreadable, read_document
from sweepd.spec.metrics import ONE_CURVE, check_metrics
from sweepd.spec.outcomes import read_outcomes
from sweepd.spec.parameters import read_parameters
from sweepd.spec.problems import Model, Problems
from sweepd.spec.space import Space
from sweepd.spec.stops import STOPS, read_stops
from sweepd.spec.ties import tie
from sweepd.spec.unread import Unread
from sweepd.spec.words import Path, nearest, path_text, show

__all__ = ["KEYS", "Parsed", "read_definition"]

_METHODS = Registry("method", METHODS)

#: Every top-level key of W&B's language, and ours.
KEYS = frozenset(
    {
        *("method", "parameters", "metric", "metrics", "early_terminate", "run_cap", "sweepd"),
        *("program", "command", "name", "description", "project", "entity", "settings"),
        *("controller", "scheduler", "job", "image_uri", "apiVersion", "kind"),
    }
)
_PLAIN = ("program", "command", "run_cap", "name", "description", "project", "entity")
_SCHEDULER = frozenset({"engine", "source", "optimizer", "search_space"})
_LAUNCH = frozenset(
    {"job", "num_workers", "docker_image", "resource", "resource_args", "settings", "name"}
)
#: Unknown keys beyond this number are passed over.
_MAX_UNKNOWN = 100
_ENGINES = ("wandb", "optuna", "ax")
#: Methods of ours that learn from results.
_LEARNING = ("bayes", "tpe", "cmaes", "nsga2")
#: Keys of `sweepd:` that make the space, and all of them.
_TIES = ("when", "constraints")
_OWN = (
    *("seed", "initial", "objective", "warm_start", "retries", "quarantine", "budget", "stop"),
    *("timeout", "outcome_constraints", "confirms", *_TIES),
)
#: What people write at the top, and where it belongs.
_ELSEWHERE = {
    **dict.fromkeys(_OWN, "it belongs below sweepd"),
    **dict.fromkeys(("count", "max_runs", "num_runs", "max_trials", "n_trials"), "write run_cap"),
    **dict.fromkeys(("goal", "target", "impute"), "it belongs below metric"),
    **dict.fromkeys(("direction", "mode", "objective_name"), "write metric: {name: …, goal: …}"),
    **dict.fromkeys(("min_iter", "max_iter", "eta"), "it belongs below early_terminate"),
}


@dataclass(frozen=True)
class Parsed:
    """A definition that can be run, and what is odd about it."""

    definition: Definition
    warnings: tuple[Violation, ...]


def read_definition(
    text: str | bytes,
    *,
    source: str = "definition",
    allow_unknown: bool = True,
    is_stored: bool = False,
) -> Parsed:
    """Return the definition that a YAML text holds.

    Args:
        text: YAML (so JSON too), at most 1 MiB.
        source: what the error calls the text: a file's name.
        allow_unknown: whether a key outside the language is a warning, as over W&B's protocol, or
            an error.
        is_stored: it was read before, when the package may have been there that brought its method.

    Raises:
        DefinitionError: with every problem, each with its path, its line and what is allowed.
    """
    try:
        document = read_document(text)
    except Unreadable as error:
        raise DefinitionError([error.violation], source) from None
    problems = Problems(document, allow_unknown=allow_unknown)
    definition = _Reader(document.data, problems, is_stored=is_stored).read()
    if definition is None or problems.errors:
        raise DefinitionError(problems.errors, source)
    return Parsed(definition, problems.warnings)


class _Reader:
    """Reads one mapping, block by block, so that a wrong block hides no other."""

    def __init__(self, raw: dict[str, Any], problems: Problems, *, is_stored: bool = False) -> None:
        self._raw = raw
        self._is_stored = is_stored
        self._problems = problems
        self._given = {key: value for key, value in raw.items() if value is not None}

    def read(self) -> Definition | None:
        """Return the definition, or None with the problems noted."""
        self._top_level()
        method = self._method()
        space, unread = self._space(method)
        metric = self._metric(method)
        self._elsewhere(method)
        parts = {
            "method": method or "random",
            "space": space,
            "metric": metric,
            "metrics": self._metrics(method),
            "early_terminate": self._early_terminate(space),
            "controller": self._controller(),
            "scheduler": self._scheduler(method),
            "own": self._own(space, unread, metric),
            "parameters": _mapping(self._given.get("parameters")),
            "raw": self._raw,
        }
        self._command(space)
        plain = {key: self._given[key] for key in _PLAIN if key in self._given}
        try:
            definition = Definition.model_validate(parts | plain)
        except ValidationError as error:
            self._problems.refused(error, ())
            return None
        if not self._problems.errors:
            check_whole(definition, self._problems)
        return definition

    def _top_level(self) -> None:
        for key, value in self._raw.items():
            if value is None and key in KEYS - {"method", "parameters"}:
                self._problems.warn((key,), "is empty: it has no effect")
        for key in [key for key in self._raw if key not in KEYS][:_MAX_UNKNOWN]:
            self._problems.lenient((key,), f"unknown key{_belongs(key, self._raw[key])}")
        if self._given.get("kind", "sweep") != "sweep":
            self._problems.lenient(("kind",), f"must be sweep, not {show(self._given['kind'])}")

    def _method(self) -> str | None:
        known = [*_METHODS, "custom"]
        method = self._given.get("method")
        if method is None:
            if not self._is_misspelt("method"):
                self._problems.error((), f"needs method: {', '.join(known)}")
        elif not isinstance(method, str) or method not in known:
            hint = nearest(str(method), known)
            words = f"must be one of {', '.join(known)}, not {show(method)}{hint}"
            if self._is_stored and isinstance(method, str):
                self._problems.warn(("method",), words)
                return method
            self._problems.error(("method",), words)
        else:
            if method == "custom" and not self._is_searched_elsewhere():
                words = "custom: sweepd suggests nothing, and hands out only runs that are enqueued"
                self._problems.warn(("method",), words)
            command = missing_extra(method)
            if command is not None:
                words = f"{method} needs packages that are not installed here: {command}"
                self._problems.warn(("method",), words)
            return method
        return None

    def _is_searched_elsewhere(self) -> bool:
        """Return whether a client's scheduler or controller does the search."""
        scheduler, controller = self._given.get("scheduler"), self._given.get("controller")
        has_engine = isinstance(scheduler, Mapping) and "engine" in scheduler
        return has_engine or (isinstance(controller, Mapping) and controller.get("type") == "local")

    def _is_misspelt(self, key: str) -> bool:
        """Return whether an unknown key is an error that already names this one."""
        if self._problems.allow_unknown:
            return False
        unknown = [other for other in self._raw if other not in KEYS][:_MAX_UNKNOWN]
        return any(nearest(other, KEYS) == nearest(key, [key]) for other in unknown)

    def _space(self, method: str | None) -> tuple[Space, Unread]:
        """Return the space, and the parameters that are not in it because of problems."""
        scheduler = self._given.get("scheduler")
        if "parameters" not in self._given:
            if not (isinstance(scheduler, Mapping) and scheduler.get("search_space")):
                if not self._is_misspelt("parameters"):
                    self._problems.error((), "needs parameters: what to search over")
                return Space(()), Unread([""])
            return Space(()), Unread()
        is_grid = method == "grid"
        data = self._given["parameters"]
        space, unread = read_parameters(data, self._problems, is_grid=is_grid)
        block = _mapping(self._given.get("sweepd"))
        if block.keys() & set(_TIES):
            space, unread = tie(space, block, self._problems, is_grid=is_grid, unread=unread)
        return space, unread

    def _metric(self, method: str | None) -> Metric | None:
        if "metric" in self._given:
            name = self._given["metric"] if isinstance(self._given["metric"], str) else "…"
            example = f"{{name: {show(name)}, goal: minimize}}"
            return self._block(Metric, self._given["metric"], ("metric",), example=example)
        elif "metrics" not in self._given:
            needing = [f"method {method}"] if method in _LEARNING else []
            needing += ["early_terminate"] if "early_terminate" in self._given else []
            for what in needing:
                words = f"{what} needs a metric: write metric: {{name: …, goal: minimize}}"
                self._problems.error((), words)
        return None

    def _metrics(self, method: str | None) -> tuple[Metric, ...]:
        """Return the metrics of a sweep that has several."""
        path: Path = ("metrics",)
        metrics = self._given.get("metrics")
        if metrics is None:
            return ()
        if "metric" in self._given:
            self._problems.error(path, "cannot stand beside metric")
        if not isinstance(metrics, list) or len(metrics) < 2:
            words = "must be a list of at least two metrics; did you mean metric?"
            self._problems.error(path, words)
            return ()
        read = [self._block(Metric, metric, (*path, i)) for i, metric in enumerate(metrics)]
        found = tuple(metric for metric in read if metric is not None)
        check_metrics(found, self._problems, method=method)
        return found

    def _block(
        self,
        model: type[Model],
        data: Any,
        path: Path,
        *,
        example: str = "{…}",
        read_elsewhere: tuple[str, ...] = (),
    ) -> Model | None:
        """Return one block of the definition, its unknown keys noted."""
        if not isinstance(data, Mapping):
            words = f"must be a mapping, not {show(data)}: write {path_text(path)}: {example}"
            self._problems.error(path, words)
            return None
        return self._problems.read(model, data, path, also=read_elsewhere)

    def _early_terminate(self, space: Space) -> EarlyTerminate | None:
        data, path = self._given.get("early_terminate"), ("early_terminate",)
        if data is None:
            return None
        if "metrics" in self._given:
            self._problems.error(path, ONE_CURVE)
            return None
        example = "{type: hyperband, min_iter: …}"
        rule = self._block(EarlyTerminate, data, path, example=example)
        if rule is None:
            return None
        if rule.type == "custom" and self._is_searched_elsewhere():
            return None  # a function of the controller's
        if rule.type != "hyperband":
            own = f"; write sweepd: {{stop: {{rule: {rule.type}}}}}" if rule.type in STOPS else ""
            words = f"must be hyperband, not {show(rule.type)}{own}"
            self._problems.error((*path, "type"), words)
            return None
        return check_hyperband(rule, self._problems, space=space)

    def _elsewhere(self, method: str | None) -> None:
        """Note the keys that W&B honours and this service does not."""
        if "job" in self._given and "image_uri" in self._given:
            self._problems.error(("image_uri",), "cannot stand beside job")
        for key in ("job", "image_uri"):
            if key in self._given:
                words = "belongs to Sweeps on Launch: sweepd's agents run program or command"
                self._problems.warn((key,), words)
        if "settings" in self._given:
            self._problems.warn(("settings",), "has no effect")

    def _controller(self) -> dict[str, Any] | None:
        controller, path = self._given.get("controller"), ("controller",)
        if controller is None:
            return None
        if not isinstance(controller, dict):
            self._problems.error(path, f"must be a mapping, not {show(controller)}")
            return None
        self._problems.unknown_keys(controller, {"type"}, path)
        kind = controller.get("type")
        if kind not in ("local", "cloud"):
            self._problems.error((*path, "type"), f"must be local or cloud, not {show(kind)}")
        return controller

    def _scheduler(self, method: str | None) -> dict[str, Any] | None:
        scheduler, path = self._given.get("scheduler"), ("scheduler",)
        if scheduler is None:
            return None
        if not isinstance(scheduler, dict):
            self._problems.error(path, f"must be a mapping, not {show(scheduler)}")
            return None
        self._problems.unknown_keys(scheduler, _SCHEDULER | _LAUNCH, path)
        self._engine(scheduler, method)
        for key in ("optimizer", "search_space"):
            if key in scheduler and "source" not in scheduler:
                self._problems.error((*path, key), "needs source, the file that it is in")
        if "early_terminate" in self._given:
            self._problems.error(("early_terminate",), "cannot stand beside scheduler")
        controller = self._given.get("controller")
        if isinstance(controller, Mapping) and controller.get("type") == "local":
            self._problems.error(("controller", "type"), "cannot be local beside scheduler")
        return scheduler

    def _engine(self, scheduler: Mapping[str, Any], method: str | None) -> None:
        engine, path = scheduler.get("engine"), ("scheduler", "engine")
        if engine is None and _LAUNCH & scheduler.keys():
            words = "belongs to Sweeps on Launch: sweepd does the search itself"
            self._problems.warn(("scheduler",), words)
            return
        if engine not in _ENGINES:
            words = f"must be one of {', '.join(_ENGINES)}, not {show(engine)}"
            self._problems.error(path, words)
        elif engine == "wandb" and method == "custom":
            self._problems.error(path, "wandb needs method: grid, random or bayes, not custom")
        elif engine != "wandb" and method not in ("custom", None):
            self._problems.error(path, f"{engine} needs method: custom, not {method}")

    def _own(self, space: Space, unread: Unread, metric: Metric | None) -> OwnBlock:
        data, path = self._given.get("sweepd"), ("sweepd",)
        if data is None:
            return OwnBlock()
        if not isinstance(data, Mapping):
            self._problems.error(path, f"must be a mapping, not {show(data)}")
            return OwnBlock()
        known = {key: value for key, value in data.items() if key not in _TIES}
        entries, rules = known.pop("initial", []), known.pop("stop", None)
        limits, patience = known.pop("budget", None), known.pop("timeout", None)
        bounds, confirms = known.pop("outcome_constraints", None), known.pop("confirms", None)
        own = self._block(OwnBlock, known, path, read_elsewhere=_TIES) or OwnBlock()
        self._warm_start(own.warm_start)
        if limits is not None:
            own = own.model_copy(update={"budget": self._budget(limits, (*path, "budget"))})
        if patience is not None:
            example = "{minutes: 120, silent_minutes: 15}"
            timeout = self._block(Timeout, patience, (*path, "timeout"), example=example)
            own = own.model_copy(update={"timeout": timeout or Timeout()})
        if confirms is not None:
            example = "{sweep: a1b2c3d4, seed_key: seed}"
            again = self._block(Confirms, confirms, (*path, "confirms"), example=example)
            own = own.model_copy(update={"confirms": again})
        if rules is not None and "metrics" in self._given:
            self._problems.error((*path, "stop"), ONE_CURVE)
            rules = None
        goal = metric.goal if metric else "minimize" if "metric" in self._given else None
        several = self._given.get("metrics")
        named = [self._given.get("metric"), *(several if isinstance(several, list) else [])]
        metrics = {str(one.get("name")) for one in named if isinstance(one, Mapping)}
        parts = {
            "stop": read_stops(rules, self._problems, goal=goal),
            "outcome_constraints": read_outcomes(bounds, self._problems, metrics=metrics),
        }
        own = own.model_copy(update=parts)
        if not isinstance(entries, list):
            self._problems.error((*path, "initial"), f"must be a list, not {show(entries)}")
        else:
            configs = check_initial(entries, self._problems, space=space, unread=unread)
            own = own.model_copy(update={"initial": tuple(configs)})
        return own

    def _budget(self, data: Any, path: Path) -> Budget:
        budget = self._block(Budget, data, path, example="{hours: 12}") or Budget()
        if budget.plateau is not None and not self._given.keys() & {"metric", "metrics"}:
            note = self._problems.warn if self._is_stored else self._problems.error
            words = "needs a metric: write metric: {name: …, goal: minimize}"
            note((*path, "plateau"), words)
        return budget

    def _warm_start(self, references: tuple[str, ...]) -> None:
        """Note the sweeps that are named twice: by their id alone, and with their project."""
        note = self._problems.warn if self._is_stored else self._problems.error
        named: dict[str, str] = {}
        for i, reference in enumerate(references):
            short = reference.rpartition("/")[2]
            if short in named:
                also = f", first as {named[short]}" if named[short] != reference else ""
                note(("sweepd", "warm_start", i), f"{reference} is given twice{also}")
            named.setdefault(short, reference)

    def _command(self, space: Space) -> None:
        command = self._given.get("command")
        if command is None:
            return
        if isinstance(command, str):
            words = "must be a list with one item for each argument, not text"
            self._problems.error(("command",), words)
            self._given.pop("command")
        elif isinstance(command, list):
            check_command(
                command,
                self._problems,
                space=space,
                has_program="program" in self._given,
            )


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _belongs(key: str, value: Any) -> str:
    if key in _ELSEWHERE:
        return f"; {_ELSEWHERE[key]}"
    hint = nearest(key, KEYS)
    if not hint and isinstance(value, Mapping) and value.keys() & {"value", "values", "min"}:
        return "; parameters go below parameters"
    return hint or f"; known: {', '.join(sorted(KEYS))}"
