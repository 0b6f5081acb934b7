"""A document of a client newer than this service: a clear error at once, never a hang."""

PROGRAM = """
import json, wandb
api = wandb.Api(timeout=20)
query = "query Later { viewer { id horoscope } }"
try:
    api._service_api.execute_graphql(query, {})
except Exception as error:
    told = str(error)
print(json.dumps([told, api.viewer.username]))
"""


def test_a_field_that_the_service_does_not_know_is_told_by_name_and_at_once(
    real_client, needs_client
):
    needs_client("0.31", why="its public API sends documents as they stand")

    told, viewer = real_client.python(PROGRAM, timeout_s=40)

    assert "Cannot query field 'horoscope' on type 'User'." in told
    assert viewer == "admin"
