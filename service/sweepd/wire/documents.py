"""GraphQL documents: parsed, validated and measured once, then kept by their text."""

from collections import Counter, OrderedDict
from threading import Lock
from typing import NamedTuple

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    GraphQLSchema,
    InlineFragmentNode,
    OperationDefinitionNode,
    SelectionSetNode,
    parse,
    validate,
)

from sweepd.errors import ProtocolError

__all__ = ["Documents", "InvalidDocument"]

#: The client's largest document has about 800 tokens, 120 fields and is 9 deep. Validation takes
#: time that grows with the square of what stands beside each other, so that is bounded before it.
_MAX_TOKENS = 8_000
_MAX_FIELDS = 1_500
_MAX_DEPTH = 25
_MAX_PARTS = 60  # operations and fragments
_MAX_ALIKE = 50  # times that one selection names a field, under whatever aliases
_MAX_ERRORS = 5
_MAX_WORDS = 500  # characters of one error
_QUICK = 2_048  # characters
_KEPT = 512
_KEPT_CHARACTERS = 64 * 1024


class InvalidDocument(ProtocolError):
    """A document that does not fit the schema; carries one message per problem."""

    def __init__(self, messages: list[str]) -> None:
        self.messages = messages
        super().__init__("; ".join(messages))


class _Size(NamedTuple):
    fields: int
    depth: int


class Documents:
    """Reads documents for one schema, keeping the last few hundred that were valid.

    Thread-safe: a long document is better read outside the event loop.
    """

    def __init__(self, schema: GraphQLSchema) -> None:
        self._schema = schema
        self._kept: OrderedDict[str, DocumentNode] = OrderedDict()
        self._lock = Lock()

    def is_quick(self, text: str) -> bool:
        """Return whether `read` takes next to no time: the document is kept, or short."""
        return len(text) <= _QUICK or text in self._kept

    def read(self, text: str) -> DocumentNode:
        """Return the parsed document of `text`, which is valid and of a sane size.

        Raises:
            InvalidDocument: with a message per problem, five at most.
        """
        with self._lock:
            kept = self._kept.get(text)
            if kept is not None:
                self._kept.move_to_end(text)
                return kept
        document = self._checked(text)
        if len(text) <= _KEPT_CHARACTERS:
            with self._lock:
                self._kept[text] = document
                if len(self._kept) > _KEPT:
                    self._kept.popitem(last=False)
        return document

    def _checked(self, text: str) -> DocumentNode:
        try:
            document = parse(text, no_location=True, max_lexical_tokens=_MAX_TOKENS)
        except GraphQLError as error:
            raise InvalidDocument([_short(error)]) from None
        _refuse_giants(document)
        problems = validate(self._schema, document, max_errors=_MAX_ERRORS)
        if problems:
            raise InvalidDocument([_short(problem) for problem in problems[:_MAX_ERRORS]])
        return document


def _short(error: GraphQLError) -> str:
    """Return an error's words, which may quote what was sent: a name has no longest length."""
    return error.message if len(error.message) <= _MAX_WORDS else f"{error.message[:_MAX_WORDS]}…"


def _refuse_giants(document: DocumentNode) -> None:
    """Refuse what would run, or be validated, for ever; it need not be valid yet.

    Fragments count as often as they are spread.
    """
    if len(document.definitions) > _MAX_PARTS:
        raise InvalidDocument(
            [
                f"the document has {len(document.definitions)} operations and fragments; "
                f"allowed are {_MAX_PARTS}"
            ]
        )
    measure = _Measure(document)
    for part in document.definitions:
        if isinstance(part, OperationDefinitionNode | FragmentDefinitionNode):
            size = measure.of(part.selection_set)
            if size.fields > _MAX_FIELDS or size.depth > _MAX_DEPTH:
                raise InvalidDocument(
                    [
                        f"the operation asks for {size.fields} fields, {size.depth} deep; "
                        f"allowed are {_MAX_FIELDS} fields, {_MAX_DEPTH} deep"
                    ]
                )


class _Measure:
    """Measures the selections of one document."""

    def __init__(self, document: DocumentNode) -> None:
        self._fragments = {
            part.name.value: part
            for part in document.definitions
            if isinstance(part, FragmentDefinitionNode)
        }
        self._sizes: dict[str, _Size] = {}

    def of(self, selections: SelectionSetNode | None) -> _Size:
        """Return the size of a selection with all that hangs on it."""
        fields, depth = 0, 0
        alike: Counter[str] = Counter()
        for node in selections.selections if selections else ():
            if isinstance(node, FieldNode):
                alike[node.name.value] += 1
                inner = self.of(node.selection_set)
                inner = _Size(inner.fields + 1, inner.depth + 1)
            elif isinstance(node, InlineFragmentNode):
                alike["..."] += 1
                inner = self.of(node.selection_set)
            else:
                assert isinstance(node, FragmentSpreadNode)
                alike[f"...{node.name.value}"] += 1
                inner = self._of_fragment(node.name.value)
            fields, depth = fields + inner.fields, max(depth, inner.depth)
        for name, count in alike.items():
            if count > _MAX_ALIKE:
                words = f"a selection names {name} {count} times; allowed are {_MAX_ALIKE} times"
                raise InvalidDocument([words])
        return _Size(fields, depth)

    def _of_fragment(self, name: str) -> _Size:
        if name not in self._sizes:
            self._sizes[name] = _Size(0, 0)  # a cycle ends here; validation names it
            fragment = self._fragments.get(name)
            self._sizes[name] = self.of(fragment.selection_set if fragment else None)
        return self._sizes[name]
