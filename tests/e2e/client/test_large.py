"""A file larger than the service may grow by, uploaded and downloaded by the real client."""

import re
import textwrap
import threading
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

MIB = 1 << 20
SIZE = 1200 * MIB


@pytest.fixture
def memory(live_service):
    """Reads how much memory the service holds, in bytes."""

    status = Path(f"/proc/{live_service.process.pid}/status")

    def memory():
        (line,) = re.findall(r"VmRSS:\s+(\d+) kB", status.read_text())
        return int(line) * 1024

    return memory


@pytest.fixture
def peak(memory):
    """The most memory that the service held since the test began, as bytes above the start."""
    before, ended, seen = memory(), threading.Event(), [memory()]

    def watch():
        while not ended.wait(0.05):
            seen.append(memory())

    watcher = threading.Thread(target=watch)
    watcher.start()
    yield lambda: max(seen) - before
    ended.set()
    watcher.join()


def test_a_file_of_over_a_gigabyte_passes_through_a_service_that_stays_small(
    real_client, live_service, peak
):
    with (real_client.folder / "large.bin").open("wb") as file:
        file.truncate(SIZE)
        file.seek(SIZE // 2)
        file.write(b"in the middle")

    found = real_client.python(
        textwrap.dedent(
            """
            import json, os, pathlib, wandb
            with wandb.init(project="large") as run:
                run.save("large.bin", policy="now")
            file = wandb.Api().run(run.path).file("large.bin")
            back = pathlib.Path(file.download(root="back").name)
            with back.open("rb") as opened:
                opened.seek(file.size // 2)
                middle = opened.read(13).decode()
            print(json.dumps([file.size, back.stat().st_size, middle]))
            back.unlink()
            wandb.Api().run(run.path).delete()
            """
        ),
        timeout_s=150,
    )

    assert found == [SIZE, SIZE, "in the middle"]
    assert peak() < 100 * MIB, f"{peak() / MIB:.0f} MiB"
