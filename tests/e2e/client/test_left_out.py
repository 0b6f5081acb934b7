"""What this service leaves out on purpose is refused at once and in words, never waited for."""

PROGRAM = """
import json
import wandb

with wandb.init(project="out") as run:
    run.log({"x": 1})
api = wandb.Api()
calls = {
    "a run queue": lambda: api.run_queue("admin", "queue").id,
    "a new run queue": lambda: api.create_run_queue("queue", "local-container"),
    "registries": lambda: list(api.registries(organization="admin")),
    "a new registry": lambda: api.create_registry("models", visibility="organization"),
    "automations": lambda: list(api.automations("admin")),
    "integrations": lambda: list(api.integrations("admin")),
    "reports": lambda: list(api.reports("admin/out")),
}
words = {}
for name, call in calls.items():
    try:
        words[name] = f"answered: {call()!r}"
    except Exception as error:
        words[name] = str(error)
print(json.dumps(words))
"""


def test_launch_registries_automations_and_reports_are_refused_in_words(real_client):
    words = real_client.python(PROGRAM)
    launch = real_client.wandb("launch-agent", "--queue", "default", is_good=False)

    assert "'runQueue'" in words["a run queue"]
    assert "createDefaultResourceConfig" in words["a new run queue"]
    assert "not enabled on this wandb server" in words["registries"]
    assert "not enabled on this wandb server" in words["a new registry"]
    assert "FilterEventTriggeringCondition" in words["automations"]
    assert "Cannot query field 'integrations'" in words["integrations"]
    assert "Cannot query field 'allViews'" in words["reports"]
    assert "Cannot query field 'runQueues'" in launch
