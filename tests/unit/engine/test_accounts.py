import pytest
from sqlalchemy import text

from sweepd.engine import accounts, keys, projects, runs, sessions
from sweepd.engine.access import Need
from sweepd.errors import AlreadyExists, Conflict, InvalidInput, NotFound

KEY = "k" * 20 + "0123456789" * 2


def test_first_user_is_an_administrator_and_made_once(store):
    account, key = store.write_sync(accounts.ensure_first_user, name="root")

    assert account.is_admin
    keys.check_key_form(key)
    assert key.isalnum()
    assert store.write_sync(accounts.ensure_first_user, name="other") is None


def test_taken_names_and_keys_and_bad_names_are_refused(store, root):
    store.write_sync(accounts.add_user, name="alice", key=KEY)

    with pytest.raises(AlreadyExists, match="a user 'alice' already"):
        store.write_sync(accounts.add_user, name="alice")
    with pytest.raises(AlreadyExists, match="in use already"):
        store.write_sync(accounts.add_user, name="bob", key=KEY)
    for name in ("", "a/b", "-x", "a" * 65, "ü", "a b"):
        with pytest.raises(InvalidInput, match="user name"):
            store.write_sync(accounts.add_user, name=name)
    assert [user.name for user in store.read_sync(accounts.list_users)] == ["alice", "root"]


def test_last_administrator_stays(store, root, alice):
    with pytest.raises(Conflict, match="last administrator"):
        store.write_sync(accounts.remove_user, name="root")


def test_events_tell_who_was_added(store, alice):
    rows = store.read_sync(lambda tx: tx.conn.execute(text("SELECT kind, data FROM event")).all())

    assert ("user.added", '{"name": "alice"}') in [tuple(row) for row in rows]


def test_names_are_told_apart_in_more_than_case_and_none_is_an_address(store, alice):
    with pytest.raises(AlreadyExists, match="a user 'alice' already"):
        store.write_sync(accounts.add_user, name="Alice")
    for name in ("login", "GraphQL", "storage"):
        with pytest.raises(InvalidInput, match="an address of the service"):
            store.write_sync(accounts.add_user, name=name)


def test_removed_user_loses_keys_sessions_and_links(store, alice):
    _, key = store.write_sync(keys.add_key, account=alice)
    session = store.write_sync(sessions.open_session, account=alice)
    link = store.write_sync(sessions.create_login_link, account=alice)

    assert store.write_sync(accounts.remove_user, name="alice") is None

    assert store.read_sync(accounts.account_by_key, key=key) is None
    assert store.read_sync(sessions.account_by_session, token=session) is None
    assert store.read_sync(sessions.link_owner, token=link) is None
    with pytest.raises(NotFound, match="no user 'alice'"):
        store.write_sync(accounts.remove_user, name="alice")


def test_later_user_of_the_same_name_finds_nothing_of_the_removed_one(store, root, alice, upsert):
    run = upsert("r1")

    kept = store.write_sync(accounts.remove_user, name="alice")
    again, _ = store.write_sync(accounts.add_user, name="alice")

    with pytest.raises(NotFound):
        store.read_sync(runs.run_by_id, actor=again, run_id=run.id, need=Need.READ)
    with pytest.raises(NotFound, match="no project alice/toy"):
        store.read_sync(
            projects.get_project, actor=again, entity="alice", name="toy", need=Need.READ
        )
    old = store.read_sync(runs.run_by_id, actor=root, run_id=run.id, need=Need.READ)
    assert (old.entity, old.user_name) == (kept, None)
    with pytest.raises(AlreadyExists):
        store.write_sync(accounts.add_user, name=kept)
