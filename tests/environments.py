"""Environments of their own for what must not be in ours, made once for many runs."""

import fcntl
import hashlib
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

__all__ = ["environment"]

_FOLDER = Path(tempfile.gettempdir()) / "sweepd-environments"


def environment(name: str, *packages: str, base: str = sys.executable, like: str = "") -> Path:
    """Return the interpreter of an environment with these packages; make it once.

    Args:
        name: its folder's name begins so.
        packages: as for `uv pip install`.
        base: the interpreter that it is of: a path, or 3.13.
        like: another text makes another environment: of a package in a folder, what it needs.
    """
    digest = hashlib.sha256(" ".join((base, *packages, like)).encode()).hexdigest()[:8]
    folder = _FOLDER / f"{name}-{digest}"
    python = folder / "bin" / "python"
    uv = shutil.which("uv")
    if uv is None:
        raise SystemExit(f"uv is needed to make the environment of {name}")
    _FOLDER.mkdir(parents=True, exist_ok=True)
    with (_FOLDER / f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another run may be making the same
        if not (folder / "complete").exists():
            shutil.rmtree(folder, ignore_errors=True)
            _call(uv, "venv", "--quiet", "--python", base, str(folder))
            install = (uv, "pip", "install", "--quiet", "--compile-bytecode")
            _call(*install, "--python", str(python), *packages)
            (folder / "complete").touch()
    return python


def _call(*command: str) -> None:
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}:\n{done.stdout.decode(errors='replace')}")
