"""Settings, a team's members and the administration, walked through in a browser."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser_seed import Seeded
from conftest import Tab
from playwright.sync_api import Browser, Locator, expect

from sweepd.engine import accounts, sessions, teams
from sweepd.engine.views import Role

LISTEN = """() => {
  window.refused = [];
  document.addEventListener("securitypolicyviolation", (event) => {
    window.refused.push(`${event.violatedDirective} ${event.blockedURI}`);
  });
}"""
#: Where pictures of the pages are left for somebody to look at, if anywhere.
SHOTS = os.environ.get("SWEEPD_SHOTS")


@pytest.fixture(scope="module", autouse=True)
def crew(seeded: Seeded) -> None:
    """A team with a member of each kind."""
    store = seeded.store
    for name in ("grace", "linus", "margaret"):
        store.write_sync(accounts.add_user, name=name, email=f"{name}@example.org")
    store.write_sync(teams.create_team, actor=seeded.account, name="vision", admin="grace")
    for name, role in (("linus", Role.VIEWER), (seeded.account.name, Role.ADMIN)):
        store.write_sync(teams.set_role, actor=seeded.account, team="vision", user=name, role=role)


@pytest.fixture
def watched(tab: Tab) -> Iterator[Tab]:
    """A tab in which nothing may be refused by the policy, nor anything be said in the console."""
    tab.context.add_init_script(f"({LISTEN})()")
    yield tab
    assert tab.page.evaluate("window.refused") == []
    assert tab.problems == []


def row(tab: Tab, card: str, text: str) -> Locator:
    """Return the row of a card's tables that has a text."""
    return tab.page.get_by_role("region", name=card).get_by_role("row").filter(has_text=text)


def confirm(place: Locator, word: str, answer: str) -> None:
    """Open what asks first, and say yes."""
    place.get_by_text(word, exact=True).click()
    place.get_by_role("button", name=answer).click()


def test_key_is_made_with_an_end_shown_once_and_revoked(watched: Tab, seeded: Seeded) -> None:
    page = watched.open("/")
    page.get_by_role("banner").get_by_role("link", name=seeded.account.name, exact=True).click()
    keys = page.get_by_role("region", name="API keys")

    keys.get_by_label("What for").fill("laptop")
    keys.get_by_label("Days until it ends").fill("30")
    keys.get_by_role("button", name="Make a new key").click()

    key = page.locator("#key").inner_text()
    mine = row(watched, "API keys", "laptop")
    expect(mine).to_contain_text("in 29 d")
    assert seeded.store.read_sync(accounts.account_by_key, key=key) is not None
    confirm(mine, "Revoke", f"Revoke {key[:12]}")
    expect(mine).to_have_count(0)
    assert seeded.store.read_sync(accounts.account_by_key, key=key) is None


def test_what_was_typed_stays_when_a_form_is_refused(tab: Tab) -> None:
    page = tab.open("/-/settings")
    keys = page.get_by_role("region", name="API keys")

    keys.get_by_label("What for").fill("cluster")
    keys.get_by_label("Days until it ends").fill("next week")
    keys.get_by_role("button", name="Make a new key").click()

    expect(page.get_by_role("alert")).to_contain_text("days: must be a number")
    expect(keys.get_by_label("What for")).to_have_value("cluster")
    expect(keys.get_by_label("Days until it ends")).to_have_value("next week")


def test_team_gets_members_roles_and_a_machine(watched: Tab, seeded: Seeded) -> None:
    page = watched.open("/vision")
    page.get_by_role("link", name="Members").click()
    members = page.get_by_role("region", name="Members")

    members.get_by_label("User", exact=True).fill("margaret")
    members.get_by_role("button", name="Add to the team").click()
    row(watched, "Members", "margaret").get_by_label("Role of margaret").select_option("viewer")
    row(watched, "Members", "margaret").get_by_role("button", name="Save").click()
    expect(row(watched, "Members", "margaret").get_by_role("combobox")).to_have_value("viewer")
    confirm(row(watched, "Members", "margaret"), "Remove", "Remove margaret")
    expect(row(watched, "Members", "margaret")).to_have_count(0)

    services = page.get_by_role("region", name="Service accounts")
    services.get_by_label("Name").fill("gpu-farm")
    services.get_by_label("What for").last.fill("the farm in the basement")
    services.get_by_role("button", name="Add a service account").click()
    key = page.locator("#key").inner_text()
    farm = seeded.store.read_sync(accounts.account_by_key, key=key)
    assert farm is not None
    assert (farm.name, farm.entity) == ("gpu-farm", "vision")
    expect(row(watched, "Service accounts", "the farm in the basement")).to_be_visible()


def test_viewer_sees_the_team_and_no_form(stranger: Tab, seeded: Seeded) -> None:
    linus = seeded.store.read_sync(accounts.account_by_name, name="linus")
    token = seeded.store.write_sync(sessions.open_session, account=linus)
    stranger.context.add_cookies(
        [{"name": sessions.SESSION_COOKIE, "value": token, "url": stranger.url}]
    )

    page = stranger.open("/-/teams/vision")

    expect(row(stranger, "Members", "grace")).to_contain_text("admin")
    assert page.locator("main form").count() == 0
    assert stranger.problems == []


def test_administrator_adds_a_user_and_a_team_and_removes_both(watched: Tab) -> None:
    page = watched.open("/")
    page.get_by_role("banner").get_by_role("link", name="Admin", exact=True).click()
    users, groups = (page.get_by_role("region", name=name) for name in ("Users", "Teams"))

    users.get_by_label("Name").fill("katherine")
    users.get_by_role("button", name="Add a user").click()
    expect(page.locator("#key")).to_be_visible()
    confirm(row(watched, "Users", "katherine"), "Make admin", "Make katherine an admin")
    expect(row(watched, "Users", "katherine")).to_contain_text("the service")
    groups.get_by_label("Name").fill("orbits")
    groups.get_by_label("First administrator").fill("katherine")
    groups.get_by_role("button", name="Make a team").click()
    expect(page).to_have_url(f"{watched.url}/-/teams/orbits")

    watched.open("/-/admin")
    confirm(row(watched, "Teams", "orbits"), "Remove", "Remove orbits")
    expect(row(watched, "Teams", "orbits")).to_have_count(0)
    confirm(row(watched, "Users", "katherine"), "Remove", "Remove katherine")
    expect(row(watched, "Users", "katherine")).to_have_count(0)


def test_project_is_opened_and_closed(watched: Tab, seeded: Seeded) -> None:
    page = watched.open(seeded.project_url)

    for choice, words in (
        ("everybody with a key of this service", "read by everybody with a key"),
        (seeded.account.name, f"read by {seeded.account.name}"),
    ):
        page.get_by_text("Who may read").click()
        page.get_by_label(choice, exact=True).check()
        page.get_by_role("button", name="Save").click()
        expect(page.locator(".facts")).to_contain_text(words)


def test_forms_work_without_scripts(chromium: Browser, tab: Tab, seeded: Seeded) -> None:
    context = chromium.new_context(java_script_enabled=False)
    context.add_cookies(tab.context.cookies())
    page = context.new_page()
    page.goto(f"{tab.url}/-/teams/vision")
    members = page.get_by_role("region", name="Members")

    members.get_by_label("User", exact=True).fill("margaret")
    members.get_by_role("button", name="Add to the team").click()
    line = members.get_by_role("row").filter(has_text="margaret")
    expect(line).to_contain_text("UTC")  # a moment that no script puts in words
    confirm(line, "Remove", "Remove margaret")
    expect(line).to_have_count(0)
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_pages_fit_their_window(
    watched: Tab, seeded: Seeded, tmp_path: Path, scheme: str, width: int
) -> None:
    watched.page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    watched.page.set_viewport_size({"width": width, "height": 900})
    for name, path in (
        ("settings", "/-/settings"),
        ("team", "/-/teams/vision"),
        ("admin", "/-/admin"),
        ("project", seeded.project_url),
        ("projects", "/vision"),
    ):
        page = watched.open(path)
        expect(page.get_by_role("heading", level=1)).to_be_visible()
        if name != "projects":
            page.locator("summary").first.click()
        overflow = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
        assert overflow <= 0, name
        shot = Path(SHOTS or tmp_path) / f"{name}-{scheme}-{width}.png"
        page.screenshot(path=shot, full_page=True, animations="disabled")
        assert shot.stat().st_size > 5_000
