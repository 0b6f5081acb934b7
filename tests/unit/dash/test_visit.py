"""Where a browser may be sent, and whose requests count as ours."""

import pytest
from starlette.requests import Request

from sweepd.dash.sweepshape import address, controls
from sweepd.dash.visit import is_own, safe_path
from sweepd.states import SweepState


def request(**headers: str) -> Request:
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "method": "POST", "path": "/", "headers": raw})


@pytest.mark.parametrize("target", ["/", "/ada/mnist/sweeps/x?sort=-value#runs", "/a%20b/c"])
def test_own_paths_are_kept(target: str) -> None:
    assert safe_path(target) == target


@pytest.mark.parametrize(
    "target",
    ["", "//evil.example", "https://evil.example", "/\\evil.example", "/\t/evil.example", "x"],
)
def test_other_sites_are_not_gone_to(target: str) -> None:
    assert safe_path(target) == "/"


@pytest.mark.parametrize(
    ("headers", "is_ours"),
    [
        pytest.param({"sec_fetch_site": "same-origin"}, True, id="own page"),
        pytest.param({"sec_fetch_site": "cross-site"}, False, id="other site"),
        pytest.param({"sec_fetch_site": "same-site"}, False, id="neighbour"),
        pytest.param({"sec_fetch_site": "none"}, False, id="typed by hand"),
        pytest.param({"origin": "http://h:1", "host": "h:1"}, True, id="plain http"),
        pytest.param({"origin": "http://h:2", "host": "h:1"}, False, id="other port"),
        pytest.param({"origin": "null", "host": "h:1"}, False, id="sandbox"),
        pytest.param({"host": "h:1"}, False, id="nothing said"),
    ],
)
def test_only_own_pages_may_change_things(headers: dict[str, str], is_ours: bool) -> None:
    assert is_own(request(**headers)) is is_ours


def test_addresses_are_percent_encoded() -> None:
    assert address("ada", "my project/1", "runs", "a?b#c") == "/ada/my%20project%2F1/runs/a%3Fb%23c"


@pytest.mark.parametrize(
    ("state", "offered"),
    [
        (SweepState.PENDING, ["pause", "stop", "cancel"]),
        (SweepState.RUNNING, ["pause", "stop", "cancel"]),
        (SweepState.PAUSED, ["resume", "stop", "cancel"]),
        (SweepState.FAILED, ["resume", "cancel"]),
        (SweepState.FINISHED, []),
        (SweepState.CANCELED, []),
    ],
)
def test_offered_controls_are_the_legal_moves(state: SweepState, offered: list[str]) -> None:
    assert controls(state, n_running=0) == offered


def test_stopped_sweep_can_be_cancelled_while_trials_run() -> None:
    assert controls(SweepState.FINISHED, n_running=2) == ["cancel"]
