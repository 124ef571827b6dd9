"""Questions for the schema: what they cost, counted on the schema itself, and their answers."""

import asyncio
from collections import OrderedDict
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from graphql import (
    ExecutionResult,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    GraphQLField,
    GraphQLObjectType,
    GraphQLSchema,
    InlineFragmentNode,
    SchemaMetaFieldDef,
    SelectionSetNode,
    TypeMetaFieldDef,
    TypeNameMetaFieldDef,
    VariableValues,
    execute_sync,
    get_argument_values,
    get_named_type,
    get_nullable_type,
    is_list_type,
)

from gateway.app.graphql.documents import Document
from gateway.app.graphql.refusals import InvalidQuery

# Of answers: a tool asks the same each time it starts. The largest takes some megabytes.
MOST_KEPT = 4
_ROOTS = {"__schema": SchemaMetaFieldDef, "__type": TypeMetaFieldDef}


class TooManyFields(Exception):
    """An answer has more fields than are counted."""


@dataclass
class SchemaFields:
    """Counts the fields of an answer about the schema, with those that `@skip` and `@include` leave out.

    The longest list of fields, or of arguments, is many times as long as most are: an estimate by sizes would
    refuse what every tool asks. So the answer is walked through as it will be made, up to the limit.
    """

    schema: GraphQLSchema
    fragments: Mapping[str, FragmentDefinitionNode]
    variables: VariableValues
    most: int
    count: int = field(default=0)

    def add(self, node: FieldNode) -> None:
        """Count a query's `__schema` or `__type`, and all below it.

        Raises:
            TooManyFields: there are more than may be.
            InvalidQuery: an argument has a value that it may not have.
        """
        self._add_field(node, _ROOTS[node.name.value], None)

    def _add_field(self, node: FieldNode, definition: GraphQLField, source: Any) -> None:
        self.count += 1
        if self.count > self.most:
            raise TooManyFields
        kind = get_named_type(definition.type)
        if (
            node.selection_set is None
            or definition.resolve is None
            or not isinstance(kind, GraphQLObjectType)
        ):
            return
        try:
            arguments = get_argument_values(definition, node, self.variables)
        except GraphQLError as error:
            raise InvalidQuery([error]) from error
        found = definition.resolve(source, SimpleNamespace(schema=self.schema), **arguments)
        is_list = is_list_type(get_nullable_type(definition.type))
        for each in (found or ()) if is_list else (found,):
            if each is not None:
                self._add_fields(node.selection_set, kind, each)

    def _add_fields(self, selections: SelectionSetNode, kind: GraphQLObjectType, source: Any) -> None:
        for node in selections.selections:
            if isinstance(node, FieldNode):
                # `__typename` stands in no type.
                self._add_field(node, kind.fields.get(node.name.value, TypeNameMetaFieldDef), source)
            elif isinstance(node, FragmentSpreadNode):
                self._add_fields(self.fragments[node.name.value].selection_set, kind, source)
            elif isinstance(node, InlineFragmentNode):
                self._add_fields(node.selection_set, kind, source)


class SchemaAnswers:
    """Answers about the schema, the last ones kept.

    Each is made in one go: so beside the event loop, and one at a time.
    """

    def __init__(self, schema: GraphQLSchema) -> None:
        self._schema = schema
        self._maker = ThreadPoolExecutor(1, "schema")
        self._kept: OrderedDict[tuple[str, str | None], ExecutionResult] = OrderedDict()

    async def answer(
        self, document: Document, operation: str | None, variables: dict[str, Any]
    ) -> ExecutionResult:
        """Answer an operation of a query; anew if there are variables, of any number of values."""
        known = self._kept.get((document.name, operation)) if not variables else None
        if known is not None:
            self._kept.move_to_end((document.name, operation))
            return known
        wanted = (self._schema, document.ast, None, None, variables, operation)
        result = await asyncio.get_running_loop().run_in_executor(self._maker, execute_sync, *wanted)
        if not variables:
            self._kept[document.name, operation] = result
            if len(self._kept) > MOST_KEPT:
                self._kept.popitem(last=False)
        return result
