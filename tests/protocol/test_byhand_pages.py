"""The forms of a sweep's page: what they take, and whom they refuse."""

import json

import pytest

from sweepd.engine import accounts, sessions

UPSERT = """mutation($config: String) { upsertSweep(input: {config: $config, projectName: "toy"}) {
  sweep { name } } }"""
OLD = "method: random\nparameters: {lr: {min: 0.0, max: 1.0}, kind: {values: [a, b]}}\n"
FORMS = {
    "enqueue": {"values": {"lr": "1e-1", "kind": "b"}},
    "preview": {"definition": OLD + "run_cap: 9\n"},
    "edit": {"definition": OLD + "run_cap: 9\n", "version": 1},
}


@pytest.fixture
def send(service, client):
    """Send a form as a browser of alice's does; return the status and what is said."""
    sweep = client.data(UPSERT, config=OLD)["upsertSweep"]["sweep"]["name"]
    account = service.store.read_sync(accounts.list_users)[0]
    token = service.store.write_sync(sessions.open_session, account=account)

    def send(form, body, **headers):
        cookie = {"Cookie": f"{sessions.SESSION_COOKIE}={token}", "Sec-Fetch-Site": "same-origin"}
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        answer = service.client(None).request(
            "POST", f"/-/sweep/alice/toy/{sweep}/{form}", content=content, headers=cookie | headers
        )
        return answer.status_code, answer.json()

    return send


def test_forms_do_what_they_say(send):
    enqueued, made = send("enqueue", FORMS["enqueue"])
    _, seen = send("preview", FORMS["preview"])
    edited, now = send("edit", FORMS["edit"])
    again, words = send("edit", FORMS["edit"])

    assert (enqueued, made["warnings"]) == (200, [])
    assert made["url"] == f"/alice/toy/runs/{made['run']}"
    assert seen["changes"] == ["run_cap: nothing → 9"]
    assert (edited, now["version"]) == (200, 2)
    assert (again, words["error"]) == (
        409,
        "somebody made version 2 of the sweep meanwhile: edit that one",
    )


@pytest.mark.parametrize("form", FORMS)
def test_other_sites_cannot_send_them(send, form):
    assert send(form, FORMS[form], **{"Sec-Fetch-Site": "cross-site"})[0] == 403


@pytest.mark.parametrize(
    ("form", "body"),
    [
        ("enqueue", b""),
        ("enqueue", b"[" * 100_000),
        ("enqueue", []),
        ("enqueue", {"values": {"lr": 1}}),
        ("enqueue", {"values": {"lr": "[1"}}),
        ("enqueue", {"values": {}}),
        ("edit", {"definition": 3, "version": 1}),
        ("edit", {"definition": "method: sideways", "version": 1}),
        ("preview", {}),
    ],
    ids=lambda value: str(value)[:30],
)
def test_nonsense_is_refused_in_words(send, form, body):
    status, answer = send(form, body)

    assert status == 400
    assert len(answer["error"]) < 1000
