"""A sweep as one file."""

import base64
import hashlib
import re
from datetime import UTC, datetime
from html.parser import HTMLParser

import pytest

from sweepd.errors import InvalidInput, NotFound
from sweepd.results import write_report

NOW = datetime(2026, 1, 2, 4, 0, tzinfo=UTC)
METRIC = {"name": "acc", "goal": "maximize"}
EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&"
TAGS = {
    *("html", "head", "meta", "title", "style", "body", "header", "section", "h1", "h2", "p", "a"),
    *("table", "thead", "tbody", "tr", "th", "td", "div", "figure", "svg", "path", "circle"),
    *("text", "rect", "details", "summary", "pre", "code"),
}


class Page(HTMLParser):
    """The elements, attributes and words of a page."""

    def __init__(self, path):
        super().__init__()
        self.source = path.read_text()
        self.tags, self.attributes, self.words = set(), [], []
        self.feed(self.source)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes += attrs

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


@pytest.fixture
def page_of(tmp_path):
    """Write a report and read it."""

    def make(api, **how):
        made = write_report("s1", out=tmp_path / "r.html", now=NOW, api=api, **how)
        assert made.size_bytes == made.path.stat().st_size
        return Page(made.path)

    return make


@pytest.fixture
def api(fake, tmp_path):
    """A sweep of two finished runs and one that failed; the best has a model."""
    runs = [
        fake.run(
            "a", [0.5, 0.7], config={"epochs": 3, "learning_rate": 0.1, "seed": 0}, url="http://x/a"
        ),
        fake.run("b", [0.9], config={"epochs": 3, "learning_rate": 0.3, "seed": 0}),
        fake.run("c", [], state="failed"),
    ]
    runs[1].folder = tmp_path / "files"
    runs[1].folder.mkdir()
    (runs[1].folder / "model.onnx").write_bytes(b"12345")
    told = {"startedAt": "2026-01-02T03:04:05.678901Z", "host": "node7", "python": "3.11.9"}
    runs[1].metadata |= {**told, "gpu": "H200"}
    runs[1].summary_metrics = {"_runtime": 90, "test_accuracy": 0.88}
    return fake.api(runs, metric=METRIC)


def test_a_report_tells_what_was_searched_how_it_went_and_what_came_of_it(page_of, api):
    text = page_of(api).text

    assert "acc 0.9: run b" in text
    assert "3: 2 finished, 1 failed" in text
    assert "from first to last 1 min 30 s" in text
    assert "began 2026-01-02 03:04:05 UTC" in text
    assert "run time 1 min 30 s" in text
    assert "2026-01-02 04:00 UTC" in text
    assert '{"min": 0.1, "max": 1.0}' in text
    assert "test_accuracy 0.88" in text
    assert "runs in the order of their start" in text
    assert "learning_rate" in text
    for fact in ("node7", "3.11.9", "H200", "abc", "example.com/repo", "model.onnx", "5 bytes"):
        assert fact in text


def test_a_report_needs_no_network_and_no_script_and_brings_its_own_policy(page_of, api):
    page = page_of(api)

    assert page.tags <= TAGS
    names = {name for name, _ in page.attributes}
    assert not names & {"src", "style", "srcset", "action"}
    assert not [name for name in names if name.startswith("on")]
    assert "@import" not in page.source
    assert "url(" not in page.source
    style = re.search(r"<style>(.*?)</style>", page.source, re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"default-src 'none'; style-src 'sha256-{digest}'" in page.source
    assert len(page.source) < 60_000


def test_hostile_words_stay_words_wherever_they_come_from(page_of, fake):
    runs = []
    for n in range(3):
        config = {EVIL: EVIL, "learning_rate": f"{EVIL}{n}"}
        runs.append(fake.run(f"r{n}", [0.1 * n], config=config, url="javascript:alert(3)"))
        runs[n].name = EVIL
        runs[n].state = "finished" if n else EVIL
        runs[n].summary_metrics = {f"test{EVIL}": 1.0}
        runs[n].metadata = {"host": EVIL, "gpu": EVIL, "git": {"remote": EVIL, "commit": EVIL}}
    api = fake.api(runs, metric={"name": EVIL, "goal": "maximize"})
    api.sweep("s1").url = "javascript:alert(4)"
    api.sweep("s1").config |= {"name": EVIL, "description": EVIL}
    api.sweep("s1").config["parameters"][EVIL] = {"values": [EVIL, "other"]}
    again = fake.run("c", [0.1], config={**runs[2].config, "seed": 1})
    api.confirm("c1", [again])
    told = {"name": EVIL, "share": 0.5, "shareLow": 0.4, "shareHigh": 0.6}
    importance = {"runs": 30, "runsNeeded": 20, "note": EVIL, "parameters": [told]}

    page = page_of(api, importance=importance)

    assert page.tags <= TAGS
    assert "<img" not in page.source
    assert "<script" not in page.source
    assert {value for name, value in page.attributes if name == "href"} == set()
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    assert page.text.count("alert(1)") > 10


def test_confirmations_are_in_it(page_of, fake, api):
    lr = {"epochs": 3, "learning_rate": 0.1}
    api.confirm("c1", [fake.run(f"x{n}", [0.6 + n / 10], config={**lr, "seed": n}) for n in (1, 2)])

    text = page_of(api).text

    assert "Confirmed with fresh seeds" in text
    assert "fresh seeds: 1, 2" in text
    assert "mean acc 0.75 of 2 fresh seeds: run a" in text  # the confirmed leads
    assert "the best single value is 0.9 (run b)" in text


def test_seeds_that_came_to_no_value_are_told_beside_the_mean(page_of, fake, api):
    lr = {"epochs": 3, "learning_rate": 0.1}
    runs = [fake.run(f"x{n}", [0.6], config={**lr, "seed": n}) for n in (1, 2, 3)]
    runs[2].state = "failed"
    api.confirm("c1", runs)

    text = page_of(api).text

    assert "mean acc 0.6 of 2 of 3 fresh seeds: run a" in text
    assert "by the mean acc, 0.6 of 2 of 3 seeds for the best" in text


def test_a_sweep_of_several_metrics_shows_its_front(page_of, fake):
    runs = [
        fake.run("small", {"acc": [0.5], "size": [1.0]}, config={"learning_rate": 0.1}),
        fake.run("large", {"acc": [0.9], "size": [9.0]}, config={"learning_rate": 0.2}),
        fake.run("beaten", {"acc": [0.4], "size": [9.5]}, config={"learning_rate": 0.3}),
    ]
    api = fake.api(runs)
    api.sweep("s1").config["metrics"] = [METRIC, {"name": "size"}]

    page = page_of(api)

    assert "2 runs on the front" in page.text
    assert "Runs that no other one beats" in page.text
    assert "run beaten: acc 0.4, size 9.5" in page.text
    assert page.source.count('class="best"') >= 2


def test_nested_parameters_have_columns_of_their_own(page_of, api):
    api.sweep("s1").config["parameters"]["opt"] = {"parameters": {"name": {"values": ["x", "y"]}}}
    for run, name in zip(api.listed, "xyx", strict=True):
        run.config["opt"] = {"name": name, "betas": [0.9, 0.99]}

    text = page_of(api).text

    assert "acc learning_rate opt.name opt.betas" in text
    assert "y [0.9, 0.99]" in text
    assert "acc over opt.name" in [
        value for name, value in page_of(api).attributes if name == "aria-label"
    ]


def test_importance_is_drawn_and_orders_the_plots(page_of, api):
    api.sweep("s1").config["parameters"]["epochs"] = {"values": [3, 5]}
    api.listed[0].config["epochs"] = 5
    one = {"shareLow": 0.1, "shareHigh": 0.9}
    parameters = [
        {"name": "epochs", "share": 0.2, **one},
        {"name": "learning_rate", "share": 0.7, **one},
    ]

    page = page_of(
        api, importance={"runs": 25, "runsNeeded": 20, "note": None, "parameters": parameters}
    )

    assert "70%" in page.text
    labels = [value for name, value in page.attributes if name == "aria-label"]
    assert labels == ["best acc so far", "importance", "acc over learning_rate", "acc over epochs"]


def test_too_few_runs_for_importance_are_told(page_of, api):
    few = {"runs": 2, "runsNeeded": 20, "note": None, "parameters": []}

    assert "needs 20 finished runs; there are 2" in page_of(api, importance=few).text


def test_a_sweep_without_a_finished_run_says_so(page_of, fake):
    text = page_of(fake.api([fake.run("c", [], state="crashed")], metric=METRIC)).text

    assert "can be ranked: 1 crashed" in text
    assert "1: 1 crashed" in text


def test_a_sweep_without_runs_or_a_metric_has_a_report_too(page_of, fake):
    assert "has no metric" in page_of(fake.api([])).text


def test_what_stands_there_stays_unless_the_report_is_whole(fake, api, tmp_path):
    out = tmp_path / "r.html"
    out.write_text("before")

    with pytest.raises(NotFound, match="nope"):
        write_report("nope", out=out, now=NOW, api=api)
    with pytest.raises(InvalidInput, match="first"):
        write_report("s1", out=out, now=NOW, by="first", api=api)

    assert out.read_text() == "before"
    write_report("s1", out=out, now=NOW, api=api)
    assert out.read_text().startswith("<!DOCTYPE html>")
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["r.html"]


def test_text_that_is_no_text_and_numbers_beyond_all_floats_do_no_harm(page_of, api):
    api.listed[0].name = "half of a \ud83d pair \x1b[2J"
    api.listed[0].config["learning_rate"] = 10**400

    assert "half of a" in page_of(api).text
