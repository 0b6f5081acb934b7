"""The sweep and the run that a page's address names."""

from sweepd.dash.visit import Visit
from sweepd.engine import runs, sweeps
from sweepd.engine.access import Need
from sweepd.engine.views import RunView, SweepView

__all__ = ["run_of", "sweep_of"]


async def sweep_of(visit: Visit, need: Need) -> SweepView:
    """Return the sweep of the visit's address; raise as `sweeps.get_sweep` does."""
    return await visit.read(
        sweeps.get_sweep,
        actor=visit.account,
        need=need,
        entity=visit["entity"],
        project=visit["project"],
        name=visit["name"],
    )


async def run_of(visit: Visit, need: Need) -> RunView:
    """Return the run of the visit's address; raise as `runs.get_run` does."""
    return await visit.read(
        runs.get_run,
        actor=visit.account,
        need=need,
        entity=visit["entity"],
        project=visit["project"],
        name=visit["name"],
    )
