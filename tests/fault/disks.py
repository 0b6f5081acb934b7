"""Small disks that a service can be started on: they fill up, fail and lose their power.

A disk needs the right to mount: root's, or that of a namespace of the test's own.
"""

import fcntl
import os
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

__all__ = ["Disk", "needs_mount", "small_ext4", "small_tmpfs"]

_PAGE = 4096
_SHUT_DOWN = 0x8004587D  # EXT4_IOC_SHUTDOWN
_DROP_UNSYNCED = 2


def needs_mount(*, loop: bool = False) -> None:
    """Skip the test, with the reason, where nothing can be mounted; in CI it fails."""
    missing = _missing(loop=loop)
    if missing is not None:
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)


def _missing(*, loop: bool) -> str | None:
    if loop and not Path("/dev/loop-control").exists():
        return "an ext4 of a few megabytes needs loop devices"
    with tempfile.TemporaryDirectory() as folder:
        tried = ["mount", "-t", "tmpfs", "-o", "size=4k", "none", folder]
        try:
            done = subprocess.run(tried, capture_output=True, text=True, check=False)
        except FileNotFoundError:
            return "there is no `mount`"
        if done.returncode != 0:
            return f"a small disk cannot be mounted: {done.stderr.strip()}"
        subprocess.run(["umount", folder], check=True)
    return None


class Disk:
    """A mounted file system of its own; `folder` is its root."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ballast = folder / "ballast"

    def fill(self, *, left: int) -> None:
        """Take all its space but for `left` pages of 4 KiB."""
        with self._ballast.open("ab", buffering=0) as file:
            for size in (1 << 20, _PAGE):
                try:
                    while file.write(bytes(size)) == size:
                        pass
                except OSError:
                    continue
            os.ftruncate(file.fileno(), max(0, file.tell() // _PAGE - left) * _PAGE)

    def free(self) -> None:
        """Give the space back."""
        self._ballast.unlink()

    def lose_power(self) -> None:
        """Drop what nobody flushed; every read and write fails with EIO from now on."""
        handle = os.open(self.folder, os.O_RDONLY)
        try:
            fcntl.ioctl(handle, _SHUT_DOWN, struct.pack("I", _DROP_UNSYNCED))
        finally:
            os.close(handle)

    def turn_read_only(self) -> None:
        """Have the file system find an error in itself: it lets nobody write from now on."""
        device = subprocess.run(
            ["findmnt", "--noheadings", "--output", "SOURCE", self.folder],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        trigger = Path("/sys/fs/ext4") / Path(device).name / "trigger_fs_error"
        trigger.write_text("a test wants it so\n")

    def mount_again(self) -> None:
        """Take it off and put it back, as at the next boot."""
        image = self.folder.with_suffix(".img")
        _run("umount", self.folder)
        subprocess.run(["e2fsck", "-p", "-f", image], capture_output=True, check=False)
        _run("mount", "-o", "loop,errors=remount-ro", image, self.folder)


@contextmanager
def small_tmpfs(folder: Path, *, mib: int) -> Iterator[Disk]:
    """Mount a disk in memory."""
    folder.mkdir()
    _run("mount", "-t", "tmpfs", "-o", f"size={mib}m,mode=0700", "none", folder)
    with _until_unmounted(folder):
        yield Disk(folder)


@contextmanager
def small_ext4(folder: Path, *, mib: int) -> Iterator[Disk]:
    """Mount a disk in a file, `folder` with the suffix `.img`."""
    image = folder.with_suffix(".img")
    with image.open("wb") as file:
        file.truncate(mib << 20)
    _run("mkfs.ext4", "-q", "-F", image)
    folder.mkdir()
    _run("mount", "-o", "loop,errors=remount-ro", image, folder)
    with _until_unmounted(folder):
        yield Disk(folder)


@contextmanager
def _until_unmounted(folder: Path) -> Iterator[None]:
    try:
        yield
    finally:
        _run("umount", "--lazy", folder)


def _run(*command: str | Path) -> None:
    subprocess.run([str(part) for part in command], check=True)
