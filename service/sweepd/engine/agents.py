"""Agents: registration, and the heartbeat that renews leases and hands trials out."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, bindparam, func, select, update

from sweepd.engine import access, events, leases, outcomes, projects, slots, trials
from sweepd.engine.access import Need
from sweepd.engine.endings import finish_if_done, start_if_pending, sweep_row
from sweepd.engine.handouts import command_of, next_lease
from sweepd.engine.services import Limits
from sweepd.engine.sweepviews import sweep_for
from sweepd.engine.trials import Ending, Lease
from sweepd.engine.views import Account, AgentView, Command
from sweepd.errors import Conflict, NotFound, Reason
from sweepd.schedule import (
    Held,
    TrialState,
    TurnKind,
    missing,
    next_turn,
    silence_means,
    stopped_by,
)
from sweepd.states import AgentState, RunState, SweepState, is_terminal
from sweepd.store import Prepared, Tx
from sweepd.store import sweep_tables as s
from sweepd.store import tables as t

__all__ = [
    "Ahead",
    "get_agent",
    "heartbeat",
    "leave",
    "list_agents",
    "quarantine_slot",
    "register",
    "release_slot",
]


@dataclass(frozen=True, kw_only=True)
class Ahead:
    """What an agent says in a heartbeat of trials that it fetches while another one runs.

    Attributes:
        wants: it may be given one, to get it ready.
        waiting: runs that it holds and has not begun.
        returned: runs that it gives back, not begun.
    """

    wants: bool = False
    waiting: frozenset[str] = frozenset()
    returned: frozenset[str] = frozenset()


_DEFAULT = Limits()
_NOTHING_AHEAD = Ahead()
_FIND = Prepared(
    select(
        t.agent.c.sweep_id,
        t.agent.c.state,
        t.agent.c.slot_id,
        (s.slot.c.device != t.agent.c.id).label("is_ours"),
        t.project.c.entity_id,
        t.project.c.access,
    )
    .join(t.sweep, t.sweep.c.id == t.agent.c.sweep_id)
    .join(t.project, t.project.c.id == t.sweep.c.project_id)
    .outerjoin(s.slot, s.slot.c.id == t.agent.c.slot_id)
    .where(t.agent.c.id == bindparam("agent"))
)
_RENEW = Prepared(
    update(t.agent)
    .where(t.agent.c.id == bindparam("agent"))
    .values(heartbeat_at=bindparam("now"), state=AgentState.RUNNING)
)
_HELD = leases.prepared(
    t.attempt.c.agent_id == bindparam("agent"),
    t.attempt.c.ended_at.is_(None),
    t.trial.c.state == TrialState.LEASED,
)
_LOST_WORDS = {
    Reason.NEVER_INIT: "the program ended before it called wandb.init",
    Reason.NEVER_STARTED: "the agent did not receive it",
    Reason.KILLED: "the sweep ended before it was started",
}


def register(
    tx: Tx,
    *,
    actor: Account,
    entity: str | None = None,
    project: str | None = None,
    sweep: str,
    host: str,
    device: str | None = None,
) -> AgentView:
    """Register an agent with a sweep (short id); the first one sets a pending sweep running.

    Args:
        tx: the transaction.
        actor: whose key the agent uses.
        entity: of the sweep's address; None if a short id must do.
        project: likewise.
        sweep: the sweep's short id.
        host: the machine's name.
        device: what of it the agent's trials run on; None where a client tells none.

    Raises:
        NotFound: if there is no such project or sweep that the actor may see.
        Forbidden: if they may see it, but not change it.
        Conflict: if the sweep has ended.
    """
    is_it, label = t.sweep.c.name == sweep, repr(sweep)
    if project is not None:  # a short id alone will do, but an address must be right
        home = projects.get_project(tx, actor=actor, entity=entity, name=project, need=Need.WRITE)
        is_it, label = is_it & (t.sweep.c.project_id == home.id), f"{sweep!r} in {project}"
    row = sweep_for(tx, is_it, actor=actor, need=Need.WRITE, label=label)
    if is_terminal(SweepState(row.state)):
        why = f": {row.stop_reason}" if row.stop_reason else ""
        hint = (
            "; `sweep resume` or `sweep retry` it first" if row.state == SweepState.FAILED else ""
        )
        raise Conflict(f"sweep {sweep} has ended ({row.state.lower()}{why}){hint}")
    agent_id, host = tx.new_id(16), host[:255]
    values = {
        "id": agent_id,
        "sweep_id": row.id,
        "user_id": actor.author_id,
        "name": f"{host[:100]}-{agent_id[:4]}",
        "host": host,
        "slot_id": slots.place(
            tx, sweep_id=row.id, host=host, device=device[:255] if device else agent_id
        ),
        "state": AgentState.RUNNING,
        "created_at": tx.now,
        "heartbeat_at": tx.now,
    }
    tx.conn.execute(t.agent.insert(), values)
    _record(tx, row, agent_id, "agent.registered", actor=actor.name)
    start_if_pending(tx, row, actor=agent_id)
    return _view(tx, t.agent.c.id == agent_id)[0]


def heartbeat(
    tx: Tx,
    *,
    actor: Account,
    agent_id: str,
    running: Collection[str],
    ahead: Ahead = _NOTHING_AHEAD,
    limits: Limits = _DEFAULT,
) -> list[Command]:
    """Renew an agent and the leases of its runs; return one command, several stops, or none.

    Args:
        tx: the transaction.
        actor: whose key the agent uses.
        agent_id: as registered.
        running: ids of the runs that the agent has queued or running.
        ahead: what it fetches, and has fetched, ahead.
        limits: timings.

    Raises:
        NotFound: if the agent's sweep is gone, or one that the actor may not see.
        Forbidden: if they may see it, but not change it.
    """
    agent = _agent(tx, actor, agent_id, Need.WRITE)
    _RENEW.run(tx, agent=agent_id, now=tx.now)
    sweep = sweep_row(tx, agent.sweep_id)
    held, fenced_out = _renew(tx, sweep, agent_id, running)
    still_held, taken_back = _take_back(tx, sweep, held, ahead, agent_id, limits)
    still_held = _drop_missing(tx, sweep, still_held, running, agent_id, limits, agent.is_ours)
    if len(still_held) < len(held):  # which may have ended the sweep
        held, sweep = still_held, sweep_row(tx, agent.sweep_id)
    turn = next_turn(
        [_held(tx, lease) for lease in held],
        running,
        sweep=SweepState(sweep.state),
        fenced_out=fenced_out | taken_back,
        wants_ahead=ahead.wants,
    )
    match turn.kind:
        case TurnKind.STOP:
            return [Command("stop", run=run) for run in turn.runs]
        case TurnKind.EXIT:
            _set_state(tx, agent_id, AgentState.EXITED)
            return [Command("exit")]
        case TurnKind.AGAIN:
            lease = next(lease for lease in held if lease.run in turn.runs)
            if tx.now - lease.issued_at >= lease.n_sent * limits.send_gap_s:
                trials.resend(tx, lease)
            return [command_of(tx, sweep, lease)]
        case TurnKind.NEXT:
            found = next_lease(tx, sweep, agent_id=agent_id, slot_id=agent.slot_id)
            if found is not None:
                return [command_of(tx, sweep, found)]
            finish_if_done(tx, sweep.id)
            return []
        case TurnKind.WAIT:
            return []


def leave(tx: Tx, *, actor: Account, agent_id: str, limits: Limits = _DEFAULT) -> None:
    """Take an agent's goodbye: what it still holds is handed to others at once.

    Raises:
        NotFound: if the agent's sweep is gone, or one that the actor may not see.
        Forbidden: if they may see it, but not change it.
    """
    agent = _agent(tx, actor, agent_id, Need.WRITE)
    for lease in _live(tx, agent_id):
        reason = silence_means(
            has_started=lease.has_started,
            was_preempting=False,
            stop=lease.stop,
            stopped_as=lease.stopped_as,
        )
        ending = Ending(reason=reason, message="its agent left", is_excused=True)
        outcomes.settle(tx, lease, ending, actor=agent_id, limits=limits)
    if agent.state != AgentState.EXITED:
        _set_state(tx, agent_id, AgentState.EXITED)
        _record(tx, sweep_row(tx, agent.sweep_id), agent_id, "agent.left", actor=agent_id)


def get_agent(tx: Tx, *, actor: Account, agent_id: str, need: Need) -> AgentView:
    """Return an agent; raise NotFound or Forbidden."""
    _agent(tx, actor, agent_id, need)
    return _view(tx, t.agent.c.id == agent_id)[0]


def quarantine_slot(
    tx: Tx, *, actor: Account, agent_id: str, reason: str, limits: Limits = _DEFAULT
) -> AgentView:
    """Put the place where an agent works into quarantine, since the agent says that it is unfit.

    What failed there last runs again elsewhere. Harmless if it is in quarantine.

    Raises:
        NotFound: if the agent's sweep is gone, or one that the actor may not see.
        Forbidden: if they may see it, but not change it.
    """
    agent = _agent(tx, actor, agent_id, Need.WRITE)
    if agent.slot_id is not None:
        sweep = sweep_row(tx, agent.sweep_id)
        slots.condemn(tx, sweep, agent.slot_id, reason=reason[:500], limits=limits)
    return _view(tx, t.agent.c.id == agent_id)[0]


def release_slot(tx: Tx, *, actor: Account, agent_id: str) -> AgentView:
    """Take the place where an agent works out of quarantine; harmless if it is not in it.

    Raises:
        NotFound: if the agent's sweep is gone, or one that the actor may not see.
        Forbidden: if they may see it, but not change it.
    """
    agent = _agent(tx, actor, agent_id, Need.WRITE)
    if agent.slot_id is not None:
        slots.release(tx, agent.slot_id, actor=actor.name)
    return _view(tx, t.agent.c.id == agent_id)[0]


def list_agents(tx: Tx, *, actor: Account, sweep_id: int, need: Need) -> list[AgentView]:
    """Return a sweep's agents as they registered; raise NotFound or Forbidden."""
    is_it = t.sweep.c.id == sweep_id
    sweep_for(tx, is_it, actor=actor, need=need, label=f"with id {sweep_id}")
    return _view(tx, t.agent.c.sweep_id == sweep_id)


def _renew(
    tx: Tx, sweep: Any, agent_id: str, running: Collection[str]
) -> tuple[list[Lease], set[str]]:
    """Renew the leases of runs that an agent names; return what it holds, and what it must not."""
    held = {lease.run: lease for lease in _live(tx, agent_id)}
    fenced_out: set[str] = set()
    unknown = [run for run in running if run not in held]
    if unknown:
        of_sweep = (t.trial.c.sweep_id == sweep.id, t.run.c.name.in_(unknown))
        found = trials.leases(tx, *of_sweep)
        fenced_out |= _deleted(tx, sweep, set(unknown).difference(lease.run for lease in found))
        for lease in found:
            if lease.state == TrialState.ENDED:  # its process may have things to finish
                fenced_out.update({lease.run} if lease.stop_requested is not None else ())
            elif lease.agent_id != agent_id:
                fenced_out.add(lease.run)
            elif lease.may_come_back:
                trials.revive(tx, lease, actor=agent_id)
                revived = trials.lease_of_run(tx, lease.run_id)
                assert revived is not None, "it is there"
                held[lease.run] = revived
    seen = [lease.trial_id for lease in held.values() if lease.run in running]
    if seen:
        tx.conn.execute(
            update(t.attempt)
            .where(
                t.attempt.c.trial_id.in_(seen),
                t.attempt.c.agent_id == agent_id,
                t.attempt.c.ended_at.is_(None),
            )
            .values(seen_at=tx.now)
        )
    return list(held.values()), fenced_out


def _deleted(tx: Tx, sweep: Any, names: Collection[str]) -> set[str]:
    """Return those of the names whose run was of the sweep and is deleted, and not made again."""
    if not names:
        return set()
    in_project = (t.run.c.project_id == sweep.project_id) & t.run.c.name.in_(names)
    absent = set(names).difference(tx.conn.scalars(select(t.run.c.name).where(in_project)))
    if not absent:
        return set()
    name = func.json_extract(t.event.c.data, "$.name")
    was_here = (t.event.c.sweep_id == sweep.id) & (t.event.c.kind == "run.deleted")
    return set(tx.conn.scalars(select(name).where(was_here, name.in_(absent))))


def _take_back(
    tx: Tx, sweep: Any, held: list[Lease], ahead: Ahead, agent_id: str, limits: Limits
) -> tuple[list[Lease], set[str]]:
    """Take trials back that were fetched ahead: returned, or of a sweep that starts nothing now.

    Returns:
        The leases that are left, and the runs that the agent does not know of yet.
    """
    starts = sweep.state == SweepState.RUNNING and sweep.stop_reason is None
    unwanted = ahead.returned if starts else ahead.returned | ahead.waiting
    back = [lease for lease in held if lease.run in unwanted and not lease.has_started]
    for lease in back:
        is_over = is_terminal(SweepState(sweep.state)) or sweep.stop_reason is not None
        reason = Reason.KILLED if is_over else Reason.NEVER_STARTED
        words = _LOST_WORDS[reason] if is_over else "its agent gave it back before it began"
        ending = Ending(reason=reason, message=words, is_excused=True)
        outcomes.settle(tx, lease, ending, actor=agent_id, limits=limits)
    gone = {lease.run for lease in back}
    return [lease for lease in held if lease.run not in gone], gone - ahead.returned


def _drop_missing(
    tx: Tx,
    sweep: Any,
    held: list[Lease],
    running: Collection[str],
    agent_id: str,
    limits: Limits,
    is_ours: bool | None,
) -> list[Lease]:
    """End the attempts that the agent no longer has; return the others.

    Ours tells of each program that ends before `wandb.init`; of others' agents it must be guessed.
    """
    by_run = {lease.run: lease for lease in held}
    for one, reason in missing(
        [_held(tx, lease) for lease in held],
        running,
        sweep=SweepState(sweep.state),
        resend_s=limits.resend_s,
        max_sends=None if is_ours else limits.max_sends,
    ):
        lease = by_run.pop(one.run)
        if reason == Reason.KILLED and lease.stop is not None:
            reason = stopped_by(lease.stop, lease.stopped_as)
        ending = Ending(
            reason=reason,
            message=lease.stop_requested or _LOST_WORDS[reason],
        )
        outcomes.settle(tx, lease, ending, actor=agent_id, limits=limits)
    return list(by_run.values())


def _live(tx: Tx, agent_id: str) -> list[Lease]:
    """Return the attempts that an agent holds."""
    return leases.found(tx, _HELD, agent=agent_id)


def _held(tx: Tx, lease: Lease) -> Held:
    return Held(
        run=lease.run,
        has_started=lease.has_started,
        was_seen=lease.seen_at > lease.issued_at,
        age_s=tx.now - lease.issued_at,
        n_sent=lease.n_sent,
        is_to_stop=lease.stop_requested is not None,
    )


def _agent(tx: Tx, actor: Account, agent_id: str, need: Need) -> Any:
    row = _FIND.one(tx, agent=agent_id)
    missing = "the sweep of this agent does not exist any more"
    if row is None:
        raise NotFound(missing)
    has = access.level(tx, actor=actor, entity_id=row.entity_id, access=row.access)
    access.allow(has, need, missing=missing, what="the sweep of this agent")
    return row


def _view(tx: Tx, where: ColumnElement[bool]) -> list[AgentView]:
    n_runs = (
        select(func.count(func.distinct(t.attempt.c.trial_id)))
        .where(t.attempt.c.agent_id == t.agent.c.id)
        .scalar_subquery()
    )
    current = (
        select(func.max(t.run.c.name))
        .join(t.trial, t.trial.c.run_id == t.run.c.id)
        .join(t.attempt, t.attempt.c.trial_id == t.trial.c.id)
        .where(
            t.attempt.c.agent_id == t.agent.c.id,
            t.attempt.c.ended_at.is_(None),
            t.run.c.state != RunState.FINISHED,
        )
        .scalar_subquery()
    )
    rows = tx.conn.execute(
        select(
            t.agent,
            n_runs.label("n_runs"),
            current.label("current_run"),
            s.slot.c.device,
            s.slot.c.reason,
            s.slot.c.since,
        )
        .select_from(t.agent.outerjoin(s.slot, s.slot.c.id == t.agent.c.slot_id))
        .where(where)
        .order_by(t.agent.c.created_at, t.agent.c.id)
    )
    return [
        AgentView(
            id=row.id,
            name=row.name,
            host=row.host,
            state=AgentState(row.state),
            n_runs=row.n_runs,
            created_at=row.created_at,
            heartbeat_at=row.heartbeat_at,
            current_run=row.current_run,
            device=row.device if row.device != row.id else None,
            quarantine=row.reason,
            quarantined_at=row.since,
        )
        for row in rows
    ]


def _set_state(tx: Tx, agent_id: str, state: AgentState) -> None:
    tx.conn.execute(update(t.agent).where(t.agent.c.id == agent_id).values(state=state))


def _record(tx: Tx, sweep: Any, agent_id: str, kind: str, *, actor: str) -> None:
    events.record(
        tx,
        actor=actor,
        kind=kind,
        project_id=sweep.project_id,
        sweep_id=sweep.id,
        data={"agent": agent_id},
    )
