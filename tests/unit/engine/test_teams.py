import pytest

from sweepd.engine import access, accounts, keys, projects, runs, teams
from sweepd.engine.access import Need
from sweepd.engine.views import Access, Role
from sweepd.errors import AlreadyExists, Conflict, Forbidden, InvalidInput, NotFound


@pytest.fixture
def lab(store, root, alice):
    """A team whose administrator is alice."""
    return store.write_sync(teams.create_team, actor=root, name="lab", admin="alice")


@pytest.fixture
def roles(store, alice):
    """Reads who is in the team, in which role."""

    def roles():
        found = store.read_sync(teams.list_members, actor=alice, team="lab", need=Need.READ)
        return {member.name: member.role for member in found}

    return roles


def test_team_is_made_by_who_administers_the_service(store, root, alice):
    made = store.write_sync(teams.create_team, actor=root, name="lab")

    assert (made.name, made.role, made.n_members, made.n_projects) == ("lab", Role.ADMIN, 1, 0)
    with pytest.raises(Forbidden, match="administrators of the service"):
        store.write_sync(teams.create_team, actor=alice, name="other")
    with pytest.raises(AlreadyExists, match="'lab' already"):
        store.write_sync(teams.create_team, actor=root, name="Lab")
    with pytest.raises(AlreadyExists, match="'alice' already"):
        store.write_sync(teams.create_team, actor=root, name="alice")
    with pytest.raises(AlreadyExists, match="'lab' already"):
        store.write_sync(accounts.add_user, name="lab")


def test_team_admin_adds_changes_and_removes_members(store, lab, alice, bob, roles):
    store.write_sync(teams.set_role, actor=alice, team="lab", user="bob", role=Role.VIEWER)
    assert roles() == {"alice": Role.ADMIN, "bob": Role.VIEWER}

    store.write_sync(teams.set_role, actor=alice, team="lab", user="bob", role=Role.MEMBER)
    assert roles()["bob"] == Role.MEMBER

    assert store.write_sync(teams.remove_member, actor=alice, team="lab", user_id=bob.id)
    assert not store.write_sync(teams.remove_member, actor=alice, team="lab", user_id=bob.id)
    assert roles() == {"alice": Role.ADMIN}


def test_member_sees_the_members_and_changes_none_but_leaves(store, lab, alice, bob, roles):
    store.write_sync(teams.set_role, actor=alice, team="lab", user="bob", role=Role.MEMBER)

    found = store.read_sync(teams.list_members, actor=bob, team="lab", need=Need.READ)
    assert [member.name for member in found] == ["alice", "bob"]
    with pytest.raises(Forbidden, match="read and change team 'lab', not administer it"):
        store.write_sync(teams.set_role, actor=bob, team="lab", user="bob", role=Role.ADMIN)
    with pytest.raises(Forbidden):
        store.write_sync(teams.remove_member, actor=bob, team="lab", user_id=alice.id)
    assert store.write_sync(teams.remove_member, actor=bob, team="lab", user_id=bob.id)


def test_stranger_finds_no_team_though_a_project_of_it_is_open(store, lab, alice, bob):
    store.write_sync(
        projects.upsert_project, actor=alice, entity="lab", name="toy", access=Access.EVERYBODY
    )

    with pytest.raises(NotFound, match="no team 'lab'"):
        store.read_sync(teams.list_members, actor=bob, team="lab", need=Need.READ)
    with pytest.raises(NotFound, match="no team 'lab'"):
        store.write_sync(teams.set_role, actor=bob, team="lab", user="bob", role=Role.ADMIN)
    assert store.read_sync(teams.list_teams, actor=bob) == []


def test_last_administrator_of_a_team_stays_whoever_acts(store, lab, alice, bob, root):
    for actor in (alice, root):
        with pytest.raises(Conflict, match="must keep an administrator"):
            store.write_sync(teams.remove_member, actor=actor, team="lab", user_id=alice.id)
        with pytest.raises(Conflict, match="must keep an administrator"):
            store.write_sync(
                teams.set_role, actor=actor, team="lab", user="alice", role=Role.VIEWER
            )
    with pytest.raises(Conflict, match="'alice' is the last administrator of 'lab'"):
        store.write_sync(accounts.remove_user, name="alice")

    store.write_sync(teams.set_role, actor=root, team="lab", user="bob", role=Role.ADMIN)
    assert store.write_sync(teams.remove_member, actor=root, team="lab", user_id=alice.id)
    store.write_sync(teams.remove_team, actor=root, name="lab")
    assert store.write_sync(accounts.remove_user, name="bob") is None


def test_machine_administers_no_team(store, lab, alice, root):
    store.write_sync(teams.add_service_account, actor=alice, team="lab", name="ci")

    with pytest.raises(InvalidInput, match="'ci' is a service account"):
        store.write_sync(teams.set_role, actor=alice, team="lab", user="ci", role=Role.ADMIN)
    with pytest.raises(InvalidInput, match="'ci' is a service account"):
        store.write_sync(teams.create_team, actor=root, name="new", admin="ci")


def test_role_that_is_none_is_refused_with_those_there_are():
    assert teams.read_role("Viewer") is Role.VIEWER
    with pytest.raises(InvalidInput, match="viewer, member, admin, not 'king'"):
        teams.read_role("king")


def test_default_team_is_where_runs_go_that_name_no_entity(store, lab, alice):
    account = store.write_sync(teams.set_default, account=alice, team="lab")

    run, _ = store.write_sync(runs.upsert_run, actor=account, change=runs.RunChange(name="r1"))

    assert (account.entity, run.entity) == ("lab", "lab")
    assert account.own_id == alice.own_id
    back = store.write_sync(teams.set_default, account=account, team=None)
    assert back == alice
    with pytest.raises(NotFound, match="alice is in no team 'nope'"):
        store.write_sync(teams.set_default, account=alice, team="nope")


def test_default_team_is_none_where_one_may_only_read(store, lab, alice, bob):
    def join(role):
        store.write_sync(teams.set_role, actor=alice, team="lab", user="bob", role=role)
        return store.read_sync(accounts.account_by_name, name="bob").entity

    join(Role.VIEWER)
    with pytest.raises(InvalidInput, match="bob is a viewer in 'lab'"):
        store.write_sync(teams.set_default, account=bob, team="lab")
    join(Role.MEMBER)
    store.write_sync(teams.set_default, account=bob, team="lab")

    assert [join(role) for role in (Role.MEMBER, Role.VIEWER, Role.ADMIN)] == ["lab", "bob", "lab"]


def test_default_team_ends_with_the_membership(store, lab, alice, bob, root):
    store.write_sync(teams.set_role, actor=root, team="lab", user="bob", role=Role.ADMIN)
    store.write_sync(teams.set_default, account=alice, team="lab")
    store.write_sync(teams.remove_member, actor=root, team="lab", user_id=alice.id)

    assert store.read_sync(accounts.account_by_name, name="alice") == alice


def test_service_account_works_for_its_team_and_owns_nothing(store, lab, alice, root):
    made = store.write_sync(
        teams.add_service_account, actor=alice, team="lab", description="CI of the lab!"
    )
    _, key = store.write_sync(keys.add_key, account=made)
    account = store.read_sync(accounts.account_by_key, key=key)

    run, _ = store.write_sync(runs.upsert_run, actor=account, change=runs.RunChange(name="r1"))

    assert account.name.startswith("ci-of-the-lab-")
    assert (account.is_service, account.own_id, account.entity) == (True, None, "lab")
    assert (run.entity, run.user_name) == ("lab", account.name)
    change = runs.RunChange(name="r1", entity="alice")
    with pytest.raises(NotFound, match=r"no entity 'alice'.*: lab$"):
        store.write_sync(runs.upsert_run, actor=account, change=change)
    with pytest.raises(InvalidInput, match="no entity of its own"):
        store.write_sync(teams.set_default, account=account, team=None)


def test_service_account_names_a_person_of_its_team_and_nobody_else(store, lab, alice, bob):
    service = store.write_sync(teams.add_service_account, actor=alice, team="lab", name="ci")

    assert store.read_sync(accounts.person_for, account=service, name="alice")[0] == alice.id
    assert store.read_sync(accounts.person_for, account=service, name="bob") is None
    assert store.read_sync(accounts.person_for, account=service, name="ci") is None
    assert store.read_sync(accounts.person_for, account=alice, name="alice") is None


def test_service_account_goes_when_it_is_taken_out_of_its_team(store, lab, alice):
    made = store.write_sync(teams.add_service_account, actor=alice, team="lab", name="ci")

    assert store.write_sync(teams.remove_member, actor=alice, team="lab", user_id=made.id)

    with pytest.raises(NotFound, match="no user 'ci'"):
        store.read_sync(accounts.account_by_name, name="ci")


def test_removed_team_leaves_its_projects_to_administrators_under_another_name(
    store, lab, alice, root
):
    store.write_sync(teams.add_service_account, actor=alice, team="lab", name="ci")
    made, _ = store.write_sync(
        projects.upsert_project, actor=alice, entity="lab", name="toy", access=Access.EVERYBODY
    )
    with pytest.raises(Forbidden, match="administrators of the service"):
        store.write_sync(teams.remove_team, actor=alice, name="lab")

    kept = store.write_sync(teams.remove_team, actor=root, name="lab")
    store.write_sync(teams.create_team, actor=root, name="lab", admin="alice")

    by_id = {"project_id": made.id, "need": Need.READ}
    assert store.read_sync(projects.project_by_id, actor=root, **by_id).entity == kept
    with pytest.raises(NotFound):
        store.read_sync(projects.project_by_id, actor=alice, **by_id)
    assert store.read_sync(access.level, actor=alice, entity_id=made.entity_id) is None
    with pytest.raises(NotFound, match="no user 'ci'"):
        store.read_sync(accounts.account_by_name, name="ci")


def test_visibility_of_a_project_is_changed_by_who_administers_its_entity(store, lab, alice, bob):
    store.write_sync(teams.set_role, actor=alice, team="lab", user="bob", role=Role.MEMBER)
    made, is_new = store.write_sync(
        projects.upsert_project, actor=bob, entity="lab", name="toy", description="ours"
    )

    assert (is_new, made.access, made.description) == (True, Access.ENTITY, "ours")
    with pytest.raises(Forbidden, match="not administer it"):
        store.write_sync(
            projects.upsert_project, actor=bob, project_id=made.id, access=Access.EVERYBODY
        )
    changed, is_new = store.write_sync(
        projects.upsert_project, actor=alice, project_id=made.id, access=Access.EVERYBODY
    )
    assert (is_new, changed.access, changed.description) == (False, Access.EVERYBODY, "ours")
    with pytest.raises(InvalidInput, match="cannot be renamed"):
        store.write_sync(projects.upsert_project, actor=alice, project_id=made.id, name="x")
