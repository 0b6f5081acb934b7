"""The page of a sweep with several metrics: the front, drawn, picked and marked."""

import re

import pytest
from browser_seed import Lab, Seeded
from conftest import Tab
from playwright.sync_api import Page, expect

TWO = """
method: nsga2
metrics:
- {name: val_accuracy, goal: maximize}
- {name: latency, goal: minimize}
parameters: {width: {min: 1, max: 400}, lr: {min: 0.0, max: 1.0}}
sweepd: {seed: 1}  # the same points each time: where two nearly coincide, one hides the other
"""


@pytest.fixture(scope="module")
def lab(seeded: Seeded) -> Lab:
    """A project of its own, so that the others stay as their tests count them."""
    return Lab(seeded.store, seeded.clock, seeded.account, project="front")


@pytest.fixture
def page(tab: Tab, lab: Lab) -> Page:
    sweep = lab.create(TWO)
    agent = lab.agent(sweep, "box-1")
    for i in range(24):
        command = lab.ask(agent, set())
        assert command is not None
        lab.start(command, "box-1")
        width, lr = command.config["width"], command.config["lr"]
        accuracy = 0.6 + 0.3 * width / 400 - 0.2 * abs(lr - 0.4)
        lab.log(command.run, 0, {"_step": 0, "val_accuracy": accuracy, "latency": 2 + width / 20})
        lab.stream(command.run, {"complete": True, "exitcode": 1 if i == 7 else 0})
    page = tab.open(f"/{lab.account.entity}/{lab.project}/sweeps/{sweep}")
    expect(page.locator("#live")).to_have_text("Live")
    return page


def test_every_trial_is_a_point_and_the_front_a_line(page: Page) -> None:
    expect(page.locator("#front .marker")).to_have_count(23)
    expect(page.locator("#front .incumbent")).to_have_count(1)
    n_front = page.locator("#front .marker:not(.behind)").count()
    assert 2 <= n_front < 23
    expect(page.locator("#figures")).to_contain_text(f"{n_front}")
    expect(page.locator("#curves-of-one")).to_be_hidden()
    expect(page.locator("#facts")).to_contain_text("maximize val_accuracy, minimize latency")
    assert page.locator("#parallel .axis").count() == 4


def test_front_stands_first_in_the_table_and_is_picked_at_once(page: Page) -> None:
    n_front = page.locator("#front .marker:not(.behind)").count()
    marked = page.locator("#runs tbody tr[data-best]")

    expect(marked).to_have_count(n_front)
    expect(page.locator("#runs tbody tr").first).to_contain_text("front")
    page.locator("#best-pick").click()

    expect(page.locator("#compare")).to_contain_text(str(n_front))


def test_a_point_says_its_metrics_and_leads_to_its_run(page: Page) -> None:
    point = page.locator("#front .marker:not(.behind)").first

    point.hover()
    expect(page.locator("#front .tip")).to_contain_text("on the front")
    expect(page.locator("#front .tip")).to_contain_text("latency")
    point.click()

    expect(page).to_have_url(re.compile("/runs/"))
