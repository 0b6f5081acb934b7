"""The quickstart from the sweep to its report, every command of the results in its turn."""

import json
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from conftest import Tab
from playwright.sync_api import expect

sys.path.insert(0, str(Path(__file__).parents[1]))

from live import ROOT, Service

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

PRECISIONS = ("fp32", "fp16", "int8")


def test_the_quickstart_is_swept_confirmed_exported_compared_and_reported(
    service: Service, stranger: Tab, tmp_path: Path
) -> None:
    def sweep(*arguments: str) -> str:
        return service.sweep(*arguments, cwd=ROOT, timeout=300)

    sweep("run", "sweeps/quickstart.yaml", "--out", str(tmp_path / "out"))
    (ours,) = [one["sweep"] for one in json.loads(sweep("ls", "--json"))]
    (again,) = json.loads(sweep("confirm", ours, "--top", "2", "--seeds", "2", "--json"))["created"]
    sweep("agent", again)
    confirmed = json.loads(sweep("confirm", ours, "--wait", "--json"))
    ranked = json.loads(sweep("best", ours, "--json"))

    model = tmp_path / "best" / "model.onnx"
    wanted = [word for precision in PRECISIONS for word in ("--precision", precision)]
    sweep("export", ours, "--out", str(model), *wanted)
    first, second = (one["run"] for one in ranked["ranking"][:2])
    compared = sweep("compare", first, second)
    sweep("report", ours, "--out", str(tmp_path / "report.html"))

    assert service.status(ours)["finished"] == 20
    assert [one["n"] for one in confirmed["leaders"]] == [2, 2]
    assert ranked["best"]["run"] == confirmed["leaders"][0]["run"]
    assert "learning_rate" in compared
    mean = confirmed["leaders"][0]["mean"]
    card = model.with_name("model.md").read_text()
    for precision in PRECISIONS:
        name = "model.onnx" if precision == "fp32" else f"model.{precision}.onnx"
        onnx.checker.check_model(model.with_name(name), full_check=True)
        session = onnxruntime.InferenceSession(model.with_name(name))
        (logits,) = session.run(None, {"image": np.zeros((3, 1, 8, 8), np.uint8)})
        assert logits.shape == (3, 10)
        assert name in card
    assert f"leaders with fresh seeds: {mean:.4g} of 2" in card
    page = stranger.page
    page.goto((tmp_path / "report.html").as_uri())
    expect(page.get_by_text(f"mean val_accuracy {mean:.4g} of 2 fresh seeds")).to_be_visible()
    expect(page.get_by_role("heading", name="Confirmed with fresh seeds")).to_be_visible()
    expect(page.get_by_role("heading", name="Which parameters matter")).to_be_visible()
    expect(page.get_by_text("model.onnx", exact=True)).to_be_visible()
    assert page.locator("path.line").evaluate("path => path.getTotalLength()") > 100
    assert stranger.problems == []
