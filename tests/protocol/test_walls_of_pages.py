"""The pages keep the same walls as the schema: every address is tried with another team's names."""

import sys
from pathlib import Path

import pytest

from sweepd.engine import sessions

sys.path.insert(0, str(Path(__file__).parent))

from walls import World

#: Addresses whose parts name nothing of anybody's, or that have a key or a signature of their own.
OTHERS = (
    *("/-/static/", "/-/netron/", "/login/"),
    *("/storage/", "/artifactsV2/", "/files/", "/{path:path}"),
)
#: What a viewer may do: go.
OWN = ("/-/settings/teams/{team}/leave",)
#: What a stranger may read of an open project is no wall.
QUERY = {"compare": "?runs={run},{run2}", "series": "?key=loss", "media": "?key=loss"}


@pytest.fixture(scope="module")
def world(fortress):
    return World(fortress)


@pytest.fixture
def cookie(world):
    """Signs somebody in; returns the headers of their browser."""

    def cookie(name):
        token = world.service.store.write_sync(sessions.open_session, account=world.people[name])
        return {"Cookie": f"{sessions.SESSION_COOKIE}={token}", "Sec-Fetch-Site": "same-origin"}

    return cookie


def addresses(app):
    """Return (method, path template) of every address that names something."""
    found = []

    def walk(routes, prefix):
        for route in routes:
            path = prefix + route.path
            if getattr(route, "routes", None):
                walk(route.routes, path)
            elif "{" in path and not path.startswith(OTHERS):
                method = "POST" if "POST" in route.methods else "GET"
                found.append((method, path))

    walk(app.routes, "")
    return found


def filled(path, *, entity, project, run, sweep):
    """Fill an address in; a part that is unknown here needs a line here."""
    name = sweep if "sweep" in path else run
    if any(kind in path for kind in ("/artifacts/", "/artifact/", "/chart/")):
        name = "data"
    parts = {
        "entity": entity,
        "project": project,
        "name": name,
        "names": f"{run},{run}x",
        "action": "pause",
        "type": "dataset",
        "collection": "data",
        "version": "v0",
        "alias": "latest",
        "user": "ann",
        "agent": "a1",
        "team": entity,
        "key": "k" * 12,
        "session": "s" * 16,
        "path:path": "net.onnx",
    }
    for word, query in QUERY.items():
        if word in path:
            path += query.format(run=run, run2=f"{run}x")
            break
    for part, value in parts.items():
        path = path.replace(f"{{{part}}}", value)
    return path


def followed(client, method, path, headers):
    """Return the answer that a browser ends up with: an old address leads to a newer one."""
    answer = client.request(method, path, headers=headers)
    for _ in range(3):
        if answer.status_code == 303:
            answer = client.request("GET", answer.headers["location"], headers=headers)
    return answer


def test_every_page_answers_a_stranger_as_if_nothing_were_there(world, cookie):
    real = {"entity": "red", "project": "toy", "run": "r1", "sweep": world.ids["sweep"]}
    ghost = {"entity": "ghost0", "project": "ghost1", "run": "ghost2", "sweep": "ghost3"}
    headers, wrong = cookie("mal"), []
    for method, path in addresses(world.service.app):
        answers = [
            followed(world.mal, method, filled(path, **names), headers) for names in (real, ghost)
        ]
        texts = [answer.text for answer in answers]
        for name, there in ghost.items():
            texts[1] = texts[1].replace(there, real[name])
        statuses = {answer.status_code for answer in answers}
        if texts[0] != texts[1] or len(statuses) != 1 or not statuses <= {403, 404}:
            wrong.append((method, path, statuses, texts))

    assert wrong == []


def test_viewer_reads_every_page_and_does_nothing_by_them(world, cookie):
    real = {"entity": "red", "project": "toy", "run": "r1", "sweep": world.ids["sweep"]}
    headers, wrong = cookie("vic"), []
    for method, path in addresses(world.service.app):
        if "feed" in path or "compare" in path or path in OWN:
            continue  # the one never ends; the other needs two runs
        answer = world.vic.request(method, filled(path, **real), headers=headers)
        expected = (403, 404) if method == "POST" else (200, 303)
        if answer.status_code not in expected:
            wrong.append((method, path, answer.status_code, answer.text[:500]))

    assert wrong == []


def test_walls_are_tried_at_every_page_that_names_users_teams_or_keys(world):
    found = {path for _, path in addresses(world.service.app)}

    assert set(OWN) < found
    for named in ("/-/teams/{team}", "/-/teams/{team}/services/{user}/keys/{key}/revoke"):
        assert named in found
    assert sum(path.startswith(("/-/teams/", "/-/admin/", "/-/settings/")) for path in found) >= 13


def test_address_that_is_spelt_in_other_ways_leads_to_the_same_wall(world, cookie):
    headers = cookie("mal")
    spelt = ("/RED", "/red/", "/%72ed/toy", "//red/toy", "/./red/toy", "/blue/..%2Fred/toy")

    for path in (*spelt, "/red%2Ftoy", "/-/data/project/red/toy/", "/-/data/entity/..%2Fred"):
        answer = world.mal.request("GET", path, headers=headers)
        assert answer.status_code in (303, 307, 404), (path, answer.status_code)
        assert "r1" not in answer.text
