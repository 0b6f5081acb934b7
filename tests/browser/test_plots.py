"""What a sweep's page does with values far from all others, and with what there is to say."""

import json

import pytest
from browser_seed import Lab, Seeded
from conftest import Tab
from playwright.sync_api import Page, expect

from sweepd.engine import byhand, notices, warm_start
from sweepd.engine.access import Need
from sweepd.engine.sweeps import find_sweep

DEFINITION = """
method: random
metric: {name: accuracy, goal: maximize}
parameters:
  width: {values: [16, 32, 64]}
  lr: {min: 0.0, max: 1.0}
"""


@pytest.fixture(scope="module")
def lab(seeded: Seeded) -> Lab:
    """A project of its own, so that the others stay as their tests count them."""
    return Lab(seeded.store, seeded.clock, seeded.account, project="plots")


@pytest.fixture(scope="module")
def sweep(lab: Lab) -> str:
    """A sweep whose first trial is by far the worst."""
    sweep = lab.create(DEFINITION)
    agent = lab.agent(sweep, "box")
    for i in range(12):
        run_one(lab, agent, 0.05 if i == 0 else 0.9 + i / 1000)
    return sweep


def run_one(lab, agent, accuracy: float) -> None:
    command = lab.ask(agent, set())
    assert command is not None
    lab.start(command, "box")
    lab.log(command.run, 0, {"accuracy": accuracy, "_step": 0, "_runtime": 1.0})
    lab.stream(command.run, {"complete": True, "exitcode": 0})


@pytest.fixture
def page(tab: Tab, lab: Lab, sweep: str) -> Page:
    page = tab.open(f"/{lab.account.entity}/{lab.project}/sweeps/{sweep}")
    expect(page.locator("#live")).to_have_text("Live")
    return page


def test_best_so_far_stays_above_its_axis(page: Page) -> None:
    below = page.evaluate(
        """() => {
          const end = (what) => document.querySelector(`#best ${what}`).getBBox();
          const [line, axis] = [end('.incumbent'), end('.axisline')];
          return line.y + line.height - axis.y;
        }"""
    )

    assert below < 0


def test_value_from_outside_the_space_stands_in_its_order_and_brushes_stay(
    page: Page, lab: Lab, sweep: str
) -> None:
    axis = page.locator('.axis[data-axis="width"]')
    expect(axis.locator(".tick title")).to_have_text(["16", "32", "64"])
    axis.locator(".catch").click(position={"x": 14, "y": 6 + 292 / 2})
    expect(page.locator("#chips")).to_contain_text("width: 32")

    view = lab.store.read_sync(find_sweep, actor=lab.account, need=Need.READ, name=sweep)
    lab.store.write_sync(
        byhand.enqueue,
        actor=lab.account,
        sweep_id=view.id,
        configs=[json.loads('{"width": 24, "lr": 0.5}')],
    )
    run_one(lab, lab.agent(sweep, "box"), 0.95)

    expect(axis.locator(".tick title")).to_have_text(["16", "24", "32", "64"])
    expect(page.locator("#chips")).to_contain_text("width: 32")


def test_each_notice_stands_for_itself_in_its_own_tone(tab: Tab, lab: Lab, sweep: str) -> None:
    view = lab.store.read_sync(find_sweep, actor=lab.account, need=Need.READ, name=sweep)
    for topic, text in ((warm_start.TOPIC, "the search knows 2 of 3"), ("search", "it failed")):
        lab.store.write_sync(notices.post, sweep_id=view.id, topic=topic, text=text)

    page = tab.open(f"/{lab.account.entity}/{lab.project}/sweeps/{sweep}")

    expect(page.locator("#banners .banner")).to_have_text(["the search knows 2 of 3", "it failed"])
    tones = page.locator("#banners .banner").evaluate_all("all => all.map(one => one.dataset.tone)")
    assert tones == ["quiet", "warn"]
