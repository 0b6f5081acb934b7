"""A disk that is full, fails, turns read-only or loses its power, and a process out of files.

At whichever write it happens, the service says so in words and goes on by itself afterwards; what
it answered is there, and what it refused left nothing.
"""

import http.client
import json
import os
import resource
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from connection import Connection
from disks import Disk, needs_mount, small_ext4, small_tmpfs
from live import Service, wait_for

RUN = 'mutation { upsertBucket(input: {name: "r1", modelName: "p", host: "h"}) { inserted } }'
FILES = """mutation($entity: String!, $files: [String!]!) {
  createRunFiles(input: {entityName: $entity, projectName: "p", runName: "r1", files: $files}) {
    files { name uploadUrl } } }"""
KEPT = """{ project(name: "p") { run(name: "r1") {
  historyLineCount history(minStep: 0, maxStep: 100000)
  files(first: 500) { edges { node { name directUrl } } } } } }"""


@dataclass
class Sender:
    """Logs rows and saves files over one connection, and remembers what became of each."""

    service: Service
    n_rows: int = 0
    files: dict[str, bytes] = field(default_factory=dict)
    words: list[str] = field(default_factory=list)
    _links: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._http, self._browser = Connection(self.service), Connection(self.service)
        self._user = self.service.user  # from a file on the disk that will fail

    def announce(self, n_files: int) -> None:
        """Ask where to send files, while all is well; make the run first."""
        self.service.graphql(RUN)
        names = [f"f{number}.bin" for number in range(n_files)]
        found = self.service.graphql(FILES, entity=self._user, files=names)
        for file in found["createRunFiles"]["files"]:
            self._links[file["name"]] = file["uploadUrl"]

    def log(self, n_bytes: int = 100) -> bool:
        """Send the next row; return whether it was taken."""
        row = json.dumps({"_step": self.n_rows, "x": self.n_rows, "pad": "p" * n_bytes})
        body = {"files": {"wandb-history.jsonl": {"offset": self.n_rows, "content": [row]}}}
        path = f"/files/{self._user}/p/r1/file_stream"
        is_taken = self._is_taken(*self._http.post(path, body))
        self.n_rows += is_taken
        return is_taken

    def save(self, n_bytes: int) -> bool:
        """Send the next file, of random bytes; return whether it was taken."""
        name, link = self._links.popitem()
        data = os.urandom(n_bytes)
        is_taken = self._is_taken(*self._http.put(link, data))
        if is_taken:
            self.files[name] = data
        return is_taken

    def says_so_on_the_page(self) -> bool:
        """Look at the list of projects, as a signed-in browser."""
        self._browser.close()  # the service may have closed it, idle as it was
        status, text = self._browser.page(f"/{self._user}")
        assert status == 200
        return "New data cannot be kept" in text

    def close(self) -> None:
        """Close the connections; the next request opens them again."""
        self._http.close()
        self._browser.close()

    def _is_taken(self, status: int, text: str, headers: Mapping[str, str]) -> bool:
        if status != 200:
            assert status == 503, f"{status}: {text}"
            assert headers["retry-after"] == "1"
            self.words.append(json.loads(text)["errors"][0]["message"])
        return status == 200

    def check(self) -> None:
        """Hold what is stored against what was answered."""
        run = self.service.graphql(KEPT)["project"]["run"]
        rows = [json.loads(row)["x"] for row in run["history"]]
        assert (run["historyLineCount"], rows) == (self.n_rows, list(range(self.n_rows)))
        links = {edge["node"]["name"]: edge["node"]["directUrl"] for edge in run["files"]["edges"]}
        for name, data in self.files.items():
            assert self._http.fetch(links[name]) == data
        assert list((self.service.data / "blobs" / "tmp").iterdir()) == []
        with closing(sqlite3.connect(self.service.data / "sweepd.db")) as database:
            assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


@pytest.fixture
def sender(service: Service) -> Iterator[Sender]:
    with closing(Sender(service)) as sender:
        sender.announce(80)
        yield sender


@contextmanager
def limit(service: Service, kind: int, most: int) -> Iterator[None]:
    """Allow the running service so much of something, for a while."""
    before = resource.prlimit(service.pid, kind)
    resource.prlimit(service.pid, kind, (most, before[1]))
    try:
        yield
    finally:
        resource.prlimit(service.pid, kind, before)


def readiness(service: Service) -> str:
    """Return what /readyz says."""
    with closing(http.client.HTTPConnection("127.0.0.1", service.port, timeout=10)) as probe:
        probe.request("GET", "/readyz")
        return str(json.loads(probe.getresponse().read())["status"])


def goes_on(sender: Sender) -> None:
    """Wait until rows and files are taken again and the service says that it is ready."""
    pid = sender.service.pid
    sender.close()
    wait_for("a row", sender.log, seconds=15)
    assert sender.save(100_000)
    wait_for("readiness", lambda: readiness(sender.service) == "ready", seconds=15)
    assert sender.service.pid == pid


def test_no_space_at_any_write_is_told_and_leaves_nothing_half_done(tmp_path: Path) -> None:
    needs_mount()
    with small_tmpfs(tmp_path / "data", mib=96) as disk, on(disk) as sender:
        service = sender.service
        sender.announce(80)
        assert not sender.says_so_on_the_page()

        for left in range(24):  # one page more each time: the next write is the one that fails
            disk.fill(left=left)
            while sender.log(20_000):
                pass
            disk.fill(left=left)
            assert not sender.save(150_000)
            disk.fill(left=0)
            assert not sender.save(3_000)  # less than what is written at once
            disk.free()
            wait_for("a row", sender.log, seconds=15)

        assert all("the disk that holds" in words and "is full" in words for words in sender.words)
        disk.fill(left=0)
        while sender.log():
            pass
        wait_for("the probe's words", lambda: "is full" in readiness(service))
        wait_for("the page's words", sender.says_so_on_the_page)
        disk.free()
        goes_on(sender)
        wait_for("a page without them", lambda: not sender.says_so_on_the_page())
        sender.check()


def test_failing_write_at_any_place_is_told_and_leaves_nothing_half_done(sender: Sender) -> None:
    """No write may go past a size: what does is refused by the kernel as a bad disk refuses it."""
    log = sender.service.data / "sweepd.db-wal"
    assert not sender.says_so_on_the_page()

    for more in range(0, 24_000, 1_000):
        with limit(sender.service, resource.RLIMIT_FSIZE, log.stat().st_size + more):
            while sender.log(20_000):
                pass
        wait_for("a row", sender.log, seconds=15)
    for most in range(0, 200_000, 20_000):
        with limit(sender.service, resource.RLIMIT_FSIZE, most):
            assert not sender.save(250_000)
        with limit(sender.service, resource.RLIMIT_FSIZE, most // 100):
            assert not sender.save(3_000)
    assert all("sweepd.db failed" in w or "File too large" in w for w in sender.words)

    with limit(sender.service, resource.RLIMIT_FSIZE, 0):
        assert not sender.log()
        wait_for("the probe's words", lambda: "failed" in readiness(sender.service))
        wait_for("the page's words", sender.says_so_on_the_page)
    goes_on(sender)
    wait_for("a page without them", lambda: not sender.says_so_on_the_page())
    sender.check()


def test_process_without_a_file_to_open_says_so_and_goes_on(sender: Sender) -> None:
    assert sender.log()
    taken_numbers = {int(path.name) for path in Path(f"/proc/{sender.service.pid}/fd").iterdir()}
    next_number = min(set(range(len(taken_numbers) + 1)) - taken_numbers)

    taken = []
    for more in range(8):  # each of an upload's files in turn is the one that is not opened
        with limit(sender.service, resource.RLIMIT_NOFILE, next_number + more):
            assert sender.log()
            taken.append(sender.save(2_000_000))

    assert not taken[0]
    assert taken[-1]
    assert all("Too many open files" in words for words in sender.words)
    goes_on(sender)
    sender.check()


@pytest.mark.parametrize("fault", ["lose_power", "turn_read_only"])
def test_disk_that_goes_away_is_told_and_keeps_what_was_answered(
    tmp_path: Path, fault: str
) -> None:
    needs_mount(loop=True)
    with small_ext4(tmp_path / "data", mib=160) as disk, on(disk) as sender:
        service = sender.service
        sender.announce(80)
        for _ in range(50):
            assert sender.log(3_000)
        assert sender.save(300_000)

        getattr(disk, fault)()
        assert not sender.log()
        assert not sender.save(300_000)
        wait_for("the probe's words", lambda: readiness(service) != "ready")

        service.kill()
        disk.mount_again()
        service.start()
        goes_on(sender)
        sender.check()


def test_service_ends_and_starts_on_a_full_disk_in_words(tmp_path: Path) -> None:
    needs_mount()
    with small_tmpfs(tmp_path / "data", mib=96) as disk, on(disk) as sender:
        service = sender.service
        sender.announce(1)
        assert sender.log()
        disk.fill(left=0)

        service.stop()
        said = service.fails_to_start()

        assert "is full" in said.splitlines()[-1]
        assert "Traceback" not in said
        disk.free()
        service.start()
        goes_on(sender)
        sender.check()


@contextmanager
def on(disk: Disk) -> Iterator[Sender]:
    """Start a service whose data are on a disk; give who sends to it."""
    service = Service(disk.folder)
    service.start()
    try:
        with closing(Sender(service)) as sender:
            yield sender
    finally:
        service.stop()
