"""The pictures of the docs are taken of the real pages, so they are never stale."""

import io
from pathlib import Path

import pytest
from browser_seed import Seeded
from conftest import TAKES_PICTURES, Tab
from PIL import Image
from playwright.sync_api import expect

DOCS = Path(__file__).parents[2] / "docs"
LIMIT = 400_000  # bytes


@pytest.mark.parametrize("name", ["sweep", "run", "compare"])
def test_picture_is_taken_and_small(tab: Tab, seeded: Seeded, tmp_path: Path, name: str) -> None:
    others = ",".join(seeded.finished[-1:] + seeded.finished[2:3])
    paths = {
        "sweep": seeded.sweep_url,
        "run": f"{seeded.project_url}/runs/{seeded.best}",
        "compare": f"{seeded.project_url}/compare?runs={seeded.best},{others}",
    }
    heights = {"sweep": 1500, "run": 1230, "compare": 1100}
    tab.page.set_viewport_size({"width": 1280, "height": heights[name]})
    page = tab.open(paths[name])
    expect(page.locator("#live")).to_have_text("Live")
    expect(page.locator(".series").first).to_be_visible()
    page.wait_for_load_state("load")
    if name == "sweep":
        known = "table.importance" if TAKES_PICTURES else ".empty h3"  # too few runs otherwise
        expect(page.locator(f"#importance {known}")).to_be_visible(timeout=60_000)

    place = (DOCS if TAKES_PICTURES else tmp_path) / f"{name}.png"
    shot = page.screenshot(animations="disabled")
    image = Image.open(io.BytesIO(shot)).convert("RGB")
    # by an octree: the mean of boxes would make the few pixels of a small mark grey
    image.quantize(256, method=Image.Quantize.FASTOCTREE).save(place, optimize=True)

    assert 10_000 < place.stat().st_size < LIMIT
