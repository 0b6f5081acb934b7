"""The end of a project: all that it holds goes with it, and its name is free again."""

from dataclasses import dataclass

from sqlalchemy import delete, func, select

from sweepd.engine import events
from sweepd.engine.access import Need
from sweepd.engine.projects import project_by_id
from sweepd.engine.views import Account
from sweepd.errors import NotFound
from sweepd.store import Tx
from sweepd.store import artifact_tables as a
from sweepd.store import tables as t

__all__ = ["ProjectSize", "delete_project", "size_of"]


@dataclass(frozen=True)
class ProjectSize:
    """How much a project holds: committed artifact versions, and bytes of all its files."""

    n_runs: int
    n_sweeps: int
    n_artifacts: int
    size_bytes: int


def size_of(tx: Tx, *, project_id: int) -> ProjectSize:
    """Return how much goes with a project. Asks nobody's leave."""
    of_project = a.artifact_collection.c.project_id == project_id
    versions = (
        select(func.count())
        .select_from(a.artifact.join(a.artifact_collection))
        .where(of_project, a.artifact.c.state == "committed")
    )
    n_runs, n_sweeps = (
        tx.conn.scalar(select(func.count()).where(table.c.project_id == project_id)) or 0
        for table in (t.run, t.sweep)
    )
    n_bytes = tx.conn.scalar(
        select(func.sum(t.blob.c.size)).where(t.blob.c.project_id == project_id)
    )
    return ProjectSize(n_runs, n_sweeps, tx.conn.scalar(versions) or 0, int(n_bytes or 0))


def delete_project(tx: Tx, *, actor: Account, project_id: int) -> list[str]:
    """Delete a project with its runs, sweeps, artifacts and files; return the blobs' keys, sorted.

    Agents of its sweeps are told on their next heartbeat that these are gone. Links to its
    artifacts from other projects go, too; what searches of other projects have learnt from its runs
    stays with them. Deleting what is gone is fine, and what the actor may not
    see is gone to them.

    Raises:
        Forbidden: if the actor may see it, but does not administer its entity.
    """
    try:
        project = project_by_id(tx, actor=actor, project_id=project_id, need=Need.ADMIN)
    except NotFound:
        return []
    size = size_of(tx, project_id=project_id)
    keys = sorted(tx.conn.scalars(select(t.blob.c.key).where(t.blob.c.project_id == project_id)))
    tx.conn.execute(delete(t.project).where(t.project.c.id == project_id))
    events.record(
        tx,
        actor=actor.name,
        kind="project.deleted",
        project_id=project_id,
        data={
            "entity": project.entity,
            "name": project.name,
            "runs": size.n_runs,
            "sweeps": size.n_sweeps,
            "artifacts": size.n_artifacts,
        },
    )
    return keys
