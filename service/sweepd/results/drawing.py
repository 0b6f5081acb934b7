"""Small plots as SVG text: no scripts, no inline styles, every word escaped.

Colours are classes, which the page's one style sheet knows: `dot`, `best`, `line`, `axis`, `bar`.
"""

import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

__all__ = ["Dot", "bars", "best_so_far", "scatter", "ticks"]

_WIDTH, _HEIGHT = 460.0, 240.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 62.0, 12.0, 12.0, 42.0
_MOST_TICKS = 5
_MOST_LABEL = 14  # characters of a category below the axis
_MAX = sys.float_info.max
_FAR = 3.0  # quartile distances beyond the third quartile: drawn at the edge


@dataclass(frozen=True)
class Dot:
    """A run in a plot; `x` is a number, or the name of a category."""

    x: float | str
    y: float
    title: str
    is_best: bool = False


@dataclass(frozen=True)
class _Axis:
    low: float
    high: float
    is_log: bool = False

    def at(self, value: float, start: float, end: float) -> float:
        """Return where a value lies between two places, the edge for what is beyond."""
        low, high, value = self._inner(self.low), self._inner(self.high), self._inner(value)
        # By halves: the distance of the largest numbers is none.
        share = (value / 2 - low / 2) / (high / 2 - low / 2) if high > low else 0.5
        return start + min(max(share, 0.0), 1.0) * (end - start)

    def _inner(self, value: float) -> float:
        return math.log10(max(value, 1e-300)) if self.is_log else value


def ticks(low: float, high: float, *, is_log: bool = False) -> list[float]:
    """Return a few round numbers from one to the other, at least one number."""
    if is_log:
        first, last = math.floor(math.log10(low)), math.floor(math.log10(high))
        every = max(1, math.ceil((last - first + 1) / _MOST_TICKS))
        powers = range(first, last + 1, every)
        for within in ((1,), (1, 3), (1, 2, 5)):
            found = [many * 10.0**power for power in powers for many in within]
            found = [value for value in found if low <= value <= high]
            if len(found) > 2:
                break
        return found or [low]
    span = high - low
    if not span > 0 or not math.isfinite(span):
        return [low]
    step = 10.0 ** math.floor(math.log10(span / _MOST_TICKS))
    step = next(step * many for many in (1, 2, 5, 10) if span / (step * many) <= _MOST_TICKS)
    first = math.ceil(low / step - 1e-9)
    return [index * step for index in range(first, math.floor(high / step + 1e-9) + 1)]


def best_so_far(
    values: Sequence[float], titles: Sequence[str], *, metric: str, goal: str
) -> Markup:
    """Return the values of runs in the order of their start, with the best so far as a line."""
    better: Callable[[float, float], float] = max if goal == "maximize" else min
    y = _values_axis(values, goal)
    x = _Axis(1, max(len(values), 2))
    places = [x.at(n, _LEFT, _WIDTH - _RIGHT) for n in range(1, len(values) + 1)]
    best = values[0]
    path: list[str] = []
    parts = []
    for place, value, title in zip(places, values, titles, strict=True):
        parts.append(_dot(place, _height(y, value), title, kind="dot"))
        before, best = best, better(best, value)
        if path:
            path.append(f"H{place:.1f}")
        else:
            path.append(f"M{place:.1f} {_height(y, before):.1f}")
        path.append(f"V{_height(y, best):.1f}")
    path.append(f"H{_WIDTH - _RIGHT:.1f}")
    line = f'<path class="line" d="{"".join(path)}"/>'
    labels = [(x.at(t, _LEFT, _WIDTH - _RIGHT), _number(t)) for t in ticks(1, len(values))]
    whole = [(place, text) for place, text in labels if "." not in text]
    inner = _frame(y, whole, x_label="runs in the order of their start", y_label=metric)
    return _svg(inner + "".join(parts) + line, f"best {metric} so far")


def scatter(
    dots: Sequence[Dot],
    *,
    x_label: str,
    y_label: str,
    goal: str,
    is_log: bool = False,
    x_goal: str | None = None,
) -> Markup:
    """Return runs over a parameter, or over another metric (whose goal is `x_goal`)."""
    y = _values_axis([dot.y for dot in dots], goal)
    numbers = [dot.x for dot in dots if not isinstance(dot.x, str)]
    if len(numbers) == len(dots):
        x = _values_axis(numbers, x_goal) if x_goal else _Axis(min(numbers), max(numbers), is_log)
        places = [x.at(number, _LEFT + 8, _WIDTH - _RIGHT - 8) for number in numbers]
        marks = sorted(set(numbers))
        if len(marks) > _MOST_TICKS or x_goal:
            marks = ticks(x.low, x.high, is_log=is_log)
        labels = [(x.at(t, _LEFT + 8, _WIDTH - _RIGHT - 8), _number(t)) for t in marks]
    else:
        names = sorted({str(dot.x) for dot in dots})
        width = (_WIDTH - _LEFT - _RIGHT) / len(names)
        middles = {name: _LEFT + (i + 0.5) * width for i, name in enumerate(names)}
        seen = dict.fromkeys(names, 0)
        places = []
        for dot in dots:  # side by side, so that equal ones are not one dot
            shift = (seen[str(dot.x)] * 0.381966) % 1 - 0.5
            seen[str(dot.x)] += 1
            places.append(middles[str(dot.x)] + shift * min(width * 0.6, 60))
        labels = [(middles[name], _cut(name)) for name in names]
        labels = labels[:: math.ceil(len(labels) / 8)]
    order = sorted(range(len(dots)), key=lambda i: dots[i].is_best)  # the best on top
    parts = [
        _dot(
            places[i],
            _height(y, dots[i].y),
            dots[i].title,
            kind="best" if dots[i].is_best else "dot",
        )
        for i in order
    ]
    inner = _frame(y, labels, x_label=x_label, y_label=y_label)
    return _svg(inner + "".join(parts), f"{y_label} over {x_label}")


def bars(rows: Sequence[tuple[str, float, float, float]]) -> Markup:
    """Return shares between 0 and 1 as bars, each a name, a share, and its interval."""
    left, height = 150.0, 24.0
    x = _Axis(0.0, 1.0)
    parts = []
    for index, (name, share, low, high) in enumerate(rows):
        top, end = index * height + 4, x.at(share, left, _WIDTH - 50)
        middle = top + 8
        parts.append(
            f'<text x="{left - 8}" y="{top + 12}" text-anchor="end">{escape(_cut(name, 22))}</text>'
            f'<rect class="bar" x="{left}" y="{top}" width="{end - left:.1f}" height="16"/>'
            f'<path class="whisker" d="M{x.at(low, left, _WIDTH - 50):.1f} {middle}'
            f'H{x.at(high, left, _WIDTH - 50):.1f}"/>'
            f'<text x="{_WIDTH - 8}" y="{top + 12}" text-anchor="end">{share:.0%}</text>'
        )
    return _svg("".join(parts), "importance", height=len(rows) * height + 4)


def _values_axis(values: Sequence[float], goal: str | None) -> _Axis:
    """Return an axis of values on which the far worst do not press the others together."""
    low, high = min(values), max(values)
    if len(values) >= 8:
        ordered = sorted(values)
        first, third = ordered[len(values) // 4], ordered[3 * len(values) // 4]
        spread = (third - first) or (high - low)
        if goal == "maximize":
            low = max(low, first - _FAR * spread)
        else:
            high = min(high, third + _FAR * spread)
    room = high / 20 - low / 20 or abs(high) / 20 or 1.0
    return _Axis(max(low - room, -_MAX), min(high + room, _MAX))


def _height(y: _Axis, value: float) -> float:
    return y.at(value, _HEIGHT - _BOTTOM, _TOP)


def _dot(x: float, y: float, title: str, *, kind: str) -> str:
    radius = 5 if kind == "best" else 3.5
    return (
        f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="{radius}">'
        f"<title>{escape(title)}</title></circle>"
    )


def _frame(y: _Axis, labels: Sequence[tuple[float, str]], *, x_label: str, y_label: str) -> str:
    bottom, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
    parts = []
    for value in ticks(y.low, y.high):
        place = _height(y, value)
        parts.append(
            f'<path class="grid" d="M{_LEFT} {place:.1f}H{right}"/>'
            f'<text x="{_LEFT - 6}" y="{place + 4:.1f}" text-anchor="end">{_number(value)}</text>'
        )
    taken = -math.inf
    for place, text in labels:
        half = 3.2 * len(text) + 4
        place = min(place, _WIDTH - half)
        if place - half < taken:  # it would be written over the one before
            continue
        taken = place + half
        parts.append(
            f'<text x="{place:.1f}" y="{bottom + 16}" text-anchor="middle">{escape(text)}</text>'
        )
    parts.append(
        f'<path class="axis" d="M{_LEFT} {_TOP}V{bottom}H{right}"/>'
        f'<text class="name" x="{(_LEFT + right) / 2}" y="{_HEIGHT - 6}" text-anchor="middle">'
        f"{escape(_cut(x_label, 60))}</text>"
        f'<text class="name" transform="translate(12 {(_TOP + bottom) / 2}) rotate(-90)" '
        f'text-anchor="middle">{escape(_cut(y_label, 34))}</text>'
    )
    return "".join(parts)


def _svg(inner: str, label: str, *, height: float = _HEIGHT) -> Markup:
    head = f'<svg viewBox="0 0 {_WIDTH:g} {height:g}" role="img" aria-label="{escape(label)}">'
    return Markup(head + inner + "</svg>")


def _number(value: float) -> str:
    return f"{value:.4g}"


def _cut(text: str, most: int = _MOST_LABEL) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
