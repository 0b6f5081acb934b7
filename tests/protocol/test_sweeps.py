"""Sweeps and agents: requests as the client sends them, and our own operations."""

import json

import pytest
from sqlalchemy import insert, select

from sweepd.app import build
from sweepd.engine import sessions
from sweepd.engine.views import Command
from sweepd.store import tables as t
from sweepd.wire.resolvers.agents import command_json

UPSERT = """mutation UpsertSweep($id: ID, $config: String, $description: String,
  $entityName: String, $projectName: String, $controller: JSONString, $launchScheduler: JSONString,
  $templateVariableValues: JSONString, $scheduler: JSONString, $state: String,
  $priorRunsFilters: JSONString, $displayName: String) { upsertSweep(input: {id: $id,
  config: $config, description: $description, entityName: $entityName, projectName: $projectName,
  controller: $controller, launchScheduler: $launchScheduler, scheduler: $scheduler, state: $state,
  templateVariableValues: $templateVariableValues, priorRunsFilters: $priorRunsFilters,
  displayName: $displayName}) { sweep { name id project { id name entity { id name } } }
  configValidationWarnings } }"""
SWEEP_WITH_RUNS = """query SweepWithRuns($entity: String, $project: String, $sweep: String!,
  $specs: [JSONString!]!) { project(name: $project, entityName: $entity) {
  sweep(sweepName: $sweep) { id name method state description config createdAt heartbeatAt
  updatedAt earlyStopJobRunning bestLoss controller scheduler runs { edges { node { name state
  config exitcode heartbeatAt shouldStop failed stopped running summaryMetrics
  sampledHistory(specs: $specs) } } } } } }"""
CREATE_AGENT = """mutation CreateAgent($host: String!, $projectName: String, $entityName: String,
  $sweep: String!) { createAgent(input: {host: $host, projectName: $projectName,
  entityName: $entityName, sweep: $sweep}) { agent { id } } }"""
HEARTBEAT = """mutation Heartbeat($id: ID!, $metrics: JSONString, $runState: JSONString) {
  agentHeartbeat(input: {id: $id, metrics: $metrics, runState: $runState}) {
  agent { id } commands } }"""
STATUS = """query($name: String!) { sweepdSweep(name: $name) { name state sweepdStatus { issued
  running finished failed queued expected agents metric goal bestValue bestRunName stopReason
  metrics { name goal } front { runName number values }
  notice createdAt endedAt secondsLeft url } sweepdAgents { id name host state totalRuns
  currentRunName createdAt heartbeatAt } } }"""

DEFINITION = """
method: grid
program: toy.py
metric: {name: loss, goal: minimize}
parameters:
  lr: {values: [0.1, 0.2]}
  opt: {parameters: {beta: {value: 0.9}}}
"""


@pytest.fixture
def create(client):
    def create(config=DEFINITION, **fields):
        variables = {"config": config, "projectName": "toy", "entityName": None, **fields}
        variables.setdefault("templateVariableValues", "null")
        return client.data(UPSERT, **variables)["upsertSweep"]

    return create


@pytest.fixture
def sweep(create, request):
    return create(getattr(request, "param", DEFINITION))["sweep"]


@pytest.fixture
def agent(client, sweep):
    answer = client.data(
        CREATE_AGENT, host="box", projectName="toy", entityName="alice", sweep=sweep["name"]
    )
    return answer["createAgent"]["agent"]["id"]


@pytest.fixture
def beat(client, agent):
    def beat(*running):
        state = json.dumps(dict.fromkeys(running, True))
        answer = client.data(HEARTBEAT, id=agent, metrics="{}", runState=state)["agentHeartbeat"]
        assert answer["agent"]["id"] == agent
        assert isinstance(answer["commands"], str)
        return json.loads(answer["commands"])

    return beat


@pytest.fixture
def finish(client):
    def finish(run, sweep, loss):
        client.data(
            "mutation($n: String, $s: String) { upsertBucket(input: {name: $n, sweep: $s,"
            ' modelName: "toy", host: "box"}) { bucket { id sweepName } } }',
            n=run,
            s=sweep["name"],
        )
        row = {"offset": 0, "content": [json.dumps({"loss": loss, "_step": 0})]}
        files = {"wandb-history.jsonl": row, "wandb-summary.json": row}
        body = {"files": files, "complete": True, "exitcode": 0}
        answer = client.request("POST", f"/files/alice/toy/{run}/file_stream", json=body)
        assert answer.status_code == 200, answer.text

    return finish


def test_what_was_handed_out_before_a_start_counts_no_more(service, settings, beat):
    n_sent = select(t.attempt.c.n_sent)
    beat()
    before = service.store.read_sync(lambda tx: tx.conn.scalar(n_sent))
    app = build(settings, store=service.store)

    with service.portal.wrap_async_context_manager(app.router.lifespan_context(app)):
        after = service.store.read_sync(lambda tx: tx.conn.scalar(n_sent))

    assert (before, after) == (1, 0)


def test_a_new_sweep_has_a_short_id_and_a_list_of_warnings(create):
    answer = create()

    assert len(answer["sweep"]["name"]) == 8
    assert answer["sweep"]["project"]["entity"]["name"] == "alice"
    assert answer["configValidationWarnings"] == []


def test_an_unknown_key_is_a_warning_with_a_suggestion(create):
    warnings = create(DEFINITION + "\nrun_cpa: 3\n")["configValidationWarnings"]

    assert len(warnings) == 1
    assert "run_cap" in warnings[0]


def test_a_wrong_definition_is_refused_with_every_problem_and_nothing_is_made(client):
    status, messages = client.errors(
        UPSERT, config="method: nosuch\nparameters: {lr: {min: 2, max: 1}}", projectName="new"
    )

    assert status == 400
    assert "nosuch" in messages[0]
    assert "lr" in messages[0]
    assert client.data('{ project(name: "new") { id } }')["project"] is None


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        pytest.param({"config": None}, "definition", id="no definition"),
        pytest.param({"launchScheduler": '{"queue": "q"}'}, "launch", id="launch"),
        pytest.param({"priorRunsFilters": "["}, "priorRunsFilters", id="filters"),
    ],
)
def test_what_a_sweep_cannot_have_is_refused(client, fields, words):
    status, messages = client.errors(UPSERT, **{"config": DEFINITION, "projectName": "p", **fields})

    assert status == 400
    assert words in messages[0]


def test_the_cli_reads_a_sweep_with_its_runs(client, sweep, beat, finish):
    run = beat()[0]["run_id"]
    finish(run, sweep, 0.5)

    answer = client.data(
        SWEEP_WITH_RUNS, entity="alice", project="toy", sweep=sweep["name"], specs="{}"
    )["project"]["sweep"]

    assert answer["state"] == "RUNNING"
    assert answer["method"] == "grid"
    assert answer["config"] == DEFINITION
    assert answer["bestLoss"] == 0.5
    (edge,) = answer["runs"]["edges"]
    assert edge["node"]["name"] == run
    assert edge["node"]["sampledHistory"] == [[]]
    assert edge["node"]["running"] is False


def test_a_sweep_that_does_not_exist_is_null(client):
    client.data('mutation { upsertModel(input: {name: "toy"}) { inserted } }')

    answer = client.data(SWEEP_WITH_RUNS, project="toy", sweep="nosuch", specs="{}")

    assert answer["project"]["sweep"] is None


def test_an_agent_is_given_a_run_as_both_of_the_clients_agents_read_it(sweep, beat):
    (command,) = beat()

    assert command["type"] == "run"
    assert command["program"] == "toy.py"
    assert command["args"] == {"lr": {"value": 0.1}, "opt": {"value": {"beta": 0.9}}}
    assert list(command["args"]) == ["lr", "opt"]
    assert command["sweepd"]["attempt"] == 1
    assert command["sweepd"]["token"]


def test_an_answer_that_was_lost_is_given_again(beat):
    assert beat()[0]["run_id"] == beat()[0]["run_id"]


def test_an_agent_at_work_is_given_nothing(beat):
    run = beat()[0]["run_id"]

    assert beat(run) == []


def test_an_agent_is_told_to_leave_once_the_grid_is_done(sweep, beat, finish):
    for loss in (0.5, 0.25):
        finish(beat()[0]["run_id"], sweep, loss)

    assert beat() == [{"type": "exit"}]


TIED = """
method: grid
metric: {name: loss, goal: minimize}
parameters:
  depth: {values: [1, 2]}
  optimizer: {values: [adam, sgd]}
  sgd: {parameters: {momentum: {values: [0, 0.9]}}}
sweepd:
  when: {sgd: {optimizer: [sgd]}}
  constraints: ["sgd.momentum * depth < 1"]
"""


@pytest.mark.parametrize("sweep", [TIED], indirect=True)
def test_conditional_parameters_are_absent_and_constraints_hold(client, sweep, beat, finish):
    configs = []
    while (command := beat()[0])["type"] == "run":
        configs.append({name: item["value"] for name, item in command["args"].items()})
        finish(command["run_id"], sweep, 0.5)

    assert command == {"type": "exit"}
    assert configs == [
        {"depth": 1, "optimizer": "adam"},
        {"depth": 1, "optimizer": "sgd", "sgd": {"momentum": 0}},
        {"depth": 1, "optimizer": "sgd", "sgd": {"momentum": 0.9}},
        {"depth": 2, "optimizer": "adam"},
        {"depth": 2, "optimizer": "sgd", "sgd": {"momentum": 0}},
    ]
    status = client.data(STATUS, name=sweep["name"])["sweepdSweep"]["sweepdStatus"]
    assert (status["issued"], status["expected"]) == (5, 5)


def test_stopping_a_run_is_told_while_it_is_named(client, sweep, beat):
    run = beat()[0]["run_id"]
    beat(run)

    client.data(UPSERT, id=sweep["id"], state="CANCELED")

    assert beat(run) == [{"type": "stop", "run_id": run}]


def test_commands_without_a_run_are_bare():
    assert command_json(Command(type="exit")) == {"type": "exit"}
    assert command_json(Command(type="stop", run="r")) == {"type": "stop", "run_id": "r"}


def test_a_heartbeat_of_an_unknown_agent_says_that_it_is_gone(client):
    status, messages = client.errors(HEARTBEAT, id="QWdlbnQ6eHh4eA==", runState="{}")

    assert status == 404
    assert messages


def test_an_agent_of_an_unknown_sweep_is_refused(client):
    status, messages = client.errors(CREATE_AGENT, host="box", projectName="toy", sweep="nosuch")

    assert status == 404
    assert messages


@pytest.mark.parametrize("state", ["PAUSED", "RUNNING", "FINISHED", "CANCELED"])
def test_the_clis_verbs_move_a_sweep(client, sweep, agent, state):
    client.data(UPSERT, id=sweep["id"], state=state, entityName="alice", projectName="toy")

    assert client.data(STATUS, name=sweep["name"])["sweepdSweep"]["state"] == state


def test_a_state_that_cannot_follow_is_refused_for_good(client, sweep):
    client.data(UPSERT, id=sweep["id"], state="CANCELED")

    status, messages = client.errors(UPSERT, id=sweep["id"], state="RUNNING")

    assert status == 422
    assert "has ended (canceled by alice); create another one" in messages[0]


def test_agents_and_their_runs_are_read(client, sweep, agent, beat):
    run = beat()[0]["run_id"]

    answer = client.data(
        """query($s: String!, $a: String!) { project(name: "toy") { totalSweeps
        sweeps(first: 5) { edges { node { name runCount runCountExpected } } }
        sweep(sweepName: $s) { agents { edges { node { id host } } } agent(agentName: $a) {
        totalRuns runs(first: 5, order: "+created_at") { edges { node { name } } } } } } }""",
        s=sweep["name"],
        a=agent,
    )["project"]

    assert answer["totalSweeps"] == 1
    assert answer["sweeps"]["edges"][0]["node"]["runCountExpected"] == 2
    assert answer["sweep"]["agents"]["edges"] == [{"node": {"id": agent, "host": "box"}}]
    assert answer["sweep"]["agent"]["totalRuns"] == 1
    assert answer["sweep"]["agent"]["runs"]["edges"] == [{"node": {"name": run}}]


FILTERED = """query($filters: JSONString) { project(name: "toy") { totalSweeps
  sweeps(filters: $filters) { totalCount edges { node { name } } } } }"""


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        pytest.param({}, ["random", "grid"], id="none"),
        pytest.param({"state": "PAUSED"}, ["grid"], id="state"),
        pytest.param({"method": {"$in": ["random", "bayes"]}}, ["random"], id="method"),
        pytest.param({"display_name": {"$regex": "^gr"}}, ["grid"], id="regex"),
        pytest.param({"$or": [{"username": "bob"}, {"run_cap": {"$gt": 2}}]}, ["random"], id="or"),
        pytest.param({"createdAt": {"$gt": "2999-01-01"}}, [], id="time"),
    ],
)
def test_sweeps_are_filtered(client, create, filters, found):
    grid = create(DEFINITION + "name: grid\n")["sweep"]
    random = create(DEFINITION.replace("grid", "random") + "name: r\nrun_cap: 3\n")["sweep"]
    agent = client.data(CREATE_AGENT, host="box", projectName="toy", sweep=grid["name"])
    assert agent["createAgent"]
    client.data(UPSERT, id=grid["id"], state="PAUSED")

    page = client.data(FILTERED, filters=json.dumps(filters))["project"]

    names = {"grid": grid["name"], "random": random["name"]}
    edges = page["sweeps"]["edges"]
    assert [edge["node"]["name"] for edge in edges] == [names[name] for name in found]
    assert (page["totalSweeps"], page["sweeps"]["totalCount"]) == (2, len(found))


def test_an_unknown_field_of_a_sweep_is_named(client, create):
    create()

    status, words = client.errors(FILTERED, filters='{"colour": "red"}')

    assert status == 400
    assert "colour" in words[0]


AGENT_RUNS = """query($s: String!, $a: String!, $after: String, $before: String, $first: Int,
  $last: Int, $order: String) { project(name: "toy") { sweep(sweepName: $s) {
  agent(agentName: $a) { runs(after: $after, before: $before, first: $first, last: $last,
  order: $order) { edges { cursor node { name } } pageInfo { hasNextPage } } } } } }"""


def test_the_runs_of_an_agent_are_paged_in_both_directions(client, create, beat, finish):
    sweep = create(DEFINITION.replace("[0.1, 0.2]", "[1, 2, 3, 4]"))["sweep"]
    agent = client.data(CREATE_AGENT, host="box", projectName="toy", sweep=sweep["name"])
    agent = agent["createAgent"]["agent"]["id"]
    made = []
    for _ in range(4):
        told = client.data(HEARTBEAT, id=agent, metrics="{}", runState="{}")["agentHeartbeat"]
        made.append(json.loads(told["commands"])[0]["run_id"])
        finish(made[-1], sweep, 0.5)

    def page(**arguments):
        found = client.data(AGENT_RUNS, s=sweep["name"], a=agent, **arguments)
        runs = found["project"]["sweep"]["agent"]["runs"]
        edges = runs["edges"]
        return (
            [edge["node"]["name"] for edge in edges],
            [edge["cursor"] for edge in edges],
            runs["pageInfo"]["hasNextPage"],
        )

    names, cursors, has_next = page(first=3)
    assert (names, has_next) == (made[:3], True)
    assert page(first=3, after=cursors[-1])[0::2] == (made[3:], False)
    assert page(last=2, before=cursors[2])[0] == made[:2]
    assert page(last=1)[0] == made[3:]
    assert page(first=2, order="-created_at")[0] == made[:1:-1]
    assert client.errors(AGENT_RUNS, s=sweep["name"], a=agent, after="MA")[0] == 400


def test_the_status_counts_and_names_the_best(client, sweep, beat, finish):
    run = beat()[0]["run_id"]
    finish(run, sweep, 0.5)
    beat()

    answer = client.data(STATUS, name=sweep["name"])["sweepdSweep"]
    status = answer["sweepdStatus"]

    assert (status["issued"], status["finished"], status["expected"]) == (2, 1, 2)
    assert (status["metric"], status["goal"]) == ("loss", "minimize")
    assert (status["bestValue"], status["bestRunName"]) == (0.5, run)
    assert (status["metrics"], status["front"]) == ([], [])
    assert status["agents"] == 1
    assert status["secondsLeft"] >= 0
    assert status["url"] == f"http://sweeps.test/alice/toy/sweeps/{sweep['name']}"
    assert answer["sweepdAgents"][0]["host"] == "box"


def test_the_status_of_no_sweep_is_null(client):
    assert client.data(STATUS, name="nosuch")["sweepdSweep"] is None


def test_sweeps_are_listed_over_all_projects(client, create):
    names = {create(projectName=project)["sweep"]["name"] for project in ("a", "b")}

    answer = client.data("{ sweepdSweeps { edges { node { name project { name } } } } }")

    assert {edge["node"]["name"] for edge in answer["sweepdSweeps"]["edges"]} == names


REPORT = """mutation($input: SweepdReportOutcomeInput!) { sweepdReportOutcome(input: $input) {
  success } }"""


@pytest.fixture
def outcome(sweep, beat):
    (command,) = beat()
    return {
        "projectName": "toy",
        "runName": command["run_id"],
        "attempt": command["sweepd"]["attempt"],
        "token": command["sweepd"]["token"],
        "reason": "error",
        "exitcode": 1,
        "message": "ValueError: no",
        "host": "box",
        "device": "cpu",
    }


def test_our_agent_says_how_a_trial_ended(client, sweep, outcome):
    client.data(REPORT, input=outcome)

    status = client.data(STATUS, name=sweep["name"])["sweepdSweep"]["sweepdStatus"]
    assert status["failed"] == 1


@pytest.mark.parametrize(
    ("change", "status"),
    [({"reason": "boredom"}, 400), ({"token": "wrong"}, 422), ({"runName": "nosuch"}, 404)],
    ids=["reason", "token", "run"],
)
def test_a_wrong_outcome_is_refused(client, outcome, change, status):
    assert client.errors(REPORT, input={**outcome, **change})[0] == status


def test_an_agent_that_leaves_hands_its_trial_back(client, sweep, agent, beat):
    beat()

    client.data("mutation($id: ID!) { sweepdLeaveAgent(input: {id: $id}) { success } }", id=agent)

    answer = client.data(STATUS, name=sweep["name"])["sweepdSweep"]
    assert answer["sweepdStatus"]["queued"] == 1
    assert answer["sweepdAgents"][0]["state"] == "EXITED"


def test_a_deleted_sweep_takes_its_runs_along(client, sweep, beat, agent):
    run = beat()[0]["run_id"]

    client.data(
        "mutation($id: ID!) { sweepdDeleteSweep(input: {id: $id}) { success } }", id=sweep["id"]
    )

    answer = client.data(
        'query($r: String!) { project(name: "toy") { run(name: $r) { id } } }', r=run
    )
    assert answer["project"]["run"] is None
    assert client.data(STATUS, name=sweep["name"])["sweepdSweep"] is None
    assert client.errors(HEARTBEAT, id=agent, runState="{}")[0] == 404


def test_a_login_link_is_for_the_caller_and_works_once(client, service):
    url = client.data("mutation { sweepdCreateLoginLink { url } }")["sweepdCreateLoginLink"]["url"]

    browser = service.client(key=None)
    first = browser.request("GET", url)
    second = browser.request("GET", url)

    assert url.startswith("http://sweeps.test/login/")
    assert sessions.SESSION_COOKIE in first.headers.get("set-cookie", "")
    assert sessions.SESSION_COOKIE not in second.headers.get("set-cookie", "")


def test_a_lease_in_a_header_speaks_for_one_run_only(client, sweep, beat):
    (command,) = beat()
    run, attempt = command["run_id"], command["sweepd"]["attempt"]
    for name in (run, "another"):
        client.data(
            'mutation($n: String) { upsertBucket(input: {name: $n, modelName: "toy", host: "box"})'
            " { bucket { id } } }",
            n=name,
        )

    def stopped(name, token):
        headers = {"X-Sweepd-Lease": f"{run};{attempt};{token}"}
        url = f"/files/alice/toy/{name}/file_stream"
        return client.request("POST", url, json={}, headers=headers).json()["stopped"]

    assert stopped(run, command["sweepd"]["token"]) is False
    assert stopped(run, "of-another-attempt") is True
    assert stopped("another", "of-another-attempt") is False


@pytest.mark.parametrize("lease", ["", "r", "r;1", "r;x;t", ";1;t", "r;1;", "r;²;t"])
def test_a_malformed_lease_is_none(client, lease):
    answer = client.request(
        "POST",
        "/graphql",
        json={"query": "{ viewer { entity } }"},
        headers={"X-Sweepd-Lease": lease.encode()},
    )

    assert answer.status_code == 200


def test_keys_are_made_listed_and_deleted(client, service):
    made = client.data(
        "mutation($d: String) { result: generateApiKey(input: {description: $d}) { apiKey { id name"
        " description } } }",
        d="ci",
    )["result"]["apiKey"]
    listed = client.data("{ viewer { apiKeys { edges { node { id name description } } } } }")
    nodes = [edge["node"] for edge in listed["viewer"]["apiKeys"]["edges"]]

    assert service.client(key=made["name"]).data("{ viewer { entity } }")["viewer"]
    (mine,) = [node for node in nodes if node["id"] == made["id"]]
    assert made["name"].startswith(mine["name"])
    assert mine["description"] == "ci"

    client.data(
        "mutation($id: String!) { deleteApiKey(input: {id: $id}) { success } }", id=made["id"]
    )
    assert service.client(key=made["name"]).execute("{ viewer { entity } }").status_code == 401


def test_the_server_tells_what_it_can_do(client):
    info = client.data(
        "{ serverInfo { features { name isEnabled } cliVersionInfo latestLocalVersionInfo {"
        " outOfDate latestVersionString versionOnThisInstanceString } } }"
    )["serverInfo"]
    features = {row["name"]: row["isEnabled"] for row in info["features"]}

    assert features["SWEEPD_V1"]
    assert features["STRUCTURED_CONSOLE_LOGS"]
    assert "ARTIFACT_DIGEST_ALGORITHM" not in features
    assert features["SWEEPS_LOCAL_SCHEDULER"]
    assert set(info["cliVersionInfo"]) == {"max_cli_version", "min_cli_version"}


def test_entities_and_users_are_read(client):
    answer = client.data(
        """{ entity(name: "alice") { id name isTeam members { name email accountType admin }
        organization { coreWeaveOrganizationId } user { username organizations { name } }
        xxhashDigestsEnabled }
        other: entity(name: "nobody") { id }
        users(query: "alice") { edges { node { username email admin teams { edges { node { name }
        } } apiKeys { edges { node { name } } } } } }
        organization(name: "x") { id } }"""
    )

    assert answer["entity"]["organization"] is None
    (member,) = answer["entity"]["members"]
    assert (member["name"], member["accountType"], member["admin"]) == ("alice", "USER", True)
    assert answer["entity"]["user"]["username"] == "alice"
    assert answer["other"] is None
    assert answer["users"]["edges"][0]["node"]["admin"] is True
    assert answer["organization"] is None


def test_the_cli_reads_every_run_of_a_large_sweep(client, service, sweep):
    def fill(tx):
        (home,) = tx.conn.execute(select(t.sweep.c.id, t.sweep.c.project_id))
        shared = {"project_id": home.project_id, "sweep_id": home.id, "state": "finished"}
        rows = [
            {**shared, "name": f"r{n}", "display_name": "r", "created_at": float(n)}
            for n in range(1_050)
        ]
        tx.conn.execute(insert(t.run), rows)

    service.store.write_sync(fill)

    answer = client.data(SWEEP_WITH_RUNS, project="toy", sweep=sweep["name"], specs="{}")

    edges = answer["project"]["sweep"]["runs"]["edges"]
    assert [edge["node"]["name"] for edge in edges] == [f"r{n}" for n in range(1_050)]
