"""What the `sweepd:` block says of the space: `when` and `constraints`.

Both are held against the space here: names that it does not have, values that a parent cannot have,
conditions that go round in circles, parameters that never exist, constraints that nothing satisfies
or that nothing breaks. In a finite space that is counted, in any other it is drawn.
"""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from sweepd.spec.conditions import Condition, Parameter, parents_first
from sweepd.spec.constraints import Constraint, NoConstraint, parse_constraint
from sweepd.spec.distributions import Array, Constant, Distribution, is_number
from sweepd.spec.lattice import MOST_TIED, Lattice
from sweepd.spec.problems import Problems
from sweepd.spec.space import Space
from sweepd.spec.unread import Unread
from sweepd.spec.words import Path, nearest, show

__all__ = ["tie"]

_MOST_CONSTRAINTS, _MOST_CONDITIONAL = 50, 500
#: Points drawn of a space that cannot be counted: few, and if these are all alike, many.
_FEW, _MANY = 1024, 2**17
#: Numbers that are drawn at once, at most; parameters of a space that is counted, at most.
_MOST_NUMBERS, _MOST_COUNTED = 2**24, 64
#: A smaller share of allowed configs is worth a warning.
_RARE = 1e-3


def tie(
    space: Space,
    block: Mapping[str, Any],
    problems: Problems,
    *,
    is_grid: bool,
    unread: Unread,
) -> tuple[Space, Unread]:
    """Return the space with the conditions and constraints of a `sweepd:` block.

    Args:
        space: as `parameters` has it.
        block: the whole `sweepd:` block.
        problems: takes what is wrong.
        is_grid: whether only the points of the grid are tried.
        unread: parameters that are written, but not in the space.

    Returns:
        The space without the parameters that hang on what is wrong or unread, and without the
        constraints that name any; and what is unread with those.
    """
    whole = space
    space, unread = _conditional(space, block.get("when"), problems, unread)
    space, places = _constrained(space, block.get("constraints"), problems, whole, unread)
    if space.is_conditional or space.constraints:
        _check(space, places, problems, is_grid=is_grid, is_whole=not unread)
    return space, unread


def _conditional(
    space: Space, data: Any, problems: Problems, unread: Unread
) -> tuple[Space, Unread]:
    path: Path = ("sweepd", "when")
    every = [parameter.name for parameter in space.parameters]
    if data is None:
        return space, unread
    if not isinstance(data, Mapping):
        words = "must be a mapping such as {momentum: {optimizer: [sgd]}}"
        problems.error(path, f"{words}, not {show(data)}")
        return _without(space, every, unread)
    found: dict[str, list[Condition]] = {}
    loose: set[str] = set()
    for child, conditions in data.items():
        names = _named(child, (*path, child), space, problems, unread)
        if not isinstance(conditions, Mapping) or not conditions:
            words = "must be a mapping of another parameter to its values"
            problems.error((*path, child), f"{words}, not {show(conditions)}")
            loose.update(names)
            continue
        for parent, wanted in conditions.items():
            where = (*path, child, parent)
            condition = _condition(parent, wanted, where, space, problems, unread)
            if condition is not None and parent in names:
                problems.error(where, f"{parent} cannot depend on itself")
                condition = None
            if condition is None:
                loose.update(names)
            else:
                for name in names:
                    found.setdefault(name, []).append(condition)
    if len(found) > _MOST_CONDITIONAL:
        words = f"{len(found)} parameters have conditions: at most {_MOST_CONDITIONAL}"
        problems.error(path, words)
        return _without(space, every, unread)
    parameters = tuple(replace(p, when=tuple(found.get(p.name, ()))) for p in space.parameters)
    ordered, circle = parents_first(parameters)
    if circle:
        trail = " depends on ".join((*circle, circle[0]))
        problems.error((*path, circle[0]), f"goes round in a circle: {trail}")
        return _without(space, every, unread)
    for parameter in ordered:
        if any(condition.parent in loose for condition in parameter.when):
            loose.add(parameter.name)
    return _without(replace(space, parameters=parameters), loose, unread)


def _without(space: Space, loose: Collection[str], unread: Unread) -> tuple[Space, Unread]:
    """Return a space without some parameters, and these with what is unread."""
    kept = tuple(parameter for parameter in space.parameters if parameter.name not in loose)
    return replace(space, parameters=kept), unread | loose


def _named(name: str, path: Path, space: Space, problems: Problems, unread: Unread) -> list[str]:
    """Return the parameter of this name, or those of the group of this name."""
    if name in space:
        return [name]
    group = [p.name for p in space.parameters if p.name.startswith(f"{name}.")]
    if not group and not unread.is_within(name):
        problems.error(path, _unknown(name, space))
    return group


def _unknown(name: str, space: Space) -> str:
    names = [p.name for p in space.parameters]
    hint = nearest(name, names) or f"; known: {', '.join(names[:20])}"
    return f"there is no parameter {show(name)}{hint}"


def _condition(
    parent: str, wanted: Any, path: Path, space: Space, problems: Problems, unread: Unread
) -> Condition | None:
    if parent not in space:
        if not unread.covers(parent):
            problems.error(path, _unknown(parent, space))
        return None
    law = space[parent].distribution
    is_range = isinstance(wanted, Mapping) and bool(wanted) and wanted.keys() <= {"min", "max"}
    if is_range and not law.contains(wanted):
        return _between(parent, wanted, path, law, problems)
    values = wanted if isinstance(wanted, list) else [wanted]
    if not values:
        problems.error(path, "must name at least one value")
        return None
    is_right = True
    for i, value in enumerate(values):
        where = (*path, i) if isinstance(wanted, list) else path
        if not law.contains(value):
            problems.error(where, f"{parent} must be {law.allowed}, not {show(value)}")
            is_right = False
    if is_right and law.size is None:
        problems.error(
            path, f"{parent} hardly ever has exactly this value: write {{min: …, max: …}}"
        )
        return None
    return Condition(parent, tuple(law.normalise(v) for v in values)) if is_right else None


def _between(
    parent: str, wanted: Mapping[str, Any], path: Path, law: Distribution, problems: Problems
) -> Condition | None:
    is_right = True
    for key, bound in wanted.items():
        if not is_number(bound):
            problems.error((*path, key), f"must be a finite number, not {show(bound)}")
            is_right = False
    if not is_right:
        return None
    low, high = wanted.get("min", -math.inf), wanted.get("max", math.inf)
    if low > high:
        problems.error(path, f"min {show(low)} is above max {show(high)}")
        return None
    if not np.isfinite(_some_numbers(law)).any():
        problems.error(path, f"{parent} has no numbers: it is {law.allowed}")
        return None
    return Condition(parent, low=low, high=high)


def _some_numbers(law: Distribution) -> Any:
    return law.numbers(np.linspace(0.0, 1.0, 4097))


def _constrained(
    space: Space, data: Any, problems: Problems, whole: Space, unread: Unread
) -> tuple[Space, list[int]]:
    """Return the space with its constraints, and where in the block each of them stands.

    Names are looked up in `whole`, which has the parameters that the space leaves out, too.
    """
    path: Path = ("sweepd", "constraints")
    if data is None:
        return space, []
    if not isinstance(data, list):
        words = 'must be a list of texts such as "batch_size * depth <= 4096"'
        problems.error(path, f"{words}, not {show(data)}")
        return space, []
    if len(data) > _MOST_CONSTRAINTS:
        problems.error(path, f"has {len(data)} constraints: at most {_MOST_CONSTRAINTS}")
        return space, []
    found: dict[int, Constraint] = {}
    for i, text in enumerate(data):
        if not isinstance(text, str):
            problems.error((*path, i), f"must be text in quotes, not {show(text)}")
            continue
        try:
            constraint = parse_constraint(text)
        except NoConstraint as error:
            problems.error((*path, i), str(error))
            continue
        wrong = list(_wrong_names(constraint, whole, unread))
        for words in wrong:
            problems.error((*path, i), words)
        if not wrong and all(name in space for name in constraint.names):
            found[i] = constraint
    return replace(space, constraints=tuple(found.values())), list(found)


def _wrong_names(constraint: Constraint, space: Space, unread: Unread) -> Iterator[str]:
    for name in constraint.names:
        if name in space:
            law = space[name].distribution
            if not np.isfinite(_some_numbers(law)).any():
                shown = law.allowed if isinstance(law, Constant) else f"it is {law.allowed}"
                yield f"{name} has no numbers to compute with: {shown}"
            continue
        if unread.covers(name):
            continue
        hint = ""
        hyphens = [p.name for p in space.parameters if p.name.startswith(f"{name}-")]
        if hyphens:
            hint = f'; a name with a hyphen goes in quotes: "{hyphens[0]}"'
        yield f"{_unknown(name, space)}{hint}"


def _check(
    space: Space, places: Sequence[int], problems: Problems, *, is_grid: bool, is_whole: bool
) -> None:
    """Note parameters that never exist, and constraints that nothing satisfies or breaks.

    `places` says where each constraint stands; of a space that is not whole, little is said of how
    all of it hangs together.
    """
    for parameter, share, how in _shares_existing(space, is_grid=is_grid):
        path: Path = ("sweepd", "when", parameter.name)
        if share == 0.0:
            note = problems.warn if how else problems.error
            note(path, f"never exists: its conditions are never all true{how}")
        elif share == 1.0:
            problems.warn(path, f"always exists: its conditions are always true{how}")
    shares = []
    for place, constraint in zip(places, space.constraints, strict=True):
        path = ("sweepd", "constraints", place)
        share, how = _share_satisfied(space, (constraint,), is_grid=is_grid)
        shares.append(share)
        if share == 0.0:
            problems.error(path, f"{show(constraint.text)}: no configuration satisfies it{how}")
        elif share == 1.0:
            problems.warn(path, f"{show(constraint.text)}: every configuration satisfies it{how}")
    if space.constraints and 0.0 not in shares:
        path = ("sweepd", "constraints")
        share, how = _share_satisfied(space, space.constraints, is_grid=is_grid)
        if share == 0.0:
            problems.error(path, f"no configuration satisfies all of them at once{how}")
        elif is_whole and share is not None and how and share < _RARE:
            words = f"about one configuration in {round(1 / share)} satisfies them: finding one"
            problems.warn(path, f"{words} takes time; narrow the ranges of the parameters")
    is_grid_of_all = all(p.distribution.grid_size is not None for p in space.parameters)
    if is_whole and is_grid and is_grid_of_all and not space.grid.can_be_walked:
        words = (
            f"tie a grid of {space.grid.n_points:,} points together: at most {MOST_TIED:,} can be "
            "gone through; give fewer values, or another method"
        )
        block = "constraints" if space.constraints else "when"
        problems.error(("sweepd", block), words)


def _shares_existing(
    space: Space, *, is_grid: bool
) -> Iterator[tuple[Parameter, float | None, str]]:
    """Yield in which share of the configs each parameter with conditions exists.

    Beside it stands how that was found if it was drawn. None for a grid that cannot be counted.
    """
    conditional = [parameter for parameter in space.parameters if parameter.when]
    uncounted: list[Parameter] = []
    for parameter in conditional:
        parents = {condition.parent for condition in parameter.when}
        lattice = _lattice(space, parents, (), is_grid=is_grid)
        share = lattice.share_existing(parameter) if lattice is not None else None
        if share is not None or is_grid:
            yield parameter, share, ""
        else:
            uncounted.append(parameter)
    if uncounted:
        part = _part(space, {parameter.name for parameter in uncounted})
        points = _draws(part, _MANY)
        exists = part.existing_at(points)
        for parameter in uncounted:
            yield parameter, float(exists[parameter.name].mean()), _in_draws(len(points))


def _share_satisfied(
    space: Space, constraints: tuple[Constraint, ...], *, is_grid: bool
) -> tuple[float | None, str]:
    """Return which share of the configs satisfies constraints, and how that was found if drawn."""
    names = {name for constraint in constraints for name in constraint.names}
    left = _lattice(space, names, constraints, is_grid=is_grid)
    n_left = left.n_configs if left is not None else None
    every = _lattice(space, names, (), is_grid=is_grid)
    n_every = every.n_configs if every is not None else None
    if n_left is not None and n_every:
        return n_left / n_every, ""
    if is_grid:
        return None, ""
    part = _part(space, names, constraints)
    share, n = 0.0, 0
    for most in (_FEW, _MANY):
        points = _draws(part, most)
        share, n = float(part.are_allowed(points).mean()), len(points)
        if _RARE < share < 1.0:
            break
    return share, _in_draws(n)


def _lattice(
    space: Space, names: set[str], constraints: tuple[Constraint, ...], *, is_grid: bool
) -> Lattice | None:
    """Return the configs of some parameters and their parents alone; None if there is no end."""
    if len(_with_parents(space, names, most=_MOST_COUNTED)) > _MOST_COUNTED:
        return None
    part = _part(space, names, constraints)
    if is_grid:
        is_grid_of_all = all(p.distribution.grid_size is not None for p in part.parameters)
        return part.grid if is_grid_of_all else None
    return part.lattice


def _part(space: Space, names: set[str], constraints: tuple[Constraint, ...] = ()) -> Space:
    """Return the space of some parameters, and those that they hang on, alone."""
    found = _with_parents(space, names)
    return Space(tuple(p for p in space.parameters if p.name in found), constraints)


def _with_parents(space: Space, names: set[str], *, most: float = math.inf) -> set[str]:
    """Return names with those of all that they hang on; no more are looked for than `most`."""
    found: set[str] = set()
    left = list(names)
    while left and len(found) <= most:
        name = left.pop()
        if name not in found:
            found.add(name)
            left += [condition.parent for condition in space[name].when]
    return found


def _draws(space: Space, n: int) -> Array:
    """Return at most n points of the unit cube: fewer where they have very many coordinates."""
    n = max(_FEW, min(n, _MOST_NUMBERS // max(space.d, 1)))
    return np.random.default_rng(0).random((n, space.d))


def _in_draws(n: int) -> str:
    return f" among {n:,} that were drawn"
