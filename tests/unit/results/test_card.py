"""The model's card: what people read, what programs read, and nobody's text as markup."""

import hashlib
import json
import re
from pathlib import Path

import pytest

from sweepd.results.card import card, card_path, thinned
from sweepd.results.exported import ExportedFile

FILE = ExportedFile(
    precision="fp32",
    path=Path("/somewhere/private/model.onnx"),
    sha256="ab" * 32,
    size_bytes=61_585,
    max_abs_diff=3.8e-6,
    agreement=None,
    accuracy=0.9916,
    n_held_out=359,
    latency_ms={1: 0.02, 256: 1.5},
)
HOSTILE = "<script>alert(1)</script> | `x` [a](javascript:b) \n# head\u202e"


def _card(**changes):
    facts = {
        "metadata": {"run": "me/p/r1", "run_name": "trial-1", "version.torch": "2.15"},
        "config": {"lr": 0.1},
        "metrics": {"val_accuracy": 0.9},
        "curve": [],
        **changes,
    }
    return card([FILE], {}, **facts)


def _facts(text):
    (block,) = re.findall(r"```json\n(.*?)\n```", text, re.DOTALL)
    return json.loads(block)


def test_the_card_stands_beside_the_file_and_says_what_the_report_says(exported):
    text = exported.report.card.read_text()
    facts = _facts(text)

    assert exported.report.card == card_path(exported.out).resolve()
    assert facts["files"][0]["sha256"] == hashlib.sha256(exported.out.read_bytes()).hexdigest()
    assert facts["files"][0]["sha256"] in text.partition("```json")[0]
    assert facts["metadata"]["sweep"] == "me/digits/s1"
    assert facts["metadata"]["git.commit"] == "abc"
    assert facts["config"]["kernels"] == [2, 4]
    assert facts["metrics"]["test_accuracy"] == 0.88
    assert facts["curve"] == [[0, 0.8], [1, 0.9]]
    assert "The highest val\\_accuracy of its sweep: 0.9 by the rule best." in text


@pytest.mark.parametrize(
    ("interval", "words"),
    [
        pytest.param({}, "0.8 of 1. This", id="one seed"),
        pytest.param({"confirmed_without": "2"}, "0.8 of 1 of 3 seeds. This", id="two lost"),
        pytest.param(
            {"confirmed_low": "0.7", "confirmed_high": "0.9"},
            "0.8 of 1 (90 % interval 0.7 to 0.9). This",
            id="several",
        ),
    ],
)
def test_the_card_of_a_confirmed_model_says_what_fresh_seeds_came_to(interval, words):
    chosen = {"metric": "acc", "goal": "maximize", "rule": "best", "value": "0.95"}
    confirmed = {"confirmed_mean": "0.8", "confirmed_seeds": "1", **interval}

    text = _card(metadata={"run": "me/digits/r1", **chosen, **confirmed})

    said = f"By the highest mean acc the best of its sweep's leaders with fresh seeds: {words}"
    assert said in text
    assert "This run's own value is 0.95 by the rule best." in text


def test_the_card_of_three_files_lists_each(exported_in_three):
    facts = _facts(exported_in_three.report.card.read_text())

    assert [file["path"] for file in facts["files"]] == ["m.onnx", "m.fp16.onnx", "m.int8.onnx"]
    assert ("model.md", exported_in_three.report.card.read_bytes()) in exported_in_three.run.uploads


def test_the_card_names_no_folder_of_this_machine():
    assert "/somewhere" not in _card()


@pytest.mark.parametrize("place", ["metadata", "config", "metrics", "refused"])
def test_nobodys_text_is_markup(place):
    named = {
        "metadata": {"metadata": {"run": HOSTILE, "run_name": HOSTILE, "dataset": HOSTILE}},
        "config": {"config": {HOSTILE: HOSTILE}},
        "metrics": {"metrics": {HOSTILE: 1.0}},
    }
    text = (
        card([FILE], {"int8": HOSTILE}, metadata={"run": "r"}, config={}, metrics={}, curve=[])
        if place == "refused"
        else _card(**named[place])
    )
    for_people = text.partition("```json")[0]

    assert "<script" not in for_people
    assert "\u202e" not in text
    assert not re.search(r"^# head", for_people, re.MULTILINE)
    assert not re.search(r"(?<!\\)\[a", for_people)
    tables = [line for line in for_people.splitlines() if line.startswith("|")]
    assert all(len(re.findall(r"(?<!\\)\|", line)) in (3, 9) for line in tables)
    assert _facts(text)["files"]


def test_an_address_is_a_link_and_nothing_else_is():
    text = _card(metadata={"run": "r", "run_url": "https://a.example/r", "git.remote": "x://y"})

    assert "| run\\_url | <https://a.example/r> |" in text
    assert "<x://y>" not in text


def test_a_curve_is_drawn_in_one_line():
    curve = [(step, float(step)) for step in range(200)]

    text = _card(metadata={"run": "r", "metric": "m"}, curve=curve)

    (line,) = [line for line in text.splitlines() if line.startswith("▁")]
    assert "█ (200 values, from 0 to 199, lowest 0, highest 199)" in line
    assert len(_facts(text)["curve"]) == 100


def test_thinning_keeps_the_ends():
    assert thinned([(0, 1.0), (1, 2.0)], 5) == [(0, 1.0), (1, 2.0)]
    assert [step for step, _ in thinned([(n, 0.0) for n in range(101)], 3)] == [0, 50, 100]


def test_a_run_that_nobody_chose_has_its_sweeps_curve(fake, trained_run, tmp_path):
    from types import SimpleNamespace

    from sweepd.results import export

    metric = {"name": "val_accuracy", "goal": "maximize"}
    trained_run.sweep = SimpleNamespace(
        entity="me", project="digits", id="s1", config={"metric": metric}
    )

    report = export("me/digits/r1", out=tmp_path / "m.onnx", api=fake.api([trained_run]))

    facts = _facts(report.card.read_text())
    assert facts["metadata"]["sweep"] == "me/digits/s1"
    assert facts["curve"] == [[0, 0.8], [1, 0.9]]
    assert trained_run.uploads[0][0] == "model.onnx"
