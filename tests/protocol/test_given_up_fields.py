"""What becomes of the fields of a request that is given up before they began."""

import asyncio
import warnings
from typing import Any

import pytest
from graphql import build_schema

from sweepd.errors import ProtocolError
from sweepd.wire.context import Context
from sweepd.wire.execution import Api

SCHEMA = """
  type Query { broken: Int! box: Box! }
  type Box { first: Int second: Int inner: Box boxes: [Box] }
"""
WIDE = "first second inner { first second } boxes { first second inner { first } }"
MOMENTS = range(12)  # of the event loop, at one of which fields are made and not yet begun


async def _wait(n_moments):
    for _ in range(n_moments):
        await asyncio.sleep(0)


async def _number(box, info):
    await _wait(1)
    return 1


async def _box(box, info):
    return {}


async def _boxes(box, info):
    return [_box(box, info), {}]


def _answer(query, broken):
    """Return the status of the answer, and all warnings of coroutines that nobody awaited."""
    schema = build_schema(SCHEMA)
    fields: Any = {kind: schema.type_map[kind].fields for kind in ("Query", "Box")}
    fields["Query"]["broken"].resolve = broken
    fields["Query"]["box"].resolve = fields["Box"]["inner"].resolve = _box
    fields["Box"]["boxes"].resolve = _boxes
    fields["Box"]["first"].resolve = fields["Box"]["second"].resolve = _number
    nobody: Any = None  # no resolver here asks a service or an account

    async def ask():
        context = Context(nobody, nobody, base_url="http://localhost", request_id="r")
        reply = await Api(schema).answer({"query": query}, context)
        await _wait(max(MOMENTS))  # for what was given up to end
        return reply.status

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        status = asyncio.run(ask())
    return status, [str(warning.message) for warning in caught]


@pytest.mark.parametrize("n_moments", MOMENTS)
def test_fields_beside_one_that_fails_leave_nothing_unawaited(n_moments):
    async def broken(root, info):
        await _wait(n_moments)
        raise ProtocolError("broken")

    status, left = _answer(f"{{ box {{ {WIDE} }} broken }}", broken)

    assert (status, left) == (400, [])


@pytest.mark.parametrize("n_moments", MOMENTS)
def test_fields_of_a_request_that_asks_for_too_much_leave_nothing_unawaited(n_moments):
    async def broken(root, info):
        await _wait(n_moments)
        info.context.is_overspent.set()
        await asyncio.Event().wait()

    status, left = _answer(f"{{ broken box {{ {WIDE} }} }}", broken)

    assert (status, left) == (400, [])


def test_fields_of_a_request_that_is_answered_are_all_in_the_answer():
    async def well(root, info):
        return 7

    assert _answer(f"{{ broken box {{ {WIDE} }} }}", well) == (200, [])
