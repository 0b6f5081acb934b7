"""Files that are written whole or not at all, whatever happens to the process or the machine."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

__all__ = ["whole_file"]


@contextmanager
def whole_file(path: Path, *, prefix: str) -> Iterator[IO[bytes]]:
    """Yield a file to write to that takes its place at `path` once it is on the disk.

    Args:
        path: its folder is made if need be; what stands there is replaced.
        prefix: of the temporary file's name beside it, such as `.checkpoint-`.

    Raises:
        OSError: it cannot be written; nothing of it is left then.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=prefix, delete=False) as file:
        try:
            yield file
            file.flush()
            os.fsync(file.fileno())
            Path(file.name).replace(path)
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise
