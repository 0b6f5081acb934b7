"""This machine: versions of what matters, open files, GPUs."""

import os
import platform
import resource
import sqlite3
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version

from sweepd import __version__
from sweepd.checkup.findings import Finding, fine, warning
from sweepd_agent.devices import find_gpus

__all__ = ["check_machine"]

_LEAST_CLIENT = (0, 29)
_FEW_FILES = 4_096


def check_machine(environ: Mapping[str, str]) -> Iterator[Finding]:
    """Look at this machine; `environ` is the environment that agents would have."""
    yield fine(
        "versions",
        f"sweepd {__version__}, Python {platform.python_version()}, SQLite "
        f"{sqlite3.sqlite_version}",
    )
    yield _client()
    yield _files()
    yield _gpus(environ)


def _client() -> Finding:
    try:
        found = version("wandb")
    except PackageNotFoundError:
        return warning("wandb", "is not installed here", "pip install wandb")
    numbers = tuple(int(part) for part in found.split(".")[:2] if part.isdigit())
    if numbers < _LEAST_CLIENT:
        least = ".".join(map(str, _LEAST_CLIENT))
        return warning(
            "wandb", f"{found} is older than {least}, the oldest tried", "pip install -U wandb"
        )
    return fine("wandb", found)


def _files() -> Finding:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY or hard >= _FEW_FILES:
        return fine("open files", "no limit" if hard == resource.RLIM_INFINITY else f"{hard}")
    return warning(
        "open files",
        f"at most {hard}: that many connections less 256 can be held",
        "raise it: `ulimit -Hn`, LimitNOFILE= of systemd, --ulimit of docker",
    )


def _gpus(environ: Mapping[str, str]) -> Finding:
    found = find_gpus(environ)
    visible = environ.get("CUDA_VISIBLE_DEVICES")
    if found:
        return fine("GPUs", f"{len(found)} for agents: {', '.join(found)}")
    if visible is not None:
        return warning(
            "GPUs", f"CUDA_VISIBLE_DEVICES={visible!r} hides them all", "unset it to use them"
        )
    if os.path.exists("/dev/nvidia0"):
        return warning(
            "GPUs", "there is a device but nvidia-smi does not list it", "check the driver"
        )
    return fine("GPUs", "none: agents on this machine use the CPU")
