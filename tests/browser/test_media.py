"""What a run logged as media, drawn: galleries, players, tables, charts, and HTML, locked in."""

from collections.abc import Iterator

import pytest
from browser_seed import Lab, Seeded
from conftest import Tab
from media_seed import seed_hostile_page, seed_media
from playwright.sync_api import Locator, Page, expect

from sweepd.engine import sessions


@pytest.fixture(scope="module")
def media_lab(seeded: Seeded) -> Lab:
    """A project of its own, so that the others stay as their tests count them."""
    return Lab(seeded.store, seeded.clock, seeded.account, project="media")


@pytest.fixture(scope="module")
def run_url(media_lab: Lab) -> str:
    return f"/{media_lab.account.entity}/{media_lab.project}/runs/{seed_media(media_lab)}"


@pytest.fixture(scope="module")
def hostile_url(media_lab: Lab) -> str:
    run = seed_hostile_page(media_lab)
    return f"/{media_lab.account.entity}/{media_lab.project}/runs/{run}#media"


@pytest.fixture
def media(tab: Tab, run_url: str) -> Iterator[Page]:
    page = tab.open(f"{run_url}#media")
    expect(page.locator("#live")).to_have_text("Live")
    yield page
    assert page.title() == "every kind of media · Running"
    assert tab.problems == []


def panel(page: Page, key: str) -> Locator:
    """Return a key's panel, in sight."""
    found = page.locator(f'.panel[data-key="{key}"]')
    found.scroll_into_view_if_needed()
    return found


def test_images_move_through_the_steps(media: Page) -> None:
    shot = panel(media, "shot")
    expect(shot.locator("header .now")).to_have_text("step 3 · 4 of 4")
    expect(shot.locator("figcaption")).to_contain_text("onerror")

    shot.get_by_label("the step before").click()

    expect(shot.locator("header .now")).to_have_text("step 2 · 3 of 4")
    expect(shot.locator("figcaption")).to_contain_text("> 2")
    shot.get_by_label("step of shot").press("Home")
    expect(shot.locator("figcaption")).to_contain_text("> 0")
    assert shot.locator("img").evaluate("one => one.naturalWidth") == 28


def test_sliders_move_together_if_told(media: Page) -> None:
    media.get_by_role("button", name="Move sliders together").click()
    expect(panel(media, "seg").locator("header .now")).to_contain_text("4 of 4")
    expect(panel(media, "shot").locator("header .now")).to_contain_text("4 of 4")

    panel(media, "shot").get_by_label("step of shot").press("Home")

    expect(panel(media, "seg").locator("header .now")).to_have_text("step 0 · 1 of 4")


def test_masks_are_coloured_and_can_be_taken_off(media: Page) -> None:
    seg = panel(media, "seg")
    mask = seg.locator("canvas")
    expect(mask).to_be_visible()
    expect(seg.locator(".classes")).to_have_text("catdog")
    media.wait_for_function("() => document.querySelector('[data-key=seg] canvas').width === 28")

    seg.get_by_role("button", name="mask pred").click()

    expect(mask).to_be_hidden()


def test_boxes_stand_where_they_were_logged(media: Page) -> None:
    found = panel(media, "found").locator(".boxes rect")
    expect(found).to_have_count(2)

    assert float(found.first.get_attribute("x") or 0) == pytest.approx(2.8)
    assert [found.last.get_attribute(name) for name in ("x", "y", "width")] == ["16", "17", "8"]


def test_an_image_is_enlarged_and_the_arrows_go_on(media: Page) -> None:
    many = panel(media, "many")
    expect(many.locator("figcaption")).to_have_text(["first", "second", "third"])

    many.get_by_label("Enlarge: first").click()
    viewer = media.get_by_role("dialog")
    expect(viewer).to_contain_text("1 of 3 · first")
    media.keyboard.press("ArrowRight")
    expect(viewer).to_contain_text("2 of 3 · second")
    media.keyboard.press("Escape")

    expect(viewer).to_have_count(0)


def test_sounds_play(media: Page) -> None:
    sound = panel(media, "tone").locator("audio")
    expect(sound).to_be_visible()

    told = sound.evaluate(
        """one => new Promise((good) => {
            one.addEventListener("loadedmetadata", () => good(one.duration));
            one.addEventListener("error", () => good("error"));
            one.load();
        })"""
    )

    assert told == pytest.approx(0.3, abs=0.05)


def test_a_table_is_paged_sorted_and_filtered(media: Page) -> None:
    table = panel(media, "results")
    first = table.locator("tbody tr").first
    expect(table.locator("tbody tr")).to_have_count(15)
    expect(table).to_contain_text("1–15 of 40 rows")

    table.get_by_label("the next page").click()
    expect(first).to_contain_text("row 15")
    table.get_by_role("button", name="score").click()
    expect(first).to_contain_text("row 39")
    table.get_by_role("button", name="score").click()
    expect(first).to_contain_text("row 0")
    table.get_by_label("Filter the rows").fill("ROW 3")

    expect(table).to_contain_text("of 11 that match, of 40 rows")


def test_figures_are_drawn_or_offered_in_words(media: Page) -> None:
    expect(panel(media, "bars").locator(".bar")).to_have_count(2)

    expect(panel(media, "surface")).to_contain_text("figure of plotly (surface) is not drawn here")
    expect(panel(media, "surface").get_by_role("link", name="Download")).to_be_visible()


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("cloud", "Point clouds and scenes are not drawn here"),
        ("acid", "Molecules are not drawn here"),
        ("late", "The file has not arrived yet"),
        ("net", "Linear"),
    ],
)
def test_what_is_not_drawn_is_told(media: Page, key: str, words: str) -> None:
    expect(panel(media, key)).to_contain_text(words)


def test_pages_run_what_they_brought_along(media: Page) -> None:
    inside = panel(media, "page").frame_locator("iframe").locator("body")

    expect(inside).to_contain_text("step 3")
    expect(inside).to_contain_text("ran")


def test_a_page_of_a_run_cannot_get_out_of_its_frame(tab: Tab, hostile_url: str) -> None:
    page = tab.open(hostile_url)
    box = panel(page, "page")
    inside = box.frame_locator("iframe").locator("body")

    expect(inside).to_contain_text("managed: nothing; origin null")

    assert page.url == tab.url + hostile_url
    assert page.title() == "a hostile page · Running"
    assert len(tab.context.pages) == 1
    assert page.evaluate("localStorage.length") == 0
    assert page.evaluate("fetch('/-/data/entity/ada').then((one) => one.status)") == 200
    assert not any("thrown" in one for one in tab.problems)


def test_a_page_of_a_run_opened_alone_is_locked_in_as_well(tab: Tab, hostile_url: str) -> None:
    page = tab.open(hostile_url)
    link = panel(page, "page").get_by_role("link", name="Open alone")

    with tab.context.expect_page() as opening:
        link.click()

    alone = opening.value
    expect(alone.locator("body")).to_contain_text("managed: nothing; origin null")
    assert {one["name"] for one in tab.context.cookies()} == {sessions.SESSION_COOKIE}


def test_common_presets_are_drawn(tab: Tab, run_url: str) -> None:
    page = tab.open(run_url)
    expect(page.locator("#live")).to_have_text("Live")

    expect(panel(page, "curve").locator(".series")).to_have_count(2)
    expect(panel(page, "curve").locator("h2")).to_have_text("The curve")
    expect(panel(page, "curve").locator(".legend")).to_have_text("ab")
    expect(panel(page, "roc").locator(".series")).to_have_count(1)
    expect(panel(page, "shares").locator(".bar")).to_have_count(3)
    expect(panel(page, "cloud2d").locator(".spot")).to_have_count(24)
    assert panel(page, "spread").locator(".bar").count() >= 5
    expect(panel(page, "mixed").locator(".cell")).to_have_count(4)
    assert page.title() == "every kind of media · Running"
    assert tab.problems == []


def test_chart_can_be_read_as_its_table(tab: Tab, run_url: str) -> None:
    page = tab.open(run_url)
    shares = panel(page, "shares")
    expect(shares.locator(".bar")).to_have_count(3)

    shares.get_by_role("button", name="Table").click()

    expect(shares.locator("tbody tr")).to_have_count(3)


def test_of_an_unknown_preset_the_table_is_shown(tab: Tab, run_url: str) -> None:
    page = tab.open(run_url)

    unknown = panel(page, "unknown")

    expect(unknown).to_contain_text("The preset somebody/their-own is not drawn here")
    expect(unknown.locator("tbody tr")).to_have_count(15)


def test_panel_says_that_the_server_did_not_answer_and_tries_again(tab: Tab, run_url: str) -> None:
    tab.page.route("**/media?key=results", lambda route: route.abort())
    page = tab.open(f"{run_url}#media")
    results = panel(page, "results")
    expect(results).to_contain_text("The server did not answer")
    page.unroute("**/media?key=results")

    results.get_by_role("button", name="Try again").click()

    expect(results.locator("tbody tr")).to_have_count(15)


def test_run_without_media_says_what_would_stand_there(tab: Tab, seeded: Seeded) -> None:
    page = tab.open(f"{seeded.project_url}/runs/{seeded.failed}#media")

    expect(page.locator("#media")).to_contain_text("No media yet")
