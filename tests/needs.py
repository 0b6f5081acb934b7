"""What a tier needs of the machine."""

import os
import shutil

import pytest

__all__ = ["need"]


def need(*tools: str, what: str) -> None:
    """Skip where this machine lacks a tool, or the rights of root; fail there in CI.

    Args:
        tools: commands that must be on the PATH.
        what: what cannot be done without them, as a sentence begins.
    """
    missing = [tool for tool in tools if shutil.which(tool) is None]
    if os.geteuid() != 0:
        missing.append("root")
    if not missing:
        return
    reason = f"{what} here; missing: {', '.join(missing)}"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)
