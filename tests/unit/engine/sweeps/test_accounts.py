import pytest
from sqlalchemy import select, text

from sweepd.engine import accounts
from sweepd.errors import AlreadyExists, Conflict, InvalidInput, NotFound
from sweepd.store import tables as t

KEY = "k" * 20 + "0123456789" * 2


@pytest.mark.parametrize(
    "key",
    ["a" * 40, "local-" + "b" * 40, "user_gw0-" + "0f" * 20, "x-" + "y-_" * 14, "abc.def.ghi"],
)
def test_keys_that_the_client_accepts_are_accepted(key):
    accounts.check_key_form(key)


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("", "must not be empty"),
        ("a" * 39, "at least 40 characters, this has 39"),
        ("local-" + "b" * 39, "this has 39"),
        ("a" * 40 + "!", "only letters, digits, - and _"),
        ("a" * 40 + " ", "only letters"),
        ("a.b", "only letters"),
    ],
)
def test_keys_that_the_client_refuses_are_refused_in_words(key, words):
    with pytest.raises(InvalidInput, match=words):
        accounts.check_key_form(key)


def test_key_check_agrees_with_the_installed_client():
    from wandb.sdk.lib.wbauth.validation import check_api_key

    keys = ["", "a" * 40, "a" * 39, "-" + "a" * 40, "p-" + "a" * 39, "a.b.c", "a.b", "é" * 40]
    keys += ["x" * 41 + "-" + "y", "a" * 39 + "/", "a-b-" + "c" * 38, "with space-" + "c" * 40]

    for key in keys:
        try:
            accounts.check_key_form(key)
        except InvalidInput:
            assert check_api_key(key) is not None, key
        else:
            assert check_api_key(key) is None, key


def test_first_user_is_an_administrator_and_made_once(store):
    account, key = store.write_sync(accounts.ensure_first_user, name="root")

    assert account.is_admin
    accounts.check_key_form(key)
    assert key.isalnum()
    assert store.write_sync(accounts.ensure_first_user, name="other") is None


def test_given_key_is_adopted_and_stored_as_a_hash_only(store):
    store.write_sync(accounts.ensure_first_user, name="root", key=KEY)

    assert store.read_sync(accounts.account_by_key, key=KEY).name == "root"
    assert store.read_sync(accounts.account_by_key, key=KEY + "x") is None
    store.close()
    stored = b"".join(path.read_bytes() for path in store.folder.iterdir() if path.is_file())
    assert KEY.encode() not in stored


def test_key_ids_are_prefixes_of_their_keys_and_differ(store, root, clock):
    one, two = "same-prefix-" + "a" * 40, "same-prefix-" + "b" * 40
    for key in (one, two):
        clock.advance(1)
        store.write_sync(accounts.add_key, account=root, key=key)

    ids = [key.id for key in store.read_sync(accounts.keys_of, account=root)][-2:]

    assert one.startswith(ids[0])
    assert two.startswith(ids[1])
    assert ids[0] != ids[1]


def test_key_can_be_removed_by_its_owner_alone(store, alice, bob):
    record, key = store.write_sync(accounts.add_key, account=alice)

    assert not store.write_sync(accounts.remove_key, account=bob, key_id=record.id)
    assert store.write_sync(accounts.remove_key, account=alice, key_id=record.id)
    assert store.read_sync(accounts.account_by_key, key=key) is None


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


def test_removed_user_loses_key_and_session_and_leaves_the_entity(store, alice):
    _, key = store.write_sync(accounts.add_key, account=alice)
    session = store.write_sync(accounts.open_session, account=alice)

    store.write_sync(accounts.remove_user, name="alice")

    assert store.read_sync(accounts.account_by_key, key=key) is None
    assert store.read_sync(accounts.account_by_session, token=session) is None
    again, _ = store.write_sync(accounts.add_user, name="alice")
    assert again.entity_id == alice.entity_id
    with pytest.raises(NotFound, match="no user 'nobody'"):
        store.write_sync(accounts.remove_user, name="nobody")


def test_last_administrator_stays(store, root, alice):
    with pytest.raises(Conflict, match="last administrator"):
        store.write_sync(accounts.remove_user, name="root")


def test_login_link_works_once_and_for_ten_minutes(store, alice, clock):
    used, late = (store.write_sync(accounts.create_login_link, account=alice) for _ in range(2))

    assert store.write_sync(accounts.redeem_login_link, token=used) == alice
    assert store.write_sync(accounts.redeem_login_link, token=used) is None
    clock.advance(601)
    assert store.write_sync(accounts.redeem_login_link, token=late) is None
    assert store.write_sync(accounts.redeem_login_link, token="nonsense") is None


def test_session_lasts_until_it_is_closed_or_old(store, alice, clock):
    one, two = (store.write_sync(accounts.open_session, account=alice) for _ in range(2))

    assert store.read_sync(accounts.account_by_session, token=one) == alice
    store.write_sync(accounts.close_session, token=one)
    assert store.read_sync(accounts.account_by_session, token=one) is None
    clock.advance(31 * 86400)
    assert store.read_sync(accounts.account_by_session, token=two) is None


def test_tokens_are_stored_as_hashes(store, alice):
    token = store.write_sync(accounts.open_session, account=alice)

    digests = store.read_sync(lambda tx: tx.conn.scalars(select(t.session.c.digest)).all())

    assert token not in digests
    assert len(digests[0]) == 64


def test_events_tell_who_was_added(store, alice):
    rows = store.read_sync(lambda tx: tx.conn.execute(text("SELECT kind, data FROM event")).all())

    assert ("user.added", '{"name": "alice"}') in [tuple(row) for row in rows]
