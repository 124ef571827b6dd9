"""Queries that were read: parsed and judged once, kept for a while, found again by their hash."""

import asyncio
import hashlib
import re
from collections import OrderedDict
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    GraphQLError,
    GraphQLSchema,
    InlineFragmentNode,
    OperationDefinitionNode,
    SelectionSetNode,
    Visitor,
    parse,
    validate,
    visit,
)

from gateway.app.graphql.refusals import (
    MOST_ERRORS,
    IntrospectionOff,
    InvalidQuery,
    PersistedQueryNotFound,
    QueryNotTrusted,
)
from gateway.app.graphql.shape import INTROSPECTION, check_shape, check_text
from services.errors import InvalidArgument

# Of those that came with their hash, and of the others. The largest takes 1 MB once it is parsed.
MOST_KEPT = 50
_HASH = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Document:
    """A query that is in order."""

    # Its hash.
    name: str
    ast: DocumentNode
    operations: Mapping[str, OperationDefinitionNode]
    fragments: Mapping[str, FragmentDefinitionNode]
    asks_for_schema: bool

    def operation(self, name: str | None) -> OperationDefinitionNode:
        """Return the operation that is asked for.

        Raises:
            InvalidArgument: there is none of this name, or it is not said which.
        """
        if name is None and len(self.operations) == 1:
            return next(iter(self.operations.values()))
        found = self.operations.get(name) if name is not None else None
        if found is None:
            raise InvalidArgument("operationName names none of the operations")
        return found


class Documents:
    """The queries that were asked last, by their hashes.

    Reading one takes some milliseconds, so it is done beside the event loop; one at a time, for a hostile one
    takes more.

    Args:
        schema: Which they ask.
        tells_schema: Whether they may ask for the schema itself.
        trusted: By hash, the only ones that are answered; None: any is.
    """

    def __init__(
        self, schema: GraphQLSchema, *, tells_schema: bool, trusted: Mapping[str, str] | None
    ) -> None:
        self._schema = schema
        self._tells_schema = tells_schema
        self._trusted = trusted
        # Whoever sends texts alone takes nothing from those who ask by hashes.
        self._named: OrderedDict[str, Document] = OrderedDict()
        self._unnamed: OrderedDict[str, Document] = OrderedDict()
        self._reader = ThreadPoolExecutor(1, "graphql")

    async def find(self, text: str | None, digest: str | None) -> Document:
        """Return a query, by its text, by its hash, or by both: then it is kept for those who send the hash.

        Raises:
            PersistedQueryNotFound: it is asked for by a hash that is not known.
            QueryNotTrusted: it is none of the list.
            InvalidArgument: the hash is not that of the text, or the query is too large or not in order.
        """
        name = _name(text, digest)
        if self._trusted is not None and name not in self._trusted:
            raise QueryNotTrusted
        kept = self._unnamed if digest is None and self._trusted is None else self._named
        found = kept.get(name)
        if found is None:
            text = self._trusted[name] if self._trusted is not None else text
            if text is None:
                raise PersistedQueryNotFound
            found = await asyncio.get_running_loop().run_in_executor(self._reader, self._read, name, text)
            kept[name] = found
            if len(kept) > MOST_KEPT:
                kept.popitem(last=False)
        else:
            kept.move_to_end(name)
        return found

    def _read(self, name: str, text: str) -> Document:
        check_text(text)
        try:
            ast = parse(text, allow_empty_selection_sets=False)
        except GraphQLError as error:
            raise InvalidQuery([error]) from error
        check_shape(ast)
        errors = validate(self._schema, ast, max_errors=MOST_ERRORS, hide_suggestions=not self._tells_schema)
        if errors:
            raise InvalidQuery(errors)
        document = _document(name, ast)
        if document.asks_for_schema:
            self._check_look(document)
        return document

    def _check_look(self, document: Document) -> None:
        """Let the schema be asked for by itself: the answer is made in one go, beside the event loop."""
        if not self._tells_schema:
            raise IntrospectionOff
        at_root = [each.selection_set for each in document.operations.values()]
        at_root += [
            each.selection_set
            for each in document.fragments.values()
            if each.type_condition.name.value == "Query"
        ]
        if not all(map(_is_of_schema, at_root)):
            raise InvalidArgument("the schema and what is in the shop are asked for in two queries")


def _document(name: str, ast: DocumentNode) -> Document:
    operations = [each for each in ast.definitions if isinstance(each, OperationDefinitionNode)]
    fragments = [each for each in ast.definitions if isinstance(each, FragmentDefinitionNode)]
    return Document(
        name,
        ast,
        {each.name.value if each.name else "": each for each in operations},
        {each.name.value: each for each in fragments},
        _asks_for_schema(ast),
    )


def _name(text: str | None, digest: str | None) -> str:
    """Return the hash of a query, in hexadecimal digits."""
    if digest is not None and not _HASH.fullmatch(digest):
        raise InvalidArgument("sha256Hash is no SHA-256 in small hexadecimal digits")
    if text is None:
        if digest is None:
            raise InvalidArgument("there is no query, and no hash of one")
        return digest
    name = hashlib.sha256(text.encode()).hexdigest()
    if digest not in {None, name}:
        raise InvalidArgument("sha256Hash is not that of the query")
    return name


def _is_of_schema(selections: SelectionSetNode) -> bool:
    return all(
        each.name.value.startswith("__")
        if isinstance(each, FieldNode)
        else not isinstance(each, InlineFragmentNode) or _is_of_schema(each.selection_set)
        for each in selections.selections
    )


class _SchemaFields(Visitor):
    """Looks for fields that ask for the schema."""

    def __init__(self) -> None:
        super().__init__()
        self.is_found = False

    def enter_field(self, node: FieldNode, *_: object) -> None:
        self.is_found = self.is_found or node.name.value in INTROSPECTION


def _asks_for_schema(ast: DocumentNode) -> bool:
    look = _SchemaFields()
    visit(ast, look)
    return look.is_found
