"""Reads of a W&B server, with its failures in words."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import wandb
from wandb.sdk.lib.service.service_connection import WandbApiFailedError

from sweepd.errors import (
    ExportError,
    NotFound,
    ServerUnreachable,
    SweepdError,
    Unauthorized,
)

__all__ = ["CLIENT_FAILURES", "download", "in_words", "open_api"]

#: What the client raises when a server fails it; the latter has no base in common with the others.
CLIENT_FAILURES = (wandb.Error, WandbApiFailedError)


def open_api() -> Any:
    """Return a `wandb.Api()` on the server that the environment names.

    Raises:
        Unauthorized: no key is known for it, or it refuses the key.
        ServerUnreachable: it did not answer.
    """
    try:
        return wandb.Api()
    except wandb.errors.UsageError as error:
        raise Unauthorized(f"no key for the W&B server: {_first_line(error)}") from error
    except wandb.Error as error:
        raise _translated(error, "the W&B server") from error


@contextmanager
def in_words(what: str) -> Iterator[None]:
    """Turn the client's failures while reading `what` into ours.

    Raises:
        NotFound: the server does not have it.
        Unauthorized: the key is not valid there.
        ServerUnreachable: anything else the server or the network said.
    """
    try:
        yield
    except ValueError as error:
        raise NotFound(f"{what}: {_first_line(error)}") from error
    except WandbApiFailedError as error:  # a request by way of the client's own service process
        status = error.response.http_status if error.response is not None else 0
        kind = {401: Unauthorized, 403: Unauthorized, 404: NotFound}.get(status, ServerUnreachable)
        raise kind(f"{what}: {_first_line(error)}") from error
    except wandb.Error as error:
        raise _translated(error, what) from error


#: The digest by which servers say that there is no file of the name that was asked for.
_ABSENT = "0"


def download(run: Any, name: str, folder: Path) -> Path:
    """Download one file of a run into `folder`; return where it is.

    Raises:
        ExportError: the run has no such file, or it did not come whole.
    """
    label = "/".join(run.path)
    files = {file.name: file for file in run.files(names=[name]) if file.md5 != _ABSENT}
    if name not in files:
        others = sorted(file.name for file in run.files())[:8]
        has = f"it has {', '.join(others)}" if others else "it has no files"
        raise ExportError(f"the run {label} has no file {name}: {has}")
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        try:
            files[name].download(root=scratch, replace=True).close()
        except (OSError, UnicodeError, *CLIENT_FAILURES) as error:
            reason = _first_line(error)
            raise ExportError(f"{name} of the run {label} did not download: {reason}") from error
        arrived = Path(scratch) / name
        if arrived.stat().st_size != files[name].size:
            raise ExportError(
                f"{name} of the run {label} came with {arrived.stat().st_size} bytes, "
                f"the server says {files[name].size}"
            )
        return arrived.replace(folder / Path(name).name)


def _translated(error: wandb.Error, what: str) -> SweepdError:
    """Return the client's failure as ours; it calls a server that is silent unauthorised too."""
    text = f"{what}: {_first_line(error)}"
    if isinstance(error, wandb.errors.AuthenticationError):
        has_answered = getattr(error.__cause__, "response", None) is not None
        return Unauthorized(text) if has_answered else ServerUnreachable(text)
    is_absent = "could not find" in str(error).lower()
    return NotFound(text) if is_absent else ServerUnreachable(text)


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
