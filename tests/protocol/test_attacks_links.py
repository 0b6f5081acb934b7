"""Signed links: whoever changes one, comes too late, or has lost key or rights, gets nothing."""

import re
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from sweepd.engine import accounts, keys, link_holders, links, teams
from sweepd.engine.views import Role

sys.path.insert(0, str(Path(__file__).parent))

from drafting import Drafting

FILES = """mutation($f: [String!]!) { createRunFiles(input: {entityName: "alice",
  projectName: "toy", runName: "r1", files: $f}) { files { uploadUrl } } }"""
READ = """{ project(name: "toy") { run(name: "r1") { files(names: ["mine.txt"]) {
  edges { node { directUrl } } } } } }"""


@pytest.fixture(scope="module")
def stranger(fortress):
    return fortress.client(key=None)


@pytest.fixture(scope="module")
def upload(fortress, stranger):
    client = fortress.client()
    mine, other = client.data(FILES, f=["mine.txt", "other.txt"])["createRunFiles"]["files"]
    for file in (mine, other):
        assert stranger.request("PUT", file["uploadUrl"], content=b"first").status_code == 200
    return mine["uploadUrl"]


@pytest.fixture(scope="module")
def download(fortress, upload):
    edges = fortress.client().data(READ)["project"]["run"]["files"]["edges"]
    return edges[0]["node"]["directUrl"]


def _changed(url, pattern, replacement):
    changed, count = re.subn(pattern, replacement, url, count=1)
    assert count == 1
    return changed


TAMPERING = [
    pytest.param(r"mine\.txt", "other.txt", id="another file"),
    pytest.param(r"mine\.txt", "%2e/mine.txt", id="the same file by another path"),
    pytest.param(r"mine\.txt", "mine.txt/", id="a slash more"),
    pytest.param(r"/storage/\d+/", "/storage/999/", id="another run"),
    pytest.param(r"expires=\d+", f"expires={2**40}", id="a later end"),
    pytest.param(r"expires=(\d+)", r"expires=+\1", id="the same end, written otherwise"),
    pytest.param(r"expires=(\d+)", "expires=NaN", id="an end that is no number"),
    pytest.param(r"expires=\d+&", "", id="no end"),
    pytest.param(r"for=\d+", "for=2", id="somebody else's"),
    pytest.param(r"for=[^&]+", "for=", id="for nobody"),
    pytest.param(r"for=(\d+)\.\w+", r"for=\1.", id="without the key"),
    pytest.param(r"signature=[^&]+", "signature=", id="an empty signature"),
    pytest.param(r"&signature=[^&]+", "", id="no signature"),
    pytest.param(r"signature=.", "signature=!", id="another signature"),
    pytest.param(r"signature=.", "signature=%F0%9F%92%A9", id="a signature that is no ASCII"),
]


@pytest.mark.parametrize(("pattern", "replacement"), TAMPERING)
def test_tampering_with_a_signed_link_to_read_is_refused(stranger, download, pattern, replacement):
    answer = stranger.request("GET", _changed(download, pattern, replacement))

    assert answer.status_code in (403, 404)
    assert answer.content != b"first"


@pytest.mark.parametrize(("pattern", "replacement"), TAMPERING)
def test_tampering_with_a_signed_link_to_write_is_refused(
    fortress, stranger, upload, download, pattern, replacement
):
    answer = stranger.request("PUT", _changed(upload, pattern, replacement), content=b"second")

    assert answer.status_code in (403, 404)
    assert stranger.request("GET", download).content == b"first"


def test_a_signed_link_to_read_does_not_write_nor_the_other_way_round(stranger, upload, download):
    assert stranger.request("PUT", download, content=b"second").status_code == 403
    assert stranger.request("GET", upload).status_code == 403
    assert stranger.request("GET", download).content == b"first"


def test_a_signed_link_that_has_expired_is_refused(fortress, stranger, upload):
    path = urlsplit(upload).path
    late = links.sign(fortress.store.secret, path, expires_at=time.time() - 1, method="GET")

    assert stranger.request("GET", late).status_code == 403


def test_a_signed_link_of_another_service_is_refused(stranger, upload):
    path = urlsplit(upload).path
    foreign = links.sign(b"s" * 32, path, expires_at=time.time() + 60, method="GET")

    assert stranger.request("GET", foreign).status_code == 403


def test_a_signed_link_opens_nothing_else(stranger, upload):
    query = urlsplit(upload).query

    for path in ("/graphql", "/files/alice/toy/r1/file_stream"):
        assert stranger.request("POST", f"{path}?{query}", json={}).status_code == 401
    assert stranger.request("GET", f"/-/data/run/alice/toy/r1?{query}").status_code == 401


class Lost:
    """Ways in which dan loses what he had; he is a member of team `crew` with a key."""

    def __init__(self, service):
        store = service.store
        self.write = store.write_sync
        self.root = store.read_sync(accounts.account_by_name, name="alice")
        self.dan, key = self.write(accounts.add_user, name="dan")
        self.write(teams.create_team, actor=self.root, name="crew")
        self.join(Role.MEMBER)
        self.client = service.client(key)
        (self.key,) = store.read_sync(keys.keys_of, account=self.dan)

    def join(self, role):
        self.write(teams.set_role, actor=self.root, team="crew", user="dan", role=role)

    def revoked(self):
        self.write(keys.revoke_key, key_id=self.key.id, actor=self.root)

    def expired(self):
        ended = {"expires_at": time.time() - 1}
        self.write(lambda tx: tx.conn.execute(keys.t.api_key.update().values(**ended)))

    def removed(self):
        self.write(accounts.remove_user, name="dan")

    def left(self):
        self.write(teams.remove_member, actor=self.root, team="crew", user_id=self.dan.id)

    def demoted(self):
        self.join(Role.VIEWER)


@pytest.fixture
def lost(service):
    return Lost(service)


@pytest.fixture
def of_dan(service, lost):
    """Links that dan was given: (method, address, body), of files of a run, and of artifacts."""
    crew = FILES.replace("alice", "crew")
    client, nobody = lost.client, service.client(key=None)
    made = client.data(
        'mutation { upsertBucket(input: {name: "r1", entityName: "crew", modelName: "toy"})'
        " { inserted } }"
    )
    assert made["upsertBucket"]["inserted"]
    put = client.data(crew, f=["mine.txt"])["createRunFiles"]["files"][0]["uploadUrl"]
    assert nobody.request("PUT", put, content=b"first").status_code == 200
    read = READ.replace('name: "toy"', 'name: "toy", entityName: "crew"')
    edges = client.data(read)["project"]["run"]["files"]["edges"]
    drafting = Drafting(client, nobody, entity="crew")
    version = drafting.log({"a.txt": b"first"}, clientID="client-of-dan")
    files = client.data(
        f"""{{ artifact(id: "{version["id"]}") {{ currentManifest {{ file {{ directUrl }} }}
        files {{ edges {{ node {{ directUrl }} }} }} }} }}"""
    )["artifact"]
    draft = drafting.create("draft", "d2")["id"]
    (sent,) = drafting.announce(draft, {"b": b"second"})
    return [
        ("PUT", put, b"second"),
        ("PUT", sent["uploadUrl"], b"second"),
        ("GET", edges[0]["node"]["directUrl"], b""),
        ("GET", files["files"]["edges"][0]["node"]["directUrl"], b""),
        ("GET", files["currentManifest"]["file"]["directUrl"], b""),
    ]


def statuses(service, sent):
    nobody = service.client(key=None)
    return [nobody.request(how, url, content=body).status_code for how, url, body in sent]


@pytest.mark.parametrize("how", ["revoked", "expired", "removed", "left"])
def test_links_end_at_once_with_the_key_the_user_and_the_membership(service, lost, of_dan, how):
    assert statuses(service, of_dan) == [200] * 5

    getattr(lost, how)()

    assert statuses(service, of_dan) == [403] * 5


def test_links_to_write_end_with_the_role_and_those_to_read_do_not(service, lost, of_dan):
    lost.demoted()

    assert statuses(service, of_dan) == [403] * 2 + [200] * 3


def test_links_of_an_open_project_outlast_the_membership_but_not_the_key(service, lost, of_dan):
    opened = """mutation { upsertModel(input: {name: "toy", entityName: "crew",
      access: "USER_READ"}) { inserted } }"""
    service.client().data(opened)
    lost.left()
    assert statuses(service, of_dan) == [403] * 2 + [200] * 3

    lost.revoked()

    assert statuses(service, of_dan) == [403] * 5


def test_links_end_though_the_version_is_linked_into_a_project_of_ones_own(service, lost, of_dan):
    linked = """mutation { linkArtifact(input: {clientID: "client-of-dan", aliases: [],
      artifactPortfolioName: "best", entityName: "dan", projectName: "own"}) { versionIndex } }"""
    lost.client.data(
        """mutation { upsertModel(input: {name: "own", entityName: "dan"}) { inserted } }"""
    )
    assert lost.client.data(linked)["linkArtifact"]["versionIndex"] == 0

    lost.left()

    assert statuses(service, of_dan) == [403] * 5


def test_a_link_that_was_signed_for_nobody_opens_nothing(fortress, stranger, upload):
    path = urlsplit(upload).path
    secret, later = fortress.store.secret, time.time() + 60

    for holder in ("", ".", "x.y", "\u0663.", "99999."):
        url = links.sign(secret, path, expires_at=later, method="GET", holder=holder)
        assert stranger.request("GET", url).status_code == 403
    alice = fortress.store.read_sync(accounts.account_by_name, name="alice")
    url = links.sign(
        secret, path, expires_at=later, method="GET", holder=link_holders.holder_of(alice)
    )
    assert stranger.request("GET", url).status_code == 200
