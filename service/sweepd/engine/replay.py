"""A sweep's suggestions once more, from its seed and its event log: for `sweep replay`.

`log_of` reads what is needed out of the store; `replay` is pure, and may run on another machine.
"""

import json
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from importlib.metadata import version as version_of
from itertools import groupby
from typing import Any, Literal

from sqlalchemy import select

from sweepd.engine.access import Need
from sweepd.engine.computing import Kept, SuggestJob, compute, instant, is_instant
from sweepd.engine.observed import Told, learn, looks_at_running, trials_told
from sweepd.engine.prior_runs import PriorRow, prior_rows, taught_by
from sweepd.engine.sweepviews import definition_of, sweep_for
from sweepd.engine.versions import texts_of
from sweepd.engine.views import Account
from sweepd.errors import SweepdError
from sweepd.search import Taken, filler
from sweepd.spec import Config, Definition
from sweepd.store import Tx
from sweepd.store import tables as t

__all__ = ["Check", "ReplayLog", "log_of", "replay", "versions"]

Verdict = Literal["same", "differs", "unknown"]
_TRIAL = (
    "trial.issued",
    "trial.requeued",
    "trial.promoted",
    "trial.revived",
    "trial.ended",
    "trial.corrected",
)
_SWEEP = ("sweep.created", "sweep.edited", "search.looked", "run.deleted")


@dataclass(frozen=True)
class Check:
    """What became of one trial's suggestion, or of its state, when it was worked out again.

    Attributes:
        number: of the trial.
        what: suggestion or state.
        origin: of the trial.
        verdict: whether it is the same; unknown where the log does not tell enough.
        stored: what the sweep has.
        found: what was worked out.
        why: what there is to say of it, in words.
    """

    number: int
    what: Literal["suggestion", "state"]
    origin: str
    verdict: Verdict
    stored: Any = None
    found: Any = None
    why: str = ""


@dataclass(frozen=True)
class ReplayLog:
    """All that a sweep's suggestions follow from. JSON-able.

    Attributes:
        sweep: its short id.
        definitions: each with the event since which it holds, and the seed then.
        prior: runs from before the sweep.
        trials: as they are now.
        events: id, kind, number of the trial (below 0: deleted) or None, data; in order.
        versions: of what the service computes with.
    """

    sweep: str
    definitions: Sequence[Mapping[str, Any]]
    prior: Sequence[Mapping[str, Any]]
    trials: Sequence[Mapping[str, Any]]
    events: Sequence[tuple[int, str, int | None, Mapping[str, Any]]]
    versions: Mapping[str, str]

    @classmethod
    def read(cls, text: str) -> "ReplayLog":
        """Return the log that a text holds, as `text` gives it."""
        return cls(**json.loads(text))

    def text(self) -> str:
        """Return it as JSON."""
        return json.dumps(vars(self), ensure_ascii=False, separators=(",", ":"))


def versions() -> dict[str, str]:
    """Return the versions of what suggestions are computed with, here."""
    return {"python": platform.python_version()} | {
        name: version_of(name) for name in ("sweepd", "numpy", "scipy")
    }


def log_of(tx: Tx, *, actor: Account, sweep_id: int, need: Need) -> ReplayLog:
    """Return what a sweep's suggestions follow from.

    Raises:
        NotFound, Forbidden: as for the sweep.
    """
    is_it = t.sweep.c.id == sweep_id
    sweep = sweep_for(tx, is_it, actor=actor, need=need, label=f"with id {sweep_id}")
    c = t.trial.c
    more = {
        row.number: row
        for row in tx.conn.execute(
            select(c.number, c.run_id, c.state, c.attempt).where(c.sweep_id == sweep_id)
        )
    }
    numbers = {row.run_id: row.number for row in more.values()}
    events = [
        (row.id, row.kind, row.run_id, json.loads(row.data))
        for row in tx.conn.execute(
            select(t.event.c.id, t.event.c.kind, t.event.c.run_id, t.event.c.data)
            .where(t.event.c.sweep_id == sweep_id, t.event.c.kind.in_((*_TRIAL, *_SWEEP)))
            .order_by(t.event.c.id)
        )
    ]
    for _, kind, run_id, _ in events:  # of runs that were deleted since: no trial has such numbers
        if kind == "trial.issued":
            numbers.setdefault(run_id, -run_id)
    trials = [
        asdict(one) | {"state": more[one.number].state, "attempt": more[one.number].attempt}
        for one in trials_told(tx, sweep_id)
    ]
    return ReplayLog(
        sweep=sweep.name,
        definitions=_definitions(texts_of(tx, sweep), sweep.seed, events),
        prior=[asdict(row) for row in prior_rows(tx, sweep_id, with_old=True)],
        trials=trials,
        events=[(at, kind, numbers.get(run_id), data) for at, kind, run_id, data in events],
        versions=versions(),
    )


def replay(log: ReplayLog) -> Iterator[Check]:
    """Work every suggestion and state of a sweep out again, and yield how each compares. Pure."""
    again = _Again(log)
    searched: list[Told] = []
    for one in again.trials:
        if one.origin == "search" and not is_instant(again.definition_at(one)[0].method):
            searched.append(one)
        else:
            yield again.check(one)
    kept = Kept()
    in_order = sorted(searched, key=lambda one: (one.basis_event or 0, one.position or 0))
    for basis, group in groupby(in_order, key=lambda one: one.basis_event):
        checks, kept = again.check_sequence(basis, list(group), kept)
        yield from checks
    yield from again.states()


class _Again:
    """A log, and what follows from it at each of its events, read in order."""

    def __init__(self, log: ReplayLog) -> None:
        self._log = log
        names = Told.__dataclass_fields__
        self.trials = [Told(**{k: v for k, v in row.items() if k in names}) for row in log.trials]
        self._by_number = {one.number: one for one in self.trials}
        self._prior = [PriorRow(**row) for row in log.prior]
        self._now: dict[int, Told] = {}
        self._next = 0

    def definition_at(self, one: Told) -> tuple[Definition, int, int]:
        """Return the definition that a trial was handed out by, its seed and its version."""
        return self._definition(one.created_event)

    def check(self, one: Told) -> Check:
        """Check a trial whose suggestion depends on its number, or on nothing."""
        definition, seed, _ = self.definition_at(one)
        if one.origin == "enqueued":
            return Check(one.number, "suggestion", one.origin, "same", why="a person's own")
        if one.origin == "initial":
            is_named = any(
                definition.space.key(config) == one.key for config in definition.own.initial
            )
            why = "" if is_named else "the definition does not name it"
            return _compared(one, one.config if is_named else None, why)
        if one.position is None:
            return _unknown(one, "handed out by a version that did not note where it came from")
        earlier = [other for other in self.trials if other.created_event < one.created_event]
        taken = Taken(definition.space, keys={other.key for other in earlier})
        for trial in self._taught(definition, one.created_event):
            taken.add(trial.config)
        pick = filler if one.origin == "filler" else instant(definition.method).pick
        found = pick(definition.space, taken, index=one.position, seed=seed)
        return self._judged(one, None if found is None else found[0], until=one.created_event)

    def check_sequence(
        self, basis: int | None, group: Sequence[Told], kept: Kept
    ) -> tuple[list[Check], Kept]:
        """Check the trials that were suggested from one event; return the memo for the next."""
        if basis is None or group[0].position is None:
            why = "handed out by a version that did not note where it came from"
            return [_unknown(one, why) for one in group], kept
        missing = self._read_until(basis)
        if missing is not None:
            return [_unknown(one, missing) for one in group], kept
        definition, seed, version = self._definition(basis)
        observed = learn(
            definition,
            trials=[self._now[number] for number in sorted(self._now)],
            prior=self._taught(definition, basis),
            version=version,
            basis=basis,
            running=self._looked.get(basis, {}) if looks_at_running(definition) else None,
        )
        job = SuggestJob(
            sweep_id=0,
            method=definition.method,
            definition=self._text(basis),
            trials=observed.trials,
            pending=observed.pending,
            n=max(one.position or 0 for one in group) + 1,
            seed=seed,
            kept=kept,
            basis_event=basis,
        )
        try:
            answer = compute(job)
        except SweepdError as error:
            return [_unknown(one, str(error)) for one in group], kept
        configs: Mapping[int | None, Config] = dict(enumerate(answer.configs))
        checks = [self._judged(one, configs.get(one.position), until=basis) for one in group]
        return checks, answer.kept or kept

    def states(self) -> Iterator[Check]:
        """Yield a check of each trial's state, as it follows from all events."""
        state: dict[int, tuple[str, int, str | None]] = {
            one.number: ("queued", 0, None) for one in self.trials
        }
        for _, kind, number, data in self._log.events:
            if number in state and kind in _TRIAL:
                state[number] = _moved(state[number], kind, data)
        for row in self._log.trials:
            stored = {key: row[key] for key in ("state", "attempt", "reason")}
            found = dict(zip(stored, state[row["number"]], strict=True))
            verdict: Verdict = "same" if stored == found else "differs"
            yield Check(row["number"], "state", row["origin"], verdict, stored, found)

    def _judged(self, one: Told, found: Config | None, *, until: int) -> Check:
        check = _compared(one, found)
        is_blind = any(since <= until < gone for since, gone in self._gone)
        if check.verdict == "differs" and is_blind:
            return _unknown(one, "it knew of a trial that was deleted later")
        return check

    def _read_until(self, basis: int) -> str | None:
        """Bring the trials to where they stood at an event; return what the log lacks, if so."""
        events = self._log.events
        while self._next < len(events) and events[self._next][0] <= basis:
            at, kind, number, data = events[self._next]
            self._next += 1
            if number not in self._by_number:
                continue
            one = self._now.get(number, _untold(self._by_number[number]))
            if kind == "trial.ended":
                if "n_values" not in data:
                    return f"the end of trial {number} was noted by a version that told too little"
                one = replace(one, ended_event=at, reason=data["reason"], **_outcome(data))
            elif kind == "trial.corrected":
                one = replace(one, ended_event=at, **_outcome(data))
            elif kind in ("trial.requeued", "trial.promoted"):
                one = replace(one, ended_event=None, reason=None)
            self._now[number] = one
        for number, told in self._by_number.items():
            if told.created_event <= basis:
                self._now.setdefault(number, _untold(told))
        return None

    def _taught(self, definition: Definition, at: int) -> list[Any]:
        return taught_by([row for row in self._prior if row.is_known_at(at)], definition)

    def _row(self, at: int) -> Mapping[str, Any]:
        rows = [row for row in self._log.definitions if row["event"] <= at]
        return rows[-1] if rows else self._log.definitions[0]

    def _text(self, at: int) -> str:
        return str(self._row(at)["definition"])

    def _definition(self, at: int) -> tuple[Definition, int, int]:
        row = self._row(at)
        return definition_of(row["definition"]), row["seed"], row["version"]

    @cached_property
    def _looked(self) -> dict[int, Mapping[str, Any]]:
        """Return what was seen of running trials, by the event that it was looked at for."""
        looked = (data for _, kind, _, data in self._log.events if kind == "search.looked")
        return {data["basis"]: data["running"] for data in looked}

    @cached_property
    def _gone(self) -> list[tuple[int, int]]:
        """Return the first and the last event of each trial that was deleted."""
        since: dict[int, int] = {}
        found = []
        for at, kind, number, _ in self._log.events:
            if number is None or number in self._by_number:
                continue
            since.setdefault(number, at)
            if kind == "run.deleted":
                found.append((since[number], at))
        return found


def _definitions(
    texts: Sequence[tuple[int, str]], seed: int, events: Sequence[tuple[int, str, Any, Any]]
) -> list[dict[str, Any]]:
    """Return each version of a definition with its event, and its seed."""
    since, seeds = {1: 0}, {1: seed}
    for at, kind, _, data in events:
        if kind == "sweep.created":
            since[1], seeds[1] = at, data.get("seed", seed)
        elif kind == "sweep.edited" and "version" in data:
            since[data["version"]] = at
            if "seed" in data:
                seeds[data["version"]] = data["seed"]
    found, last = [], seeds[1]
    for version, text in texts:
        last = seeds.get(version, last)
        row = {"version": version, "event": since.get(version, 0), "definition": text, "seed": last}
        found.append(row)
    return found


def _moved(
    state: tuple[str, int, str | None], kind: str, data: Mapping[str, Any]
) -> tuple[str, int, str | None]:
    """Return a trial's state, attempt and reason after an event."""
    attempt = state[1]
    match kind:
        case "trial.issued":
            return "leased", data["attempt"], None
        case "trial.revived":
            return "leased", attempt, None
        case "trial.requeued" | "trial.promoted":
            return "queued", attempt, None
        case "trial.ended":
            return "ended", attempt, data["reason"]
    return state


def _outcome(data: Mapping[str, Any]) -> dict[str, Any]:
    names = ("objective", "objectives", "outcome", "best", "last")
    return {**{name: data.get(name) for name in names}, "n_values": data.get("n_values", 0)}


def _untold(one: Told) -> Told:
    """Return a trial as it was handed out."""
    return replace(
        one,
        ended_event=None,
        reason=None,
        objective=None,
        objectives=None,
        outcome=None,
        best=None,
        last=None,
        n_values=0,
    )


def _compared(one: Told, found: Config | None, why: str = "") -> Check:
    is_same = found is not None and json.dumps(found, sort_keys=True) == json.dumps(
        one.config, sort_keys=True
    )
    verdict: Verdict = "same" if is_same else "differs"
    return Check(one.number, "suggestion", one.origin, verdict, one.config, found, why)


def _unknown(one: Told, why: str) -> Check:
    return Check(one.number, "suggestion", one.origin, "unknown", one.config, None, why)
