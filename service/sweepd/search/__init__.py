"""Search methods and stop rules: pure maths over a space and trials. Lower is better throughout."""

from sweepd.search.curves import Curves
from sweepd.search.pareto import front, last_joined
from sweepd.search.protocols import (
    Decision,
    Instant,
    Memo,
    Method,
    Outcome,
    Peers,
    Progress,
    StopRule,
    Trial,
)
from sweepd.search.rungs import rungs
from sweepd.search.scalarised import Scalarised
from sweepd.search.space_filling import filler
from sweepd.search.unique import Out, Taken

__all__ = [
    "Curves",
    "Decision",
    "Instant",
    "Memo",
    "Method",
    "Out",
    "Outcome",
    "Peers",
    "Progress",
    "Scalarised",
    "StopRule",
    "Taken",
    "Trial",
    "filler",
    "front",
    "last_joined",
    "rungs",
]
