"""Registers exported files as a model: an artifact that the run logs, though it has ended."""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["register"]


def register(
    run: Any,
    files: Mapping[str, Path],
    *,
    name: str,
    aliases: Sequence[str],
    metadata: Mapping[str, Any],
) -> str:
    """Log files as a version of a model artifact of `run`; return `entity/project/name:version`.

    The client cannot log a new artifact to a run from outside of it, and resuming the run would
    open it again. So this joins as a process that shares the run and is not its primary: such a one
    changes neither state nor times, and writes no rows, summary or output.

    Args:
        run: of `wandb.Api()`.
        files: name in the artifact -> file.
        name: of the artifact.
        aliases: that the version gets, taken from others that have them.
        metadata: of the version.

    Raises:
        wandb.Error, OSError: the server's or the client's refusal.
        ValueError: a name that the client does not take.
    """
    import wandb

    artifact = wandb.Artifact(name, type="model", metadata=dict(metadata))
    for path_in, path in files.items():
        artifact.add_file(str(path), name=path_in, skip_cache=True, policy="immutable")
    entity, project, run_id = run.path
    with tempfile.TemporaryDirectory() as folder:
        settings = wandb.Settings(
            mode="shared",
            x_primary=False,
            x_label="export",
            x_update_finish_state=False,
            x_disable_stats=True,
            x_disable_meta=True,
            console="off",
            disable_code=True,
            disable_git=True,
            silent=True,
        )
        with wandb.init(
            entity=entity,
            project=project,
            id=run_id,
            dir=folder,
            reinit="create_new",
            settings=settings,
        ) as writer:
            logged = writer.log_artifact(artifact, aliases=list(aliases)).wait()
            return f"{entity}/{project}/{logged.name}"
