"""The schema with its resolvers, and what becomes of one GraphQL request."""

import asyncio
import json
import logging
import weakref
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from inspect import CORO_CREATED, getcoroutinestate, isawaitable
from types import CoroutineType
from typing import Any, TypeGuard

from anyio import to_thread
from graphql import (
    ExecutionResult,
    Executor,
    GraphQLError,
    GraphQLInterfaceType,
    GraphQLObjectType,
    GraphQLResolveInfoHelpers,
    GraphQLSchema,
    GraphQLUnionType,
    build_schema,
    execute,
)

from sweepd.engine.texts import clean
from sweepd.errors import ProtocolError, SweepdError
from sweepd.wire.context import TYPE_OF, Context, Resolvers, overspent
from sweepd.wire.documents import Documents, InvalidDocument
from sweepd.wire.scalars import bind_scalars

__all__ = ["Api", "Reply", "make_schema"]

_log = logging.getLogger("sweepd.wire")

#: A conflict is final here, but the client repeats an UpsertBucket that got a 409 for 90 seconds.
_FINAL_CONFLICT = 422
_RETRY_AFTER_S = "1"
_SCHEMA = ("schema.graphql", "artifacts.graphql", "sweepd.graphql")


@dataclass(frozen=True)
class Reply:
    """An HTTP answer to a GraphQL request."""

    status: int
    body: Mapping[str, Any]
    headers: Mapping[str, str]

    def encode(self) -> bytes:
        """Return the body as strict JSON."""
        text = json.dumps(self.body, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
        return clean(text).encode()


def make_schema(tables: Sequence[Resolvers]) -> GraphQLSchema:
    """Build the schema from its files and attach the resolvers.

    An interface or a union has one resolver, under `TYPE_OF`: which type a value is of.

    Raises:
        KeyError: if a resolver's type or field is not in the schema; a wiring mistake.
    """
    folder = files("sweepd.wire")
    text = "\n".join((folder / name).read_text("utf-8") for name in _SCHEMA)
    schema = build_schema(text)
    bind_scalars(schema)
    for table in tables:
        for type_name, fields in table.items():
            kind = schema.type_map[type_name]
            if isinstance(kind, GraphQLInterfaceType | GraphQLUnionType):
                kind.resolve_type = fields[TYPE_OF]
                continue
            assert isinstance(kind, GraphQLObjectType)
            for field_name, resolver in fields.items():
                kind.fields[field_name].resolve = resolver
    return schema


class _Executor(Executor[Context]):
    """Executes one request, and is gone with it.

    What it offers to resolvers for work beside their own are methods of its own. By these it would
    refer to itself, and stay with all of its request until a collection finds it: thousands of
    them take a tenth of a second, in which nobody is answered.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        itself = weakref.proxy(self)
        self.async_helpers = GraphQLResolveInfoHelpers(
            gather=lambda values: itself.gather_async_work(values),
            track=lambda values: itself.track_async_work(values),
        )


class _Fields:
    """The fields of one request whose values were still to come.

    An execution that is given up cancels what it has begun. What it had not begun by then is
    forgotten, and Python complains of each in the service's log.
    """

    def __init__(self) -> None:
        self._made: list[CoroutineType[Any, Any, Any]] = []

    def is_awaitable(self, value: Any) -> TypeGuard[Awaitable[Any]]:
        """Return whether a value is still to come; the execution asks this of every one."""
        if isinstance(value, CoroutineType):
            self._made.append(value)
            return True
        return hasattr(value, "__await__")

    def close(self, task: "asyncio.Future[Any]") -> None:
        """Close what never began, now that the execution has ended."""
        for made in self._made:
            if getcoroutinestate(made) == CORO_CREATED:
                made.close()


class Api:
    """Answers GraphQL requests."""

    def __init__(self, schema: GraphQLSchema) -> None:
        self._schema = schema
        self._documents = Documents(schema)

    async def answer(self, request: Any, context: Context) -> Reply:
        """Answer one request body, already read from JSON; failures become HTTP statuses.

        The client shows a message as it stands only with a 4xx, and repeats after a 5xx for
        many minutes. So a failure that would come again is never a 5xx.
        """
        try:
            query, variables, operation = _parts(request)
            if self._documents.is_quick(query):
                document = self._documents.read(query)
            else:
                document = await to_thread.run_sync(self._documents.read, query)
        except InvalidDocument as error:
            _log.info("[%s] refused document: %s", context.request_id, error)
            return _refusal(error.http_status, error.messages)
        except ProtocolError as error:
            return _refusal(error.http_status, [str(error)])
        fields = _Fields()
        result = execute(
            self._schema,
            document,
            context_value=context,
            variable_values=variables,
            operation_name=operation,
            executor_class=_Executor,
            is_awaitable=fields.is_awaitable,
        )
        if isawaitable(result):
            task = asyncio.ensure_future(result)
            task.add_done_callback(fields.close)
            try:
                result = await _unless_overspent(task, context)
            except ProtocolError as error:
                return _refusal(error.http_status, [str(error)])
        assert isinstance(result, ExecutionResult)
        if result.errors:
            return _failed(result.errors, variables, context)
        return Reply(200, {"data": result.data}, {})


async def _unless_overspent(task: "asyncio.Future[ExecutionResult]", ctx: Context) -> Any:
    """Wait for an execution; give it up at once when it asks for too much.

    Left alone it would go on, and collect a failure for each of the thousands of things left.

    Raises:
        ProtocolError: it asked for too much.
    """
    watch = asyncio.ensure_future(ctx.is_overspent.wait())
    try:
        await asyncio.wait((task, watch), return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise overspent()
        return task.result()
    finally:
        watch.cancel()
        task.cancel()


def _parts(request: Any) -> tuple[str, dict[str, Any], str | None]:
    """Split a request body; the public API sends an empty operation name for none."""
    if not isinstance(request, dict) or not isinstance(request.get("query"), str):
        raise ProtocolError("the body must be a JSON object with a GraphQL `query`")
    variables = request.get("variables") or {}
    if not isinstance(variables, dict):
        raise ProtocolError("`variables` must be a JSON object")
    operation = request.get("operationName") or None
    if operation is not None and not isinstance(operation, str):
        raise ProtocolError("`operationName` must be a string")
    return request["query"], variables, operation


def _failed(errors: Sequence[GraphQLError], variables: Mapping[str, Any], ctx: Context) -> Reply:
    """Turn the errors of an execution into one refusal with the status of the gravest."""
    statuses, messages = [], []
    for error in errors:
        cause = error.original_error
        if isinstance(cause, SweepdError):
            status, message = cause.http_status, str(cause)
            if status >= 500:
                _log.warning("[%s] %s: %s", ctx.request_id, type(cause).__name__, cause)
        elif cause is None or isinstance(cause, GraphQLError):
            status, message = 400, error.message
        else:
            status = 500
            message = f"internal error; the service's log has it under request {ctx.request_id}"
            run = variables.get("run") or variables.get("name") or variables.get("id")
            _log.error("[%s] %s failed, run %r", ctx.request_id, error.path, run, exc_info=cause)
        statuses.append(_FINAL_CONFLICT if status == 409 else status)
        if message not in messages:
            messages.append(message)
    return _refusal(max(statuses), messages)


def _refusal(status: int, messages: Sequence[str]) -> Reply:
    errors = [{"message": message} for message in messages]
    headers = {"Retry-After": _RETRY_AFTER_S} if status == 503 else {}
    return Reply(status, {"errors": errors, "data": None}, headers)
