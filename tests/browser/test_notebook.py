"""W&B's notebook, as a plain script on the real client: its page shows all that it logged."""

import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from conftest import TAKES_PICTURES
from PIL import Image
from playwright.sync_api import Browser, Page, expect

sys.path.insert(0, str(Path(__file__).parents[1]))

from live import MNIST, ROOT, Service, run

pytestmark = pytest.mark.timeout(400)


@pytest.fixture(scope="module")
def notebook(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Service, str]]:
    """A service, and the path of the page of the run that the notebook made on it."""
    folder = tmp_path_factory.mktemp("notebook")
    service = Service(folder / "data")
    service.start()
    try:
        arguments: list[str] = []
        if MNIST.is_dir():  # the real thing; elsewhere the script takes scikit-learn's digits
            raw = folder / "mnist" / "MNIST" / "raw"
            raw.mkdir(parents=True)
            for packed in (MNIST / "MNIST" / "raw").iterdir():
                (raw / packed.name).write_bytes(packed.read_bytes())
            arguments = [str(folder / "mnist")]
        run(
            [sys.executable, ROOT / "tests" / "programs" / "notebook.py", *arguments],
            env=service.environment(WANDB_X_STATS_SAMPLING_INTERVAL="1"),
            cwd=folder,
            timeout=300,
        )
        found = service.graphql(
            'query($e: String) { project(name: "pytorch-demo", entityName: $e)'
            " { runs(first: 2) { edges { node { name } } } } }",
            e=service.user,
        )
        (edge,) = found["project"]["runs"]["edges"]
        yield service, f"/{service.user}/pytorch-demo/runs/{edge['node']['name']}"
    finally:
        service.stop()


@pytest.fixture
def page(chromium: Browser, notebook: tuple[Service, str]) -> Iterator[Page]:
    service, path = notebook
    link = service.graphql("mutation { sweepdCreateLoginLink { url } }")
    context = chromium.new_context(viewport={"width": 1280, "height": 1230})
    context.set_default_timeout(20_000)
    page = context.new_page()
    page.goto(f"{link['sweepdCreateLoginLink']['url']}?next={quote(path)}")
    page.wait_for_url(f"**{path}")  # the link's own page leads there
    yield page
    context.close()


def test_charts_and_gradient_histograms_are_drawn(page: Page, tmp_path: Path) -> None:
    expect(page.locator('.panel[data-key="loss"] .series')).to_be_visible()
    expect(page.locator('.panel[data-key="test_accuracy"]')).to_be_visible()
    heat = page.locator('.panel[data-key="gradients/layer1.0.weight"] canvas')
    heat.scroll_into_view_if_needed()
    expect(heat).to_be_visible()
    assert heat.evaluate("canvas => canvas.width") > 1

    page.mouse.wheel(0, -10_000)
    place = (ROOT / "docs" if TAKES_PICTURES else tmp_path) / "notebook.png"
    page.screenshot(path=place, animations="disabled")
    Image.open(place).convert("RGB").quantize(256).save(place, optimize=True)
    assert place.stat().st_size < 400_000


def test_system_metrics_are_drawn(page: Page) -> None:
    page.get_by_role("tab", name="System").click()

    expect(page.locator("#system .panel .series").first).to_be_visible()


def test_console_is_shown(page: Page) -> None:
    page.get_by_role("tab", name="Logs").click()

    expect(page.locator("#log-lines")).to_contain_text("Loss after")
    expect(page.locator("#log-lines")).to_contain_text("Accuracy of the model on the")


def test_saved_model_and_config_are_there(page: Page) -> None:
    page.get_by_role("tab", name="Files").click()
    expect(page.locator("#files tr", has_text="model.onnx")).to_contain_text("ONNX model")

    page.get_by_role("tab", name="Overview").click()
    expect(page.locator("#config")).to_contain_text("learning_rate")
