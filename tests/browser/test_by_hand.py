"""Importance, and what a person does to a sweep from its page."""

import json
import os
import re
from pathlib import Path

import pytest
from browser_seed import Lab, Seeded
from conftest import Tab
from playwright.sync_api import Page, expect

from sweepd.engine import outcomes
from sweepd.engine.views import AgentView, Command

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
def lab(seeded: Seeded) -> Lab:
    """A project of its own, so that the others stay as their tests count them."""
    return Lab(seeded.store, seeded.clock, seeded.account, project="by-hand")


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
def page(tab: Tab, lab: Lab, done: str) -> Page:
    page = tab.open(f"/{lab.account.entity}/{lab.project}/sweeps/{done}")
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


def test_configuration_of_ones_own_is_enqueued_by_keyboard(
    tab: Tab, page: Page, lab: Lab, done: str
) -> None:
    page.get_by_role("button", name="Try a configuration").press("Enter")
    dialog = page.locator("#enqueue")
    expect(dialog).to_contain_text("These are the values of trial-")
    lr = dialog.get_by_label("opt.lr")
    expect(lr).not_to_have_value("")
    expect(dialog).to_contain_text("a number from 0.0001 to 1")
    look(page, "enqueue")

    dialog.get_by_label("kind").fill("null")
    dialog.get_by_label("noise").fill("7")
    lr.fill("1e-3")
    lr.press("Enter")

    expect(dialog.locator("#enqueue-told")).to_contain_text("waits: the next free agent takes it")
    expect(dialog.locator("#enqueue-told")).to_contain_text("noise is 7, not a number from 0 to 1")
    look(page, "enqueued")
    page.keyboard.press("Escape")
    expect(dialog).not_to_be_visible()
    command = lab.ask(lab.agent(done, "box2"), set())
    assert command is not None
    assert command.config["opt"] == {"lr": 0.001}
    assert (command.config["kind"], command.config["noise"]) == (None, 7)
    assert tab.problems == []


def test_run_is_run_again_with_edits_and_a_missing_value_is_named(
    page: Page, tab: Tab, seeded: Seeded
) -> None:
    row = page.locator("#runs tbody tr").last
    title = row.locator(".run-name a").inner_text()
    row.locator(".run-name a").click()
    page.get_by_role("link", name="Run again with edits").click()

    dialog = page.locator("#enqueue")
    expect(dialog).to_contain_text(f"These are the values of {title}")
    dialog.get_by_label("width").fill("")
    page.get_by_role("button", name="Enqueue", exact=True).click()
    expect(dialog.locator("#enqueue-told")).to_contain_text("needs width (one of 16, 32, 64)")
    expect(page).not_to_have_url(re.compile("like="))
    assert [one for one in tab.problems if "400" not in one] == []


def test_definition_is_edited_with_its_changes_shown_first(
    tab: Tab, page: Page, seeded: Seeded, done: str
) -> None:
    page.get_by_role("tab", name="Definition").click()
    expect(page.locator("#version-note")).to_contain_text("registered")
    page.get_by_role("button", name="Edit", exact=True).click()
    text = page.locator("#editor-text")
    old = text.input_value()
    save = page.locator("#editor-save")

    text.fill(old.replace("minimize", "maximize"))
    page.get_by_role("button", name="Show what changes").click()
    expect(page.locator("#editor-told")).to_contain_text("cannot change the metric's name and goal")
    expect(save).to_be_disabled()
    text.fill(
        old.replace("run_cap: 60", "run_cap: 80").replace(
            "max: 1.0}\n  width", "max: 0.1}\n  width"
        )
    )
    page.get_by_role("button", name="Show what changes").click()
    told = page.locator("#editor-told")
    expect(told).to_contain_text("run_cap: 60 → 80")
    expect(told).to_contain_text("trials so far are not of the new space")
    expect(told.locator('.diff[data-sign="+"]')).to_have_count(2)
    look(page, "edit")
    save.click()

    expect(page.locator("#editor")).not_to_be_visible()
    expect(page.locator("#version")).to_have_value("2")
    expect(page.locator("#version-note")).to_contain_text("by ada; 0 trials")
    page.locator("#against").select_option("1")
    expect(page.locator('#yaml .diff[data-sign="-"]').first).to_contain_text("run_cap: 60")
    page.emulate_media(color_scheme="dark")
    look(page, "versions-dark")
    expect(page.locator("#sentence")).to_contain_text("of 80 trials")
    assert page.title() != "owned"
    assert tab.problems == []


def test_edit_of_an_older_version_is_refused(tab: Tab, page: Page, lab: Lab, done: str) -> None:
    page.get_by_role("tab", name="Definition").click()
    page.get_by_role("button", name="Edit", exact=True).click()
    text = page.locator("#editor-text")
    old = text.input_value()
    text.fill(old + "name: mine\n")
    page.get_by_role("button", name="Show what changes").click()
    expect(page.locator("#editor-save")).to_be_enabled()
    lab.edit(done, old + "name: theirs\n")

    page.locator("#editor-save").click()

    expect(page.locator("#editor-told")).to_contain_text("somebody made version")
    assert [one for one in tab.problems if "409" not in one] == []


def test_run_says_why_it_was_suggested_and_what_came_out(
    tab: Tab, page: Page, lab: Lab, seeded: Seeded, done: str
) -> None:
    run = page.locator("#runs tbody tr").first.get_attribute("data-run")
    assert run is not None
    lab.explain(run, seeded)

    tab.open(f"/{lab.account.entity}/{lab.project}/runs/{run}#overview")

    card = page.locator("#decision-card")
    expect(card).to_contain_text("The model of the results so far expected the most of it.")
    expect(card).to_contain_text("within the interval")
    expect(card).to_contain_text("the model's 90 % interval is")
    expect(card).to_contain_text("log EI −1.5".replace("−", "-"))
    expect(card).to_contain_text("Chance not to fail90 %")
    expect(card.locator("li a")).to_have_count(1)
    expect(card.locator(".expected .outcome")).to_have_count(1)
    expect(card).to_contain_text("version 1")
    look(page, "decision")
    assert page.title() != "owned"
    assert tab.problems == []


def test_run_that_a_rule_stopped_says_why(tab: Tab, seeded: Seeded) -> None:
    page = tab.open(seeded.sweep_url)
    early = page.locator("#runs tbody tr", has_text="Stopped early").first
    expect(early).to_be_visible()
    early.locator(".run-name a").click()
    page.get_by_role("tab", name="Overview").click()

    card = page.locator("#decision-card")
    expect(card).to_contain_text("A random draw.")
    expect(card).to_contain_text("By hyperband")
    expect(card).to_contain_text("the threshold 0.")
    look(page, "stopped")
    assert tab.problems == []


BUDGETED = """\
method: random
program: train.py
metric: {name: loss, goal: minimize}
parameters: {lr: {min: 0.0, max: 1.0}}
sweepd: {budget: {runs: 9, hours: 4, plateau: 30}}
"""


def begin(lab: Lab, agent: AgentView) -> Command:
    """Have an agent take a trial and begin it."""
    command = lab.ask(agent, set())
    assert command is not None
    assert command.run is not None
    lab.start(command, agent.host)
    return command


def fail(lab: Lab, agent: AgentView) -> str:
    """Have a trial fail on an agent's place; return its run."""
    command = begin(lab, agent)
    assert command.run is not None
    assert command.attempt is not None
    assert command.token is not None
    lab.store.write_sync(
        outcomes.report,
        actor=lab.account,
        run=(lab.account.entity, lab.project, command.run),
        attempt=command.attempt,
        token=command.token,
        reason="error",
        exit_code=1,
        message=f"RuntimeError: {HOSTILE}",
    )
    return command.run


def test_failed_trials_are_retried_from_both_pages_and_budgets_are_shown(
    tab: Tab, lab: Lab
) -> None:
    sweep = lab.create(BUDGETED)
    runs = [fail(lab, lab.agent(sweep, f"box{i}")) for i in range(2)]
    page = tab.open(f"/{lab.account.entity}/{lab.project}/runs/{runs[0]}")
    page.get_by_role("button", name="Retry").click()
    expect(page.locator("#state")).to_have_text("Waiting again")
    expect(page.get_by_role("button", name="Retry")).to_have_count(0)

    tab.open(f"/{lab.account.entity}/{lab.project}/sweeps/{sweep}")
    budget = page.locator("#budget")
    expect(budget).to_contain_text("22 %2 of 9 runs · ")
    expect(budget).to_contain_text(" of 4 h · 0 of 30 finished trials without a better one")
    look(page, "budget")
    page.get_by_role("button", name="Retry 1 failed").click()

    expect(page.locator("#sentence")).to_contain_text("2 waiting to be tried again")
    expect(page.get_by_role("button", name="failed")).to_have_count(0)
    assert tab.problems == []


def test_place_in_quarantine_is_told_and_released(tab: Tab, lab: Lab) -> None:
    sweep = lab.create(BUDGETED)
    bad = lab.agent(sweep, HOSTILE)
    for i in range(4):
        begin(lab, lab.agent(sweep, f"good{i}"))
    for _ in range(3):
        fail(lab, bad)
    page = tab.open(f"/{lab.account.entity}/{lab.project}/sweeps/{sweep}#agents")

    row = page.locator("#agents tr.quarantine")
    expect(row).to_have_count(1)
    expect(row).to_contain_text("3 trials in a row failed there, the last: RuntimeError: <img")
    look(page, "quarantine")
    row.get_by_role("button", name="Release").click()

    expect(page.get_by_role("button", name="Release")).to_have_count(0)
    assert page.title() != "owned"
    assert tab.problems == []
