"""A model on the Files tab, as Netron draws it: offline, unasked, and without its telemetry."""

import socket
from importlib.metadata import version
from pathlib import Path
from urllib.parse import quote, urlsplit

import numpy as np
import onnx
import pytest
from browser_seed import Lab, Seeded
from conftest import Tab
from onnx import TensorProto, helper, numpy_helper
from playwright.sync_api import expect

ATTACK = "<img src=x onerror='top.owned=1'><script>top.owned=2</script>"


def log_model(lab: Lab, run: str, folder: Path) -> None:
    """Log a small network with its weights in a file beside it, and script in its texts."""
    rng = np.random.default_rng(0)
    shapes = {"w": (4, 1, 3, 3), "fw": (10, 4 * 26 * 26)}
    weights = [
        numpy_helper.from_array(rng.normal(size=shape).astype("float32"), name)
        for name, shape in shapes.items()
    ]
    nodes = [
        helper.make_node("Conv", ["image", "w"], ["c"], name=ATTACK, doc_string=ATTACK),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("Flatten", ["r"], ["f"]),
        helper.make_node("Gemm", ["f", "fw"], ["logits"], transB=1),
    ]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 1, 28, 28])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 10])
    graph = helper.make_graph(nodes, "net", [image], [logits], weights, doc_string=ATTACK)
    model = helper.make_model(graph, doc_string=ATTACK)
    helper.set_model_props(model, {ATTACK: ATTACK})
    path = folder / "net.onnx"
    onnx.save(model, path, save_as_external_data=True, location="net.data", size_threshold=0)
    for file in (path, folder / "net.data"):
        lab.save(run, f"models/{file.name}", file.read_bytes(), "application/octet-stream")


def test_model_is_drawn_from_the_files_tab_and_no_other_host_is_asked(
    tab: Tab, seeded: Seeded, lab: Lab, tmp_path: Path
) -> None:
    run = seeded.finished[-1]
    log_model(lab, run, tmp_path)
    asked: list[str] = []
    tab.context.on("request", lambda request: asked.append(request.url))

    page = tab.open(f"{seeded.project_url}/runs/{run}#files")
    row = page.locator("#files tr", has_text="models/net.onnx")
    row.get_by_role("link", name="View the model").click()

    viewer = page.frame_locator("iframe.viewer")
    for node in ("Conv", "Relu", "Flatten", "Gemm"):
        expect(viewer.locator(".node", has_text=node)).to_be_visible()
    expect(viewer.locator("#message")).to_be_hidden()  # where Netron would ask for consent
    viewer.get_by_title("Model Properties").click()
    expect(viewer.locator("#sidebar")).to_contain_text("top.owned=1")
    viewer.locator(".node", has_text="Conv").get_by_text("4×1×3×3").click()
    expect(viewer.get_by_role("textbox", name="sparsity")).to_be_visible()  # weights were fetched
    assert page.evaluate("window.owned") is None
    assert {urlsplit(url).netloc for url in asked} == {urlsplit(tab.url).netloc}
    assert {cookie.get("name") for cookie in tab.context.cookies()} == {"sweepd_session"}
    assert tab.problems == []


def test_crafted_link_makes_the_viewer_ask_no_other_host(tab: Tab) -> None:
    viewer = f"/-/netron/{version('netron')}/index.html"
    with socket.create_server(("127.0.0.1", 0)) as elsewhere:
        elsewhere.setblocking(False)
        far = f"http://127.0.0.1:{elsewhere.getsockname()[1]}/net.onnx"

        page = tab.open(f"{viewer}?url={quote(far, safe='')}")

        expect(page.locator("#message-text")).to_have_text("The web request failed.")
        expect(page.locator("#message-button")).to_have_text("OK")
        assert any("Content Security Policy" in problem for problem in tab.problems)
        with pytest.raises(BlockingIOError):  # nobody is waiting
            elsewhere.accept()
