"""Faults 37 to 39: what people do to a sweep while its agents are at work, at random times.

37: two people pause, resume, stop and cancel, each request sent twice; 38: they delete runs, the
sweep and the whole project; 39: they edit the definition while the search computes.
"""

import json
import random
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from connection import Connection
from invariants import check_folder
from live import PATIENCE, Service, wait_for
from protocol_agent import ProtocolAgent
from seeds import SEEDS

from sweepd.spec import read_definition

RANDOM = """{method: random, metric: {name: loss, goal: minimize},
  parameters: {x: {min: 0.0, max: 1.0}}}"""
BAYES = """{method: bayes, metric: {name: loss, goal: minimize},
  parameters: {x: {min: %.1f, max: %.1f}, n: {min: 1, max: %d}}, sweepd: {seed: 1}}"""
N_CAPPED = 12
CAPPED = f"""{{method: random, run_cap: {N_CAPPED}, metric: {{name: loss, goal: minimize}},
  parameters: {{x: {{min: 0.0, max: 1.0}}}}}}"""
CREATE = """mutation($config: String) { upsertSweep(input: {projectName: "p", config: $config})
  { sweep { id name } } }"""
SET = """mutation($id: ID!, $state: String) { upsertSweep(input: {id: $id, state: $state})
  { sweep { id } } }"""
EDIT = """mutation($id: ID!, $config: String) { upsertSweep(input: {id: $id, config: $config})
  { sweep { id } } }"""
STOP = "mutation($id: ID!) { stopRun(input: {id: $id}) { success } }"
DELETE_RUN = "mutation($id: ID!) { deleteRun(input: {id: $id}) { clientMutationId } }"
DELETE_SWEEP = "mutation($id: ID!) { sweepdDeleteSweep(input: {id: $id}) { success } }"
PROJECT = '{ project(name: "p") { id } }'
DELETE_PROJECT = "mutation($id: String!) { deleteModel(input: {id: $id}) { success } }"
RUNS = """query($s: String!) { sweepdSweep(name: $s) { runs(first: 100) { edges { node { id } } } }
  }"""
N_ACTS = 25


class Person(threading.Thread):
    """Does one thing after the other, `N_ACTS` of them.

    Attributes:
        answers: status of each request, with the start of its text.
    """

    def __init__(self, service: Service, act: Callable[["Person"], None], *, seed: int) -> None:
        super().__init__(name=f"person-{seed}")
        self.rng = random.Random(seed)
        self.answers: list[tuple[int, str]] = []
        self.error: BaseException | None = None
        self._connection, self._act = Connection(service), act

    def run(self) -> None:
        """Act, with short pauses; a failure is for the test to see."""
        try:
            for _ in range(N_ACTS):
                self._act(self)
                threading.Event().wait(self.rng.uniform(0.0, 0.2))
        except BaseException as error:
            self.error = error
        finally:
            self._connection.close()

    def ask(self, document: str, **variables: Any) -> dict[str, Any]:
        """Send a request; return its data, {} if it was refused."""
        body = {"query": document, "variables": variables}
        status, text, _ = self._connection.post("/graphql", body)
        self.answers.append((status, text[:300]))
        return json.loads(text)["data"] or {} if status == 200 else {}

    def twice(self, document: str, **variables: Any) -> None:
        """Send a change two times, as an impatient person or a client that repeats does."""
        for _ in range(2):
            self.ask(document, **variables)

    def any_run(self, sweep: str) -> str | None:
        """Return the id of some run of the sweep."""
        found = self.ask(RUNS, s=sweep).get("sweepdSweep") or {"runs": {"edges": []}}
        ids = [edge["node"]["id"] for edge in found["runs"]["edges"]]
        return self.rng.choice(ids) if ids else None


@contextmanager
def at_work(
    service: Service, config: str, *, seed: int, may_vanish: bool = False
) -> Iterator[tuple[dict[str, str], list[ProtocolAgent]]]:
    """Make a sweep with four agents that are at work; end them afterwards."""
    sweep = service.graphql(CREATE, config=config)["upsertSweep"]["sweep"]
    ends = threading.Event()
    crowd = [
        ProtocolAgent(service, sweep["name"], seed=100 * seed + n, ends=ends, may_vanish=may_vanish)
        for n in range(4)
    ]
    for one in crowd:
        one.start()
    try:
        wait_for("a trial for each agent", lambda: all(one.given for one in crowd), seconds=60)
        yield sweep, crowd
    finally:
        ends.set()
        for one in crowd:
            one.join(60 * PATIENCE)


def let_act(service: Service, act: Callable[[Person], None], *, seed: int) -> list[Person]:
    """Let two people act at once; return them once they are done."""
    people = [Person(service, act, seed=1000 * seed + n) for n in range(2)]
    for person in people:
        person.start()
    for person in people:
        person.join(90 * PATIENCE)
    assert [person.error for person in people if person.error is not None] == []
    answers = [answer for person in people for answer in person.answers]
    assert [answer for answer in answers if answer[0] >= 500] == []
    return people


def twice(service: Service, document: str, **variables: Any) -> list[int]:
    """Send a change two times; return how it was answered."""
    body = {"query": document, "variables": variables}
    with closing(Connection(service)) as connection:
        return [connection.post("/graphql", body)[0] for _ in range(2)]


def is_searching(folder: Path) -> bool:
    """Return whether the search has suggested a trial by the definition in force."""
    query = """SELECT count(*) FROM trial JOIN sweep ON sweep.id = trial.sweep_id
      WHERE trial.version = sweep.version AND trial.origin = 'search'"""
    with closing(sqlite3.connect(f"file:{folder / 'sweepd.db'}?mode=ro", uri=True)) as database:
        return bool(database.execute(query).fetchone()[0])


def events_of(folder: Path) -> list[tuple[int, str]]:
    with closing(sqlite3.connect(f"file:{folder / 'sweepd.db'}?mode=ro", uri=True)) as database:
        return database.execute("SELECT id, kind FROM event ORDER BY id").fetchall()


def acknowledged_by(crowd: list[ProtocolAgent]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for one in crowd:
        for run, numbers in one.acknowledged.items():
            found.setdefault(run, set()).update(numbers)
    return found


@pytest.mark.timeout(240)
@pytest.mark.parametrize("seed", SEEDS)
def test_no_trial_starts_while_a_sweep_is_paused_or_after_its_end(
    service: Service, seed: int
) -> None:
    rng = random.Random(seed)
    last = rng.choice(["FINISHED", "CANCELED"])
    with at_work(service, RANDOM, seed=seed) as (sweep, crowd):

        def act(person: Person) -> None:
            what = person.rng.choice(["PAUSED", "RUNNING", "RUNNING", "stop"])
            if what != "stop":
                person.twice(SET, id=sweep["id"], state=what)
            elif (run := person.any_run(sweep["name"])) is not None:
                person.twice(STOP, id=run)

        let_act(service, act, seed=seed)
        ended = twice(service, SET, id=sweep["id"], state=last)
        too_late = twice(service, SET, id=sweep["id"], state="RUNNING")
        for one in crowd:
            one.join(60 * PATIENCE)
    service.stop()

    assert [one.error for one in crowd if one.error is not None] == []
    assert ended == [200, 200]
    assert 200 not in too_late
    is_open, n_pauses = True, 0
    for number, kind in events_of(service.data):
        if kind in ("sweep.paused", "sweep.finished", "sweep.canceled"):
            is_open, n_pauses = False, n_pauses + 1
        elif kind == "sweep.resumed":
            is_open = True
        assert is_open or kind != "trial.issued", f"I9: event {number} hands a trial out"
    assert n_pauses > 2
    assert not is_open
    check_folder(service.data, acknowledged=acknowledged_by(crowd))


@pytest.mark.timeout(240)
@pytest.mark.parametrize("seed", SEEDS)
def test_runs_and_sweep_that_are_deleted_leave_nothing_and_end_their_agents(
    service: Service, seed: int
) -> None:
    with at_work(service, BAYES % (0, 1, 9), seed=seed, may_vanish=True) as (sweep, crowd):
        other = service.graphql(CREATE, config=RANDOM)["upsertSweep"]["sweep"]

        def act(person: Person) -> None:
            run = person.any_run(sweep["name"])
            if run is not None:
                person.twice(DELETE_RUN, id=run)

        let_act(service, act, seed=seed)
        assert any(one.is_alive() for one in crowd)
        check_folder(service.data)
        deleted = twice(service, DELETE_SWEEP, id=sweep["id"])
        for one in crowd:
            one.join(60 * PATIENCE)
            assert not one.is_alive(), "the agent does not notice that its sweep is gone"
    service.stop()

    assert [one.error for one in crowd if one.error is not None] == []
    assert sum(one.n_gone for one in crowd) >= len(crowd)
    assert deleted == [200, 200]
    with closing(sqlite3.connect(f"file:{service.data}/sweepd.db?mode=ro", uri=True)) as database:
        (names,) = zip(*database.execute("SELECT name FROM sweep"), strict=True)
        n_trials = database.execute("SELECT count(*) FROM trial").fetchone()[0]
    assert (names, n_trials) == ((other["name"],), 0)
    check_folder(service.data)


@pytest.mark.timeout(240)
@pytest.mark.parametrize("seed", SEEDS)
def test_project_that_is_deleted_under_load_leaves_nothing_and_its_name_is_free(
    service: Service, seed: int
) -> None:
    rng = random.Random(seed)
    with (
        at_work(service, BAYES % (0, 1, 9), seed=seed, may_vanish=True) as (_, crowd),
        at_work(service, RANDOM, seed=seed + 5000, may_vanish=True) as (_, others),
    ):
        project = service.graphql(PROJECT)["project"]["id"]
        threading.Event().wait(rng.uniform(0.0, 2.0))
        deleted = twice(service, DELETE_PROJECT, id=project)
        again = service.graphql(CREATE, config=RANDOM)["upsertSweep"]["sweep"]
        for one in crowd + others:
            one.join(60 * PATIENCE)
            assert not one.is_alive(), "the agent does not notice that its project is gone"

        with at_work(service, CAPPED, seed=seed + 9000) as (last, workers):
            for one in workers:
                one.join(60 * PATIENCE)
    service.stop()

    assert [one.error for one in crowd + others + workers if one.error is not None] == []
    assert deleted == [200, 200]
    with closing(sqlite3.connect(f"file:{service.data}/sweepd.db?mode=ro", uri=True)) as database:
        names = {name for (name,) in database.execute("SELECT name FROM sweep")}
        runs = {name for (name,) in database.execute("SELECT name FROM run")}
    assert names == {again["name"], last["name"]}
    given = {run for one in workers for run in one.given}
    assert runs == given
    assert len(given) == N_CAPPED
    check_folder(service.data, acknowledged=acknowledged_by(workers))


@pytest.mark.timeout(240)
@pytest.mark.parametrize("seed", SEEDS)
def test_edit_during_a_suggestion_gives_no_trial_of_another_version(
    service: Service, seed: int
) -> None:
    with at_work(service, BAYES % (0, 1, 9), seed=seed) as (sweep, crowd):

        def act(person: Person) -> None:
            low = person.rng.randrange(5)
            text = BAYES % (low, low + 1, person.rng.randint(2, 9))
            person.twice(EDIT, id=sweep["id"], config=text)

        people = let_act(service, act, seed=seed)
        wait_for("a suggestion of the last version", lambda: is_searching(service.data), seconds=60)
        twice(service, SET, id=sweep["id"], state="FINISHED")
        for one in crowd:
            one.join(60 * PATIENCE)
    service.stop()

    assert [one.error for one in crowd if one.error is not None] == []
    assert {status for person in people for status, _ in person.answers} == {200}
    with closing(sqlite3.connect(f"file:{service.data}/sweepd.db?mode=ro", uri=True)) as database:
        texts = dict(database.execute("SELECT version, definition FROM old_definition"))
        texts |= dict(database.execute("SELECT version, definition FROM sweep"))
        trials = database.execute("SELECT version, config, origin FROM trial").fetchall()
        notices = database.execute("SELECT topic, text FROM notice").fetchall()
    spaces = {version: read_definition(text).definition.space for version, text in texts.items()}
    for version, config, origin in trials:
        assert spaces[version].contains(json.loads(config)), f"{config} ({origin}) of {version}"
    assert len({version for version, _, _ in trials}) > 2
    assert notices == []
    check_folder(service.data, acknowledged=acknowledged_by(crowd))
