import hashlib
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import delete, update
from sqlalchemy.exc import IntegrityError

from sweepd.engine import blobs, files, runs
from sweepd.engine.files import Registered
from sweepd.errors import NotFound, ProtocolError
from sweepd.store import Written
from sweepd.store import tables as t


@pytest.fixture
def save(store):
    """Registers a file of a run, whose bytes are told apart by `content`; returns what came of it.

    The key of a blob that is kept is the first one that its content was registered under.
    """
    numbers = itertools.count(1)

    def save(run_id, name, *, content=None, size=1_500_000):
        content = content or f"{run_id}-{name}"
        written = Written(
            key=f"{content}#{next(numbers)}",
            size=size,
            md5="1B2M2Y8AsgTpgAmY7PhCfg==",
            sha256=hashlib.sha256(content.encode()).hexdigest(),
        )
        return store.write_sync(
            files.register, run_id=run_id, name=name, mimetype="text/plain", written=written
        )

    return save


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("x.txt", "x.txt"),
        ("./x.txt", "x.txt"),
        ("./a/./b//c.png", "a/b/c.png"),
        ("test with_special-characters.txt", "test with_special-characters.txt"),
        ("media/ü ü.png", "media/ü ü.png"),
        ("a..b", "a..b"),
        ("media/images/train\\x_0.png", "media/images/train\\x_0.png"),
        ("...", "..."),
    ],
)
def test_name_is_normalised(name, expected):
    assert files.check_name(name) == expected


@pytest.mark.parametrize("name", ["", ".", "./", "/", "a/", "x" * 1025, "a\x00b", "a\nb"])
@pytest.mark.parametrize("prefix", ["", "./"])
def test_name_that_is_none_is_refused(prefix, name):
    with pytest.raises(ProtocolError, match="name"):
        files.check_name(prefix + name if name != "/" else name)


@pytest.mark.parametrize(
    "name",
    [
        "/etc/passwd",
        "..",
        "a/../b",
        "../x",
        "./..",
        "a/..",
        "C:/x",
        "C:\\x",
        "\\x",
        "..\\x",
        "a/..\\x",
    ],
)
def test_name_that_leaves_its_folder_is_refused(name):
    with pytest.raises(ProtocolError, match="name"):
        files.check_name(name)


@given(name=st.text(max_size=30))
def test_any_name_is_refused_or_stays_within_its_folder(name):
    try:
        checked = files.check_name(name)
    except ProtocolError:
        return

    assert files.check_name(checked) == checked
    assert not checked.startswith("/")
    assert not {"", ".", ".."} & set(checked.split("/"))


def test_file_that_comes_again_replaces_the_old_one(store, upsert, save):
    run = upsert()

    assert save(run.id, "a.txt", content="b1", size=1) == Registered("b1#1")
    assert save(run.id, "./a.txt", content="b2", size=2) == Registered("b2#2", ("b1#1",))
    assert save(run.id, "a.txt", content="b2", size=2) == Registered("b2#2")

    found = store.read_sync(files.get_file, run_id=run.id, name="./a.txt")
    assert (found.name, found.blob, found.size) == ("a.txt", "b2#2", 2)
    assert store.read_sync(files.count_files, run_id=run.id) == 1


def test_equal_bytes_of_a_project_are_kept_once_until_nothing_needs_them(store, upsert, save):
    one, two = upsert("one"), upsert("two")
    kept = save(one.id, "a.txt", content="same")

    assert save(two.id, "b.txt", content="same") == Registered(kept.blob)
    first, second = (
        store.read_sync(files.get_file, run_id=run.id, name=name).id
        for run, name in ((one, "a.txt"), (two, "b.txt"))
    )

    assert store.write_sync(files.delete_files, file_ids=[first]) == []
    assert store.write_sync(files.delete_files, file_ids=[second]) == [kept.blob]


def test_equal_bytes_of_two_projects_are_kept_twice(upsert, bob, save):
    mine, elsewhere = upsert(), upsert(project="other")
    others = upsert(actor=bob)

    keys = {save(run.id, "a", content="same").blob for run in (mine, elsewhere, others)}

    assert len(keys) == 3


def test_files_of_a_run_that_is_deleted_free_what_no_other_needs(store, upsert, save, alice):
    one, two = upsert("one"), upsert("two")
    save(one.id, "shared", content="same")
    own = save(one.id, "own").blob
    save(two.id, "shared", content="same")

    assert store.write_sync(runs.delete_run, actor=alice, run_id=one.id) == [own]


def test_project_that_is_deleted_takes_its_blobs_along(store, upsert, save):
    run = upsert()
    key = save(run.id, "a").blob

    store.write_sync(lambda tx: tx.conn.execute(delete(t.project)))

    assert store.read_sync(blobs.live_among, keys=[key]) == set()


def test_blob_is_found_by_its_md5_in_its_own_project_only(store, upsert, save):
    run, other = upsert(), upsert(project="other")
    kept = save(run.id, "a")
    md5 = "1B2M2Y8AsgTpgAmY7PhCfg=="

    found = store.read_sync(blobs.find, project_id=run.project_id, md5=md5)

    assert found is not None
    assert found.key == kept.blob
    assert store.read_sync(blobs.find, project_id=other.project_id, md5=md5) is None


def test_blob_that_a_row_needs_cannot_be_forgotten(store, upsert, save):
    key = save(upsert().id, "a").blob

    assert store.write_sync(blobs.release, keys=[key, "unknown"]) == []
    with pytest.raises(IntegrityError):
        store.write_sync(lambda tx: tx.conn.execute(delete(t.blob)))


def test_file_of_a_run_that_is_gone_is_refused(save, upsert):
    upsert()

    with pytest.raises(NotFound, match="no run with id 99"):
        save(99, "a.txt")


def test_files_are_listed_by_name_page_by_page(store, upsert, save):
    run = upsert()
    for name in ("b.txt", "a.txt", "c/d.txt"):
        save(run.id, name)

    page = store.read_sync(files.list_files, run_id=run.id, first=2)
    rest = store.read_sync(files.list_files, run_id=run.id, first=2, after=page.end)

    assert [file.name for file in page.items] == ["a.txt", "b.txt"]
    assert (page.has_next, page.total) == (True, 3)
    assert [file.name for file in rest.items] == ["c/d.txt"]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"names": []}, ["a.txt", "b_1.txt", "media/x.png"]),
        ({"names": ["./a.txt", "../etc", "nope"]}, ["a.txt"]),
        ({"names": ["../etc"]}, []),
        ({"pattern": "media/%"}, ["media/x.png"]),
        ({"pattern": "b__.txt"}, ["b_1.txt"]),
        ({"pattern": r"b\_%"}, ["b_1.txt"]),
        ({"pattern": r"a\_txt"}, []),
        ({"pattern": r"\%"}, []),
        ({"pattern": "\\"}, []),
        ({"pattern": "A.TXT"}, ["a.txt"]),
        ({"pattern": "%.txt", "names": ["b_1.txt", "media/x.png"]}, ["b_1.txt"]),
    ],
)
def test_files_are_found_by_names_and_pattern(store, upsert, save, query, expected):
    run = upsert()
    for name in ("a.txt", "b_1.txt", "media/x.png"):
        save(run.id, name)

    found = store.read_sync(files.list_files, run_id=run.id, **query)

    assert [file.name for file in found.items] == expected


def test_a_pattern_made_to_take_for_ever_does_not(store, upsert, save):
    run = upsert()
    save(run.id, "a" * 1000)

    found = store.read_sync(files.list_files, run_id=run.id, pattern="%a" * 500 + "b")

    assert found.items == ()


@pytest.mark.parametrize("query", [{"pattern": "%" * 2000}, {"after": "WzFd"}, {"first": -1}])
def test_listing_without_sense_is_refused(store, upsert, query):
    with pytest.raises(ProtocolError):
        store.read_sync(files.list_files, run_id=upsert().id, **query)


def test_deleted_files_free_their_blobs_once(store, upsert, save):
    run = upsert()
    key = save(run.id, "a.txt").blob
    file_id = store.read_sync(files.get_file, run_id=run.id, name="a.txt").id

    assert store.write_sync(files.delete_files, file_ids=[file_id, file_id, 999]) == [key]
    assert store.write_sync(files.delete_files, file_ids=[file_id]) == []
    with pytest.raises(NotFound):
        store.read_sync(files.file_by_id, file_id=file_id)


@pytest.fixture
def sweep(store, upsert, save):
    """A sweep with seven ended trials of rising objective, one without, and one that runs.

    Each has a checkpoint and a log; returns the sweep's id and its runs' ids.
    """
    plain = upsert("plain")
    objectives = [*range(1, 8), None, 0]

    def fill(tx):
        sweep_id = tx.insert(
            t.sweep,
            project_id=plain.project_id,
            name="sw1",
            state="RUNNING",
            definition="",
            method="random",
            seed=1,
            created_at=tx.now,
            updated_at=tx.now,
        )
        run_ids = []
        for number, objective in enumerate(objectives, start=1):
            run_id = tx.insert(
                t.run,
                project_id=plain.project_id,
                name=f"t{number}",
                sweep_id=sweep_id,
                state="finished",
                display_name=f"trial-{number}",
                created_at=tx.now,
            )
            tx.insert(
                t.trial,
                sweep_id=sweep_id,
                number=number,
                run_id=run_id,
                config="{}",
                config_key=str(number),
                origin="search",
                state="leased" if number == 9 else "ended",
                reason=None if number == 9 else "finished",
                objective=objective,
                created_at=tx.now,
            )
            run_ids.append(run_id)
        return sweep_id, run_ids

    sweep_id, run_ids = store.write_sync(fill)
    for run_id in run_ids:
        save(run_id, "checkpoint.pt")
        save(run_id, "output.log")
    save(run_ids[6], "checkpoint-best.pt")
    save(run_ids[6], "model.safetensors")
    save(run_ids[6], "late/attempt-1/checkpoint.pt")
    save(run_ids[6], "deep/checkpoint.pt")
    return sweep_id, run_ids


def names(store, run_id):
    """Return a run's files."""
    page = store.read_sync(files.list_files, run_id=run_id)
    return [file.name for file in page.items]


def test_checkpoint_of_a_trial_that_failed_displaces_none_of_the_best(store, sweep):
    sweep_id, run_ids = sweep
    failed = update(t.trial).where(t.trial.c.run_id == run_ids[0]).values(reason="error")
    store.write_sync(lambda tx: tx.conn.execute(failed).rowcount)

    store.write_sync(files.prune_checkpoints, sweep_id=sweep_id, keep=4)

    kept = [number for number, run in enumerate(run_ids, 1) if "checkpoint.pt" in names(store, run)]
    assert kept == [2, 3, 4, 5, 9]


def test_checkpoint_of_a_trial_that_waits_for_its_promotion_is_kept(store, sweep):
    sweep_id, run_ids = sweep
    paused = update(t.trial).where(t.trial.c.run_id == run_ids[7])
    paused = paused.values(reason="stopped_early", is_paused=1)
    store.write_sync(lambda tx: tx.conn.execute(paused).rowcount)

    store.write_sync(files.prune_checkpoints, sweep_id=sweep_id)

    kept = [number for number, run in enumerate(run_ids, 1) if "checkpoint.pt" in names(store, run)]
    assert kept == [1, 2, 3, 4, 5, 8, 9]


def test_checkpoints_of_the_best_trials_are_kept(store, sweep):
    sweep_id, run_ids = sweep

    freed = store.write_sync(files.prune_checkpoints, sweep_id=sweep_id)

    kept = [number for number, run in enumerate(run_ids, 1) if "checkpoint.pt" in names(store, run)]
    assert kept == [1, 2, 3, 4, 5, 9]
    assert names(store, run_ids[6]) == ["deep/checkpoint.pt", "output.log"]
    assert len(freed) == 6
    assert store.write_sync(files.prune_checkpoints, sweep_id=sweep_id) == []


def test_pruned_run_says_so(store, sweep):
    sweep_id, run_ids = sweep
    store.write_sync(files.prune_checkpoints, sweep_id=sweep_id, keep=6)

    said = store.read_sync(files.pruned_notice, run_id=run_ids[7])

    assert said == (
        "removed: checkpoint.pt (1.5 MB); a sweep keeps the checkpoints of its best 6 trials"
    )
    assert store.read_sync(files.pruned_notice, run_id=run_ids[0]) is None


def test_notice_goes_when_the_file_comes_back(store, sweep, save):
    sweep_id, run_ids = sweep
    store.write_sync(files.prune_checkpoints, sweep_id=sweep_id)

    save(run_ids[7], "checkpoint.pt")

    assert store.read_sync(files.pruned_notice, run_id=run_ids[7]) is None
