import pytest

from sweepd.engine import accounts, keys
from sweepd.errors import AlreadyExists, InvalidInput, NotFound

KEY = "k" * 20 + "0123456789" * 2


@pytest.mark.parametrize(
    "key",
    ["a" * 40, "local-" + "b" * 40, "user_gw0-" + "0f" * 20, "x-" + "y-_" * 14, "abc.def.ghi"],
)
def test_keys_that_the_client_accepts_are_accepted(key):
    keys.check_key_form(key)


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
        keys.check_key_form(key)


def test_key_check_agrees_with_the_installed_client():
    from wandb.sdk.lib.wbauth.validation import check_api_key

    tried = ["", "a" * 40, "a" * 39, "-" + "a" * 40, "p-" + "a" * 39, "a.b.c", "a.b", "é" * 40]
    tried += ["x" * 41 + "-" + "y", "a" * 39 + "/", "a-b-" + "c" * 38, "with space-" + "c" * 40]

    for key in tried:
        try:
            keys.check_key_form(key)
        except InvalidInput:
            assert check_api_key(key) is not None, key
        else:
            assert check_api_key(key) is None, key


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
        store.write_sync(keys.add_key, account=root, key=key)

    ids = [key.id for key in store.read_sync(keys.keys_of, account=root)][-2:]

    assert one.startswith(ids[0])
    assert two.startswith(ids[1])
    assert ids[0] != ids[1]


def test_key_is_revoked_by_its_owner_or_an_administrator_alone(store, alice, bob, root):
    one, key = store.write_sync(keys.add_key, account=alice)
    two, _ = store.write_sync(keys.add_key, account=alice)

    with pytest.raises(NotFound, match=f"no key '{one.id}'"):
        store.write_sync(keys.revoke_key, actor=bob, key_id=one.id)
    assert store.write_sync(keys.revoke_key, actor=alice, key_id=one.id)
    assert store.write_sync(keys.revoke_key, actor=root, key_id=two.id)
    assert not store.write_sync(keys.revoke_key, actor=alice, key_id=one.id)
    assert store.read_sync(accounts.account_by_key, key=key) is None


def test_refused_key_is_told_why(store, alice, clock):
    revoked, key = store.write_sync(keys.add_key, account=alice)
    store.write_sync(keys.revoke_key, actor=alice, key_id=revoked.id)
    _, late = store.write_sync(keys.add_key, account=alice, expires_at=clock.now + 60)
    clock.advance(60)

    assert store.read_sync(keys.why_refused, key=key).endswith("has been revoked")
    assert store.read_sync(keys.why_refused, key=late).endswith("has expired")
    assert "does not know" in store.read_sync(keys.why_refused, key="\ud800")


def test_key_signs_in_until_it_expires(store, alice, clock):
    _, key = store.write_sync(keys.add_key, account=alice, expires_at=clock.now + 60)

    clock.advance(59)
    assert store.read_sync(accounts.account_by_key, key=key).name == "alice"
    clock.advance(1)
    assert store.read_sync(accounts.account_by_key, key=key) is None


def test_revoked_key_cannot_be_anybodys_again(store, alice, bob):
    record, _ = store.write_sync(keys.add_key, account=alice, key=KEY)
    store.write_sync(keys.revoke_key, actor=alice, key_id=record.id)

    with pytest.raises(AlreadyExists, match="was and has been revoked"):
        store.write_sync(keys.add_key, account=bob, key=KEY)


def test_key_that_would_end_before_it_begins_is_refused(store, alice, clock):
    with pytest.raises(InvalidInput, match="in the future"):
        store.write_sync(keys.add_key, account=alice, expires_at=clock.now)
    with pytest.raises(InvalidInput, match="at most 200"):
        store.write_sync(keys.add_key, account=alice, description="x" * 201)


def test_live_keys_are_listed_and_ended_ones_where_asked_for(store, alice, clock):
    record, _ = store.write_sync(keys.add_key, account=alice, description="laptop")
    store.write_sync(keys.revoke_key, actor=alice, key_id=record.id)

    live = store.read_sync(keys.keys_of, account=alice)
    ever = store.read_sync(keys.list_keys, user="alice")

    assert [key.description for key in live] == ["first key"]
    assert [key.description for key in ever if key.is_over(clock.now)] == ["laptop"]


def test_last_use_is_kept_in_memory_and_never_goes_back(store, alice):
    _, key = store.write_sync(keys.add_key, account=alice, description="used")
    account = store.read_sync(accounts.account_by_key, key=key)
    uses = keys.KeyUses()

    for at in (100.0, 200.0):
        uses.note(account.key_id, at=at)
    store.write_sync(keys.note_uses, uses=uses.take())
    store.write_sync(keys.note_uses, uses={account.key_id: 150.0})

    used = [one for one in store.read_sync(keys.keys_of, account=alice) if one.last_used_at]
    assert [(one.id, one.last_used_at) for one in used] == [(account.key_id, 200.0)]
    assert uses.take() == {}
