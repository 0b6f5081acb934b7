from urllib.parse import parse_qs, urlsplit

import pytest

from sweepd.engine import links
from sweepd.errors import Forbidden

SECRET = bytes(range(32))
PATH = "/storage/alice/toy/r1/media/a b?c#ü.png"
NOW = 1_800_000_000.0


def parts(url):
    """Return a link's query as what `verify` takes."""
    query = parse_qs(urlsplit(url).query)
    names = {"expires": "expires", "signature": "signature", "holder": "for"}
    return {name: query[part][0] for name, part in names.items()}


@pytest.fixture
def signed():
    return parts(links.sign(SECRET, PATH, expires_at=NOW + 60, method="PUT", holder="7.kkk"))


def test_link_serves_what_it_was_signed_for(signed):
    links.verify(SECRET, PATH, **signed, method="PUT", now=NOW)


def test_link_has_the_path_percent_encoded():
    url = links.sign(SECRET, PATH, expires_at=NOW, method="GET")

    assert urlsplit(url).path == "/storage/alice/toy/r1/media/a%20b%3Fc%23%C3%BC.png"


def test_download_link_answers_head_too():
    signed = parts(links.sign(SECRET, PATH, expires_at=NOW + 60, method="GET", holder="7."))

    links.verify(SECRET, PATH, **signed, method="HEAD", now=NOW)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"method": "GET"}, id="other method"),
        pytest.param({"path": PATH + "x"}, id="other path"),
        pytest.param({"secret": bytes(32)}, id="other secret"),
        pytest.param({"expires": str(int(NOW) + 61)}, id="longer life"),
        pytest.param({"signature": ""}, id="no signature"),
        pytest.param({"signature": None}, id="signature left out"),
        pytest.param({"signature": "é\ud800"}, id="signature not ascii"),
        pytest.param({"holder": "8.kkk"}, id="somebody else"),
        pytest.param({"holder": "7."}, id="without the key"),
        pytest.param({"holder": None}, id="for nobody"),
        pytest.param({"expires": None}, id="expiry left out"),
        pytest.param({"expires": "٣"}, id="digits of another script"),
        pytest.param({"expires": "9" * 400}, id="endless number"),
        pytest.param({"now": NOW + 61}, id="expired"),
    ],
)
def test_link_serves_nothing_else(signed, change):
    given = {"secret": SECRET, "path": PATH, "method": "PUT", "now": NOW, **signed, **change}

    with pytest.raises(Forbidden, match="link"):
        links.verify(given.pop("secret"), given.pop("path"), **given)
