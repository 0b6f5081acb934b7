"""One thing that was looked at, what was found, and what to do about it."""

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Finding", "Level", "fine", "problem", "warning"]


class Level(StrEnum):
    """How grave a finding is. A problem keeps something from working."""

    FINE = "fine"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True)
class Finding:
    """What was looked at, what was found, and what to do: empty if nothing."""

    name: str
    level: Level
    words: str
    advice: str = ""


def fine(name: str, words: str) -> Finding:
    """Return that something is as it should be."""
    return Finding(name, Level.FINE, words)


def warning(name: str, words: str, advice: str) -> Finding:
    """Return that something may become a problem."""
    return Finding(name, Level.WARNING, words, advice)


def problem(name: str, words: str, advice: str) -> Finding:
    """Return that something keeps the service or its clients from working."""
    return Finding(name, Level.PROBLEM, words, advice)
