"""What a sweep came to: its best run by a stated rule, and that run's verified model.

Everything here talks to a W&B server through `wandb.Api()` alone, so it works on any of them.
"""

from sweepd.results.compare import Compared, Comparison, compare
from sweepd.results.confirm import Plan, plan_confirmation
from sweepd.results.confirmed import Confirmation, Confirmed
from sweepd.results.export import export
from sweepd.results.exported import ExportedFile, ExportReport
from sweepd.results.front import Front, best_of
from sweepd.results.hooks import check_hook
from sweepd.results.judging import Excluded, Ranked
from sweepd.results.report import Report, write_report
from sweepd.results.rounds import n_waiting_for
from sweepd.results.select import Selection, select

__all__ = [
    "Compared",
    "Comparison",
    "Confirmation",
    "Confirmed",
    "Excluded",
    "ExportReport",
    "ExportedFile",
    "Front",
    "Plan",
    "Ranked",
    "Report",
    "Selection",
    "best_of",
    "check_hook",
    "compare",
    "export",
    "n_waiting_for",
    "plan_confirmation",
    "select",
    "write_report",
]
