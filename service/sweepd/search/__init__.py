"""Search methods and stop rules: pure maths over a space and trials. Lower is better throughout."""

from sweepd.search.protocols import Decision, Memo, Method, StopRule, Trial
from sweepd.search.space_filling import filler

__all__ = ["Decision", "Memo", "Method", "StopRule", "Trial", "filler"]
