"""Settings, a team's members and the administration, as forms: who may do what, and in words."""

import asyncio
import re
import threading
import time
from urllib.parse import urlencode

import pytest

from sweepd.engine import accounts, keys, projects, sessions, teams
from sweepd.engine.access import Need
from sweepd.engine.views import Role

TEAM = "/-/teams/red"


class Site:
    """A service with team `red`: ann administers it, bea is a member, vic a viewer, mal nobody.

    Alice administers the service; ci is a service account of red. Forms are sent as browsers do.
    """

    def __init__(self, service):
        self.store = service.store
        self._client = service.client(key=None)
        self.root = self.store.read_sync(accounts.account_by_name, name="alice")
        for name in ("ann", "bea", "vic", "mal"):
            self.store.write_sync(accounts.create_user, name=name)
        self.store.write_sync(teams.create_team, actor=self.root, name="red", admin="ann")
        for name, role in (("bea", Role.MEMBER), ("vic", Role.VIEWER)):
            self.store.write_sync(teams.set_role, actor=self.root, team="red", user=name, role=role)
        ci = self.store.write_sync(
            teams.add_service_account, actor=self.root, team="red", name="ci"
        )
        self.ci_key, _ = self.store.write_sync(keys.add_key, account=ci, description="farm")
        self._cookies = {}

    def account(self, name):
        return self.store.read_sync(accounts.account_by_name, name=name)

    def sign_in(self, name, key=None):
        """Sign a browser in, with a key or without; return its token."""
        account = self.account(name)
        if key is not None:
            account = self.store.read_sync(accounts.account_by_key, key=key)
        token = self.store.write_sync(sessions.open_session, account=account, browser="Firefox")
        self._cookies[name] = f"{sessions.SESSION_COOKIE}={token}"
        return token

    def send(self, method, name, path, body="", /, **headers):
        if name not in self._cookies:
            self.sign_in(name)
        headers = {"Cookie": self._cookies[name], "Sec-Fetch-Site": "same-origin", **headers}
        headers["Content-Type"] = "application/x-www-form-urlencoded"
        return self._client.request(method, path, content=body, headers=headers)

    def get(self, name, path):
        return self.send("GET", name, path)

    def post(self, name, path, /, **fields):
        return self.send("POST", name, path, urlencode(fields))

    def roles(self):
        found = self.store.read_sync(
            teams.list_members, actor=self.root, team="red", need=Need.READ
        )
        return {member.name: str(member.role) for member in found}

    def users(self):
        return {user.name: user.is_admin for user in self.store.read_sync(accounts.list_users)}

    def keys(self, name):
        return self.store.read_sync(keys.keys_of, account=self.account(name))


@pytest.fixture
def site(service):
    return Site(service)


@pytest.fixture(scope="module")
def walls(fortress):
    """A site for all tests whose every form is refused: none changes it."""
    return Site(fortress)


@pytest.fixture
def unchanged(walls):
    """Checks in the end that nobody came to be, went, or may more than before."""

    def state():
        return walls.users(), walls.roles(), {name: walls.keys(name) for name in walls.users()}

    before = state()
    yield
    assert state() == before


def alert(answer):
    """Return what a page says is wrong; all of it."""
    found = re.findall(r'role="alert">.*?<span>(.*?)</span>', answer.text, re.DOTALL)
    return " ".join(found).replace("&#39;", "'")


def shown_key(answer):
    return re.search(r'id="key">([\w-]+)<', answer.text)[1]


# What everybody may: their own settings


def test_key_is_made_with_a_description_and_an_end_and_shown_once(site):
    answer = site.post("bea", "/authorize", description="my <laptop>", days="30")

    (made,) = site.keys("bea")
    key = shown_key(answer)
    assert answer.status_code == 200
    assert made.description == "my <laptop>"
    assert made.expires_at - made.created_at == pytest.approx(30 * 86400)
    assert site.store.read_sync(accounts.account_by_key, key=key).name == "bea"
    later = site.get("bea", "/-/settings")
    assert key not in later.text
    assert made.id in later.text
    assert "my &lt;laptop&gt;" in later.text


def test_key_with_an_end_that_is_none_is_refused_and_what_was_typed_kept(walls, unchanged):
    for days in ("soon", "0", "-1", "nan", "inf", "1e9", "'\">"):
        answer = walls.post("bea", "/authorize", description="laptop", days=days)

        assert answer.status_code == 400
        assert alert(answer).startswith("days: must be a number up to 36,500, not ")
        assert 'name="description" maxlength="200" value="laptop"' in answer.text


def test_own_key_is_revoked_and_no_other(site):
    site.post("bea", "/authorize")
    site.post("mal", "/authorize")
    (mine,), (other,) = site.keys("bea"), site.keys("mal")

    refused = site.post("bea", f"/-/settings/keys/{other.id}/revoke")
    missing = site.post("bea", "/-/settings/keys/nosuchkey123/revoke")
    by_root = site.post("alice", f"/-/settings/keys/{other.id}/revoke")
    done = site.post("bea", f"/-/settings/keys/{mine.id}/revoke")

    assert (done.status_code, done.headers["location"]) == (303, "/-/settings#keys")
    assert site.keys("bea") == []
    assert [answer.status_code for answer in (refused, missing, by_root)] == [404] * 3
    assert alert(refused) == f"there is no key '{other.id}'."
    assert alert(missing) == "there is no key 'nosuchkey123'."
    assert len(site.keys("mal")) == 1


def test_browser_is_signed_out_with_the_key_that_signed_it_in(site):
    key = shown_key(site.post("bea", "/authorize"))
    site.sign_in("bea", key)
    (mine,) = site.keys("bea")
    assert "This browser is signed in with it" in site.get("bea", "/-/settings").text

    site.post("bea", f"/-/settings/keys/{mine.id}/revoke")

    assert site.get("bea", "/-/settings").headers["location"].startswith("/login")


def test_browser_is_signed_out_when_the_key_that_signed_it_in_expires(site):
    later = time.time() + 3600
    key = site.store.write_sync(keys.add_key, account=site.account("bea"), expires_at=later)[1]
    site.sign_in("bea", key)
    link = site.store.write_sync(
        sessions.create_login_link,
        account=site.store.read_sync(accounts.account_by_key, key=key),
    )
    assert site.get("bea", "/-/settings").status_code == 200

    past = keys.t.api_key.update().values(expires_at=time.time())
    site.store.write_sync(lambda tx: tx.conn.execute(past))

    assert site.get("bea", "/-/settings").headers["location"].startswith("/login")
    assert site.post("bea", "/authorize").headers["location"].startswith("/login")
    assert site.get("bea", f"/login/{link}").status_code == 401
    assert site.keys("bea") == []


def test_form_of_who_was_signed_out_leads_back_to_its_page(service):
    nobody = service.client(key=None)
    own, site = {"Sec-Fetch-Site": "same-origin"}, "http://sweeps.test"
    led = {
        referer: nobody.request(
            "POST", "/-/teams/red/members", headers={**own, "Referer": referer}
        ).headers["location"]
        for referer in (f"{site}/-/teams/red?x=1#members", f"{site}/a%20b/c", "", "http://[")
    }

    assert [*led.values()] == [
        "/login?next=/-/teams/red",
        "/login?next=/a%2520b/c",
        "/login?next=/",
        "/login?next=/",
    ]


def test_key_that_has_ended_signs_nobody_in_and_is_told_why(site, service):
    revoked, key = site.store.write_sync(keys.add_key, account=site.account("bea"))
    site.store.write_sync(keys.revoke_key, key_id=revoked.id, actor=None)

    for typed, words in (
        (key, "That API key has been revoked."),
        ("x" * 40, "This service does not know that API key."),
        ("", "This service does not know that API key."),
    ):
        answer = service.client(key=None).request(
            "POST",
            "/login",
            content=urlencode({"key": typed, "next": "/-/admin"}),
            headers={"Sec-Fetch-Site": "same-origin"},
        )
        assert (answer.status_code, alert(answer)) == (401, words)
        assert "set-cookie" not in answer.headers
        assert typed == "" or typed not in answer.text


def test_another_browser_is_signed_out_and_not_somebody_elses(site):
    site.sign_in("bea")
    gone = site._cookies["bea"]
    site.sign_in("bea")
    listed = site.store.read_sync(sessions.sessions_of, account=site.account("bea"))
    site.sign_in("mal")
    (of_mal,) = site.store.read_sync(sessions.sessions_of, account=site.account("mal"))
    (other,) = [
        one.id for one in listed if f"/browsers/{one.id}/end" in site.get("bea", "/-/settings").text
    ]

    done = site.post("bea", f"/-/settings/browsers/{other}/end")
    refused = site.post("bea", f"/-/settings/browsers/{of_mal.id}/end")

    assert (done.status_code, refused.status_code) == (303, 404)
    assert alert(refused) == f"there is no signed-in browser '{of_mal.id}'."
    assert site.get("mal", "/-/settings").status_code == 200
    here, site._cookies["bea"] = site._cookies["bea"], gone
    assert site.get("bea", "/-/settings").status_code == 303
    site._cookies["bea"] = here
    assert site.get("bea", "/-/settings").status_code == 200


def test_signing_in_with_a_key_notes_its_use_and_what_the_browser_calls_itself(site, service):
    key = shown_key(site.post("bea", "/authorize"))

    answer = service.client(key=None).request(
        "POST",
        "/login",
        content=urlencode({"key": key}),
        headers={"Sec-Fetch-Site": "same-origin", "User-Agent": "Lynx <2.9>"},
    )
    site._cookies["bea"] = answer.headers["set-cookie"].partition(";")[0]

    assert "Lynx &lt;2.9&gt;" in site.get("bea", "/-/settings").text
    assert set(service.app.state.services.key_uses.take()) == {site.keys("bea")[0].id}


def test_runs_go_to_the_team_that_is_chosen_and_back_home(site):
    assert site.post("bea", "/-/settings/default", team="red").status_code == 303
    assert site.account("bea").entity == "red"
    assert site.post("bea", "/-/settings/default", team="bea").status_code == 303
    assert site.account("bea").entity == "bea"

    for team, words in (("blue", "bea is in no team 'blue'."), ("mal", "in no team 'mal'.")):
        refused = site.post("bea", "/-/settings/default", team=team)
        assert refused.status_code == 404
        assert alert(refused).endswith(words)
    empty = site.post("bea", "/-/settings/default")
    assert (empty.status_code, alert(empty)) == (400, "choose where your runs go.")


def test_member_leaves_a_team_and_its_last_admin_does_not(site):
    left = site.post("bea", "/-/settings/teams/red/leave")
    refused = site.post("ann", "/-/settings/teams/red/leave")
    stranger = site.post("mal", "/-/settings/teams/red/leave")

    assert left.status_code == 303
    assert refused.status_code == 409
    assert "must keep an administrator" in alert(refused)
    assert (stranger.status_code, alert(stranger)) == (404, "there is no team 'red'.")
    assert "bea" not in site.roles()
    assert site.roles()["ann"] == "admin"


def test_machine_makes_no_key_for_itself(walls, fortress, unchanged):
    answer = walls.post("ci", "/authorize")
    by_key = fortress.client(key=None)
    token = walls._cookies["ci"]

    asked = by_key.request(
        "POST",
        "/graphql",
        json={"query": "mutation { generateApiKey(input: {}) { apiKey { name } } }"},
        headers={"Cookie": token, "Sec-Fetch-Site": "same-origin"},
    )

    assert (answer.status_code, asked.status_code) == (403, 403)
    assert "made by administrators of its team" in alert(answer)
    assert len(walls.keys("ci")) == 1
    assert "Make a new key" not in walls.get("ci", "/-/settings").text


# A team's page


def test_admin_of_the_team_adds_changes_and_removes_members(site):
    added = site.post("ann", f"{TEAM}/members", user="mal", role="viewer")
    assert (added.status_code, added.headers["location"]) == (303, f"{TEAM}#members")
    assert site.roles()["mal"] == "viewer"

    assert site.post("ann", f"{TEAM}/members/mal/role", role="admin").status_code == 303
    assert site.roles()["mal"] == "admin"

    assert site.post("ann", f"{TEAM}/members/mal/remove").status_code == 303
    assert "mal" not in site.roles()


#: Every change of a team: address, fields.
CHANGES = [
    ("members", {"user": "mal", "role": "admin"}),
    ("members/bea/role", {"role": "admin"}),
    ("members/vic/role", {"role": "member"}),
    ("members/ann/remove", {}),
    ("members/ci/remove", {}),
    ("services", {"name": "bot"}),
    ("services/ci/keys", {"description": "x"}),
    ("services/ci/keys/{key}/revoke", {}),
]


@pytest.mark.parametrize(
    ("name", "status"),
    [
        pytest.param("bea", 403, id="member"),
        pytest.param("vic", 403, id="viewer"),
        pytest.param("ci", 403, id="service account"),
        pytest.param("mal", 404, id="stranger"),
    ],
)
def test_team_is_changed_by_its_admins_alone(walls, unchanged, name, status):
    for path, fields in CHANGES:
        answer = walls.post(name, f"{TEAM}/{path.format(key=walls.ci_key.id)}", **fields)

        assert answer.status_code == status, path
        if status == 404:
            assert "there is no team &#39;red&#39;." in answer.text
            assert ">bea<" not in answer.text
        else:
            assert "not administer it" in alert(answer)


def test_nobody_and_other_sites_change_no_team(walls, fortress, unchanged):
    nobody = fortress.client(key=None)
    for path, fields in CHANGES:
        address, body = f"{TEAM}/{path.format(key=walls.ci_key.id)}", urlencode(fields)

        stranger = nobody.request(
            "POST", address, content=body, headers={"Sec-Fetch-Site": "same-origin"}
        )
        elsewhere = walls.send("POST", "ann", address, body, **{"Sec-Fetch-Site": "cross-site"})

        assert stranger.headers["location"].startswith("/login")
        assert elsewhere.status_code == 403
        assert "own pages" in elsewhere.text


def test_members_see_the_team_and_change_nothing_there(walls):
    for name in ("bea", "vic"):
        page = walls.get(name, TEAM)
        assert page.status_code == 200
        for member in ("ann", "bea", "vic", "ci"):
            assert f">{member}</b>" in page.text
        assert f'action="{TEAM}' not in page.text
        assert walls.ci_key.id not in page.text


def test_team_of_others_is_answered_for_as_one_that_is_not_there(walls):
    there, missing = walls.get("mal", TEAM), walls.get("mal", "/-/teams/blue")

    assert (there.status_code, missing.status_code) == (404, 404)
    assert there.text == missing.text.replace("blue", "red")


def test_forged_role_is_refused_with_those_there_are(walls, unchanged):
    for role in ("king", "", "admin\x00", "member,admin", "0"):
        added = walls.post("ann", f"{TEAM}/members", user="mal", role=role)
        changed = walls.post("ann", f"{TEAM}/members/bea/role", role=role)

        for answer in (added, changed):
            assert answer.status_code == 400
            assert alert(answer).startswith("role: must be one of viewer, member, admin, not ")
        assert 'value="mal"' in added.text


def test_member_who_cannot_be_added_is_told_of_and_kept_in_the_form(walls, unchanged):
    for user, status, words in (
        ("nobody", 404, "there is no user 'nobody'."),
        ("bea", 400, "'bea' is in the team already: change the role above."),
        ("", 400, "user: say who is to be added."),
    ):
        answer = walls.post("ann", f"{TEAM}/members", user=user, role="viewer")

        assert (answer.status_code, alert(answer)) == (status, words)
        assert f'value="{user}"' in answer.text
        assert "<option selected>viewer</option>" in answer.text


def test_last_admin_of_a_team_stays_whoever_asks(walls, unchanged):
    for name in ("ann", "alice"):
        demoted = walls.post(name, f"{TEAM}/members/ann/role", role="member")
        removed = walls.post(name, f"{TEAM}/members/ann/remove")
        assert (demoted.status_code, removed.status_code) == (409, 409)
        assert "must keep an administrator" in alert(demoted)
    user = walls.post("alice", "/-/admin/users/ann/remove")

    assert user.status_code == 409
    assert "'ann' is the last administrator of 'red'" in alert(user)
    assert walls.roles()["ann"] == "admin"


def test_service_account_is_made_with_a_key_that_is_shown_once(site):
    answer = site.post("ann", f"{TEAM}/services", name="bot", description="CI", days="7")

    key = shown_key(answer)
    account = site.store.read_sync(accounts.account_by_key, key=key)
    assert (account.name, account.entity, account.is_service) == ("bot", "red", True)
    assert site.keys("bot")[0].expires_at is not None
    page = site.get("ann", TEAM)
    assert key not in page.text
    assert site.keys("bot")[0].id in page.text


def test_service_account_that_cannot_be_is_refused_whole_and_kept_in_the_form(walls, unchanged):
    taken = walls.post("ann", f"{TEAM}/services", name="mal", description="CI")
    late = walls.post("ann", f"{TEAM}/services", name="bot", description="CI", days="never")

    assert (taken.status_code, alert(taken)) == (409, "there is a user 'mal' already.")
    assert late.status_code == 400
    for answer in (taken, late):
        assert 'value="CI"' in answer.text
    assert "bot" not in walls.users()


def test_keys_of_a_service_account_are_made_and_ended_by_its_teams_admins(site):
    made = site.post("ann", f"{TEAM}/services/ci/keys", description="second")
    key = shown_key(made)
    assert site.store.read_sync(accounts.account_by_key, key=key).name == "ci"

    ended = site.post("ann", f"{TEAM}/services/ci/keys/{site.ci_key.id}/revoke")

    assert ended.status_code == 303
    assert [one.description for one in site.keys("ci")] == ["second"]


def test_admin_of_a_team_has_no_say_over_keys_of_persons_and_other_teams_machines(site):
    site.post("bea", "/authorize")
    (of_bea,) = site.keys("bea")
    site.store.write_sync(teams.create_team, actor=site.root, name="blue", admin="mal")
    site.post("mal", "/-/teams/blue/services", name="far")
    site.post("ann", f"{TEAM}/members", user="far", role="member")
    (of_far,) = site.keys("far")

    answers = [
        site.post("ann", f"{TEAM}/services/{path}")
        for path in (
            "bea/keys",
            "far/keys",
            f"bea/keys/{of_bea.id}/revoke",
            f"ci/keys/{of_bea.id}/revoke",
            f"far/keys/{of_far.id}/revoke",
        )
    ]

    assert [answer.status_code for answer in answers] == [404] * 5
    assert (site.keys("bea"), site.keys("far")) == ([of_bea], [of_far])
    assert of_far.id not in site.get("ann", TEAM).text


# The administration


def test_administrator_adds_a_user_whose_key_is_shown_once(site):
    answer = site.post("alice", "/-/admin/users", name="eve", email="eve@example.org")

    key = shown_key(answer)
    assert site.store.read_sync(accounts.account_by_key, key=key).name == "eve"
    assert site.account("eve").email == "eve@example.org"
    assert site.users()["eve"] is False
    page = site.get("alice", "/-/admin")
    assert key not in page.text
    assert "eve@example.org" in page.text


def test_user_who_cannot_be_added_is_told_of_and_kept_in_the_form(walls, unchanged):
    for fields, status, words in (
        ({"name": "mal"}, 409, "there is a user 'mal' already."),
        ({"name": "red"}, 409, "there is a team or entity 'red' already."),
        ({"name": "a/b"}, 400, "a user name has 1 to 64"),
        ({}, 400, "a user name has 1 to 64"),
        ({"name": "eve", "email": "<x>"}, 400, "email: must be an address"),
    ):
        answer = walls.post("alice", "/-/admin/users", admin="yes", **fields)

        assert answer.status_code == status
        assert alert(answer).startswith(words)
        assert f'value="{fields.get("name", "")}"' in answer.text
        assert 'value="yes" checked' in answer.text


def test_administrators_are_made_and_unmade_and_the_last_one_stays(site):
    alone = site.post("alice", "/-/admin/users/alice/admin", admin="no")
    removed = site.post("alice", "/-/admin/users/alice/remove")
    for answer in (alone, removed):
        assert answer.status_code == 409
        assert alert(answer) == "'alice' is the last administrator and must stay one."

    assert site.post("alice", "/-/admin/users/mal/admin", admin="yes").status_code == 303
    assert site.users()["mal"]
    by_other = site.post("mal", "/-/admin/users/alice/admin", admin="no")
    assert (by_other.status_code, site.users()["alice"]) == (303, False)
    assert site.get("alice", "/-/admin").status_code == 404
    own = site.post("mal", "/-/admin/users/mal/admin", admin="no")
    assert (own.status_code, site.users()["mal"]) == (409, True)


def test_forged_choice_makes_nobody_an_administrator(walls, unchanged):
    for choice in ("", "YES", "1", "maybe"):
        answer = walls.post("alice", "/-/admin/users/mal/admin", admin=choice)

        assert answer.status_code == 400
        assert alert(answer).startswith("admin: must be yes or no, not ")


def test_machine_is_made_no_administrator(walls, unchanged):
    service = walls.post("alice", "/-/admin/users/ci/admin", admin="yes")
    promoted = walls.post("ann", f"{TEAM}/members/ci/role", role="admin")
    first = walls.post("alice", "/-/admin/teams", name="new", admin="ci")

    assert [answer.status_code for answer in (service, promoted, first)] == [400] * 3
    assert "works for its team alone" in alert(service)
    for answer in (promoted, first):
        assert alert(answer) == "'ci' is a service account, which administers nothing."


def test_removed_user_and_team_leave_their_projects_where_the_page_says(site):
    for entity in ("mal", "red"):
        actor = site.account("mal") if entity == "mal" else site.root
        site.store.write_sync(
            projects.ensure_project, actor=actor, entity=entity, name="toy", need=Need.WRITE
        )
    site.sign_in("mal")

    user = site.post("alice", "/-/admin/users/mal/remove")
    team = site.post("alice", "/-/admin/teams/red/remove")

    for answer, name in ((user, "mal"), (team, "red")):
        kept = re.search(rf'href="/({name}-removed-\w+)"', answer.text)[1]
        assert site.get("alice", f"/{kept}/toy").status_code == 200
    assert site.get("mal", "/").headers["location"].startswith("/login")
    assert set(site.users()) == {"alice", "ann", "bea", "vic"}
    assert site.get("ann", TEAM).status_code == 404


def test_team_is_made_with_its_first_administrator(site):
    made = site.post("alice", "/-/admin/teams", name="blue", admin="mal")
    assert (made.status_code, made.headers["location"]) == (303, "/-/teams/blue")
    assert site.get("mal", "/-/teams/blue").status_code == 200

    taken = site.post("alice", "/-/admin/teams", name="Red", admin="mal")
    ghost = site.post("alice", "/-/admin/teams", name="green", admin="ghost")
    assert (taken.status_code, alert(taken)) == (409, "there is a team or entity 'red' already.")
    assert (ghost.status_code, alert(ghost)) == (404, "there is no user 'ghost'.")
    assert 'value="green"' in ghost.text
    assert 'value="ghost"' in ghost.text


def test_administration_says_when_keys_were_last_used(site):
    site.store.write_sync(keys.note_uses, uses={site.ci_key.id: 1_700_000_000.0})

    page = site.get("alice", "/-/admin")

    assert page.text.count('data-at="1700000000.0"') == 1
    assert page.text.count("not yet") == 5


@pytest.mark.parametrize("name", ["ann", "bea", "vic", "mal", "ci"])
def test_administration_is_not_there_for_anybody_else(walls, unchanged, name):
    for path, fields in (
        ("", {}),
        ("/users", {"name": "eve", "admin": "yes"}),
        (f"/users/{name}/admin", {"admin": "yes"}),
        ("/users/alice/remove", {}),
        ("/teams", {"name": "blue"}),
        ("/teams/red/remove", {}),
    ):
        address = f"/-/admin{path}"

        answer = walls.post(name, address, **fields) if path else walls.get(name, address)

        assert answer.status_code == 404
        assert f"there is no page {address}." in answer.text


# Who may read a project


def access_of(site):
    view = site.store.read_sync(
        projects.get_project, actor=site.root, entity="red", name="toy", need=Need.READ
    )
    return str(view.access)


@pytest.fixture
def project(site):
    site.store.write_sync(
        projects.ensure_project, actor=site.root, entity="red", name="toy", need=Need.WRITE
    )
    return "/red/toy"


def test_project_is_opened_to_everybody_and_closed_by_its_admins(site, project):
    assert "read by members of red" in site.get("ann", project).text
    opened = site.post("ann", f"/-/access{project}", access="everybody")

    assert (opened.status_code, opened.headers["location"]) == (303, project)
    assert "read by everybody with a key" in site.get("mal", project).text
    assert f"/-/access{project}" not in site.get("mal", project).text
    assert site.post("alice", f"/-/access{project}", access="entity").status_code == 303
    assert site.get("mal", project).status_code == 404


def test_who_may_read_a_project_is_for_its_admins_to_say(site, project):
    for name, status in (("bea", 403), ("vic", 403), ("ci", 403), ("mal", 404)):
        answer = site.post(name, f"/-/access{project}", access="everybody")

        assert (answer.status_code, access_of(site)) == (status, "entity")
        if status == 403:
            assert "not administer it" in alert(answer)
            assert f'action="/-/access{project}"' not in answer.text


def test_forged_access_and_other_sites_open_no_project(site, project):
    forged = site.post("ann", f"/-/access{project}", access="public")
    empty = site.post("ann", f"/-/access{project}")
    elsewhere = site.send(
        "POST",
        "ann",
        f"/-/access{project}",
        "access=everybody",
        Origin="https://evil.test",
        **{"Sec-Fetch-Site": "cross-site"},
    )

    assert (forged.status_code, empty.status_code, elsewhere.status_code) == (400, 400, 403)
    assert alert(forged) == "access: must be entity or everybody, not 'public'."
    assert access_of(site) == "entity"


def test_form_longer_than_any_of_ours_is_refused(walls, unchanged):
    long = walls.send("POST", "bea", "/authorize", "description=" + "x" * 9000)
    many = walls.send("POST", "bea", "/authorize", "&".join(["a=1"] * 200))

    assert (long.status_code, many.status_code) == (400, 400)
    assert walls.keys("bea") == []


# What is open while somebody loses what they had


class Feed:
    """A live feed that a browser listens to; `told` is what came, whole once it has ended."""

    def __init__(self, service, path, cookie):
        self.told, self.begun = [], threading.Event()
        self._service, self._path, self._cookie = service, path, cookie
        self._task = service.portal.start_task_soon(self._listen)
        assert self.begun.wait(20)

    async def _listen(self):
        headers = {"host": "sweeps.test", "cookie": self._cookie, "sec-fetch-site": "same-origin"}
        scope = {
            "type": "http",
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": self._path,
            "raw_path": self._path.encode(),
            "query_string": b"",
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
            "client": ("127.0.0.1", 1),
            "server": ("sweeps.test", 80),
        }

        async def send(message):
            if message.get("body"):
                self.told.append(message["body"].decode().partition("\n")[0])
                self.begun.set()

        await self._service.app(scope, asyncio.Event().wait, send)

    def end(self):
        self._task.result(20)
        return self.told


@pytest.mark.parametrize("how", ["the key is revoked", "signed out elsewhere", "left the team"])
def test_open_page_is_told_that_it_is_over(site, service, project, how):
    bea = site.account("bea")
    made, key = site.store.write_sync(keys.add_key, account=bea)
    site.sign_in("bea", key)
    (session,) = site.store.read_sync(sessions.sessions_of, account=bea)
    feed = Feed(service, f"/-/feed/project{project}", site._cookies["bea"])

    if how == "the key is revoked":
        site.post("bea", f"/-/settings/keys/{made.id}/revoke")
    elif how == "signed out elsewhere":
        site.sign_in("bea")
        site.post("bea", f"/-/settings/browsers/{session.id}/end")
    else:
        site.post("ann", f"{TEAM}/members/bea/remove")

    assert feed.end()[-2:] == ["event: change", "event: over"]


# Whom a machine works for

MAKE = """mutation($n: String!, $e: String) { upsertBucket(input: {name: $n, modelName: "toy",
  entityName: $e}) { bucket { user { username } project { entity { name } } } } }"""


def made_by(site, service, key, named, *, run, entity=None, email=""):
    """Make a run with a key, as `WANDB_USERNAME` and `WANDB_USER_EMAIL` are sent along.

    Returns:
        Who made it, and where.
    """
    answer = service.client(key).request(
        "POST",
        "/graphql",
        json={"query": MAKE, "variables": {"n": run, "e": entity}},
        headers={"X-WANDB-USERNAME": named, "X-WANDB-USER-EMAIL": email},
    )
    bucket = answer.json()["data"]["upsertBucket"]["bucket"]
    return bucket["user"]["username"], bucket["project"]["entity"]["name"]


def test_machine_works_for_a_member_whom_it_names_and_for_nobody_else(site, service):
    _, key = site.store.write_sync(keys.add_key, account=site.account("ci"))
    names = {"bea": "bea", "ann": "ann", "mal": "ci", "alice": "ci", "ci": "ci", "%00": "ci"}

    for number, (named, author) in enumerate(names.items()):
        assert made_by(site, service, key, named, run=f"r{number}") == (author, "red")


def test_machine_names_whom_it_works_for_by_their_address_too(site, service):
    _, key = site.store.write_sync(keys.add_key, account=site.account("ci"))
    for name in ("eve", "eva"):  # who share an address
        site.store.write_sync(accounts.create_user, name=name, email="e@example.org")
        site.post("ann", f"{TEAM}/members", user=name, role="member")
    emails = {
        "bea@localhost": "bea",
        "mal@localhost": "ci",
        "ci@service": "ci",
        "e@example.org": "ci",
        "%": "ci",
    }

    for number, (email, author) in enumerate(emails.items()):
        made = made_by(site, service, key, "", email=email, run=f"r{number}")
        assert made == (author, "red")
    made = made_by(site, service, key, "mal", email="bea@localhost", run="r9")
    assert made == ("ci", "red")


def test_name_that_a_persons_own_key_sends_along_means_nothing(site, service):
    _, key = site.store.write_sync(keys.add_key, account=site.account("bea"))

    assert made_by(site, service, key, "ann", run="r1") == ("bea", "bea")
    assert made_by(site, service, key, "ann", run="r1", entity="red") == ("bea", "red")


def test_machine_gets_no_rights_of_whom_it_works_for(site, service):
    _, key = site.store.write_sync(keys.add_key, account=site.account("ci"))
    client = service.client(key)
    named = {"X-WANDB-USERNAME": "ann"}  # who administers the team, and has projects of her own
    asked = {
        "own": 'upsertBucket(input: {name: "x", modelName: "toy", entityName: "ann"}) { inserted }',
        "team": 'createInvite(input: {entityName: "red", username: "mal"}) { invite { id } }',
        "open": 'upsertModel(input: {name: "toy", entityName: "red", access: "USER_READ"})'
        " { inserted }",
        "key": 'generateApiKey(input: {description: "x"}) { apiKey { id } }',
    }

    answers = {
        name: client.request(
            "POST", "/graphql", json={"query": f"mutation {{ {text} }}"}, headers=named
        ).status_code
        for name, text in asked.items()
    }

    assert answers == {"own": 404, "team": 403, "open": 403, "key": 403}
    assert "mal" not in site.roles()
    assert site.keys("ann") == []
