"""The public API on runs, by the real client: filters, orders, pages, projects."""

import textwrap

import pytest

pytestmark = pytest.mark.slow

MAKE = """
import json, wandb

def make(run_id, *, config, summary, **options):
    with wandb.init(project="asked", id=run_id, config=config, **options) as run:
        run.summary.update(summary)

make("a", config={"lr": 0.1, "net": {"width": 8}, "opt": "adam"}, summary={"loss": 0.3},
     tags=["t1", "t2"], group="g1", job_type="train", name="first-of-four")
make("b", config={"lr": 0.2, "opt": "sgd"}, summary={"loss": 0.1, "val/acc": 0.9}, tags=["t2"],
     group="g1", job_type="eval")
make("c", config={"lr": 0.3, "opt": "adam"}, summary={"loss": float("nan")}, group="g2")
make("d", config={"opt": "adam"}, summary={})
"""
ASK = """
api = wandb.Api()

def names(filters=None, order="+name", **options):
    return "".join(run.id for run in wandb.Api().runs("asked", filters, order, **options))

found = {
    "all": names(),
    "config": names({"config.lr": 0.1}),
    "value": names({"config.lr.value": {"$gte": 0.2}}),
    "nested": names({"config.net.value.width": 8}),
    "and": names({"$and": [{"config.opt": "adam"}, {"summary_metrics.loss": {"$lt": 1}}]}),
    "or": names({"$or": [{"config.lr": 0.1}, {"config.lr": 0.2}]}),
    "nor": names({"$nor": [{"config.opt": "adam"}]}),
    "ne": names({"config.opt": {"$ne": "adam"}}),
    "in": names({"config.opt": {"$in": ["sgd", "lion"]}}),
    "nin": names({"config.opt": {"$nin": ["sgd", "lion"]}}),
    "exists": names({"config.lr": {"$exists": False}}),
    "regex": names({"display_name": {"$regex": "^first-of-.*"}}),
    "displayName": names({"displayName": "first-of-four"}),
    "tags": names({"tags": "t2"}),
    "tags in": names({"tags": {"$in": ["t1"]}}),
    "no tags": names({"$or": [{"tags": None}, {"tags": {"$ne": "t2"}}]}),
    "group": names({"group": "g1"}),
    "jobType": names({"jobType": "eval"}),
    "state": names({"state": "finished", "username": "admin"}),
    "created": names({"createdAt": {"$gt": "2020-01-01T00:00:00Z", "$lt": "2999-01-01"}}),
    "not created": names({"created_at": {"$lt": "2020-01-01"}}),
    "heartbeat": names({"heartbeat_at": {"$exists": True}}),
    "duration": names({"duration": {"$lt": 3600}}),
    "host": names({"host": {"$exists": True}}),
    "slash": names({"summary_metrics.val/acc": {"$gt": 0.5}}),
    "up": names(order="+summary_metrics.loss"),
    "down": names(order="-summary_metrics.loss"),
    "by config": names(order="-config.lr.value"),
    "pages": names(order="-summary_metrics.loss", per_page=1),
    "newest": names(order="-created_at"),
    "length": len(api.runs("asked", {"config.opt": "adam"})),
    "heavy": [run.config for run in api.runs("asked", {"name": "a"}, lazy=False)],
    "projects": [[project.name, project.entity] for project in api.projects()
        if project.name == "asked"],
    "project": api.project("asked").name,
    "viewer": [api.viewer.username, api.default_entity],
    "path": api.from_path("asked/runs/a").id,
}
try:
    names({"nonsense": 1})
except Exception as error:
    found["unknown"] = str(error)
try:
    api.run("asked/nosuch").id
except Exception as error:
    found["absent"] = str(error)
print(json.dumps(found))
"""
EXPECTED = {
    "all": "abcd",
    "config": "a",
    "value": "bc",
    "nested": "a",
    "and": "a",
    "or": "ab",
    "nor": "b",
    "ne": "b",
    "in": "b",
    "nin": "acd",
    "exists": "d",
    "regex": "a",
    "displayName": "a",
    "tags": "ab",
    "tags in": "a",
    "no tags": "cd",
    "group": "ab",
    "jobType": "b",
    "state": "abcd",
    "created": "abcd",
    "not created": "",
    "heartbeat": "abcd",
    "duration": "abcd",
    "host": "abcd",
    "slash": "b",
    "up": "bacd",
    "down": "abcd",
    "by config": "cbad",
    "pages": "abcd",
    "newest": "dcba",
    "length": 3,
    "heavy": [{"lr": 0.1, "net": {"width": 8}, "opt": "adam"}],
    "projects": [["asked", "admin"]],
    "project": "asked",
    "viewer": ["admin", "admin"],
    "path": "a",
}


def test_runs_are_found_by_everything_that_people_ask_for(real_client):
    found = real_client.python(textwrap.dedent(MAKE + ASK), timeout_s=110)

    assert "unknown field 'nonsense'" in found.pop("unknown")
    assert "Could not find run" in found.pop("absent")
    assert found == EXPECTED
