"""How much of a run's rows one request may bring into memory."""

from sweepd.errors import ProtocolError

__all__ = ["MAX_BYTES", "Allowance"]

#: Bytes of rows that one request may return. The largest page that the client asks for by itself,
#: a thousand rows, may have 64 KB a row.
MAX_BYTES = 64 << 20
_PER_ROW = 150  # what a row costs beside its text


class Allowance:
    """What is left for a request, all its fields together; may be shared by threads."""

    def __init__(self, n_bytes: int = MAX_BYTES) -> None:
        self._given = self._left = n_bytes

    def take(self, text: str) -> None:
        """Take the room of one row.

        Raises:
            ProtocolError: in words, once more was asked for than one request may return.
        """
        self._left -= len(text) + _PER_ROW
        if self._left < 0:
            raise ProtocolError(
                f"the rows asked for take more than {self._given >> 20} MiB, the most that one "
                "request returns; ask for fewer at once (a smaller page_size, fewer samples or "
                "runs), or name the keys"
            )
