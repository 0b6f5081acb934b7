"""`sweep user`: beside a running service and without one."""

import sqlite3

import pytest

from sweepd.engine import accounts
from sweepd.store import Store


@pytest.fixture
def user(sweep, data):
    """Run `sweep user …` on a data folder with the user admin."""
    store = Store.open(data)
    store.write_sync(accounts.ensure_first_user, name="admin", key="a" * 40)
    store.close()
    return lambda *arguments, **how: sweep("user", *arguments, "--data", data, **how)


def names(user):
    return [row["name"] for row in user("list", "--json", code=0).json]


def test_a_user_comes_and_goes(user):
    key = user("add", "bob", code=0).out.strip()
    assert len(key) >= 40
    assert names(user) == ["admin", "bob"]

    assert user("remove", "bob", code=0).err == "removed bob\n"

    assert names(user) == ["admin"]


def test_the_key_alone_is_on_stdout(user):
    done = user("add", "bob", "--api-key", "b" * 40, "--admin", code=0)

    assert done.out == "b" * 40 + "\n"
    assert "admin@localhost  yes" in user("list").out


def test_users_are_changed_while_a_service_holds_the_folder(user, data):
    service = Store.open(data)
    try:
        key = user("add", "bob", code=0).out.strip()
        found = service.read_sync(accounts.account_by_key, key=key)
    finally:
        service.close()

    assert found is not None
    assert found.name == "bob"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["add", "admin"], 1, "there is a user 'admin' already"),
        (["add", "b b"], 2, "not 'b b'"),
        (["add", ""], 2, "not ''"),
        (["add", "bob", "--api-key", "short"], 2, "at least 40 characters, this has 5"),
        (["add", "bob", "--api-key", ""], 2, "must not be empty"),
        (["add", "bob", "--api-key", "b" * 39 + "!"], 2, "only letters, digits"),
        (["add", "bob", "--api-key", "a" * 40], 1, "in use already"),
        (["remove", "bob"], 1, "there is no user 'bob'"),
        (["remove", "admin"], 1, "the last administrator"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_is_one_sentence(user, arguments, code, said):
    done = user(*arguments, code=code)

    assert said in done.err
    assert done.out == ""
    assert names(user) == ["admin"]


@pytest.mark.parametrize("arguments", [["list"], ["add", "bob"], ["remove", "bob"]])
def test_a_folder_without_data_is_left_alone(sweep, data, arguments):
    done = sweep("user", *arguments, "--data", data, code=1)

    assert f"no service's data in {data}" in done.err
    assert not data.exists()


def test_data_of_a_newer_version_is_left_alone(sweep, user, data):
    with sqlite3.connect(data / "sweepd.db") as database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
    database.close()

    assert "newer sweepd" in user("list", code=1).err


def test_a_file_is_no_data_folder(sweep, folder):
    (folder / "file").touch()

    assert "is a file" in sweep("user", "list", "--data", folder / "file", code=2).err
