import pytest
from sqlalchemy import select

from sweepd.engine import accounts, keys, sessions
from sweepd.store import tables as t


def test_login_link_works_once_and_for_ten_minutes(store, alice, clock):
    used, late = (store.write_sync(sessions.create_login_link, account=alice) for _ in range(2))

    assert store.write_sync(sessions.redeem_login_link, token=used) == alice
    assert store.write_sync(sessions.redeem_login_link, token=used) is None
    clock.advance(601)
    assert store.write_sync(sessions.redeem_login_link, token=late) is None
    assert store.write_sync(sessions.redeem_login_link, token="nonsense") is None


def test_session_lasts_until_it_is_closed_or_old(store, alice, clock):
    one, two = (store.write_sync(sessions.open_session, account=alice) for _ in range(2))

    assert store.read_sync(sessions.account_by_session, token=one) == alice
    store.write_sync(sessions.close_session, token=one)
    assert store.read_sync(sessions.account_by_session, token=one) is None
    clock.advance(31 * 86400)
    assert store.read_sync(sessions.account_by_session, token=two) is None


def test_tokens_are_stored_as_hashes(store, alice):
    token = store.write_sync(sessions.open_session, account=alice)

    digests = store.read_sync(lambda tx: tx.conn.scalars(select(t.session.c.digest)).all())

    assert token not in digests
    assert len(digests[0]) == 64


@pytest.fixture
def with_key(store, alice):
    """Alice as a request with a key of hers brings her."""
    _, key = store.write_sync(keys.add_key, account=alice)
    return store.read_sync(accounts.account_by_key, key=key)


def test_key_takes_its_sessions_and_links_along(store, with_key):
    token = store.write_sync(sessions.open_session, account=with_key)
    link = store.write_sync(sessions.create_login_link, account=with_key)

    store.write_sync(keys.revoke_key, actor=with_key, key_id=with_key.key_id)

    assert store.read_sync(sessions.account_by_session, token=token) is None
    assert store.read_sync(sessions.sessions_of, account=with_key) == []
    assert store.read_sync(sessions.link_owner, token=link) is None
    assert store.write_sync(sessions.redeem_login_link, token=link) is None


def test_session_of_a_link_ends_with_the_key_that_asked_for_it(store, with_key):
    link = store.write_sync(sessions.create_login_link, account=with_key)
    account = store.write_sync(sessions.redeem_login_link, token=link)
    token = store.write_sync(sessions.open_session, account=account)

    assert store.read_sync(sessions.account_by_session, token=token) == with_key
    store.write_sync(keys.revoke_key, actor=with_key, key_id=with_key.key_id)
    assert store.read_sync(sessions.account_by_session, token=token) is None


def test_sessions_are_listed_and_ended_by_their_owner_alone(store, alice, bob, clock):
    here = store.write_sync(sessions.open_session, account=alice, browser="Firefox")
    clock.advance(5)
    there = store.write_sync(sessions.open_session, account=alice, browser="Chrome")

    listed = store.read_sync(sessions.sessions_of, account=alice, token=here)
    assert [(one.browser, one.is_this) for one in listed] == [("Chrome", False), ("Firefox", True)]
    chrome = listed[0].id
    assert not store.write_sync(sessions.end_session, account=bob, session_id=chrome)
    assert not store.write_sync(sessions.end_session, account=alice, session_id="")
    assert store.write_sync(sessions.end_session, account=alice, session_id=chrome)
    assert store.read_sync(sessions.account_by_session, token=there) is None
    assert store.read_sync(sessions.account_by_session, token=here) == alice


def test_asking_whose_a_link_is_does_not_use_it_up(store, alice):
    link = store.write_sync(sessions.create_login_link, account=alice)

    assert store.read_sync(sessions.link_owner, token=link) == alice
    assert store.write_sync(sessions.redeem_login_link, token=link) == alice
    assert store.read_sync(sessions.link_owner, token=link) is None
