"""A sweep's page: drawn under the policy, brushed, sorted, controlled, live."""

import re

import pytest
from browser_seed import Lab, Seeded
from conftest import Server, Tab
from playwright.sync_api import Page, expect

from sweepd.engine import sweeps
from sweepd.engine.access import Need


@pytest.fixture
def page(tab: Tab, seeded: Seeded) -> Page:
    page = tab.open(seeded.sweep_url)
    expect(page.locator("#live")).to_have_text("Live")
    return page


def brush(page: Page, name: str, start: float, end: float) -> None:
    """Drag along an axis between two shares of its height, 0 at the top."""
    # The handle is longer than the axis: 6 px above, 28 px below for runs without a value.
    height = 292
    handle = page.locator(f'.axis[data-axis="{name}"] .catch')
    handle.hover(position={"x": 14, "y": 6 + height * start})
    page.mouse.down()
    box = handle.bounding_box()
    assert box is not None
    for share in ((start + end) / 2, end):
        page.mouse.move(box["x"] + 14, box["y"] + 6 + height * share)
    page.mouse.up()


def drawn_pixels(page: Page) -> int:
    """Count what is drawn on the canvas of the parallel coordinates."""
    count: int = page.evaluate(
        """() => {
          const c = document.querySelector('#parallel canvas');
          const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;
          let n = 0;
          for (let i = 3; i < d.length; i += 4) n += d[i] > 0;
          return n;
        }"""
    )
    return count


def names(page: Page) -> list[str]:
    return page.locator("#runs tbody tr .run-name a").all_inner_texts()


def test_everything_draws_under_the_policy_without_a_complaint(
    tab: Tab, page: Page, seeded: Seeded
) -> None:
    expect(page.locator("#sentence")).to_contain_text("of 60 trials done")
    expect(page.locator("#best .marker").first).to_be_visible()
    expect(page.locator("#best .incumbent")).to_have_count(1)
    assert page.locator("#curves .series").count() >= 10
    assert page.locator("#parallel .axis").count() == 7
    assert drawn_pixels(page) > 5000
    assert len(names(page)) == len(seeded.runs)
    assert tab.problems == []


def test_axes_are_the_searched_parameters_then_the_metric(page: Page) -> None:
    shown = page.locator("#parallel .axis").evaluate_all("all => all.map(a => a.dataset.axis)")

    assert shown[-1] == "metric:val_accuracy"
    assert set(shown[:-1]) == {
        "batch_size",
        "dropout",
        "kernels",
        "learning_rate",
        "optimizer",
        "weight_decay",
    }
    axis = page.locator('.axis[data-axis="learning_rate"]')
    expect(axis.locator(".unit")).to_contain_text("log")


def test_table_is_sorted_by_the_metric_with_the_best_first(page: Page, seeded: Seeded) -> None:
    values = page.locator("#runs tbody td.metric").all_inner_texts()
    numbers = [float(text) for text in values if text != "–"]

    assert numbers == sorted(numbers, reverse=True)
    assert page.locator("#runs tbody tr").first.get_attribute("data-run") == seeded.best
    expect(page.locator("#runs .more")).to_contain_text("best first")


def test_clicking_a_heading_sorts_and_the_address_keeps_it(page: Page) -> None:
    page.get_by_role("button", name="learning_rate", exact=True).click()

    column = page.locator("#runs th", has_text="learning_rate")
    expect(column).to_have_attribute("aria-sort", "ascending")
    expect(page).to_have_url(re.compile("sort=p%3Alearning_rate"))
    page.reload()
    expect(page.locator("#runs th", has_text="learning_rate")).to_have_attribute(
        "aria-sort", "ascending"
    )


def test_brushing_an_axis_filters_the_table_and_says_so(page: Page, seeded: Seeded) -> None:
    before = names(page)

    brush(page, "metric:val_accuracy", -0.02, 0.3)

    expect(page.locator("#brushed")).to_have_text(re.compile(r"\d+ of \d+ runs"))
    count = int(page.locator("#brushed").inner_text().split()[0])
    assert 0 < count < len(before)
    assert len(names(page)) == count
    assert names(page) == before[:count]
    expect(page).to_have_url(re.compile("brush="))
    page.locator("#clear").click()
    expect(page.locator("#brushed")).to_have_count(0)
    assert names(page) == before


def test_brushes_of_two_axes_are_anded_and_of_one_axis_ored(page: Page) -> None:
    brush(page, "optimizer", 0.02, 0.3)
    first = int(page.locator("#brushed").inner_text().split()[0])

    brush(page, "optimizer", 0.7, 0.98)
    both = int(page.locator("#brushed").inner_text().split()[0])
    brush(page, "dropout", 0.0, 0.4)
    crossed = int(page.locator("#brushed").inner_text().split()[0])

    assert both > first
    assert crossed < both
    assert page.locator("#chips .chip").count() == 3


def test_brushes_survive_a_reload(page: Page) -> None:
    brush(page, "metric:val_accuracy", -0.02, 0.3)
    shown = names(page)
    expect(page).to_have_url(re.compile("brush="))

    page.reload()

    expect(page.locator("#brushed")).to_be_visible()
    assert names(page) == shown


def test_axis_is_moved_by_dragging_its_name(page: Page) -> None:
    axis = page.locator('.axis[data-axis="dropout"] .name')

    axis.hover()
    page.mouse.down()
    box = axis.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 500, box["y"] + 6, steps=6)
    page.mouse.up()

    shown = page.locator("#parallel .axis").evaluate_all("all => all.map(a => a.dataset.axis)")
    assert shown.index("dropout") >= 3


def test_hovering_a_row_lights_the_run_up_in_the_charts(page: Page, seeded: Seeded) -> None:
    page.locator(f'#runs tr[data-run="{seeded.best}"]').hover()

    expect(page.locator("#best .marker.up")).to_have_count(1)
    expect(page.locator("#curves .series.up")).to_have_count(1)


def test_picked_runs_are_compared(page: Page, seeded: Seeded) -> None:
    page.get_by_role("button", name="Pick the best 3").click()

    page.get_by_role("link", name="Compare 3 runs").click()

    expect(page.get_by_role("heading", name="3 runs side by side")).to_be_visible()
    assert seeded.best in page.url


def test_filter_says_how_many_match(page: Page) -> None:
    page.keyboard.press("/")
    page.keyboard.type("adamw")

    expect(page.locator("#runs .more")).to_contain_text("that match, of")
    shown = page.locator("#runs tbody tr").all_inner_texts()
    assert shown
    assert all("adamw" in row for row in shown)


def test_pause_and_resume_buttons_work(tab: Tab, page: Page, seeded: Seeded) -> None:
    page.get_by_role("button", name="Pause").click()

    expect(page.locator("#state")).to_have_text("Paused")
    expect(page.locator("#sentence")).to_contain_text("until you resume")
    state = seeded.store.read_sync(
        sweeps.find_sweep, actor=seeded.account, need=Need.READ, name=seeded.sweep
    ).state
    assert state == "PAUSED"
    page.get_by_role("button", name="Resume").click()
    expect(page.locator("#state")).to_have_text("Running")
    assert tab.problems == []


def test_cancel_asks_first(page: Page, seeded: Seeded) -> None:
    page.get_by_role("button", name="Cancel", exact=True).click()

    page.get_by_role("button", name="Keep it").click()

    expect(page.locator("#state")).to_have_text("Running")


def test_update_arrives_without_a_reload(page: Page, lab: Lab, seeded: Seeded) -> None:
    page.evaluate("window.isSamePage = true")
    run = lab.run(seeded.running)
    row = {"val_accuracy": 0.99949, "_step": 10**6, "_runtime": 999.0}

    lab.log(seeded.running, run.history_lines, row)

    cell = page.locator(f'#runs tr[data-run="{seeded.running}"] td.metric')
    expect(cell).to_have_text("0.9995")
    assert page.evaluate("window.isSamePage") is True


def test_rows_stay_put_under_the_pointer(page: Page, lab: Lab, seeded: Seeded) -> None:
    before = names(page)
    page.locator("#runs tbody tr").nth(3).hover()
    run = lab.run(seeded.running)

    lab.log(seeded.running, run.history_lines, {"val_accuracy": 0.99961, "_step": 10**6 + 1})

    cell = page.locator(f'#runs tr[data-run="{seeded.running}"] td.metric')
    expect(cell).to_have_text("0.9996")
    assert names(page) == before


def test_server_that_is_gone_leaves_the_data_with_their_age(
    page: Page, server: Server, lab: Lab, seeded: Seeded
) -> None:
    run = lab.run(seeded.running)
    server.stop()

    gone = re.compile(r"No answer from the server · data of \d+ s ago")
    expect(page.locator("#live")).to_have_text(gone, timeout=20_000)
    assert len(names(page)) == len(seeded.runs)
    lab.log(seeded.running, run.history_lines, {"val_accuracy": 0.99972, "_step": 10**6 + 2})
    server.start()
    expect(page.locator("#live")).to_have_text("Live", timeout=30_000)
    cell = page.locator(f'#runs tr[data-run="{seeded.running}"] td.metric')
    expect(cell).to_have_text("0.9997")


@pytest.mark.parametrize("place", ["", "/runs/{run}", "/compare?runs={run},{best}"])
def test_every_live_page_keeps_its_data_without_a_server_and_reconnects(
    tab: Tab, server: Server, seeded: Seeded, place: str
) -> None:
    page = tab.open(seeded.project_url + place.format(run=seeded.running, best=seeded.best))
    expect(page.locator("#live")).to_have_text("Live")
    shown = page.locator("main h1, main h2").all_inner_texts()
    server.stop()

    try:
        expect(page.locator("#live")).to_contain_text("No answer from the server", timeout=20_000)
        assert page.locator("main h1, main h2").all_inner_texts() == shown != []
    finally:
        server.start()
    expect(page.locator("#live")).to_have_text("Live", timeout=30_000)


def test_server_that_says_nothing_more_is_asked_again(tab: Tab, seeded: Seeded) -> None:
    tab.page.clock.install()
    page = tab.open(seeded.sweep_url)
    expect(page.locator("#live")).to_have_text("Live")

    with page.expect_request("**/-/feed/**"):
        page.clock.fast_forward(45_000)

    expect(page.locator("#live")).to_have_text("Live")


def test_agents_and_definition_have_their_tabs(page: Page, tab: Tab, seeded: Seeded) -> None:
    page.get_by_role("tab", name="Agents").click()
    expect(page.locator("#command")).to_contain_text(f"sweep agent ada/mnist/{seeded.sweep}")
    assert page.locator("#agents tbody tr").count() == 4

    page.get_by_role("tab", name="Definition").click()
    expect(page.locator("#yaml")).to_contain_text("learning_rate:")
    assert page.url.endswith("#definition")
    assert tab.problems == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_is_readable_in_both_schemes(tab: Tab, seeded: Seeded, scheme: str) -> None:
    tab.page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    page = tab.open(seeded.sweep_url)

    ratios = page.evaluate(
        """() => {
          const lum = (text) => {
            const c = text.match(/[\\d.]+/g).slice(0, 3).map((v) => v / 255)
              .map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
            return 0.2126 * c[0] + 0.7152 * c[1] + 0.0722 * c[2];
          };
          const behind = (e) => {
            const own = getComputedStyle(e).backgroundColor;
            return own !== 'rgba(0, 0, 0, 0)' || !e.parentElement ? own : behind(e.parentElement);
          };
          return ['#sentence', '#facts', '.sub', 'th', 'td .state', '.note', '.btn', '.tabs a']
            .flatMap((q) => [...document.querySelectorAll(q)].slice(0, 40))
            .filter((e) => e.textContent.trim() && e.offsetParent)
            .map((e) => {
              const [a, b] = [lum(getComputedStyle(e).color), lum(behind(e))].sort((x, y) => y - x);
              return [(a + 0.05) / (b + 0.05), e.textContent.slice(0, 30)];
            });
        }"""
    )

    assert len(ratios) > 20
    assert min(ratios)[0] >= 4.5, min(ratios)


def test_phone_shows_the_status_without_scrolling_sideways(tab: Tab, seeded: Seeded) -> None:
    tab.page.set_viewport_size({"width": 390, "height": 844})

    page = tab.open(seeded.sweep_url)

    expect(page.locator("#sentence")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    expect(page.locator("#figures .progress")).to_be_in_viewport()
