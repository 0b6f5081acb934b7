"""The pictures of the docs are taken of the real pages, so they are never stale."""

import io
from pathlib import Path

import numpy as np
import pytest
from browser_seed import Seeded
from conftest import TAKES_PICTURES, Tab
from PIL import Image
from playwright.sync_api import expect

DOCS = Path(__file__).parents[2] / "docs"
LIMIT = 400_000  # bytes


def in_256_colours(image: Image.Image) -> Image.Image:
    """Keep the commonest colours as they are, then whichever is furthest from those kept.

    Pillow's own ways make the marks of a chart grey, or tint the page.
    """
    pixels = np.asarray(image).reshape(-1, 3)
    colours, which, counts = np.unique(pixels, axis=0, return_inverse=True, return_counts=True)
    kept = list(np.argsort(-counts)[:128])
    apart = np.min([_apart(colours, colours[i]) for i in kept], axis=0)
    while len(kept) < 256 and apart.any():
        kept.append(int(np.argmax(apart * np.sqrt(counts))))
        apart = np.minimum(apart, _apart(colours, colours[kept[-1]]))
    nearest = np.argmin([_apart(colours, colours[i]) for i in kept], axis=0)
    found = Image.fromarray(nearest[which.ravel()].astype(np.uint8).reshape(image.size[::-1]), "P")
    found.putpalette(colours[kept].astype(np.uint8).tobytes())
    return found


def _apart(colours: np.ndarray, one: np.ndarray) -> np.ndarray:
    return np.abs(colours.astype(int) - one.astype(int)).sum(axis=1)


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
        expect(page.locator(f"#importance {known}")).to_be_visible(timeout=100_000)

    place = (DOCS if TAKES_PICTURES else tmp_path) / f"{name}.png"
    shot = page.screenshot(animations="disabled")
    in_256_colours(Image.open(io.BytesIO(shot)).convert("RGB")).save(place, optimize=True)

    assert 10_000 < place.stat().st_size < LIMIT
