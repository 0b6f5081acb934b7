"""NVIDIA's MPS daemon, which lets trials share a GPU without taking turns: found by its pipe."""

from collections.abc import Mapping
from pathlib import Path

__all__ = ["find_mps", "mps_variables"]

_USUAL = "/tmp/nvidia-mps"
_PIPE, _SHARE = "CUDA_MPS_PIPE_DIRECTORY", "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE"


def find_mps(environ: Mapping[str, str]) -> Path | None:
    """Return the pipe directory of the MPS daemon that runs here, None if none does.

    One that the environment names may run outside of this container; in the usual place a pipe may
    be left of a daemon that has ended.
    """
    named = environ.get(_PIPE)
    folder = Path(named or _USUAL)
    if not (folder / "control").exists():
        return None
    return folder if named or _is_alive(folder / "nvidia-cuda-mps-control.pid") else None


def _is_alive(file: Path) -> bool:
    try:
        return Path("/proc", str(int(file.read_text()))).exists()
    except (OSError, ValueError):
        return False


def mps_variables(folder: Path, *, share: int, environ: Mapping[str, str]) -> dict[str, str]:
    """Return what a trial's environment needs to use the daemon.

    Each may use twice its even part of the processors at most, so that one that waits leaves room
    for the others and none takes all.

    Args:
        folder: the daemon's pipe directory.
        share: trials at once on the GPU.
        environ: the environment; what it says of the part stands.
    """
    part = environ.get(_SHARE) or str(min(100, 200 // share))
    return {_PIPE: str(folder), _SHARE: part}
