"""Search methods and stop rules: pure maths over a space and trials. Lower is better throughout."""

from sweepd.search.curves import Curves
from sweepd.search.pareto import front
from sweepd.search.protocols import (
    Decision,
    Memo,
    Method,
    Outcome,
    Peers,
    Progress,
    StopRule,
    Trial,
)
from sweepd.search.scalarised import Scalarised
from sweepd.search.space_filling import filler

__all__ = [
    "Curves",
    "Decision",
    "Memo",
    "Method",
    "Outcome",
    "Peers",
    "Progress",
    "Scalarised",
    "StopRule",
    "Trial",
    "filler",
    "front",
]
