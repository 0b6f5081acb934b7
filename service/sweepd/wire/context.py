"""What a resolver knows of the request it serves."""

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Hashable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, TypeVar

from anyio import to_thread
from graphql import GraphQLResolveInfo
from starlette.datastructures import URL
from starlette.requests import Request

from sweepd.engine.allowance import Allowance
from sweepd.engine.leases import Speaker
from sweepd.engine.services import Services
from sweepd.engine.views import Account, Page
from sweepd.errors import NotFound, ProtocolError
from sweepd.wire.jobs import Jobs

__all__ = [
    "LEASE_HEADER",
    "TYPE_OF",
    "Context",
    "Info",
    "Lease",
    "Resolvers",
    "base_url",
    "overspent",
    "read_lease",
    "read_writer",
]

LEASE_HEADER = "x-sweepd-lease"

T = TypeVar("T")

#: Reads and listed things that one request may ask for. The client's largest, a thousand runs
#: with what hangs on each, needs a quarter; listings nested in each other would go on for ever.
_MAX_READS = 20_000
#: Reads of one request at the same time; more would only keep those of others waiting.
_MAX_ABREAST = 4

#: In the table of an interface or a union: the resolver that tells which type a value is of.
TYPE_OF = "__typename"

#: Type -> field -> resolver(source, info, **arguments).
Resolvers = Mapping[str, Mapping[str, Callable[..., Any]]]


@dataclass(frozen=True)
class Lease:
    """The attempt of a run that a request speaks for. The token is a secret: never log it."""

    run: str
    attempt: int
    token: str

    def __repr__(self) -> str:
        """Return the lease without its token."""
        return f"Lease(run={self.run!r}, attempt={self.attempt})"


@dataclass(frozen=True)
class Context:
    """One GraphQL request: who asks, through which address, and for which attempt.

    All fields of a request that return rows or console lines share its `allowance`.
    """

    services: Services
    account: Account
    base_url: str
    request_id: str
    lease: Lease | None = None
    is_shared: bool = False  # the process is one of several that write its run
    jobs: Jobs = field(default_factory=Jobs)
    spent: Counter[str] = field(default_factory=Counter)
    allowance: Allowance = field(default_factory=Allowance)
    kept: dict[object, asyncio.Future[Any]] = field(default_factory=dict)
    is_overspent: asyncio.Event = field(default_factory=asyncio.Event)
    turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_MAX_ABREAST))

    async def read(self, use_case: Callable[..., T], **arguments: Any) -> T:
        """Run a use case that only reads."""
        self._spend(1)
        async with self.turns:
            reading = self.services.store.read(use_case, **arguments)
            found = await self.services.turns.take(self.account.id, reading)
        if isinstance(found, Page):
            self._spend(len(found.items))
        return found

    def peek(self, use_case: Callable[..., T], **arguments: Any) -> T:
        """Run a use case of a point lookup or two, all prepared, at once: see `Store.peek`."""
        self._spend(1)
        return self.services.store.peek(use_case, **arguments)

    def _spend(self, n_reads: int) -> None:
        self.spent["reads"] += n_reads
        if self.spent["reads"] > _MAX_READS:
            self.is_overspent.set()
            raise overspent()

    async def read_or_none(self, use_case: Callable[..., T], **arguments: Any) -> T | None:
        """Run a use case that only reads; what does not exist is None, as the client expects."""
        try:
            return await self.read(use_case, **arguments)
        except NotFound:
            return None

    async def once(self, use_case: Callable[..., T], **arguments: Hashable) -> T | None:
        """Read as `read_or_none` does, but once in this request however many things ask."""
        key = (use_case, *sorted(arguments.items()))
        if key not in self.kept:
            self.kept[key] = asyncio.ensure_future(self.read_or_none(use_case, **arguments))
            self.kept[key].add_done_callback(_take_note)
        found: T | None = await asyncio.shield(self.kept[key])  # others want it, too
        return found

    async def delete_blobs(self, keys: Collection[str]) -> None:
        """Delete bytes that no row refers to any more."""
        if keys:
            await to_thread.run_sync(self.services.store.blobs.delete_all, keys)

    async def write(self, use_case: Callable[..., T], **arguments: Any) -> T:
        """Run a use case that writes; it is durable when this returns."""
        return await self.services.store.write(use_case, **arguments)

    @property
    def speaker(self) -> Speaker | None:
        """Return which attempt the request says it comes from."""
        return None if self.lease is None else Speaker(self.lease.run, self.lease.attempt)

    def lease_of(self, run: str | None) -> Lease | None:
        """Return the request's lease if it is for this run: one process may log to several."""
        return self.lease if self.lease is not None and self.lease.run == run else None


def _take_note(reading: asyncio.Future[Any]) -> None:
    """Look at what a read came to, or asyncio complains where all that asked were given up."""
    if not reading.cancelled():
        reading.exception()


def overspent() -> ProtocolError:
    """Return the refusal of a request that asks for too much."""
    return ProtocolError(
        f"the request asks for more than {_MAX_READS} things at once; use smaller pages"
    )


#: What a resolver is given beside its source: `info.context` is the request's `Context`.
Info = GraphQLResolveInfo[Context]


def base_url(request: Request, services: Services, *, also_at: Collection[str] = ()) -> str:
    """Return the address that the links of an answer are built from.

    It is the configured one, save for clients that came by another address that is configured
    too; with none configured, it is the address that the request came to.
    """
    scope = request.scope
    came_to = _address(scope["scheme"], request.headers.get("host", ""), scope.get("server"))
    if not services.public_url or came_to in also_at:
        return came_to
    return services.public_url.rstrip("/")


@lru_cache(maxsize=64)
def _address(scheme: str, host: str, server: tuple[str, int] | None) -> str:
    """Spell the address that a request came to, without a trailing slash."""
    headers = [(b"host", host.encode("latin-1"))] if host else []
    scope = {"scheme": scheme, "server": server, "path": "/", "headers": headers}
    return str(URL(scope=scope)).rstrip("/")


def read_writer(request: Request) -> str | None:
    """Return which of the processes sends a request that write one run; None for a run of one."""
    if request.headers.get("x-wandb-use-async-filestream", "").lower() != "true":
        return None
    headers = request.headers
    return headers.get("x-wandb-async-client-id") or headers.get("x-wandb-client-id") or None


def read_lease(request: Request) -> Lease | None:
    """Return the lease that our agent's runs carry, or None; nonsense is none."""
    run, _, rest = request.headers.get(LEASE_HEADER, "").partition(";")
    attempt, _, token = rest.partition(";")
    if run and token and attempt.isdecimal() and len(attempt) < 10:
        return Lease(run, int(attempt), token)
    return None
