"""Keys, users and teams, as the unmodified client asks for and changes them."""

PROGRAM = """
import json
import wandb

def refusal(call):
    try:
        return f"allowed: {call()}"
    except Exception as error:
        return str(error)

api = wandb.Api()
viewer = api.viewer
key = viewer.generate_api_key("laptop")
found = {"viewer": [viewer.username, viewer.admin, api.default_entity],
         "with the key": wandb.Api(api_key=key).viewer.username}
viewer = wandb.Api().viewer
(name,) = [one for one in viewer.api_keys if key.startswith(one)]
found["deleted"] = viewer.delete_api_key(name)
found["then"] = refusal(lambda: wandb.Api(api_key=key).viewer.username)

api.create_user("ben@example.org")
team = api.create_team("accounts")
invited = [team.invite("ben"), team.invite("nobody")]
account = team.create_service_account("farm")
members = [[member.username, member.account_type] for member in api.team("accounts").members]
with wandb.init(entity="accounts", project="shared") as run:
    run.log({"x": 1})
(ben,) = [member for member in api.team("accounts").members if member.username == "ben"]
found |= {
    "invited": invited, "members": members, "account": account.account_type,
    "teams": wandb.Api().viewer.teams, "ran": wandb.Api().run(run.path).entity,
    "projects": [project.name for project in api.projects("accounts")],
    "removed": ben.delete(), "left": len(wandb.Api().team("accounts").members),
    "users": [user.username for user in api.users("ben@example.org")],
}
print(json.dumps(found))
"""


def test_keys_users_and_teams_are_made_and_ended_from_a_program(real_client):
    found = real_client.python(PROGRAM)

    assert found["viewer"] == ["admin", True, "admin"]
    assert found["with the key"] == "admin"
    assert found["deleted"] is True
    assert "allowed" not in found["then"]
    assert "key" in found["then"]
    assert found["invited"] == [True, False]
    assert ["ben", "USER"] in found["members"]
    assert len(found["members"]) == 3
    assert found["account"] == "SERVICE"
    assert "accounts" in found["teams"]
    assert (found["ran"], found["projects"]) == ("accounts", ["shared"])
    assert (found["removed"], found["left"]) == (True, 2)
    assert found["users"] == ["ben"]
