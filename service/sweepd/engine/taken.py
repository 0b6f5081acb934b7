"""What a sweep is not to be given again, looked up one config at a time."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from sqlalchemy import bindparam, func, select

from sweepd.engine.prior_runs import keys_of
from sweepd.spec import Config, Definition, Space
from sweepd.store import Prepared, Tx
from sweepd.store import tables as t

__all__ = ["TakenInStore", "was_given"]


def _find(table: Any) -> Prepared:
    is_it = (table.c.sweep_id == bindparam("sweep")) & (table.c.config_key == bindparam("key"))
    return Prepared(select(table.c.id).where(is_it).limit(1))


_TRIAL, _SUGGESTION = _find(t.trial), _find(t.suggestion)


def was_given(tx: Tx, sweep_id: int, key: str) -> bool:
    """Return whether a config with this key was handed out."""
    return _TRIAL.row(tx, sweep=sweep_id, key=key) is not None


class TakenInStore:
    """Every config that was handed out, is prepared, or was a prior run's: a `sweepd.search.Out`.

    A question costs a lookup in an index, however many trials there are.

    Args:
        tx: the transaction.
        sweep: the sweep's row.
        definition: its definition.
    """

    def __init__(self, tx: Tx, sweep: Any, definition: Definition) -> None:
        self.space: Space = definition.space
        self._tx, self._sweep_id = tx, sweep.id
        self._prior = keys_of(tx, sweep.id, definition)
        self._latest: tuple[object, str] = (None, "")  # the config asked for last, and its key

    def __contains__(self, config: Mapping[str, Any]) -> bool:
        key = self.space.key(config)
        self._latest = (config, key)
        return key in self._prior or self.has_key(key)

    def key_of(self, config: Mapping[str, Any]) -> str:
        """Return the key of a config, at no price for the one that was just asked for."""
        latest, key = self._latest
        return key if latest is config else self.space.key(config)

    def __len__(self) -> int:
        counts = (
            self._tx.conn.scalar(select(func.count()).where(table.c.sweep_id == self._sweep_id))
            for table in (t.trial, t.suggestion)
        )
        return sum(count or 0 for count in counts) + len(self._prior)

    def has_key(self, key: str) -> bool:
        """Return whether a config with this key was handed out or is prepared."""
        at = {"sweep": self._sweep_id, "key": key}
        return self.was_given(key) or _SUGGESTION.row(self._tx, **at) is not None

    def was_given(self, key: str) -> bool:
        """Return whether a config with this key was handed out."""
        return was_given(self._tx, self._sweep_id, key)

    def new_among(self, configs: Iterable[Config]) -> Iterator[tuple[str, bool]]:
        """Yield each config's key, and whether it is neither out nor one of those before it."""
        seen: set[str] = set()
        for config in configs:
            key = self.space.key(config)
            yield key, not (key in seen or key in self._prior or self.has_key(key))
            seen.add(key)
