"""Keys that were good a moment ago, for requests that look them up again in their transaction.

A lookup on the event loop gives the interpreter away, and with the writer busy it takes long to
get it back. A run's live data meets the writer anyway: there the key is looked up, once for all
requests of a commit that came with it. What is kept here only decides whether a body is read at
all, so a key that was revoked is refused at the very next request.
"""

import time
from hashlib import sha256

from starlette.requests import Request

from sweepd.engine.services import Services
from sweepd.engine.views import Account
from sweepd.wire.auth import account_of, read_key

__all__ = ["Acquaintances"]

_MOST = 4096


class Acquaintances:
    """Remembers the accounts of keys, by the keys' hashes."""

    def __init__(self) -> None:
        self._known: dict[bytes, Account] = {}

    async def recognize(
        self, request: Request, services: Services, *, url: str
    ) -> tuple[Account, str | None]:
        """Return who a request seems to be from, and the key that is to be looked up again.

        The key is None if the account was looked up just now.

        Raises:
            Unauthorized, Forbidden: as `account_of`.
        """
        key = read_key(request)
        if key is None:
            return await account_of(request, services, url=url), None
        name = sha256(key.encode()).digest()
        known = self._known.get(name)
        if known is not None:
            if known.key_id is not None:
                services.key_uses.note(known.key_id, at=time.time())
            return known, key
        account = await account_of(request, services, url=url)
        if len(self._known) >= _MOST:
            self._known.clear()
        self._known[name] = account
        return account, None
