"""What each field of the schema answers: one module per part, one table per module."""

from collections.abc import Sequence

from sweepd.wire.context import Resolvers
from sweepd.wire.resolvers import (
    accounts,
    agents,
    artifact_changes,
    artifacts,
    bundles,
    chart_presets,
    entities,
    files,
    own,
    projects,
    runs,
    sweeps,
)

__all__ = ["TABLES"]

#: Every part's table: type -> field -> resolver. A field without one is the attribute of its name.
TABLES: Sequence[Resolvers] = (
    accounts.FIELDS,
    entities.FIELDS,
    projects.FIELDS,
    runs.FIELDS,
    files.FIELDS,
    sweeps.FIELDS,
    agents.FIELDS,
    artifacts.FIELDS,
    artifact_changes.FIELDS,
    chart_presets.FIELDS,
    own.FIELDS,
    bundles.FIELDS,
)
