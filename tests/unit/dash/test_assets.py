"""The pages' own files: whole, and nothing from elsewhere."""

import re
from pathlib import Path

import pytest

import sweepd.dash
from sweepd.dash.assets import render
from sweepd.engine.views import Account

ROOT = Path(sweepd.dash.__file__).parent
SCRIPTS = sorted((ROOT / "static" / "js").glob("*.js"))
OURS = [*SCRIPTS, *(ROOT / "static").rglob("*.css"), *(ROOT / "templates").glob("*.html")]


@pytest.mark.parametrize("path", OURS, ids=lambda path: path.name)
def test_nothing_is_fetched_from_elsewhere(path: Path) -> None:
    text = path.read_text("utf-8").replace("http://www.w3.org/2000/svg", "")

    assert not re.search(r"https?://", text)


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_scripts_write_text_never_markup(path: Path) -> None:
    text = path.read_text("utf-8")

    for banned in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("):
        assert banned not in text


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_every_script_that_is_imported_is_there(path: Path) -> None:
    for name in re.findall(r'from "\./([^"]+)"', path.read_text("utf-8")):
        assert (path.parent / name).is_file()


@pytest.mark.parametrize("path", OURS, ids=lambda path: path.name)
def test_files_are_short_enough_to_read(path: Path) -> None:
    assert path.read_text("utf-8").count("\n") <= 500


@pytest.mark.parametrize(
    "path", sorted((ROOT / "templates").glob("*.html")), ids=lambda path: path.name
)
def test_templates_have_no_inline_style_or_handler(path: Path) -> None:
    text = path.read_text("utf-8")

    assert "style=" not in text
    assert not re.search(r"\son\w+=", text)


def test_page_names_all_its_scripts_so_that_they_are_fetched_at_once() -> None:
    account = Account(1, "ada", "ada@localhost", True, 1, "ada", own_id=1)

    shown = {"homes": [], "members_url": None, "problem": None}
    page = render("projects.html", data={}, account=account, entity="ada", **shown)

    named = set(re.findall(r'modulepreload" href="[^"]*/([\w-]+\.js)"', page))
    assert {"dom.js", "format.js", "live.js"} <= named
    assert page.count('<script type="module"') == 1


def test_what_stands_in_a_page_is_escaped() -> None:
    page = render("login.html", next='/"><b>', problem="<b>")

    assert "<b>" not in page
    assert "&lt;b&gt;" in page
