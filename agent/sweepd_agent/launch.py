"""Starts a trial's own command: `python -I launch.py PARENT FD FOLDER COMMAND …`, by itself.

It sees to it that the command dies with the warm parent, and leads a session of its own. FD closes
as the command starts; what keeps it from starting is written there first.
"""

import ctypes
import json
import os
import signal
import struct
import sys

__all__: list[str] = []

_PR_SET_PDEATHSIG = 1
_IGNORED = (signal.SIGINT, signal.SIGPIPE, signal.SIGXFSZ)  # by Python, and by the warm parent


def _main(parent: int, fd: int, folder: str, *command: str) -> None:
    os.set_inheritable(fd, False)
    os.setsid()
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            return
    for number in _IGNORED:
        signal.signal(number, signal.SIG_DFL)
    try:
        os.chdir(folder)
        os.execvp(command[0], command)
    except OSError as error:
        words = (error.strerror or str(error)).lower()
        body = json.dumps({"error": f"cannot start {command[0]!r}: {words}"}).encode()
        os.write(fd, struct.pack(">I", len(body)) + body)


if __name__ == "__main__":
    _main(int(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:])
    sys.exit(127)
