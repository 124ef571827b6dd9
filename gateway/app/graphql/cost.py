"""What a query costs at the most, by what the schema says of its fields (@cost, @listSize, @batched)."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from graphql import (
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    GraphQLField,
    GraphQLObjectType,
    GraphQLSchema,
    InlineFragmentNode,
    OperationDefinitionNode,
    SelectionSetNode,
    VariableValues,
    get_argument_values,
    get_directive_values,
    get_named_type,
)

from gateway.app.graphql.introspection import SchemaFields, TooManyFields
from gateway.app.graphql.refusals import InvalidQuery, QueryTooCostly
from gateway.app.graphql.shape import INTROSPECTION
from gateway.graphql.fields import FIELD_WEIGHT
from services.errors import FieldViolation, InvalidArgument

# A page of 100 products with all their fields, categories and stock costs about as much. It is also what an
# address may spend in a second (gateway/app/graphql/budgets.py).
MOST_COST = 1_000


@dataclass(frozen=True)
class FieldRule:
    """What the schema says of a field."""

    weight: float = 0.0
    # So many parents of one list share a call.
    batch: int = 1
    # How many objects the field's list has at the most; 0: it is none.
    list_size: int = 0
    # The argument that says so itself.
    sized_by: str = ""
    # The lists below the field that have so many.
    sized_fields: Sequence[str] = ()


@dataclass(frozen=True)
class Costs:
    """The schema's rules, by type and field."""

    schema: GraphQLSchema
    rules: Mapping[tuple[str, str], FieldRule]

    @classmethod
    def of(cls, schema: GraphQLSchema) -> "Costs":
        """Read what a schema says."""
        types = [each for each in schema.type_map.values() if isinstance(each, GraphQLObjectType)]
        rules = {
            (each.name, name): _rule(schema, definition)
            for each in types
            for name, definition in each.fields.items()
            if definition.ast_node is not None
        }
        return cls(schema, rules)

    def check(
        self,
        operation: OperationDefinitionNode,
        fragments: Mapping[str, FragmentDefinitionNode],
        variables: VariableValues,
    ) -> float:
        """Return what an operation costs at the most, whatever `@skip` and `@include` leave out.

        Raises:
            QueryTooCostly: more than one may.
            InvalidArgument: a page or a list of ids is larger than it may be.
        """
        root = self.schema.query_type
        if root is None:
            raise ValueError("the schema has no queries")
        of_schema = SchemaFields(self.schema, fragments, variables, most=int(MOST_COST / FIELD_WEIGHT))
        estimate = _Estimate(self, fragments, variables, of_schema)
        try:
            estimate.add(operation.selection_set, root, _Parents(1, 1), {})
        except TooManyFields:
            raise QueryTooCostly(of_schema.count * FIELD_WEIGHT, MOST_COST) from None
        cost = estimate.cost + of_schema.count * FIELD_WEIGHT
        if cost > MOST_COST:
            raise QueryTooCostly(cost, MOST_COST)
        return cost


@dataclass(frozen=True)
class _Parents:
    """The objects that have a field.

    Those of one list are there at one moment. Two lists may come at different moments, and then what is
    wanted of their objects is not asked for together.
    """

    lists: int
    of_each: int

    @property
    def count(self) -> int:
        """How many there are."""
        return self.lists * self.of_each

    def calls(self, rule: FieldRule) -> int:
        """Return how many calls a field of theirs takes."""
        return self.count if rule.batch == 1 else self.lists * math.ceil(self.of_each / rule.batch)

    def below(self, rule: FieldRule, size: int) -> "_Parents":
        """Return the objects of a field, so many of each parent's."""
        if rule.weight and rule.batch == 1:
            # Each has a call of its own, whose answer comes when it comes.
            return _Parents(self.count, size)
        return _Parents(self.lists, self.of_each * size)


@dataclass
class _Estimate:
    costs: Costs
    fragments: Mapping[str, FragmentDefinitionNode]
    variables: VariableValues
    of_schema: SchemaFields
    cost: float = field(default=0.0)

    def add(
        self,
        selections: SelectionSetNode,
        kind: GraphQLObjectType,
        parents: _Parents,
        sizes: Mapping[str, int],
    ) -> None:
        """Add what fields of these objects cost; `sizes` are those of some lists.

        Raises:
            TooManyFields: of the schema.
        """
        for node in selections.selections:
            if isinstance(node, FieldNode):
                self._add_field(node, kind, parents, sizes)
            elif isinstance(node, FragmentSpreadNode):
                self.add(self.fragments[node.name.value].selection_set, kind, parents, sizes)
            elif isinstance(node, InlineFragmentNode):
                self.add(node.selection_set, kind, parents, sizes)

    def _add_field(
        self, node: FieldNode, parent: GraphQLObjectType, parents: _Parents, sizes: Mapping[str, int]
    ) -> None:
        name = node.name.value
        if name in INTROSPECTION:
            self.of_schema.add(node)
            return
        rule = self.costs.rules.get((parent.name, name), FieldRule())
        self.cost += parents.count * FIELD_WEIGHT + parents.calls(rule) * rule.weight
        if node.selection_set is None:
            return
        definition = parent.fields[name]
        kind = get_named_type(definition.type)
        if not isinstance(kind, GraphQLObjectType):
            return
        size = self._size(rule, definition, node)
        below = dict.fromkeys(rule.sized_fields, size)
        here = sizes.get(name) or (size if rule.list_size and not below else 1)
        self.add(node.selection_set, kind, parents.below(rule, here), below)

    def _size(self, rule: FieldRule, definition: GraphQLField, node: FieldNode) -> int:
        if not rule.sized_by:
            return rule.list_size
        try:
            value: Any = get_argument_values(definition, node, self.variables)[rule.sized_by]
        except GraphQLError as error:
            raise InvalidQuery([error]) from error
        size = len(value) if isinstance(value, list) else value
        if not 1 <= size <= rule.list_size:
            told = f"must be 1 to {rule.list_size}"
            raise InvalidArgument(
                f"{rule.sized_by} {told}", violations=[FieldViolation(rule.sized_by, told, "VALUE_INVALID")]
            )
        return int(size)


def _rule(schema: GraphQLSchema, definition: GraphQLField) -> FieldRule:
    cost, sizes, batched = (_said(schema, definition, name) for name in ("cost", "listSize", "batched"))
    return FieldRule(
        weight=float(cost.get("weight", 0)),
        batch=batched.get("size", 1),
        list_size=sizes.get("assumedSize", 0),
        sized_by=next(iter(sizes.get("slicingArguments", ())), ""),
        sized_fields=tuple(sizes.get("sizedFields", ())),
    )


def _said(schema: GraphQLSchema, definition: GraphQLField, name: str) -> dict[str, Any]:
    directive = schema.get_directive(name)
    if directive is None or definition.ast_node is None:
        return {}
    return get_directive_values(directive, definition.ast_node) or {}
