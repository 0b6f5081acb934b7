"""TLS by certificate files, which may be renewed while the service runs."""

import asyncio
import logging
import ssl
from collections.abc import Sequence
from pathlib import Path

from sweepd.errors import InvalidInput

__all__ = ["Certificate"]

_log = logging.getLogger("sweepd.tls")

_LOOK_S = 10.0


class Certificate:
    """A certificate with its key, as a server's TLS context.

    Args:
        certificate: PEM file, the whole chain.
        key: PEM file, without a password.
        look_s: between two looks at the files.

    Raises:
        InvalidInput: in words, if the files cannot be used.
    """

    def __init__(self, certificate: Path, key: Path, *, look_s: float = _LOOK_S) -> None:
        self._files = (certificate, key)
        self._look_s = look_s
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self.context.set_alpn_protocols(["http/1.1"])
        self._seen = self._stamps()
        self._load(self.context)

    async def keep_fresh(self) -> None:
        """Load the files again whenever they change; a bad pair is told and not used."""
        while True:
            await asyncio.sleep(self._look_s)
            try:
                now = self._stamps()
                if now == self._seen:
                    continue
                self._load(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))  # a pair that fits?
                self._load(self.context)
            except InvalidInput as error:  # such as only one of the two renewed yet: look again
                _log.warning("%s; the old certificate stays in use", error)
                continue
            self._seen = now
            _log.info("the certificate in %s was loaded again", self._files[0])

    def _load(self, context: ssl.SSLContext) -> None:
        certificate, key = self._files
        try:
            context.load_cert_chain(certificate, key, password=_no_password)
        except (OSError, ssl.SSLError) as error:
            reason = getattr(error, "reason", None) or error.strerror or error
            raise InvalidInput(
                f"TLS with {certificate} and {key} does not work: {reason}"
            ) from None

    def _stamps(self) -> Sequence[tuple[int, int]]:
        try:
            found = [path.stat() for path in self._files]
        except OSError as error:
            raise InvalidInput(f"{error.filename}: {error.strerror}") from None
        return [(stat.st_mtime_ns, stat.st_ino) for stat in found]


def _no_password() -> str:
    """Refuse a key with a password rather than ask for it on a terminal."""
    return ""
