"""The page on the definition names everything there is; the samples fit the trainer."""

import re
from pathlib import Path

import numpy as np
import pytest

from sweepd.macros import KNOWN
from sweepd.spec import Budget, EarlyTerminate, Metric, OwnBlock, Timeout, read_definition
from sweepd.spec.laws import LAWS
from sweepd.spec.reading import KEYS
from sweepd_trainer.config import read_config

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "definition.md").read_text()
BLOCKS = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
SOME = """
method: random
parameters:
  optimizer: {values: [adam, sgd, rmsprop]}
  momentum: {min: 0.0, max: 1.0}
  nesterov: {values: [true, false]}
  warmup: {values: [true, false]}
  opt: {parameters: {name: {values: [adam, lion]}, low: {min: 0, max: 3}, high: {min: 2, max: 4}}}
  schedule: {values: [linear, cosine]}
  batch_size: {values: [64, 4096]}
  depth: {min: 1, max: 8}
  n-heads: {values: [1, 2]}
  width: {min: 60, max: 64}
"""
NAMES = set(re.findall(r"`([^`\n]+)`", PAGE))


@pytest.mark.parametrize(
    "known",
    [
        pytest.param(KEYS - {"kind"}, id="top-level keys"),
        pytest.param(set(LAWS), id="distributions"),
        pytest.param({f"${{{name}}}" for name in KNOWN}, id="macros"),
        pytest.param(set(Metric.model_fields), id="metric"),
        pytest.param(set(EarlyTerminate.model_fields), id="early_terminate"),
        pytest.param(set(OwnBlock.model_fields), id="sweepd"),
        pytest.param(set(Budget.model_fields), id="budget"),
        pytest.param(set(Timeout.model_fields), id="timeout"),
    ],
)
def test_the_page_names_everything_there_is(known):
    assert known - NAMES - {"sweepd"} == set()


def test_the_definition_on_the_page_is_right():
    text, *_ = BLOCKS

    assert read_definition(text, allow_unknown=False).warnings == ()


@pytest.mark.parametrize("block", [text for text in BLOCKS if text.startswith("sweepd:")])
def test_blocks_of_our_own_on_the_page_are_right(block):
    assert read_definition(SOME + block, allow_unknown=False).warnings == ()


@pytest.mark.parametrize("path", sorted((ROOT / "sweeps").glob("*.yaml")), ids=lambda p: p.stem)
def test_the_trainer_takes_every_config_of_a_sample(path):
    definition = read_definition(path.read_bytes()).definition
    rng = np.random.default_rng(0)

    for _ in range(50):
        read_config(definition.space.nest(definition.space.sample(rng)))

    assert definition.program == "trainer/train.py"
