"""The client's failures, in words."""

from types import SimpleNamespace

import pytest
import wandb
from wandb.errors import AuthenticationError, CommError, UsageError
from wandb.proto.wandb_api_pb2 import ApiErrorResponse
from wandb.sdk.lib.service.service_connection import WandbApiFailedError

from sweepd.errors import ExportError, NotFound, ServerUnreachable, Unauthorized
from sweepd.results.server import download, in_words, open_api


class _Cause(Exception):
    def __init__(self, response):
        super().__init__("cause")
        self.response = response


def _failed(status):
    return WandbApiFailedError("failed", ApiErrorResponse(message="failed", http_status=status))


def _refused(*, has_answered):
    error = AuthenticationError("Failed to verify credentials")
    error.__cause__ = _Cause("401" if has_answered else None)
    return error


@pytest.mark.parametrize(
    ("error", "wanted"),
    [
        pytest.param(UsageError("No API key configured"), Unauthorized, id="no key"),
        pytest.param(_refused(has_answered=True), Unauthorized, id="wrong key"),
        pytest.param(_refused(has_answered=False), ServerUnreachable, id="silent server"),
        pytest.param(CommError("connection refused"), ServerUnreachable, id="no server"),
    ],
)
def test_a_server_that_cannot_be_opened_is_said_in_words(monkeypatch, error, wanted):
    def fail():
        raise error

    monkeypatch.setattr(wandb, "Api", fail)

    with pytest.raises(wanted, match="the W&B server"):
        open_api()


@pytest.mark.parametrize(
    ("error", "wanted"),
    [
        pytest.param(ValueError("Could not find sweep x"), NotFound, id="value error"),
        pytest.param(CommError("Could not find run x"), NotFound, id="absent"),
        pytest.param(CommError("HTTP 500\ndetails"), ServerUnreachable, id="broken"),
        pytest.param(WandbApiFailedError("HTTP 502"), ServerUnreachable, id="page of a list"),
        pytest.param(_failed(503), ServerUnreachable, id="busy"),
        pytest.param(_failed(401), Unauthorized, id="key that has ended"),
        pytest.param(_failed(404), NotFound, id="list of nothing"),
    ],
)
def test_a_failed_read_names_what_was_read(error, wanted):
    with pytest.raises(wanted, match=r"^the sweep x: ") as caught, in_words("the sweep x"):
        raise error

    assert "\n" not in str(caught.value)


def test_a_download_that_breaks_off_is_an_export_error(tmp_path):
    def break_off(root, replace):
        raise CommError("connection reset")

    file = SimpleNamespace(name="checkpoint.pt", size=3, md5="x", download=break_off)
    run = SimpleNamespace(path=["a", "b", "c"], files=lambda names=(): [file])

    with pytest.raises(ExportError, match=r"checkpoint\.pt of the run a/b/c did not download"):
        download(run, "checkpoint.pt", tmp_path)

    assert not list(tmp_path.iterdir())
