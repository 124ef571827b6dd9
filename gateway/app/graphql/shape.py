"""How large a query is, before anything is done that costs more than reading it once.

The library's parser recurses, and one of its rules compares all fields of one name with one another: what a
few kilobytes may ask of them is bounded here first.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    Lexer,
    OperationDefinitionNode,
    SelectionNode,
    SelectionSetNode,
    Source,
    TokenKind,
)

from gateway.app.graphql.refusals import InvalidQuery, QueryTooDeep, QueryTooLarge

MOST_BYTES = 8 * 1024
# Names, numbers, texts and signs. What GraphiQL asks for the schema has 270.
MOST_TOKENS = 1_000
# Brackets of any kind in one another.
MOST_BRACKETS = 32
# Fields in one another: a page of products of a category above a product is at 9.
MOST_DEPTH = 12
# Of a number: Python reads no more than some thousands, and fails.
MOST_DIGITS = 100
MOST_ALIASES = 50
MOST_DIRECTIVES = 50
MOST_OPERATIONS = 10
MOST_FRAGMENTS = 50
# With each fragment counted wherever it is spread.
MOST_FIELDS = 500
# The sum of the squares of how often each name stands at each depth: as many comparisons at the most.
MOST_PAIRS = 10_000
# What asks for the schema itself lies deeper, and has a rule of its own (MaxIntrospectionDepthRule).
INTROSPECTION = frozenset({"__schema", "__type"})

_OPENING = frozenset({TokenKind.BRACE_L, TokenKind.PAREN_L, TokenKind.BRACKET_L})
_NUMBERS = frozenset({TokenKind.INT, TokenKind.FLOAT})
_CLOSING = frozenset({TokenKind.BRACE_R, TokenKind.PAREN_R, TokenKind.BRACKET_R})


def check_text(text: str) -> None:
    """Read a query's tokens.

    Raises:
        QueryTooLarge: there are too many, or too many bytes.
        QueryTooDeep: too many brackets are open at once.
        InvalidQuery: something is no token.
    """
    if len(text.encode()) > MOST_BYTES:
        raise QueryTooLarge("bytes", MOST_BYTES)
    lexer = Lexer(Source(text))
    tokens = directives = depth = 0
    try:
        while (token := lexer.advance()).kind is not TokenKind.EOF:
            tokens += 1
            directives += token.kind is TokenKind.AT
            if token.kind in _NUMBERS and token.end - token.start > MOST_DIGITS:
                raise QueryTooLarge("digits of a number", MOST_DIGITS)
            depth += (token.kind in _OPENING) - (token.kind in _CLOSING)
            if tokens > MOST_TOKENS:
                raise QueryTooLarge("tokens", MOST_TOKENS)
            if depth > MOST_BRACKETS:
                raise QueryTooDeep(MOST_BRACKETS)
    except GraphQLError as error:
        raise InvalidQuery([error]) from error
    if directives > MOST_DIRECTIVES:
        raise QueryTooLarge("directives", MOST_DIRECTIVES)


def check_shape(document: DocumentNode) -> None:
    """Count what a query has.

    Raises:
        QueryTooLarge: there is too much of something.
        QueryTooDeep: its fields lie too deep in one another.
        InvalidQuery: a fragment contains itself.
    """
    fragments = {
        each.name.value: each for each in document.definitions if isinstance(each, FragmentDefinitionNode)
    }
    operations = [each for each in document.definitions if isinstance(each, OperationDefinitionNode)]
    _check("operations", len(operations), MOST_OPERATIONS)
    _check("fragments", len(document.definitions) - len(operations), MOST_FRAGMENTS)
    counting = _Counting(fragments)
    every = _Shape()
    for name in fragments:
        every.add(counting.of_fragment(name))
    for operation in operations:
        shape = counting.of_selections(operation.selection_set)
        if shape.depth > MOST_DEPTH:
            raise QueryTooDeep(MOST_DEPTH)
        every.add(shape)
    _check("fields of one name", sum(count**2 for count in every.names.values()), MOST_PAIRS)


@dataclass
class _Shape:
    """Of a part of a query, with its fragments spread."""

    # Fields, and spreads of fragments.
    size: int = 0
    depth: int = 0
    # Of the fields, each with its depth.
    names: Counter[tuple[int, str]] = field(default_factory=Counter)

    def add(self, other: "_Shape", *, deeper: int = 0) -> None:
        """Have another part stand in this one.

        Raises:
            QueryTooLarge: both together are too large.
        """
        self.size += other.size
        _check("fields", self.size, MOST_FIELDS)
        self.depth = max(self.depth, other.depth + deeper)
        self.names.update({(depth + deeper, name): count for (depth, name), count in other.names.items()})


class _Counting:
    """Counts the parts of a document, each fragment once.

    It recurses no deeper than brackets may be nested in fragments, of which each costs tokens.
    """

    def __init__(self, fragments: Mapping[str, FragmentDefinitionNode]) -> None:
        self._fragments = fragments
        self._known: dict[str, _Shape] = {}
        self._begun: set[str] = set()
        self._aliases = 0

    def of_fragment(self, name: str) -> _Shape:
        """Return the shape of a fragment. The library tells of one that is not there."""
        if name in self._known or name not in self._fragments:
            return self._known.get(name, _Shape())
        if name in self._begun:
            raise InvalidQuery([GraphQLError(f"fragment {name} contains itself")])
        self._begun.add(name)
        self._known[name] = self.of_selections(self._fragments[name].selection_set)
        return self._known[name]

    def of_selections(self, selections: SelectionSetNode | None) -> _Shape:
        """Return the shape of what stands between two braces."""
        shape = _Shape()
        for each in selections.selections if selections else ():
            self._add(shape, each)
        return shape

    def _add(self, shape: _Shape, node: SelectionNode) -> None:
        if isinstance(node, FragmentSpreadNode):
            shape.add(_Shape(size=1))
            shape.add(self.of_fragment(node.name.value))
            return
        within = self.of_selections(getattr(node, "selection_set", None))
        if not isinstance(node, FieldNode):
            shape.add(within)
            return
        self._aliases += node.alias is not None
        _check("aliases", self._aliases, MOST_ALIASES)
        if node.name.value in INTROSPECTION:
            within.depth = 0
        shape.add(_Shape(size=1, names=Counter([(0, (node.alias or node.name).value)])))
        shape.add(within, deeper=1)


def _check(of: str, count: int, limit: int) -> None:
    if count > limit:
        raise QueryTooLarge(of, limit)
