"""`sweep team`, `sweep key`, `sweep user set`: what is done on the machine of the service."""

import pytest

from sweepd.engine import accounts, keys
from sweepd.store import Store


@pytest.fixture
def on(sweep, data):
    """Runs a command on a data folder with the users admin and ana."""
    store = Store.open(data)
    store.write_sync(accounts.ensure_first_user, name="admin", key="a" * 40)
    store.write_sync(accounts.add_user, name="ana", key="b" * 40)
    store.close()
    return lambda *arguments, **how: sweep(*arguments, "--data", data, **how)


@pytest.fixture
def stored(data):
    """Reads from the folder."""

    def stored(use_case, **arguments):
        store = Store.open(data, exclusive=False)
        try:
            return store.read_sync(use_case, **arguments)
        finally:
            store.close()

    return stored


def test_a_team_comes_fills_and_goes(on):
    on("team", "create", "lab", "--admin", "admin", code=0)
    on("team", "add", "lab", "ana", "--role", "viewer", code=0)
    key = on("team", "service", "lab", "ci", "--description", "nightly", code=0).out.strip()

    assert on("team", "list", "--json", code=0).json == [
        {"name": "lab", "members": 3, "projects": 0}
    ]
    members = on("team", "members", "lab", "--json", code=0).json
    assert [(row["user"], row["role"], row["service"]) for row in members] == [
        ("admin", "admin", False),
        ("ana", "viewer", False),
        ("ci", "member", True),
    ]
    assert len(key) >= 40
    assert "viewer" in on("team", "members", "lab", code=0).out
    assert on("team", "kick", "lab", "ana", code=0).err == "ana left lab\n"
    assert on("team", "kick", "lab", "ana", code=0).err == "ana was not in lab\n"
    assert on("team", "remove", "lab", code=0).err == "removed lab\n"
    assert on("team", "list", "--json", code=0).json == []


def test_keys_are_made_listed_and_revoked(on, stored):
    key = on("key", "add", "ana", "--description", "laptop", "--days", "7", code=0).out.strip()
    listed = on("key", "list", "ana", "--json", code=0).json

    assert [(row["description"], row["state"]) for row in listed] == [
        ("first key", "live"),
        ("laptop", "live"),
    ]
    assert listed[1]["expires_at"] > listed[1]["created_at"]
    assert stored(accounts.account_by_key, key=key).name == "ana"
    assert "revoked" in on("key", "revoke", listed[1]["id"], code=0).err
    assert "over already" in on("key", "revoke", listed[1]["id"], code=0).err
    assert stored(accounts.account_by_key, key=key) is None
    assert len(stored(keys.list_keys)) == 3
    assert "revoked" in on("key", "list", code=0).out


def test_a_user_works_in_a_team_and_becomes_an_administrator(on, stored):
    on("team", "create", "lab", "--admin", "ana", code=0)

    on("user", "set", "ana", "--default-team", "lab", "--admin", code=0)
    account = stored(accounts.account_by_name, name="ana")
    assert (account.entity, account.is_admin) == ("lab", True)

    on("user", "set", "ana", "--own-default", "--no-admin", code=0)
    account = stored(accounts.account_by_name, name="ana")
    assert (account.entity, account.is_admin) == ("ana", False)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["team", "create", "ana", "--admin", "ana"], 1, "'ana' already"),
        (["team", "create", "lab", "--admin", "bob"], 1, "no user 'bob'"),
        (["team", "create", "a b", "--admin", "ana"], 2, "a team name has"),
        (["team", "add", "lab", "ana"], 1, "no team 'lab'"),
        (["team", "add", "ana", "admin"], 1, "no team 'ana'"),
        (["team", "members", "lab"], 1, "no team 'lab'"),
        (["team", "remove", "lab"], 1, "no team 'lab'"),
        (["key", "add", "bob"], 1, "no user 'bob'"),
        (["key", "add", "ana", "--days", "0"], 2, "not in the range"),
        (["key", "add", "ana", "--days", "nan"], 2, "expire"),
        (["key", "revoke", "x"], 1, "no key 'x'"),
        (["user", "set", "ana"], 2, "say what to change"),
        (["user", "set", "ana", "--default-team", "lab"], 1, "in no team 'lab'"),
        (["user", "set", "admin", "--no-admin"], 1, "the last administrator"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_is_one_sentence(on, arguments, code, said):
    done = on(*arguments, code=code)

    assert said in done.err
    assert done.out == ""
