import pytest
from sqlalchemy import insert, update

from sweepd.engine import access, entities, projects, runs, sweeps
from sweepd.engine.access import Need
from sweepd.errors import Forbidden, NotFound
from sweepd.store import tables as t

PLAIN = "method: random\nparameters: {lr: {min: 0.0, max: 1.0}}"


@pytest.fixture
def team(store):
    """A team called `lab`; its id."""
    return store.write_sync(lambda tx: tx.insert(t.entity, name="lab", kind="team"))


@pytest.fixture
def join(store, team):
    """Makes an account a member of the team."""

    def join(account, role):
        row = {"entity_id": team, "user_id": account.id, "role": role, "created_at": 0}
        store.write_sync(lambda tx: tx.conn.execute(insert(t.membership), row))

    return join


@pytest.fixture
def project(store, root, team):
    """A project of the team."""
    return store.write_sync(
        projects.ensure_project, actor=root, entity="lab", name="toy", need=Need.WRITE
    )


@pytest.fixture
def open_up(store):
    """Makes a project readable by everybody."""

    def open_up(view):
        change = update(t.project).where(t.project.c.id == view.id).values(access="everybody")
        store.write_sync(lambda tx: tx.conn.execute(change))

    return open_up


@pytest.mark.parametrize(
    ("role", "may"),
    [
        pytest.param("viewer", Need.READ, id="viewer"),
        pytest.param("member", Need.WRITE, id="member"),
        pytest.param("admin", Need.ADMIN, id="admin"),
    ],
)
def test_member_may_what_their_role_allows(store, alice, team, join, role, may):
    join(alice, role)

    assert store.read_sync(access.level, actor=alice, entity_id=team) == may


def test_own_entity_and_the_service_are_their_administrators(store, root, alice, team):
    assert store.read_sync(access.level, actor=alice, entity_id=alice.own_id) == Need.ADMIN
    assert store.read_sync(access.level, actor=root, entity_id=team) == Need.ADMIN
    assert store.read_sync(access.level, actor=alice, entity_id=team) is None
    assert store.read_sync(access.level, actor=alice, entity_id=root.own_id) is None


def test_viewer_reads_and_is_told_that_they_may_not_write(store, alice, project, join):
    join(alice, "viewer")

    found = store.read_sync(
        projects.get_project, actor=alice, entity="lab", name="toy", need=Need.READ
    )

    assert found == project
    with pytest.raises(Forbidden, match="you may read entity 'lab', not change it"):
        store.write_sync(
            projects.ensure_project, actor=alice, entity="lab", name="toy", need=Need.WRITE
        )
    with pytest.raises(Forbidden, match="you may read entity 'lab'"):
        store.write_sync(sweeps.create_sweep, actor=alice, entity="lab", definition=PLAIN)
    change = runs.RunChange(entity="lab", project="toy", name="r1")
    with pytest.raises(Forbidden, match="you may read entity 'lab'"):
        store.write_sync(runs.upsert_run, actor=alice, change=change)


def test_member_writes_and_does_not_administer(store, alice, project, join):
    join(alice, "member")

    change = runs.RunChange(entity="lab", project="toy", name="r1")
    run, _ = store.write_sync(runs.upsert_run, actor=alice, change=change)

    assert (run.entity, run.user_name) == ("lab", "alice")
    with pytest.raises(Forbidden, match="you may read and change project lab/toy, not administer"):
        store.read_sync(projects.project_by_id, actor=alice, project_id=project.id, need=Need.ADMIN)


def test_stranger_is_told_the_same_of_what_is_there_and_what_is_not(store, alice, project):
    def words(**arguments):
        with pytest.raises(NotFound) as refusal:
            store.read_sync(projects.get_project, actor=alice, need=Need.READ, **arguments)
        return str(refusal.value)

    there, nowhere = words(entity="lab", name="toy"), words(entity="xyz", name="toy")

    assert there == nowhere.replace("xyz", "lab")


def test_open_project_is_read_by_everybody_and_the_entitys_others_are_not(
    store, root, alice, project, open_up
):
    store.write_sync(
        projects.ensure_project, actor=root, entity="lab", name="closed", need=Need.WRITE
    )
    open_up(project)

    page = store.read_sync(projects.list_projects, actor=alice, entity="lab", need=Need.READ)

    assert ([view.name for view in page.items], page.total) == (["toy"], 1)
    with pytest.raises(NotFound, match="no project lab/closed"):
        store.read_sync(
            projects.get_project, actor=alice, entity="lab", name="closed", need=Need.READ
        )
    with pytest.raises(Forbidden, match="you may read project lab/toy, not change it"):
        store.read_sync(
            projects.get_project, actor=alice, entity="lab", name="toy", need=Need.WRITE
        )
    with pytest.raises(Forbidden, match="you may read entity 'lab', not change it"):
        store.write_sync(
            projects.ensure_project, actor=alice, entity="lab", name="mine", need=Need.WRITE
        )


def test_sweeps_of_an_entity_are_those_of_the_projects_that_one_may_read(
    store, root, alice, project, open_up
):
    for name in ("toy", "closed"):
        store.write_sync(
            sweeps.create_sweep, actor=root, entity="lab", project=name, definition=PLAIN
        )
    open_up(project)

    page = store.read_sync(sweeps.list_sweeps, actor=alice, entity="lab", need=Need.READ)

    assert ([view.project for view in page.items], page.total) == (["toy"], 1)


def test_role_that_is_taken_away_counts_at_once(store, alice, team, project, join):
    join(alice, "admin")
    store.write_sync(lambda tx: tx.conn.execute(t.membership.delete()))

    with pytest.raises(NotFound):
        store.read_sync(projects.project_by_id, actor=alice, project_id=project.id, need=Need.READ)


def test_entity_of_ones_own_has_one_member_and_others_do_not_learn_their_address(
    store, alice, bob, open_up
):
    mine = store.write_sync(
        projects.ensure_project, actor=alice, entity="alice", name="open", need=Need.WRITE
    )
    open_up(mine)

    (member,) = store.read_sync(entities.list_members, actor=alice, name="alice")

    assert (member.name, member.email, member.is_service) == ("alice", alice.email, False)
    with pytest.raises(NotFound, match="no team 'alice'"):
        store.read_sync(entities.list_members, actor=bob, name="alice")
