"""Projects, a project, runs side by side; and that hostile names stay text everywhere."""

import re

import pytest
from browser_seed import HOSTILE, Lab, Seeded
from conftest import Tab
from playwright.sync_api import expect


def test_projects_lead_to_a_project_and_its_sweep(tab: Tab, seeded: Seeded) -> None:
    page = tab.open("/")
    expect(page).to_have_url(f"{tab.url}/ada")

    page.get_by_role("link", name="mnist").click()
    expect(page.locator("#sweeps")).to_contain_text("mnist-convnet")
    expect(page.locator("#sweeps .spark").first).to_be_visible()
    page.get_by_role("link", name="mnist-convnet").click()

    expect(page).to_have_url(tab.url + seeded.sweep_url)
    assert tab.problems == []


def test_sweep_without_a_trial_shows_how_to_start_an_agent(tab: Tab, lab: Lab) -> None:
    sweep = lab.create("method: random\nprogram: t.py\nparameters: {a: {min: 0.0, max: 1.0}}")

    page = tab.open(f"/ada/mnist/sweeps/{sweep}")
    page.get_by_role("link", name="here is the command").click()

    expect(page.locator("#command")).to_contain_text(f"sweep agent ada/mnist/{sweep}")
    assert tab.problems == []


def test_projects_are_listed_with_what_is_in_them(tab: Tab, seeded: Seeded) -> None:
    page = tab.open("/")

    row = page.locator("#projects tr", has_text="mnist")
    expect(row).to_contain_text(re.compile(r"\d+ · \d+ open"))
    expect(row).to_contain_text(re.compile(r"\d+ · \d+ running"))


def test_project_lists_every_run(tab: Tab, seeded: Seeded) -> None:
    page = tab.open(seeded.project_url)

    expect(page.locator("#runs tbody tr")).to_have_count(len(seeded.runs) + 1)
    expect(page.locator("#runs th", has_text="val_accuracy")).to_be_visible()


@pytest.mark.parametrize("tail", ["runs", "sweeps", "workspace", "table"])
def test_addresses_that_wandb_links_to_lead_to_the_project(
    tab: Tab, seeded: Seeded, tail: str
) -> None:
    page = tab.open(f"{seeded.project_url}/{tail}")

    expect(page).to_have_url(tab.url + seeded.project_url)


@pytest.mark.parametrize(
    ("theirs", "ours"), [("logs", "logs"), ("code", "files"), ("workspace", "charts")]
)
def test_addresses_below_a_run_of_wandb_lead_to_its_tabs(
    tab: Tab, seeded: Seeded, theirs: str, ours: str
) -> None:
    page = tab.open(f"{seeded.project_url}/runs/{seeded.best}/{theirs}")

    expect(page).to_have_url(f"{tab.url}{seeded.project_url}/runs/{seeded.best}#{ours}")
    expect(page.get_by_role("tab", selected=True)).to_have_text(re.compile(ours, re.IGNORECASE))


def test_wandb_addresses_of_settings_and_artifacts_of_a_type_are_there(
    tab: Tab, seeded: Seeded
) -> None:
    page = tab.open("/settings")
    expect(page).to_have_title(re.compile("Settings"))

    page = tab.open(f"{seeded.project_url}/artifacts/model")
    expect(page).to_have_url(f"{tab.url}{seeded.project_url}/artifacts")


def test_comparison_shows_differences_and_signed_deltas(tab: Tab, seeded: Seeded) -> None:
    worse = seeded.finished[-1]
    page = tab.open(f"{seeded.project_url}/compare?runs={seeded.best},{worse}")

    row = page.locator('tr[data-metric="objective"]')
    expect(row).to_contain_text("val_accuracy (best)")
    expect(row.locator(".delta")).to_contain_text("worse")
    assert row.locator(".delta").inner_text().startswith("−")
    loss = page.locator('tr[data-metric="val/loss"] .delta')
    assert loss.inner_text().startswith("+")
    expect(loss).to_contain_text("worse")
    expect(page.locator('tr[data-config="learning_rate"]')).to_be_visible()
    expect(page.locator('tr[data-config="epochs"]')).to_have_count(0)
    assert tab.problems == []


def test_comparison_draws_the_curves_over_each_other(tab: Tab, seeded: Seeded) -> None:
    runs = ",".join([seeded.best, seeded.finished[-1], seeded.stoppable])

    page = tab.open(f"{seeded.project_url}/compare?runs={runs}")

    lines = page.locator('.panel[data-key="val_accuracy"] .series')
    expect(lines).to_have_count(3)
    colours = lines.evaluate_all("all => all.map(one => one.getAttribute('stroke'))")
    assert len(set(colours)) == 3


def test_other_baseline_turns_the_deltas_around(tab: Tab, seeded: Seeded) -> None:
    page = tab.open(f"{seeded.project_url}/compare?runs={seeded.best},{seeded.finished[-1]}")

    page.get_by_role("button", name="Make baseline").click()

    delta = page.locator('tr[data-metric="objective"] .delta')
    expect(delta).to_contain_text("better")


def test_same_configuration_is_a_click_away(tab: Tab, seeded: Seeded) -> None:
    page = tab.open(f"{seeded.project_url}/compare?runs={seeded.best},{seeded.finished[-1]}")

    page.locator("#config-all").click()

    expect(page.locator('tr[data-config="epochs"]')).to_be_visible()


def test_one_run_cannot_be_compared(tab: Tab, seeded: Seeded) -> None:
    page = tab.open(f"{seeded.project_url}/compare?runs={seeded.best}")

    expect(page.get_by_text("two runs or more")).to_be_visible()


@pytest.mark.parametrize("place", ["project", "sweep", "run", "compare", "logs", "files"])
def test_hostile_names_stay_text(tab: Tab, seeded: Seeded, place: str) -> None:
    run = f"{seeded.project_url}/runs/{seeded.hostile_run}"
    addresses = {
        "project": seeded.project_url,
        "sweep": f"{seeded.project_url}/sweeps/{seeded.hostile}",
        "run": f"{run}#overview",
        "logs": f"{run}#logs",
        "files": f"{run}#files",
        "compare": f"{seeded.project_url}/compare?runs={seeded.hostile_run},{seeded.best}",
    }

    page = tab.open(addresses[place])

    expect(page.locator("#live")).to_have_text("Live")
    needle = HOSTILE.replace("/", "_") if place == "files" else HOSTILE
    expect(page.get_by_text(needle).first).to_be_attached()
    assert page.locator("img[src='x']").count() == 0
    assert page.locator("script:not([src]):not([type='application/json'])").count() == 0
    assert page.locator("a[href^='javascript']").count() == 0
    assert "owned" not in page.title().replace(HOSTILE, "")
    assert tab.problems == []


def test_page_says_while_the_service_cannot_write(tab: Tab, seeded: Seeded) -> None:
    words = "New data cannot be kept, or soon cannot: the disk is full."
    feed = "**/-/feed/**"
    told = {"content_type": "text/event-stream", "body": f"event: problem\ndata: {words}\n\n"}
    tab.page.route(feed, lambda route: route.fulfill(**told))

    page = tab.open(seeded.project_url)

    expect(page.get_by_role("alert")).to_have_text(words)
    page.unroute(feed)
    expect(page.locator("#live")).to_have_text("Live")
    expect(page.get_by_role("alert")).to_be_hidden()
