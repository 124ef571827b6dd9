"""Writes the contract as a schema of GraphQL (generated/schema.graphql)."""

from collections.abc import Iterable, Iterator
from textwrap import indent

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from gateway.contract.model import Contract, Method, seconds
from gateway.graphql.fields import (
    FIELD_WEIGHT,
    LEFT_OUT,
    LIST_SIZES,
    NEXT_PAGE,
    PAGE_SIZE,
    RPCS,
    Rpc,
)
from gateway.openapi.rules import constraints

_ABOUT = f"""# Compiled from the contract by `make generate`: the methods that answer fields, and the types,
# arguments and descriptions of their messages. docs/graphql.md says how it is asked.

"The schema."
schema {{
  query: Query
}}

\"\"\"
What a call costs that answers a field: thousandths of a second of what the contract lets a caller do with the
method (rate_limit). Any other field of an answer costs {FIELD_WEIGHT}.
\"\"\"
directive @cost(weight: String!) on FIELD_DEFINITION

\"\"\"
How many objects a list has at the most: what an argument says, a number or a list of ids, which is refused
above `assumedSize`; without one, `assumedSize`. Of a connection, `sizedFields` are the lists.
\"\"\"
directive @listSize(
  assumedSize: Int
  slicingArguments: [String!]
  sizedFields: [String!]
) on FIELD_DEFINITION

"One call answers the field for so many objects of a list."
directive @batched(size: Int!) on FIELD_DEFINITION

"A moment, as RFC 3339 writes it, in UTC."
scalar DateTime

"A decimal, as text: binary fractions hold no cents."
scalar Decimal

"A whole number of 64 bits, as text: JavaScript rounds larger ones than 2^53."
scalar Int64

"An object whose values are texts."
scalar StringMap

"An amount in a currency."
type Money {{
  "Three letters of ISO 4217."
  currencyCode: String!
  amount: Decimal!
}}

"Where a page stands in its list."
type PageInfo {{
  hasNextPage: Boolean!
  "Whether the page was asked for with `after`."
  hasPreviousPage: Boolean!
  "Lists are read forwards: null."
  startCursor: String
  "To be sent as `after`; null on the last page."
  endCursor: String
}}
"""
_MILLISECONDS = 1000
# By google.api.field_behavior (AIP-203), as in OpenAPI.
_ALWAYS_THERE = frozenset({"OUTPUT_ONLY", "REQUIRED"})
_SCALARS = {
    FieldDescriptor.TYPE_BOOL: "Boolean",
    FieldDescriptor.TYPE_INT32: "Int",
    FieldDescriptor.TYPE_INT64: "Int64",
    FieldDescriptor.TYPE_STRING: "String",
}
_WELL_KNOWN = {"google.protobuf.Timestamp": "DateTime", "google.type.Money": "Money"}


class SchemaError(Exception):
    """The contract has something that the schema does not know how to write."""


def schema_text(contract: Contract) -> str:
    """Return the schema.

    Raises:
        SchemaError: the table of fields and the contract do not go together.
    """
    return _Schema(contract).text()


class _Schema:
    def __init__(self, contract: Contract) -> None:
        self._contract = contract
        self._methods = {method.name: method for method in contract.methods}
        # By name, in the order in which they were met.
        self._types: dict[str, str] = {}

    def text(self) -> str:
        # A contract of a test may have none of them.
        known = [rpc for rpc in RPCS if rpc.method in self._methods]
        if not known:
            return ""
        self._types["Query"] = ""
        self._types["Query"] = _type("Query", "What can be asked.", self._answered("Query"))
        return "\n".join([_ABOUT, *self._types.values()])

    def _answered(self, parent: str) -> Iterator[str]:
        for rpc in RPCS:
            if rpc.parent == parent:
                yield self._rpc(rpc, self._methods[rpc.method])

    def _rpc(self, rpc: Rpc, method: Method) -> str:
        request, response = method.descriptor.input_type, method.descriptor.output_type
        weight = f'@cost(weight: "{_weight(method)}")'
        arguments: list[str] = []
        if rpc.key:
            kind, size = _items(response).message_type, self._most(_ids(request), "maxItems")
            shape, directives = self._reference(kind), [weight, f"@batched(size: {size})"]
        else:
            arguments = [*self._arguments(request, rpc)]
            shape, sized = self._answer(rpc, request, response)
            directives = [weight, *sized]
        told = method.comment if not rpc.key else self._contract.comment(_items(response).message_type)
        head = f"{rpc.name}(\n{indent(_lines(arguments), '  ')})" if arguments else rpc.name
        return f"{_described(told)}{head}: {shape} {' '.join(directives)}\n"

    def _answer(self, rpc: Rpc, request: Descriptor, response: Descriptor) -> tuple[str, list[str]]:
        """Return what a method's answer is in the schema, and what is said of its size."""
        if NEXT_PAGE in response.fields_by_name:
            name = self._connection(rpc, response)
            most = self._most(request.fields_by_name["page_size"], "maximum")
            sizes = 'slicingArguments: ["first"], sizedFields: ["edges", "nodes"]'
            return name, [f"@listSize(assumedSize: {most}, {sizes})"]
        if len(response.fields) > 1:
            return self._reference(response), []
        items = _items(response)
        shape = f"[{self._reference(items.message_type)}!]"
        if items.full_name in LIST_SIZES:
            return shape, [f"@listSize(assumedSize: {LIST_SIZES[items.full_name]})"]
        ids = _ids(request)
        most = self._most(ids, "maxItems")
        return shape, [f'@listSize(assumedSize: {most}, slicingArguments: ["{ids.json_name}"])']

    def _connection(self, rpc: Rpc, response: Descriptor) -> str:
        item = self._reference(_items(response).message_type)
        name = f"{rpc.connection or item}Connection"
        if name in self._types:
            return name
        self._types[name] = ""
        edge = f"{item}Edge"
        cursor = '"To be sent as `after`; of the last of a page alone, for pages are read as a whole."'
        self._types[edge] = _type(
            edge, "A place in a list.", [f"node: {item}!\n", f"{cursor}\ncursor: String\n"]
        )
        lists = [f"edges: [{edge}!]!\n", f"nodes: [{item}!]!\n", "pageInfo: PageInfo!\n"]
        others = [each for each in response.fields if each.name != NEXT_PAGE and each != _items(response)]
        self._types[name] = _type(name, "A page of a list.", [*lists, *map(self._field, others)])
        return name

    def _arguments(self, request: Descriptor, rpc: Rpc) -> Iterator[str]:
        for field in request.fields:
            if field.name == "page_size":
                yield f'"1 to {self._most(field, "maximum")}."\nfirst: Int! = {PAGE_SIZE}\n'
            elif field.name == "page_token":
                yield '"`endCursor` of the page before."\nafter: String\n'
            elif field.name not in {*rpc.given, *rpc.without, *LEFT_OUT}:
                needed = "!" if "REQUIRED" in self._contract.behaviors(field) else ""
                told = _described(self._contract.comment(field))
                yield f"{told}{field.json_name}: {self._shape(field)}{needed}\n"

    def _reference(self, message: Descriptor | None) -> str:
        """Return the name of a message's type, and write the type if it is the first to be named."""
        if message is None:
            raise SchemaError("a list of a method's answer is not of messages")
        name = _WELL_KNOWN.get(message.full_name, str(message.name))
        if name not in self._types and message.full_name not in _WELL_KNOWN:
            self._types[name] = ""
            fields = [*map(self._field, message.fields), *self._answered(name)]
            self._types[name] = _type(name, self._contract.comment(message), fields)
        return name

    def _field(self, field: FieldDescriptor) -> str:
        is_there = not field.has_presence or bool(self._contract.behaviors(field) & _ALWAYS_THERE)
        size = ""
        if field.is_repeated and field.message_type is not None and not _is_map(field):
            if field.full_name not in LIST_SIZES:
                raise SchemaError(f"{field.full_name} has no size in gateway/graphql/fields.py")
            size = f" @listSize(assumedSize: {LIST_SIZES[field.full_name]})"
        told = _described(self._contract.comment(field))
        return f"{told}{field.json_name}: {self._shape(field)}{'!' if is_there else ''}{size}\n"

    def _shape(self, field: FieldDescriptor) -> str:
        if _is_map(field):
            return "StringMap"
        shape = self._single(field)
        return f"[{shape}!]" if field.is_repeated else shape

    def _single(self, field: FieldDescriptor) -> str:
        if field.message_type is not None:
            return self._reference(field.message_type)
        if field.type not in _SCALARS:
            raise SchemaError(f"{field.full_name} is of a type that the schema does not have")
        return "ID" if field.name.endswith(("_id", "_ids")) else _SCALARS[field.type]

    def _most(self, field: FieldDescriptor, rule: str) -> int:
        return int(constraints(self._contract, field)[rule])


def _weight(method: Method) -> int:
    limit = method.rules.rate_limit
    return round(_MILLISECONDS * seconds(limit.per) / limit.requests)


def _items(response: Descriptor) -> FieldDescriptor:
    """Return the list that an answer is about: the first of its fields (AIP-132, 231)."""
    return response.fields[0]


def _ids(request: Descriptor) -> FieldDescriptor:
    """Return the ids that a call for many asks for."""
    return request.fields[0]


def _is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def _type(name: str, told: str, fields: Iterable[str]) -> str:
    return f"{_described(told)}type {name} {{\n{indent(_lines(fields), '  ')}}}\n"


def _lines(parts: Iterable[str]) -> str:
    return "".join(parts)


def _described(told: str) -> str:
    text = told.replace('"""', "'''").strip()
    if not text:
        return ""
    around = "\n" if "\n" in text or text.endswith('"') else ""
    return f'"""{around}{text}{around}"""\n'
