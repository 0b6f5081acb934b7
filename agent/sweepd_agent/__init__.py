"""The agent: pulls configurations from a W&B server and runs one process per trial."""

from sweepd_agent.events import AgentEvent, EventKind, Report
from sweepd_agent.options import Options
from sweepd_agent.supervisor import check_workplace, run_agent

__all__ = ["AgentEvent", "EventKind", "Options", "Report", "check_workplace", "run_agent"]
