"""Importance, and what a person does to a sweep from its page."""

import json
import os
from pathlib import Path

import pytest
from browser_seed import Lab, Seeded
from conftest import Tab
from playwright.sync_api import Page, expect

HOSTILE = "<img src=x onerror=\"document.title='owned'\">"
DEFINITION = f"""\
method: random
program: train.py
metric: {{name: loss, goal: minimize}}
run_cap: 60  # enough
parameters:
  opt:
    parameters:
      lr: {{distribution: log_uniform_values, min: 1.0e-4, max: 1.0}}
  width: {{values: [16, 32, 64]}}
  kind: {{values: [sgd, {json.dumps(HOSTILE)}, null]}}
  noise: {{min: 0.0, max: 1.0}}
  fixed: {{value: 3}}
sweepd: {{seed: 5}}
"""


def look(page: Page, name: str) -> None:
    """Leave a picture to look at where SWEEPD_LOOK names a folder."""
    folder = os.environ.get("SWEEPD_LOOK")
    if folder:
        page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)


@pytest.fixture(scope="module")
def done(lab: Lab) -> str:
    """The id of a sweep with 24 finished runs; lr decides."""
    sweep = lab.create(DEFINITION)
    agent = lab.agent(sweep, "box")
    for _ in range(24):
        command = lab.ask(agent, set())
        assert command is not None
        assert command.run is not None
        lab.start(command, "box")
        lr = command.config["opt"]["lr"]  # type: ignore[index]
        row = {"loss": lr + 0.1 * (command.config["kind"] is None), "speed": -lr, HOSTILE: lr}
        lab.log(command.run, 0, {**row, "_step": 0, "_runtime": 1.0})
        lab.stream(command.run, {"complete": True, "exitcode": 0})
    return sweep


@pytest.fixture
def page(tab: Tab, seeded: Seeded, done: str) -> Page:
    page = tab.open(f"{seeded.project_url}/sweeps/{done}")
    expect(page.locator("#live")).to_have_text("Live")
    return page


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_importance_says_what_matters_and_how_sure_that_is(
    tab: Tab, page: Page, scheme: str
) -> None:
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    page.locator("#importance-card").scroll_into_view_if_needed()

    rows = page.locator("#importance tbody tr")
    expect(rows).to_have_count(4, timeout=60_000)
    first = rows.first
    expect(first).to_have_attribute("data-parameter", "opt.lr")
    expect(first).to_contain_text("more is worse")
    expect(first.locator(".whisker")).to_have_count(2)
    expect(page.locator("#importance-note")).to_contain_text("for loss, lower is better; 24")
    expect(page.locator('#importance tr[data-parameter="kind"]')).to_contain_text("best median")
    look(page, f"importance-{scheme}")
    assert page.title() != "owned"
    assert tab.problems == []


def test_importance_is_for_any_metric_that_was_logged_and_the_address_keeps_it(page: Page) -> None:
    page.locator("#importance-card").scroll_into_view_if_needed()
    expect(page.locator("#importance tbody tr")).to_have_count(4, timeout=60_000)

    page.locator("#importance-metric").select_option("speed")
    note = page.locator("#importance-note")
    expect(note).to_contain_text("for speed, lower is better")
    lr = page.locator('#importance tr[data-parameter="opt.lr"]')
    expect(lr).to_contain_text("more is better")
    page.get_by_role("button", name="Higher is better").click()
    expect(lr).to_contain_text("more is worse")
    page.reload()

    page.locator("#importance-card").scroll_into_view_if_needed()
    expect(note).to_contain_text("for speed")


def test_importance_says_that_it_needs_more_runs(tab: Tab, seeded: Seeded) -> None:
    page = tab.open(f"{seeded.project_url}/sweeps/{seeded.hostile}")
    page.locator("#importance-card").scroll_into_view_if_needed()

    expect(page.locator("#importance")).to_contain_text("Needs 20 finished runs")
    expect(page.locator("#importance")).to_contain_text("With 1 so far")
    assert tab.problems == []
