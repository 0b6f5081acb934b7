"""The file that `sweep report` writes, opened from the disk."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from browser_seed import HOSTILE, Seeded
from conftest import Server, Tab
from playwright.sync_api import expect

pytestmark = pytest.mark.timeout(180)


def _write(server: Server, seeded: Seeded, sweep: str, folder: Path) -> Path:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("WANDB_", "SWEEPD_"))}
    subprocess.run(
        [sys.executable, "-m", "sweepd.cli", "report", sweep, "--out", "report.html"],
        env={
            **kept,
            "HOME": str(folder),
            "WANDB_BASE_URL": server.url,
            "WANDB_API_KEY": seeded.key,
        },
        cwd=folder,
        timeout=120,
        check=True,
    )
    return folder / "report.html"


def test_a_report_opens_from_the_disk_and_asks_the_network_for_nothing(
    server: Server, stranger: Tab, seeded: Seeded, tmp_path: Path
) -> None:
    asked: list[str] = []
    stranger.page.on("request", lambda request: asked.append(request.url))
    report = _write(server, seeded, seeded.sweep, tmp_path)

    stranger.page.goto(report.as_uri())

    expect(stranger.page.get_by_role("heading", name="The best runs")).to_be_visible()
    expect(stranger.page.get_by_role("img", name="so far")).to_be_visible()
    line = stranger.page.locator("path.line")
    assert line.evaluate("path => path.getTotalLength()") > 100
    assert line.evaluate("path => getComputedStyle(path).fill") == "none"  # the style applies
    assert asked == [report.as_uri()]
    assert stranger.problems == []


def test_hostile_names_stay_text_in_a_report(
    server: Server, stranger: Tab, seeded: Seeded, tmp_path: Path
) -> None:
    report = _write(server, seeded, seeded.hostile, tmp_path)

    stranger.page.goto(report.as_uri())

    assert stranger.page.title() == HOSTILE
    expect(stranger.page.get_by_role("heading", name=HOSTILE, exact=True)).to_be_visible()
    assert stranger.page.locator("img, script, iframe").count() == 0
    assert stranger.problems == []
