"""Trials that were given to machines that are cut off, on their sweep's page."""

import pytest
from browser_seed import Lab, Seeded
from conftest import Tab
from playwright.sync_api import expect
from sqlalchemy import select

from sweepd.engine import bundles
from sweepd.store import tables as t

DEFINITION = """\
method: grid
program: train.py
metric: {name: loss, goal: minimize}
parameters: {x: {values: [1, 2, 3]}}
"""


@pytest.fixture(scope="module")
def lab(seeded: Seeded) -> Lab:
    """A project of its own, so that the others stay as their tests count them."""
    return Lab(seeded.store, seeded.clock, seeded.account, project="away")


def test_bundle_is_listed_with_what_is_still_out(tab: Tab, lab: Lab, seeded: Seeded) -> None:
    sweep = lab.create(DEFINITION)
    sweep_id = seeded.store.read_sync(
        lambda tx: tx.conn.scalar(select(t.sweep.c.id).where(t.sweep.c.name == sweep))
    )
    page = tab.open(f"/{seeded.account.entity}/away/sweeps/{sweep}#agents")
    expect(page.locator("#bundles-card")).to_be_hidden()

    seeded.store.write_sync(
        bundles.fill,
        actor=seeded.account,
        sweep_id=sweep_id,
        key="0123456789abcdef",
        n=2,
        for_s=3 * 86_400.0,
        is_patient=False,
    )
    page = tab.open(f"/{seeded.account.entity}/away/sweeps/{sweep}#agents")

    row = page.locator("#bundles tbody tr")
    expect(row).to_contain_text("bundle-0123456789abcdef")
    expect(row.locator("td").nth(1)).to_contain_text("Away")
    expect(row.locator("td").nth(3)).to_have_text("2")
    expect(row.locator("td").nth(4)).to_have_text("2")
    expect(row.locator("td").nth(5)).to_contain_text("in 2 d")
    expect(page.locator("body")).to_contain_text("2 in bundles")
    assert tab.problems == []
