"""Forms of the pages: what was typed, and what is said of it when it cannot be done."""

import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from sweepd.dash.assets import HEADERS
from sweepd.errors import InvalidInput, SweepdError

__all__ = ["Attempt", "expiry", "read_body", "read_fields", "submit"]

_LONGEST_FORM = 8192  # bytes
_DAY_S = 86_400.0
_MOST_DAYS = 36_500


@dataclass(frozen=True)
class Attempt:
    """A form that was sent and could not be done: its page is shown again with what was typed.

    Attributes:
        form: which of the page's forms; "" if none was sent.
        words: why not.
        typed: its fields.
        status: of the answer.
    """

    form: str = ""
    words: str = ""
    typed: Mapping[str, str] = field(default_factory=dict)
    status: int = 200

    def said(self, form: str) -> str:
        """Return why a form could not be done, "" if that was not tried."""
        return self.words if self.form == form else ""

    def kept(self, form: str, name: str, otherwise: str = "") -> str:
        """Return what was typed into a field of a form, if anything was."""
        return self.typed.get(name, "") if self.form == form else otherwise


async def read_body(request: Request, *, most: int) -> bytes:
    """Return what a form of a page has sent.

    Raises:
        InvalidInput: if it is longer than `most` bytes.
    """
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > most:
            raise InvalidInput("this form is too long")
    return body


async def read_fields(request: Request) -> dict[str, str]:
    """Return what was typed into a form; empty fields are left out.

    Raises:
        InvalidInput: if it is longer than any form of ours.
    """
    body = await read_body(request, most=_LONGEST_FORM)
    try:
        pairs = parse_qs(body.decode("utf-8", "replace"), max_num_fields=100)
    except ValueError:
        raise InvalidInput("this form has too many fields") from None
    return {name: values[-1].strip() for name, values in pairs.items()}


async def submit(
    form: str,
    request: Request,
    change: Callable[[Mapping[str, str]], Awaitable[Response | str]],
    again: Callable[[Attempt], Awaitable[Response]],
) -> Response:
    """Do what a form asks for, and go on; or show its page again, with why not.

    Args:
        form: its name on its page.
        request: that brought it.
        change: does it; returns the address to go on to, or a page to show.
        again: shows the form's page. Who may not even see that is told what `again` raises.
    """
    fields = await read_fields(request)
    try:
        done = await change(fields)
    except SweepdError as error:
        if error.http_status >= 500:
            raise
        return await again(Attempt(form, f"{error}.", fields, error.http_status))
    return done if isinstance(done, Response) else RedirectResponse(done, 303, headers=HEADERS)


def expiry(days: str, *, now: float) -> float | None:
    """Return when a key ends that is to last so many days; None for never, which "" says.

    Raises:
        InvalidInput: if it is no number of days.
    """
    if not days:
        return None
    try:
        number = float(days)
    except ValueError:
        number = math.nan
    if not 0 < number <= _MOST_DAYS:
        raise InvalidInput(f"days: must be a number up to {_MOST_DAYS:,}, not {days!r:.40}")
    return now + number * _DAY_S
