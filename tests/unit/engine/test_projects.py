import pytest

from sweepd.engine import project_deletion, projects
from sweepd.engine.access import Need
from sweepd.errors import InvalidInput, NotFound, ProtocolError


def test_project_is_made_once_and_found_again(store, alice):
    made = store.write_sync(
        projects.ensure_project, actor=alice, need=Need.WRITE, entity="alice", name="toy"
    )

    again = store.write_sync(
        projects.ensure_project, actor=alice, need=Need.WRITE, entity=None, name="toy"
    )
    found = store.read_sync(
        projects.get_project, actor=alice, need=Need.READ, entity="alice", name="toy"
    )

    assert made == again == found
    assert (made.entity, made.name, made.user_name) == ("alice", "toy", "alice")


@pytest.mark.parametrize("name", [None, ""])
def test_project_without_a_name_is_uncategorized(store, alice, name):
    made = store.write_sync(
        projects.ensure_project, actor=alice, need=Need.WRITE, entity=None, name=name
    )

    assert made.name == "uncategorized"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        pytest.param("a/b", "may not contain '/'", id="slash"),
        pytest.param("a?b", "may not contain '\\?'", id="question mark"),
        pytest.param("a\nb", "may not contain", id="line break"),
        pytest.param(" a", "begin or end with a space", id="space"),
        pytest.param("..", "cannot be", id="dots"),
        pytest.param("x" * 129, "at most 128 characters", id="too long"),
    ],
)
def test_project_name_that_cannot_be_one_is_refused_in_words(store, alice, name, words):
    with pytest.raises(InvalidInput, match=words):
        store.write_sync(
            projects.ensure_project, actor=alice, need=Need.WRITE, entity=None, name=name
        )


def test_unknown_entity_is_refused_with_the_ones_that_may_be_used(store, alice, root):
    with pytest.raises(NotFound, match=r"no entity 'nobody'.*: alice$"):
        store.read_sync(projects.resolve_entity, actor=alice, need=Need.READ, entity="nobody")
    with pytest.raises(NotFound, match=r"no entity 'nobody'.*: alice, root$"):
        store.read_sync(projects.resolve_entity, actor=root, need=Need.READ, entity="nobody")


def test_foreign_entity_is_as_if_it_were_not_but_for_administrators(store, alice, bob, root):
    with pytest.raises(NotFound, match=r"no entity 'bob'.*: alice$"):
        store.read_sync(projects.resolve_entity, actor=alice, need=Need.READ, entity="bob")

    assert (
        store.read_sync(projects.resolve_entity, actor=root, need=Need.READ, entity="bob")[1]
        == "bob"
    )


def test_project_of_another_user_is_not_found_by_id(store, alice, bob):
    made = store.write_sync(
        projects.ensure_project, actor=bob, need=Need.WRITE, entity=None, name="secret"
    )

    with pytest.raises(NotFound, match="no project with id"):
        store.read_sync(projects.project_by_id, actor=alice, need=Need.READ, project_id=made.id)


def test_missing_project_is_not_found(store, alice):
    with pytest.raises(NotFound, match="no project alice/nothing"):
        store.read_sync(
            projects.get_project, actor=alice, need=Need.READ, entity=None, name="nothing"
        )


def test_projects_are_listed_newest_first_page_by_page(store, alice):
    for name in ("a", "b", "c"):
        store.write_sync(
            projects.ensure_project, actor=alice, need=Need.WRITE, entity=None, name=name
        )

    page = store.read_sync(
        projects.list_projects, actor=alice, need=Need.READ, entity=None, first=2
    )
    rest = store.read_sync(
        projects.list_projects, actor=alice, need=Need.READ, entity=None, after=page.end, first=2
    )

    assert [project.name for project in page.items] == ["c", "b"]
    assert (page.has_next, page.total) == (True, 3)
    assert [project.name for project in rest.items] == ["a"]
    assert not rest.has_next


@pytest.mark.parametrize("cursor", ["", "%%%", "bm9wZQ", "WzFd"])
def test_cursor_that_is_none_is_refused(store, alice, cursor):
    with pytest.raises(ProtocolError, match="not a cursor"):
        store.read_sync(
            projects.list_projects, actor=alice, need=Need.READ, entity=None, after=cursor
        )


def test_id_of_a_deleted_project_is_never_another_ones(store, alice):
    def make(name):
        return store.write_sync(
            projects.ensure_project, actor=alice, entity="alice", name=name, need=Need.WRITE
        ).id

    first, second = make("first"), make("second")
    store.write_sync(project_deletion.delete_project, actor=alice, project_id=second)

    assert second > first
    assert make("third") > second
