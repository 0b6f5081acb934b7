"""A run as its page shows it."""

import json

import pytest

from sweepd.dash.queries import AttemptRow
from sweepd.dash.runshape import attempt_data, histogram, step_keys
from sweepd.errors import Reason


def config_with(metrics: object) -> str:
    return json.dumps({"_wandb": {"value": {"m": metrics}}})


def test_step_metric_of_define_metric_is_the_axis_of_its_keys() -> None:
    metrics = [{"2": "val/*", "5": 2, "6": [1]}, {"1": "epoch"}, {"1": "lr", "5": 2}]
    scalars = ["val/loss", "lr", "epoch", "train/loss"]

    assert step_keys(config_with(metrics), scalars) == {"val/loss": "epoch", "lr": "epoch"}


@pytest.mark.parametrize(
    "metrics",
    [None, "x", [1], [{"5": 9}], [{"1": "loss", "5": "1"}], [{"1": "loss", "5": 1}, "x"]],
)
def test_nonsense_in_the_clients_config_is_passed_over(metrics: object) -> None:
    assert step_keys(config_with(metrics), ["loss"]) == {}


def test_histograms_come_in_two_forms() -> None:
    plain = {"_type": "histogram", "bins": [0, 1, 2], "values": [3, 4]}
    packed = {
        "_type": "histogram",
        "packedBins": {"min": 0, "size": 1, "count": 2},
        "values": [3, 4],
    }

    assert histogram(7, plain) == histogram(7, packed)


@pytest.mark.parametrize(
    "value",
    [
        {"_type": "histogram", "bins": [0, 1], "values": [3, 4]},
        {"_type": "histogram", "bins": ["a", 1, 2], "values": [3, 4]},
        {"_type": "histogram", "values": []},
        {"_type": "image-file", "bins": [0, 1], "values": [1]},
    ],
)
def test_what_is_no_histogram_is_left_out(value: object) -> None:
    assert histogram(0, value) is None


@pytest.mark.parametrize("reason", [None, *Reason])
def test_every_end_of_an_attempt_is_told(reason: Reason | None) -> None:
    row = AttemptRow(
        number=1,
        agent_id="a",
        agent=None,
        host="h",
        device=None,
        issued_at=0.0,
        started_at=1.0,
        ended_at=2.0,
        reason=reason,
        exit_code=1,
        signal=None,
        message=None,
    )

    assert attempt_data(row)["state"]["word"]
