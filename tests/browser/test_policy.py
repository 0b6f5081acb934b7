"""Every kind of page under its Content-Security-Policy: nothing is refused, everything is drawn."""

from urllib.parse import urlsplit

import pytest
from browser_seed import Seeded
from conftest import Tab
from playwright.sync_api import Page, Response, expect

LISTEN = """() => {
  window.refused = [];
  document.addEventListener("securitypolicyviolation", (event) => {
    window.refused.push(`${event.violatedDirective} ${event.blockedURI}`);
  });
}"""
DRAWN = """() => {
  const inked = (canvas) => {
    const { width, height } = canvas;
    if (!width || !height) return false;
    const pixels = canvas.getContext("2d").getImageData(0, 0, width, height).data;
    return pixels.some((value, index) => index % 4 === 3 && value > 0);
  };
  const paths = [...document.querySelectorAll("main svg path, main svg polyline")];
  const long = paths.filter((path) => path.getTotalLength() > 20 && path.getBBox().width > 5);
  const canvases = [...document.querySelectorAll("canvas")].filter(inked);
  return { paths: long.length, canvases: canvases.length };
}"""


@pytest.fixture
def watched(tab: Tab) -> Tab:
    """A signed-in tab that notes what the policy refuses, from each page's first moment on."""
    tab.context.add_init_script(f"({LISTEN})()")
    return tab


def _refused(page: Page) -> list[str]:
    found: list[str] = page.evaluate("window.refused")
    return found


@pytest.mark.parametrize(
    ("kind", "n_paths", "n_canvases"),
    [
        pytest.param("sweep", 2, 1, id="sweep"),
        pytest.param("run", 2, 0, id="run"),
        pytest.param("compare", 2, 0, id="compare"),
        pytest.param("project", 0, 0, id="project"),
    ],
)
def test_charts_are_drawn_under_the_policy_and_nothing_is_refused(
    watched: Tab, seeded: Seeded, kind: str, n_paths: int, n_canvases: int
) -> None:
    addresses = {
        "sweep": seeded.sweep_url,
        "run": f"{seeded.project_url}/runs/{seeded.best}",
        "compare": f"{seeded.project_url}/compare?runs={seeded.best},{seeded.finished[-1]}",
        "project": seeded.project_url,
    }
    answers: list[Response] = []
    watched.page.on("response", lambda answer: answers.append(answer))

    page = watched.open(addresses[kind])
    page.wait_for_function(
        f"([p, c]) => {{ const d = ({DRAWN})(); return d.paths >= p && d.canvases >= c; }}",
        arg=[n_paths, n_canvases],
    )

    policy = answers[0].headers["content-security-policy"]
    assert "script-src 'self'" in policy
    assert "unsafe" not in policy
    assert _refused(page) == []
    assert {urlsplit(answer.url).netloc for answer in answers} == {urlsplit(watched.url).netloc}
    assert [words for words in watched.problems if "Canvas2D" not in words] == []  # our own look


def test_the_policy_refuses_what_a_hostile_page_would_try(watched: Tab, seeded: Seeded) -> None:
    page = watched.open(seeded.project_url)
    expect(page.locator("#runs tbody tr").first).to_be_visible()

    page.evaluate(
        """() => {
          const script = document.createElement("script");
          script.textContent = "window.owned = 1";
          document.body.append(script);
          const image = document.createElement("img");
          image.setAttribute("onerror", "window.owned = 2");
          image.src = "http://127.0.0.1:1/stolen?cookie";
          document.body.append(image);
          const frame = document.createElement("iframe");
          frame.src = "http://127.0.0.1:1/";
          document.body.append(frame);
          fetch("http://127.0.0.1:1/").catch(() => {});
          // Later, in a task of the page's own: what a test runs itself may evaluate.
          setTimeout(() => { window.owned = eval("3"); }, 0);
        }"""
    )
    page.wait_for_function("() => window.refused.length >= 5")

    told = {entry.split("-")[0] for entry in _refused(page)}
    assert {"script", "img", "frame", "connect"} <= told
    assert page.evaluate("window.owned") is None
