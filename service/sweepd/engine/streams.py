"""The live data of a run: chunks of rows, keyed by line, so that a repeated delivery is harmless.

Rows of an attempt that has lost its lease are kept too, apart from the run's own: nothing is ever
deleted, and nothing that a zombie writes changes the trial.
"""

import json
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from sqlalchemy import func, select, update

from sweepd.engine import (
    access,
    comebacks,
    console_limit,
    events,
    exports,
    leases,
    outcomes,
    shared,
    stream_runs,
)
from sweepd.engine.access import Need
from sweepd.engine.accounts import account_by_key
from sweepd.engine.key_stats import KeyStats
from sweepd.engine.run_states import change_state
from sweepd.engine.run_views import load_run
from sweepd.engine.services import Limits
from sweepd.engine.stream_bodies import (
    CONSOLE,
    EVENTS,
    HISTORY,
    MAX_LINE,
    Chunk,
    Row,
    StreamBody,
    parse_body,
)
from sweepd.engine.stream_runs import LIVE, StreamRun
from sweepd.engine.texts import clean
from sweepd.engine.upserts import FIRST_YEAR
from sweepd.engine.views import Account, RunView
from sweepd.errors import NotFound, Reason, SweepdError, Unauthorized
from sweepd.states import RunState
from sweepd.store import Tx
from sweepd.store import tables as t
from sweepd.store.bulk import Line, write_lines

__all__ = [
    "Chunk",
    "Post",
    "Row",
    "StreamBody",
    "StreamReply",
    "append",
    "append_all",
    "parse_body",
]

_APART = 10  # added to stream_line.stream for the rows of attempts that had lost their lease
_OVERWRITTEN = 20  # added for rows over which another process of the run has written

_DEFAULT = Limits()
_ENDABLE = frozenset({RunState.RUNNING, RunState.PREEMPTING, RunState.CRASHED})

_KEPT_RUNS = 512  # whose key statistics stay in memory between two requests
_KEPT_KEYS = 1_000  # of one run; beyond, they are read again


class StreamReply(NamedTuple):
    """What the client is told: whether the run should stop."""

    stopped: bool


@dataclass(frozen=True, kw_only=True)
class Post:
    """A request: who sends it, to which address, what, and for which attempt.

    With a `key` it is the key's owner at the time of the transaction who counts, and not `actor`.
    `writer` names the process where several write one run.
    """

    actor: Account
    entity: str
    project: str
    run: str
    body: StreamBody
    attempt: int | None = None
    token: str | None = None
    limits: Limits = _DEFAULT
    key: str | None = None
    writer: str | None = None


@dataclass
class _Gathered:
    """What many requests write in all: lines, and changes of runs by id."""

    lines: list[Line] = field(default_factory=list)
    runs: dict[int, dict[str, Any]] = field(default_factory=dict)


def append(
    tx: Tx,
    *,
    actor: Account,
    entity: str,
    project: str,
    run: str,
    body: StreamBody,
    attempt: int | None = None,
    token: str | None = None,
    limits: Limits = _DEFAULT,
) -> StreamReply:
    """Store a request's rows, console lines, summary and end; harmless when repeated.

    Rows that arrive after the run's end are stored and change nothing else, unless they show that
    its process is alive: see `comebacks`.

    Raises:
        NotFound: if there is none that the actor may see (the client stops uploading then).
        Forbidden: if they may see it, but not change it.
    """
    post = Post(
        actor=actor,
        entity=entity,
        project=project,
        run=run,
        body=body,
        attempt=attempt,
        token=token,
        limits=limits,
    )
    (reply,) = append_all(tx, [post])
    if isinstance(reply, Exception):
        raise reply
    return reply


def append_all(tx: Tx, posts: Sequence[Post]) -> list[StreamReply | Exception]:
    """Do what `append` does for many requests in few statements.

    Returns:
        For each request its reply, or the error that refuses it alone.
    """
    replies: list[StreamReply | Exception] = [StreamReply(stopped=False)] * len(posts)
    for numbers in _turns(posts):
        found = _find(tx, posts, numbers, replies)
        gathered = _Gathered()
        fresh = [_gather(tx, run, posts[number], gathered) for number, run in found]
        write_lines(tx, gathered.lines)
        stream_runs.change(tx, gathered.runs)
        for (number, run), rows in zip(found, fresh, strict=True):
            replies[number] = _follow(tx, run, posts[number], rows)
    tx.announce()
    return replies


def _turns(posts: Sequence[Post]) -> Iterator[list[int]]:
    """Yield the requests' numbers in turns that have each run once: what follows sees the rest."""
    waiting = list(range(len(posts)))
    while waiting:
        turn: list[int] = []
        later: list[int] = []
        seen = set()
        for number in waiting:
            post = posts[number]
            address = (post.entity, post.project, post.run)
            (later if address in seen else turn).append(number)
            seen.add(address)
        yield turn
        waiting = later


def _find(
    tx: Tx, posts: Sequence[Post], numbers: Sequence[int], replies: list[StreamReply | Exception]
) -> list[tuple[int, StreamRun]]:
    """Return the runs of requests, by their numbers; refuse those that may not write to theirs."""
    addresses = [(posts[n].entity, posts[n].project, posts[n].run) for n in numbers]
    runs = stream_runs.find(tx, addresses)
    owners = {key: account_by_key(tx, key=key) for key in {posts[n].key for n in numbers} if key}
    found = []
    for place, number in enumerate(numbers):
        try:
            run = _allowed(tx, runs.get(place), posts[number], owners)
        except SweepdError as error:
            replies[number] = error
        else:
            found.append((number, run))
    return found


def _allowed(
    tx: Tx, run: StreamRun | None, post: Post, owners: Mapping[str, Account | None]
) -> StreamRun:
    actor: Account | None = post.actor
    if post.key is not None:
        actor = owners[post.key]
        if actor is None:
            raise Unauthorized("this API key was revoked or has expired a moment ago")
    assert actor is not None
    address = f"run {post.entity}/{post.project}/{post.run}"
    if run is None:
        raise NotFound(f"there is no {address}")
    has = access.level(tx, actor=actor, entity_id=run.entity_id, access=run.access)
    access.allow(has, Need.WRITE, missing=f"there is no {address}", what=address)
    return run


def _is_stale(run: StreamRun, post: Post) -> bool:
    """Return whether a request speaks for an attempt that a later one has replaced."""
    return (
        post.attempt is not None
        and run.present_attempt is not None
        and post.attempt < run.present_attempt
    )


def _gather(tx: Tx, run: StreamRun, post: Post, gathered: _Gathered) -> list[Row]:
    """Add what a request writes; return the history rows that did not stand there before."""
    body = post.body
    if _is_stale(run, post):
        gathered.lines += _apart(run, body, post.attempt or 1)
        return []
    if post.writer is not None:
        return _gather_shared(tx, run, post, gathered, writer=post.writer)
    changed: dict[str, Any] = {}
    if run.state in LIVE:
        changed["heartbeat_at"] = tx.now
    rows, end = _new_rows(tx, run, body)
    fresh, is_in_order = _rows(tx, run, HISTORY, rows, run.history_lines, gathered)
    if end > run.history_lines:
        changed["history_lines"] = end
    if fresh or not is_in_order:
        # The lines of this turn are written after it; a recount needs them now.
        if not is_in_order:
            write_lines(tx, gathered.lines)
            gathered.lines.clear()
        changed |= _key_columns(tx, run, fresh, is_in_order=is_in_order)
    _rows(tx, run, EVENTS, body.events, run.event_lines, gathered)
    if body.events_end >= run.event_lines and body.events:
        changed["system_metrics"] = body.events[-1].body
    if body.events_end > run.event_lines:
        changed["event_lines"] = body.events_end
    if body.console is not None and body.console.content:
        sizes, has_room = console_limit.make_room(tx, run, body.console, limits=post.limits)
        gathered.lines += [
            Line(run.id, CONSOLE, line, run.attempt, None, clean(text))
            for line, text in enumerate(body.console.content, start=body.console.offset)
            if has_room
        ]
        changed |= sizes
        end = body.console.offset + len(body.console.content)
        changed["log_lines"] = max(end, run.log_lines)
    if body.summary is not None:
        late, new = run.late_summary, body.summary
        changed["summary"] = (
            new if late is None else comebacks.late_summary(late, new, state=run.state)
        )
    if changed:
        gathered.runs[run.id] = changed
    return fresh


def _gather_shared(
    tx: Tx, run: StreamRun, post: Post, gathered: _Gathered, *, writer: str
) -> list[Row]:
    """Add what one of a run's several writers sends, at lines of its own."""
    place = shared.place_of(tx, run_id=run.id, writer=writer)
    body = shared.moved(post.body, place)
    own = replace(post, body=body, writer=None)
    fresh = _gather(tx, shared.own_run(run, place), own, gathered)
    if run.id in gathered.runs:
        shared.settle(tx, run, place, gathered.runs[run.id])
    return fresh


def _follow(tx: Tx, run: StreamRun, post: Post, fresh: Sequence[Row]) -> StreamReply:
    """Do what follows from a request whose rows are stored: its trial learns, its run ends."""
    if _is_stale(run, post):
        return StreamReply(stopped=True)
    body, is_stopped = post.body, run.stop_requested is not None
    if run.sweep_id is not None:
        is_stopped |= outcomes.row_logged(
            tx, run_id=run.id, rows=fresh, attempt=post.attempt, token=post.token
        )
    if not body.is_complete and run.state not in LIVE and post.writer is None:
        _reopen(tx, run, body)
    if body.is_complete or body.is_preempting:
        view = load_run(tx, run.id)
        assert view is not None, "it was there just now"
        if body.is_complete:
            _end(tx, view, post)
        elif view.state is RunState.RUNNING:
            change_state(tx, run=view, to=RunState.PREEMPTING, actor=events.SERVICE)
    return StreamReply(stopped=is_stopped)


def _reopen(tx: Tx, run: StreamRun, body: StreamBody) -> None:
    """Open an ended run again if a request shows that its process is alive."""
    if not comebacks.comes_back(
        tx, run_id=run.id, state=run.state, ended_at=run.ended_at, body=body
    ):
        return
    view = load_run(tx, run.id)
    assert view is not None, "it was there just now"
    if view.state not in LIVE:
        values = {"heartbeat_at": tx.now, "exit_code": None}
        why = "its process is heard of again"
        change_state(
            tx, run=view, to=RunState.RUNNING, actor=events.SERVICE, values=values, why=why
        )


def _new_rows(tx: Tx, run: StreamRun, body: StreamBody) -> tuple[Sequence[Row], int]:
    """Return a request's history rows and where they end, without what is stored already.

    A folder that is synced again sends its rows again, at further lines.
    """
    rows, end = body.history, body.history_end
    is_appended = bool(rows) and rows[0].line >= run.history_lines
    if not is_appended or run.last_step is None or rows[0].step > run.last_step:
        return rows, end
    kept = comebacks.without_known(tx, run.id, rows)
    if len(kept) == len(rows):
        return rows, end
    return kept, kept[-1].line + 1 if kept else 0


def _rows(
    tx: Tx, run: StreamRun, stream: int, rows: Sequence[Row], n_lines: int, gathered: _Gathered
) -> tuple[list[Row], bool]:
    """Add rows; return those that are new or other ones, and whether all of them are appended."""
    if not rows:
        return [], True
    known: dict[int, str] = {}
    if rows[0].line < n_lines:
        between = t.stream_line.c.line.between(rows[0].line, rows[-1].line)
        query = select(t.stream_line.c.line, t.stream_line.c.body).where(
            t.stream_line.c.run_id == run.id, t.stream_line.c.stream == stream, between
        )
        known = {line: text for line, text in tx.conn.execute(query)}
    written = [row for row in rows if known.get(row.line) != row.body]
    overwritten = [known[row.line] for row in written if row.line in known]
    gathered.lines += _overwritten(tx, run, stream, overwritten) if overwritten else []
    has_step = stream == HISTORY
    gathered.lines += [
        Line(run.id, stream, row.line, run.attempt, row.step if has_step else None, row.body)
        for row in written
    ]
    return written, rows[0].line >= n_lines or all(row.line >= n_lines for row in written)


def _overwritten(tx: Tx, run: StreamRun, stream: int, bodies: Sequence[str]) -> list[Line]:
    """Return rows that other ones take the place of, where no reader of the run looks.

    Two processes that write one run without a lease header, as a zombie and its successor under
    W&B's agents do, count their lines from the same one on.
    """
    of_stream = (t.stream_line.c.run_id == run.id, t.stream_line.c.stream == stream + _OVERWRITTEN)
    last = tx.conn.scalar(select(func.max(t.stream_line.c.line)).where(*of_stream))
    first = 0 if last is None else last + 1
    return [
        Line(run.id, stream + _OVERWRITTEN, line, run.attempt, None, body)
        for line, body in enumerate(bodies, start=first)
    ]


def _apart(run: StreamRun, body: StreamBody, attempt: int) -> list[Line]:
    """Return the rows of an attempt that has lost its lease, where no reader of the run looks."""
    first = attempt * MAX_LINE
    lines = [
        Line(run.id, stream + _APART, first + row.line, attempt, None, row.body)
        for stream, stored in ((HISTORY, body.history), (EVENTS, body.events))
        for row in stored
    ]
    if body.console is not None:
        lines += [
            Line(run.id, CONSOLE + _APART, first + line, attempt, None, clean(text))
            for line, text in enumerate(body.console.content, start=body.console.offset)
        ]
    return lines


def _key_columns(
    tx: Tx, run: StreamRun, fresh: Sequence[Row], *, is_in_order: bool
) -> dict[str, Any]:
    """Return the run's columns that follow from its history."""
    if is_in_order:
        stats = _stats_of(tx.memory, run)
        for row in fresh:
            stats.add(row.values, step=row.step)
    else:
        exports.rewritten(tx, run_id=run.id)
        stats = _count_again(tx, run.id)
    text = stats.to_json()
    _keep(tx.memory, run.id, text, stats)
    began = fresh[0].values.get("_timestamp") if fresh and fresh[0].line == 0 else None
    if isinstance(began, int | float) and FIRST_YEAR <= began < run.created_at:
        # A run that was offline then.
        tx.conn.execute(update(t.run).where(t.run.c.id == run.id).values(created_at=float(began)))
    return {"history_keys": text, "last_step": stats.last_step}


def _stats_of(memory: MutableMapping[str, Any], run: StreamRun) -> KeyStats:
    """Return a run's statistics: those in memory if they are what the row says, else the row's."""
    kept: dict[int, tuple[str, KeyStats]] = memory.setdefault("key_stats", {})
    text, stats = kept.pop(run.id, (None, None))  # out while they are changed
    return stats if stats is not None and text == run.history_keys else KeyStats(run.history_keys)


def _keep(memory: MutableMapping[str, Any], run_id: int, text: str, stats: KeyStats) -> None:
    kept: dict[int, tuple[str, KeyStats]] = memory.setdefault("key_stats", {})
    if len(stats) <= _KEPT_KEYS:
        kept[run_id] = text, stats
    if len(kept) > _KEPT_RUNS:
        del kept[next(iter(kept))]  # the one that was written to least lately


def _count_again(tx: Tx, run_id: int) -> KeyStats:
    """Return the statistics of all stored rows, after lines came out of order or over others."""
    stats = KeyStats()
    bodies = tx.conn.execute(
        select(t.stream_line.c.step, t.stream_line.c.body)
        .where(t.stream_line.c.run_id == run_id, t.stream_line.c.stream == HISTORY)
        .order_by(t.stream_line.c.line)
    )
    for step, body in bodies:
        stats.add(json.loads(body), step=step)
    return stats


def _end(tx: Tx, run: RunView, post: Post) -> None:
    """End a run that its process says is complete; nothing for one that has ended already."""
    if run.state not in _ENDABLE:
        return
    body = post.body
    was_preempting = run.state is RunState.PREEMPTING or body.is_preempting
    ruled = _ruled(tx, run)
    if ruled is Reason.FINISHED or (ruled is None and body.exit_code == 0):
        to = RunState.FINISHED
    elif run.stop_requested is not None:
        to = RunState.KILLED
    elif was_preempting:
        to = RunState.PREEMPTED
    else:
        to = RunState.FAILED
    end = comebacks.told_end(tx, run)
    values = {**end.values, "exit_code": body.exit_code}
    change_state(tx, run=run, to=to, actor=events.SERVICE, values=values, ended_at=end.at)
    if run.sweep_id is not None:
        outcomes.run_ended(
            tx,
            run_id=run.id,
            exit_code=body.exit_code,
            was_preempting=was_preempting,
            attempt=post.attempt,
            token=post.token,
            limits=post.limits,
        )


def _ruled(tx: Tx, run: RunView) -> Reason | None:
    """Return how the trial of a run counts that a stop rule asked to end, None if none did.

    Whatever its exit code; and so must the run count, as W&B's API tells no more.
    """
    if run.stop_requested is None or run.sweep_id is None:
        return None
    lease = leases.lease_of_run(tx, run.id)
    return lease.stopped_as if lease is not None and lease.stop == "rule" else None
