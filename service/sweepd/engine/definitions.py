"""Definitions that are sent to the service: read before the transaction that needs them.

To read a long one takes seconds, in which the one thread that writes must not stand still.
"""

from dataclasses import dataclass

from sweepd.engine.sweepviews import definition_of
from sweepd.errors import DefinitionError, Violation
from sweepd.registry import missing_extra
from sweepd.spec import Parsed, read_definition

__all__ = ["Sent", "read_sent"]


@dataclass(frozen=True)
class Sent:
    """A definition's text, and what became of reading it."""

    text: str
    outcome: Parsed | DefinitionError

    @property
    def parsed(self) -> Parsed:
        """Return the definition that it holds.

        Raises:
            DefinitionError: with every problem, if it is none that can be searched here.
        """
        if isinstance(self.outcome, DefinitionError):
            raise self.outcome
        return self.outcome


def read_sent(text: str) -> Sent:
    """Read a definition; what is wrong with it is raised by whoever needs it."""
    try:
        parsed = read_definition(text)
        command = missing_extra(parsed.definition.method)
        if command is not None:
            words = f"{parsed.definition.method} needs packages that this service lacks: {command}"
            raise DefinitionError([Violation("method", words)])
        definition_of(text)  # what is stored is read by another rule: have that done, too
    except DefinitionError as error:
        return Sent(text, error)
    return Sent(text, parsed)
