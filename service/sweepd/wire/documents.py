"""GraphQL documents: parsed, validated and measured once, then kept by their text."""

from collections import OrderedDict
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

#: The client's largest document has about 800 tokens, 120 fields and is 9 deep.
_MAX_TOKENS = 8_000
_MAX_FIELDS = 1_500
_MAX_DEPTH = 25
_MAX_ERRORS = 5
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
    """Reads documents for one schema, keeping the last few hundred that were valid."""

    def __init__(self, schema: GraphQLSchema) -> None:
        self._schema = schema
        self._kept: OrderedDict[str, DocumentNode] = OrderedDict()

    def read(self, text: str) -> DocumentNode:
        """Return the parsed document of `text`, which is valid and of a sane size.

        Raises:
            InvalidDocument: with a message per problem, five at most.
        """
        if text in self._kept:
            self._kept.move_to_end(text)
            return self._kept[text]
        document = self._checked(text)
        if len(text) <= _KEPT_CHARACTERS:
            self._kept[text] = document
            if len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        return document

    def _checked(self, text: str) -> DocumentNode:
        try:
            document = parse(text, no_location=True, max_lexical_tokens=_MAX_TOKENS)
        except GraphQLError as error:
            raise InvalidDocument([error.message]) from None
        problems = validate(self._schema, document, max_errors=_MAX_ERRORS)
        if problems:
            raise InvalidDocument([problem.message for problem in problems[:_MAX_ERRORS]])
        _refuse_giants(document)
        return document


def _refuse_giants(document: DocumentNode) -> None:
    """Refuse what would run for ever; fragments count as often as they are spread."""
    fragments = {
        part.name.value: part
        for part in document.definitions
        if isinstance(part, FragmentDefinitionNode)
    }
    sizes: dict[str, _Size] = {}

    def size_of(selections: SelectionSetNode | None) -> _Size:
        fields, depth = 0, 0
        for node in selections.selections if selections else ():
            if isinstance(node, FieldNode):
                inner = size_of(node.selection_set)
                inner = _Size(inner.fields + 1, inner.depth + 1)
            elif isinstance(node, InlineFragmentNode):
                inner = size_of(node.selection_set)
            else:
                assert isinstance(node, FragmentSpreadNode)
                name = node.name.value
                if name not in sizes:
                    sizes[name] = size_of(fragments[name].selection_set)
                inner = sizes[name]
            fields, depth = fields + inner.fields, max(depth, inner.depth)
        return _Size(fields, depth)

    for part in document.definitions:
        if isinstance(part, OperationDefinitionNode):
            size = size_of(part.selection_set)
            if size.fields > _MAX_FIELDS or size.depth > _MAX_DEPTH:
                raise InvalidDocument(
                    [
                        f"the operation asks for {size.fields} fields, {size.depth} deep; "
                        f"allowed are {_MAX_FIELDS} fields, {_MAX_DEPTH} deep"
                    ]
                )
