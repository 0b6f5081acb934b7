"""A run's page: Charts, Overview, System, Logs, Files."""

import json

import pytest
from browser_seed import Lab, Seeded
from conftest import Tab
from playwright.sync_api import Page, Route, expect

from sweepd.engine import runs, streams


@pytest.fixture
def page(tab: Tab, seeded: Seeded) -> Page:
    page = tab.open(f"{seeded.project_url}/runs/{seeded.best}")
    expect(page.locator("#live")).to_have_text("Live")
    return page


def test_every_number_has_its_chart_the_metric_first(tab: Tab, page: Page) -> None:
    expect(page.locator('.panel[data-key="val_accuracy"] .series')).to_be_visible()

    keys = page.locator("#panels .panel").evaluate_all("all => all.map(p => p.dataset.key)")
    assert keys[0] == "val_accuracy"
    assert {"train/loss", "val/loss", "learning_rate", "samples_per_s"} <= set(keys)
    assert not any(key.startswith("_") for key in keys)
    assert tab.problems == []


def test_histograms_are_heat_maps(tab: Tab, page: Page) -> None:
    heat = page.locator('.panel[data-key="gradients/conv1.weight"] canvas')
    heat.scroll_into_view_if_needed()
    expect(heat).to_be_visible()
    width = heat.evaluate("c => c.width")
    assert width >= 4
    assert tab.problems == []


def test_crosshair_is_shared_by_all_charts(page: Page) -> None:
    expect(page.locator('.panel[data-key="train/loss"] .series')).to_be_visible()

    page.locator('.panel[data-key="val_accuracy"] .hit').hover()

    other = page.locator('.panel[data-key="train/loss"] .cross')
    expect(other).to_have_attribute("visibility", "visible")
    expect(page.locator('.panel[data-key="val_accuracy"] .tip')).to_contain_text("step")


def test_smoothing_keeps_the_raw_line_behind(page: Page) -> None:
    expect(page.locator('.panel[data-key="samples_per_s"] .series')).to_have_count(1)

    page.locator("#smoothing").fill("0.8")

    expect(page.locator('.panel[data-key="samples_per_s"] .series.raw')).to_have_count(1)


def test_overview_says_config_summary_and_attempts(page: Page) -> None:
    page.get_by_role("tab", name="Overview").click()

    expect(page.locator("#config")).to_contain_text("learning_rate")
    expect(page.locator("#summary")).to_contain_text("val_accuracy")
    expect(page.locator("#attempts tbody tr")).to_have_count(1)
    expect(page.locator("#attempts")).to_contain_text("gpu-node")


def test_notes_keep_their_lines_and_parts_of_the_summary_have_a_line_each(
    tab: Tab, lab: Lab
) -> None:
    place = {"entity": lab.account.entity, "project": "noted"}
    change = runs.RunChange(**place, name="r1", notes="first line\nsecond line")
    lab.store.write_sync(runs.upsert_run, actor=lab.account, change=change)
    summary = json.dumps({"acc": {"max": 0.75, "min": 0.25}})
    body = {"files": {"wandb-summary.json": {"offset": 0, "content": [summary]}}}
    told = streams.parse_body(json.dumps(body))
    lab.store.write_sync(streams.append, actor=lab.account, **place, run="r1", body=told)

    page = tab.open(f"/{lab.account.entity}/noted/runs/r1#overview")

    expect(page.locator("#about .lines")).to_be_visible()
    assert page.locator("#about .lines").inner_text() == "first line\nsecond line"
    assert page.locator("#summary dt").all_inner_texts() == ["acc.max", "acc.min"]


def test_system_tab_draws_gpu_and_cpu(page: Page) -> None:
    page.get_by_role("tab", name="System").click()

    expect(page.locator('#system .panel[data-key="system.cpu"] .series')).to_be_visible()
    expect(page.locator('#system .panel[data-key="system.gpu.0.gpu"] .series')).to_be_visible()


def test_logs_have_colours_and_can_be_searched(page: Page) -> None:
    page.get_by_role("tab", name="Logs").click()
    lines = page.locator("#log-lines > div")
    expect(lines.first).to_contain_text("trainer/train.py on cuda:0")
    assert "\x1b" not in page.locator("#log-lines").inner_text()
    expect(page.locator("#log-lines .a-32").first).to_contain_text("0.98")

    page.locator("#log-search").fill("USERWARNING")

    expect(lines).to_have_count(1)
    expect(page.locator("#log-lines mark")).to_have_text("UserWarning")


def test_log_is_downloaded_whole(page: Page) -> None:
    page.get_by_role("tab", name="Logs").click()

    with page.expect_download() as loading:
        page.get_by_role("link", name="Download").click()

    text = loading.value.path().read_text()
    assert "epoch" in text
    assert text.count("\n") >= 8


def test_model_is_listed_and_downloads_whole(page: Page) -> None:
    page.get_by_role("tab", name="Files").click()
    row = page.locator("#files tr", has_text="model.onnx")
    expect(row).to_contain_text("ONNX model")
    expect(row).to_contain_text("81.4 kB")

    with page.expect_download() as loading:
        row.get_by_role("link", name="Download").click()

    assert loading.value.suggested_filename == "model.onnx"
    assert loading.value.path().stat().st_size == 81_422


def test_failed_run_says_why(tab: Tab, seeded: Seeded) -> None:
    page = tab.open(f"{seeded.project_url}/runs/{seeded.failed}")

    expect(page.locator("#state")).to_have_text("Failed")
    expect(page.locator("#banners .banner")).to_contain_text("too many values to unpack")
    page.get_by_role("link", name="See the logs").click()
    expect(page.locator("#log-lines .err")).to_contain_text("ValueError")


def test_live_run_grows_without_a_reload(tab: Tab, lab: Lab, seeded: Seeded) -> None:
    page = tab.open(f"{seeded.project_url}/runs/{seeded.running}#logs")
    expect(page.locator("#live")).to_have_text("Live")

    text = "2026-11-23T09:00:00.000000 a line that was not there before"
    lab.stream(seeded.running, {"files": {"output.log": {"offset": 0, "content": [text]}}})

    expect(page.locator("#log-lines")).to_contain_text("a line that was not there before")
    page.get_by_role("tab", name="Charts").click()
    run = lab.run(seeded.running)
    lab.log(seeded.running, run.history_lines, {"brand_new_key": 1.5, "_step": 10**6 + 5})
    expect(page.locator('.panel[data-key="brand_new_key"]')).to_be_visible()


def test_run_can_be_asked_to_stop(tab: Tab, lab: Lab, seeded: Seeded) -> None:
    page = tab.open(f"{seeded.project_url}/runs/{seeded.stoppable}")

    page.get_by_role("button", name="Stop run").click()

    expect(page.get_by_role("button", name="Stopping")).to_be_disabled()
    assert lab.stream(seeded.stoppable, {}) is True


def test_tab_that_is_clicked_before_the_page_is_ready_counts(tab: Tab, seeded: Seeded) -> None:
    held: list[Route] = []
    tab.page.route("**/js/run.js", lambda route: held.append(route))
    tab.page.goto(f"{tab.url}{seeded.project_url}/runs/{seeded.best}", wait_until="commit")

    tab.page.get_by_role("tab", name="Overview").click()
    assert held, "the page came without its script"
    held[0].continue_()

    expect(tab.page.locator("#config")).to_contain_text("learning_rate")
