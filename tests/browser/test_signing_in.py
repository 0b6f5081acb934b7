"""Who may look: keys, one-time links, and what strangers and other sites get."""

from browser_seed import Seeded
from conftest import Tab
from playwright.sync_api import expect

from sweepd.engine import accounts, sessions


def test_stranger_signs_in_with_a_key_and_lands_where_they_were_going(
    stranger: Tab, seeded: Seeded
) -> None:
    page = stranger.open(seeded.project_url)

    page.get_by_placeholder("API key").fill(seeded.key)
    page.get_by_role("button", name="Sign in").click()

    expect(page).to_have_url(stranger.url + seeded.project_url)
    assert not stranger.problems


def test_unknown_key_is_refused_in_words(stranger: Tab) -> None:
    page = stranger.open("/")

    page.get_by_placeholder("API key").fill("k" * 40)
    page.get_by_role("button", name="Sign in").click()

    expect(page.get_by_role("alert")).to_contain_text("does not know that API key")


def test_one_time_link_signs_in_once(stranger: Tab, seeded: Seeded) -> None:
    token = seeded.store.write_sync(sessions.create_login_link, account=seeded.account)

    page = stranger.open(f"/login/{token}")

    expect(page.get_by_role("heading", name="Projects")).to_be_visible()
    stranger.context.clear_cookies()
    stranger.open(f"/login/{token}")
    expect(page.get_by_role("alert")).to_contain_text("used already")


def test_link_on_another_site_finds_the_signed_in_user(tab: Tab, seeded: Seeded) -> None:
    tab.page.route(
        "http://elsewhere.example/",
        lambda route: route.fulfill(
            content_type="text/html", body=f'<a href="{tab.url}{seeded.sweep_url}">the sweep</a>'
        ),
    )
    tab.page.goto("http://elsewhere.example/")

    tab.page.get_by_role("link", name="the sweep").click()

    expect(tab.page.locator("#title")).to_have_text("mnist-convnet")


def test_other_sites_form_cannot_stop_a_sweep(tab: Tab, seeded: Seeded) -> None:
    target = f"{tab.url}/-/sweep{seeded.project_url}/{seeded.sweep}/cancel"
    tab.page.route(
        "http://elsewhere.example/",
        lambda route: route.fulfill(
            content_type="text/html",
            body=f'<form method="post" action="{target}"><button>win a prize</button></form>',
        ),
    )
    tab.page.goto("http://elsewhere.example/")

    with tab.page.expect_navigation() as arrived:
        tab.page.get_by_role("button").click()

    assert arrived.value.status in (401, 403)
    tab.open(seeded.sweep_url)
    expect(tab.page.locator("#state")).to_have_text("Running")


def test_same_origin_check_holds_even_with_the_cookie(tab: Tab, seeded: Seeded) -> None:
    target = f"{tab.url}/-/sweep{seeded.project_url}/{seeded.sweep}/cancel"

    refused = tab.context.request.post(target, headers={"Origin": "http://elsewhere.example"})

    assert refused.status == 403
    assert "own pages" in refused.json()["error"]


def test_signing_out_ends_the_session(tab: Tab, seeded: Seeded) -> None:
    page = tab.open(seeded.project_url)

    page.get_by_role("button", name="Sign out").click()

    expect(page.get_by_role("button", name="Sign in")).to_be_visible()
    page.goto(tab.url + seeded.sweep_url)
    expect(page.get_by_role("button", name="Sign in")).to_be_visible()


def test_new_key_is_shown_once_and_works(tab: Tab, seeded: Seeded) -> None:
    page = tab.open("/authorize")

    page.get_by_role("button", name="Make a new key").click()

    key = page.locator("#key").inner_text()
    found = seeded.store.read_sync(accounts.account_by_key, key=key)
    assert found is not None
    assert found.id == seeded.account.id
    page.goto(tab.url + "/authorize")
    expect(page.get_by_text(key)).to_have_count(0)


def test_pages_send_a_strict_policy_and_nothing_may_be_kept(tab: Tab, seeded: Seeded) -> None:
    answer = tab.context.request.get(tab.url + seeded.sweep_url)

    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self'" in policy
    assert "style-src 'self'" in policy
    assert "unsafe" not in policy
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_scripts_are_kept_for_a_year(tab: Tab) -> None:
    page = tab.open("/")
    script = page.locator("head script").get_attribute("src")

    answer = tab.context.request.get(f"{tab.url}{script}")

    assert "immutable" in answer.headers["cache-control"]


def test_unknown_page_is_a_page_in_words(tab: Tab) -> None:
    page = tab.open("/ada/mnist/sweeps/nothing0")

    expect(page.get_by_role("heading", name="Not found")).to_be_visible()
    expect(page.get_by_text("nothing0")).to_be_visible()


def test_open_page_leads_to_the_form_once_its_session_is_ended(tab: Tab, seeded: Seeded) -> None:
    page = tab.open(seeded.project_url)
    expect(page.locator("#live")).to_have_text("Live")
    (cookie,) = tab.context.cookies()

    seeded.store.write_sync(sessions.close_session, token=str(cookie.get("value")))

    expect(page.get_by_role("button", name="Sign in")).to_be_visible()
