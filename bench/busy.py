"""Measure heartbeats while pages are read, backups are made and another process writes.

    python bench/busy.py              30 s
    python bench/busy.py --smoke      4 s

64 agents, each with a run, heartbeat twice a second, and every run logs 20 rows a second. Meanwhile
a signed-in browser's pages are fetched one after the other without a rest; another process
backs the database up in a loop, by turns through SQLite's backup interface and with `VACUUM INTO`;
and a third takes the database's write lock every half second and holds it for 50 ms, as a command
beside the service may. Requests are sent when they are due, and a latency counts from then.

The bar: p99 under 1 s, and no error. Exit code 1 where it is missed.
"""

import argparse
import http.client
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import uvloop

from heartbeats import PROJECT, load, prepare
from serving import Served, conditions, percentile, service, verdict

BAR_MS = 1_000.0
N_AGENTS, BEAT_S, LOG_S = 64, 0.5, 1.0
BACKUP = """
import os, sqlite3, sys
source, place = sys.argv[1:]
number = 0
while True:
    if os.path.exists(place):
        os.unlink(place)
    with sqlite3.connect(source, timeout=60) as database:
        if number % 2:
            database.execute("VACUUM INTO ?", (place,))
        else:
            with sqlite3.connect(place) as copy:
                database.backup(copy, pages=256, sleep=0.001)
    number += 1
    print(number, flush=True)
"""
WRITER = """
import sqlite3, sys, time
database = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=60)
number = 0
while True:
    database.execute("BEGIN IMMEDIATE")
    database.execute("UPDATE alembic_version SET version_num = version_num")
    time.sleep(0.05)
    database.execute("COMMIT")
    number += 1
    print(number, flush=True)
    time.sleep(0.45)
"""


@contextmanager
def program(text: str, *arguments: Path) -> Iterator[list[str]]:
    """Run a program until the end of the block; give the lines that it prints, then."""
    lines: list[str] = []
    command = [sys.executable, "-c", text, *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield lines
        finally:
            process.terminate()
            lines += process.communicate()[0].splitlines()


class Reader(threading.Thread):
    """Fetches a project's page, its data and a run's, again and again."""

    def __init__(self, served: Served, entity: str, run: str) -> None:
        super().__init__(daemon=True)
        parts = urlsplit(served.url)
        self._line = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=60)
        self._headers = {"Cookie": served.sign_in()}
        self._paths = (
            f"/{entity}/{PROJECT}",
            f"/-/data/project/{entity}/{PROJECT}",
            f"/-/data/run/{entity}/{PROJECT}/{run}",
        )
        self.n_pages, self.errors = 0, list[str]()
        self.ends = threading.Event()

    def run(self) -> None:
        """Read until told to end."""
        while not self.ends.is_set():
            for path in self._paths:
                self._line.request("GET", path, headers=self._headers)
                answer = self._line.getresponse()
                answer.read()
                self.n_pages += 1
                if answer.status != 200:
                    self.errors.append(f"{path}: {answer.status}")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--smoke", action="store_true", help="4 s")
    options = parser.parse_args()
    seconds = 4.0 if options.smoke else options.seconds
    print(conditions(), flush=True)
    with service() as served, ExitStack() as beside:
        entity, pairs = prepare(served, N_AGENTS)
        reader = Reader(served, entity, pairs[0][1])
        database, copy = served.data / "sweepd.db", served.data.parent / "copy.db"
        backups = beside.enter_context(program(BACKUP, database, copy))
        locks = beside.enter_context(program(WRITER, database))
        reader.start()
        found = uvloop.run(
            load(
                served,
                entity,
                pairs,
                n_logging=N_AGENTS,
                seconds=seconds,
                beat_s=BEAT_S,
                log_s=LOG_S,
            )
        )
        reader.ends.set()
        reader.join(60)
        beside.close()
    errors = found.errors + reader.errors
    print(
        f"{N_AGENTS} agents, {len(found.beats)} heartbeats, p50 {percentile(found.beats, 50):.1f} "
        f"ms, worst {max(found.beats):.0f} ms; {len(found.logs)} POSTs, p99 "
        f"{percentile(found.logs, 99):.0f} ms; beside {reader.n_pages} pages, {len(backups)} "
        f"backups, the lock taken {len(locks)} times"
    )
    for error in errors[:5]:
        print(error)
    p99 = percentile(found.beats, 99)
    line, is_met = verdict("heartbeats, p99", p99, BAR_MS, unit="ms", at_most=True)
    print(f"{line}; {len(errors)} errors")
    return 0 if not errors and (is_met or options.smoke) else 1


if __name__ == "__main__":
    sys.exit(main())
