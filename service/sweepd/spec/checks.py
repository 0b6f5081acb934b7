"""What the parts of a definition mean for one another."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from sweepd.macros import ENVVAR, KNOWN
from sweepd.spec.definition import Definition, EarlyTerminate, Timeout
from sweepd.spec.distributions import Categorical, Constant
from sweepd.spec.problems import Problems
from sweepd.spec.space import Config, Space, grid_size
from sweepd.spec.unread import Unread
from sweepd.spec.words import Path, nearest, show

__all__ = ["check_command", "check_hyperband", "check_initial", "check_whole"]

_MACRO = re.compile(r"\$\{([^{}]*)\}")
#: Bands that a run is held against at each value.
_MOST_BANDS = 1_000
#: Parameters that people give the number of rounds of a run.
_ROUNDS = ("epochs", "n_epochs", "num_epochs", "max_epochs", "num_train_epochs")


def check_whole(definition: Definition, problems: Problems) -> None:
    """Warn of what has no effect beside the rest of a definition."""
    _check_run_cap(definition, problems)
    block = definition.raw.get("sweepd")
    own = block if isinstance(block, Mapping) else {}
    if own.get("stop") and definition.searcher == "controller":
        words = "has no effect beside controller: {type: local}, which alone stops runs"
        problems.warn(("sweepd", "stop"), words)
    if own.get("timeout") is not None:
        _check_timeout(definition.own.timeout, problems)


def _check_run_cap(definition: Definition, problems: Problems) -> None:
    """Warn of a cap that the space or the initial configs do not fit."""
    cap, space = definition.run_cap, definition.space
    if cap is None or not space.parameters:
        return
    size = grid_size(space) if definition.method == "grid" else space.size
    if size is not None and cap > size:
        problems.warn(("run_cap",), f"{cap} is never reached: there are {size} configurations")
    n_initial = len(definition.own.initial)
    if n_initial > cap:
        problems.warn(("run_cap",), f"{cap} leaves out some of the {n_initial} in sweepd.initial")


def _check_timeout(timeout: Timeout, problems: Problems) -> None:
    path: Path = ("sweepd", "timeout")
    if timeout.minutes is None and timeout.silent_minutes is None:
        problems.warn(path, "has no effect without minutes or silent_minutes")
    elif timeout.minutes is not None and timeout.minutes <= (timeout.silent_minutes or 0.0):
        words = f"has no effect: minutes {show(timeout.minutes)} ends a trial before that"
        problems.warn((*path, "silent_minutes"), words)


def check_command(
    command: Sequence[Any], problems: Problems, *, space: Space, has_program: bool
) -> None:
    """Note the items that W&B's agent would drop or pass on literally."""
    for i, item in enumerate(command):
        text, path = ENVVAR.sub("", str(item)), ("command", i)
        if text.startswith("${") and text.endswith("}"):
            name = text[2:-1]
            if name == "program" and not has_program:
                problems.error(path, "${program} stands for program, which is not given")
            elif name not in KNOWN:
                problems.warn(path, _no_macro(name, text, space))
        elif match := _MACRO.search(text):
            hint = "" if match[1] in KNOWN else "; parameters come by ${args}"
            words = "is passed on literally: a macro must be the whole item"
            problems.warn(path, f"{match[0]} in {show(str(item))} {words}{hint}")
        elif text.startswith("$") and text[1:] in KNOWN:
            problems.warn(path, f"{text} is passed on literally; did you mean ${{{text[1:]}}}?")


def _no_macro(name: str, text: str, space: Space) -> str:
    if name.startswith("envvar:"):
        return f"{show(text)} is left out: a variable's name has capitals, digits and _ only"
    if name in space:
        return f"{show(text)} is no macro, the agent leaves it out; parameters come by ${{args}}"
    macros = [f"${{{known}}}" for known in sorted(KNOWN)]
    hint = nearest(text, macros) or f"; known: {', '.join(macros)}"
    return f"{show(text)} is no macro, the agent leaves it out{hint}"


def check_hyperband(rule: EarlyTerminate, problems: Problems, *, space: Space) -> EarlyTerminate:
    """Return the rule with one way of giving its bands, noting what has no effect."""
    path: Path = ("early_terminate",)
    if rule.max_iter is None and rule.min_iter is None:
        problems.error(path, "needs min_iter, or max_iter and s")
        return rule
    if rule.max_iter is None or rule.s is None:
        if rule.min_iter is None:
            problems.error(path, "max_iter needs s, the number of bands")
            return rule
        for key, other in (("max_iter", "s"), ("s", "max_iter")):
            if getattr(rule, key) is not None:
                problems.warn((*path, key), f"has no effect without {other}")
        bands = [rule.min_iter]
        rule = rule.model_copy(update={"max_iter": None, "s": None})
    else:
        if rule.min_iter is not None:
            problems.warn((*path, "min_iter"), "has no effect beside max_iter and s")
        bands = _bands(rule.max_iter, rule.s, float(rule.eta), problems)
        rule = rule.model_copy(update={"min_iter": None})
    if bands:
        _check_rounds(bands[0], space, problems)
    return rule


def _bands(max_iter: int, s: int, eta: float, problems: Problems) -> list[int]:
    bands: list[int] = []
    band = float(max_iter)
    for _ in range(s):
        band /= eta
        if band < 1:
            break
        if len(bands) == _MOST_BANDS:
            words = f"max_iter {max_iter} over powers of eta {eta:g}: more than {_MOST_BANDS} bands"
            problems.error(("early_terminate",), words)
            break
        bands.append(int(band))
    bands.sort()
    if not bands:
        words = f"max_iter {max_iter} over eta {eta:g} is below 1: no run is ever compared"
        problems.error(("early_terminate",), words)
    elif len(bands) < min(s, _MOST_BANDS):
        words = f"asks for {s} bands, but only {len(bands)} are at least 1: {bands}"
        problems.warn(("early_terminate", "s"), words)
    return bands


def _check_rounds(first: int, space: Space, problems: Problems) -> None:
    """Warn if no run is long enough to be stopped, as far as its parameters tell."""
    for name in _ROUNDS:
        law = space[name].distribution if name in space else None
        if isinstance(law, Constant):
            values: tuple[Any, ...] = (law.value,)
        elif isinstance(law, Categorical):
            values = law.values
        else:
            values = (law.ppf(1.0),) if law is not None else ()
        if values and all(isinstance(value, (int, float)) and value <= first for value in values):
            words = (
                f"the first band is after {first} values of the metric, {name} is at most "
                f"{max(values)}: logged once per epoch, no run is ever stopped"
            )
            problems.warn(("early_terminate",), words)


def check_initial(
    entries: Sequence[Any], problems: Problems, *, space: Space, unread: Unread
) -> list[Config]:
    """Return `sweepd.initial` as whole flat configs, noting what is outside the space.

    Of the parameters that are unread, and so not in the space, nothing is said.
    """
    path: Path = ("sweepd", "initial")
    configs: list[Config] = []
    seen: set[str] = set()
    for i, entry in enumerate(entries):
        config = _initial(entry, (*path, i), space, problems, unread)
        if unread:
            continue  # what there is of it may be like another that is not the same
        if config is not None:
            configs.append(config)
            key = space.key(config)
            if key in seen:
                problems.warn((*path, i), "is the same as one before it")
            seen.add(key)
    return configs


def _initial(
    entry: Any, path: Path, space: Space, problems: Problems, unread: Unread
) -> Config | None:
    if not isinstance(entry, Mapping):
        problems.error(path, f"must be a mapping of parameters to values, not {show(entry)}")
        return None
    given: dict[str, tuple[Any, Path]] = {}
    is_right = _collect(entry, path, "", space, given, problems, unread)
    config: Config = {}
    missing: list[str] = []
    for parameter in space.ordered:
        name, law = parameter.name, parameter.distribution
        if not parameter.exists_in(config):
            if name in given and is_right and not missing:
                why = " and ".join(_shown(condition.parent, config) for condition in parameter.when)
                problems.error(given[name][1], f"does not exist in a trial with {why}")
                is_right = False
        elif name not in given:
            if law.size == 1:
                config[name] = law.ppf(0.5)
            else:
                missing.append(name)
        elif law.contains(given[name][0]):
            config[name] = law.normalise(given[name][0])
        else:
            value, where = given[name]
            problems.error(where, f"must be {law.allowed}, not {show(value)}")
            is_right = False
    if missing:
        problems.error(path, f"needs {', '.join(missing)}: a trial sets every parameter")
    if not is_right or missing:
        return None
    broken = [c.text for c in space.constraints if not c.is_satisfied(config)]
    for text in broken:
        problems.error(path, f"does not satisfy {show(text)}")
    if broken:
        return None
    return {p.name: config[p.name] for p in space.parameters if p.name in config}


def _shown(name: str, config: Config) -> str:
    return f"{name} {show(config[name])}" if name in config else f"no {name}"


def _collect(
    entry: Mapping[str, Any],
    path: Path,
    prefix: str,
    space: Space,
    given: dict[str, tuple[Any, Path]],
    problems: Problems,
    unread: Unread,
) -> bool:
    """Fill `given` from a flat or nested config; return whether every name is known."""
    is_right = True
    for key, value in entry.items():
        name = prefix + key
        if name in space:
            given[name] = value, (*path, key)
        elif isinstance(value, Mapping) and any(
            parameter.name.startswith(f"{name}.") for parameter in space.parameters
        ):
            is_right &= _collect(value, (*path, key), f"{name}.", space, given, problems, unread)
        elif not unread.is_within(name):
            names = [parameter.name for parameter in space.parameters]
            hint = nearest(name, names) or f"; known: {', '.join(names)}"
            problems.error((*path, key), f"there is no such parameter{hint}")
            is_right = False
    return is_right
