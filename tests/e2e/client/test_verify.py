"""`wandb verify`, the client's own check of a server, over HTTP and over HTTPS."""

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from real import RealClient, certified, started

#: W&B's agent asks for each of the nine trials five seconds after the last: two minutes at most.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def _verify(folder: Path, *options: str, **trust: str) -> dict[str, bool]:
    """Run the command against a service of its own; return what it checked and found good."""
    with started(folder / "data", *options) as live:
        client = RealClient(folder, live)
        output = client.wandb(
            "verify", f"--host={live.url}", timeout_s=240, TMPDIR=str(folder), **trust
        )
    checks = re.findall(r"^Checking (.+?)\.{3,}(✅|❌)$", output, re.MULTILINE)
    assert checks, output
    return {title: sign == "✅" for title, sign in checks}


@pytest.fixture(scope="module")
def verified(tmp_path_factory) -> dict[str, dict[str, bool]]:
    """What is good over HTTP and over HTTPS, both asked at once since the command mostly waits."""
    plain, secure = tmp_path_factory.mktemp("http"), tmp_path_factory.mktemp("https")
    options, trust = certified(secure)
    with ThreadPoolExecutor() as pool:
        found = {
            "http": pool.submit(_verify, plain),
            "https": pool.submit(_verify, secure, *options, **trust),
        }
        return {scheme: future.result() for scheme, future in found.items()}


def test_wandb_verify_finds_nothing_wrong_over_http_but_that_it_is_not_https(verified):
    bad = {title for title, is_good in verified["http"].items() if not is_good}

    assert bad == {"requests to base url", "requests made over signed URLs"}


def test_wandb_verify_finds_nothing_wrong_over_https(verified):
    assert len(verified["https"]) == 10
    assert all(verified["https"].values()), verified["https"]
