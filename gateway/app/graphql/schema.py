"""generated/schema.graphql with what answers its fields: messages, calls, pages."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from commerce.product.v1 import category_pb2, inventory_pb2, product_pb2
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.protobuf.timestamp_pb2 import Timestamp
from graphql import GraphQLObjectType, GraphQLResolveInfo, GraphQLSchema, build_schema

from gateway.app.graphql.calls import BatchedMethod, Calls
from gateway.app.graphql.cost import Costs
from gateway.app.graphql.turns import Later
from gateway.graphql.fields import NEXT_PAGE, RPCS, Rpc
from services.errors import FieldViolation, InvalidArgument
from services.money import amount_of, minor_digits

Resolver: TypeAlias = Callable[..., Any]
Info: TypeAlias = GraphQLResolveInfo[Any]

_SCHEMA = Path(__file__).parents[3] / "generated" / "schema.graphql"
_FILES = (category_pb2, inventory_pb2, product_pb2)


@dataclass(frozen=True)
class Page:
    """A page of a list, with what its method says beside."""

    response: Message
    # Whether it was asked for by the token of the page before.
    is_later: bool

    @property
    def items(self) -> Sequence[Message]:
        """Return what stands in it."""
        items: Sequence[Message] = getattr(self.response, self.response.DESCRIPTOR.fields[0].name)
        return items

    @property
    def end(self) -> str | None:
        """Return the token of the next page; None where there is none."""
        return getattr(self.response, NEXT_PAGE) or None


@dataclass(frozen=True)
class _Edge:
    node: Message
    cursor: str | None


def load_schema() -> tuple[GraphQLSchema, Costs]:
    """Read the schema, and bind its fields to what answers them."""
    schema = build_schema(_SCHEMA.read_text(encoding="utf-8"))
    costs = Costs.of(schema)
    messages = {each.name: each for file in _FILES for each in file.DESCRIPTOR.message_types_by_name.values()}
    for kind in schema.type_map.values():
        if isinstance(kind, GraphQLObjectType) and not kind.name.startswith("__"):
            for name, resolver in _resolvers(kind, messages.get(kind.name), costs).items():
                kind.fields[name].resolve = _counted(resolver)
    return schema, costs


def methods() -> list[MethodDescriptor]:
    """Return the methods that answer fields, once each."""
    return [_method(name) for name in sorted({rpc.method for rpc in RPCS})]


def _counted(resolver: Resolver) -> Resolver:
    """Have the query's calls know how long its answer gets."""

    def resolve(source: Any, info: Info, **arguments: Any) -> Any:
        calls: Calls = info.context
        calls.check_answer()
        value = resolver(source, info, **arguments)
        calls.tell(str(info.path.key), value)
        return value

    return resolve


def _beside_lists() -> list[FieldDescriptor]:
    """Return what methods say beside the lists that they answer with."""
    answers = [method.output_type for method in methods()]
    return [field for answer in answers if NEXT_PAGE in answer.fields_by_name for field in answer.fields[1:]]


def _method(name: str) -> MethodDescriptor:
    method: MethodDescriptor = descriptor_pool.Default().FindMethodByName(name.replace("/", "."))
    return method


def _resolvers(kind: GraphQLObjectType, message: Descriptor | None, costs: Costs) -> dict[str, Resolver]:
    """Return what answers the fields of a type.

    Raises:
        ValueError: nothing answers one of them.
    """
    found: dict[str, Resolver] = dict(_BY_TYPE.get(kind.name, {}))
    if kind.name.endswith("Edge"):
        found |= _EDGE
    if kind.name.endswith("Connection"):
        found |= {each.json_name: _beside(each) for each in _beside_lists()} | _CONNECTION
    if message is not None:
        found |= {each.json_name: _resolver(each) for each in message.fields}
    for rpc in RPCS:
        if rpc.parent == kind.name:
            most_ids = costs.rules[kind.name, rpc.name].batch
            found[rpc.name] = _loaded(rpc, most_ids) if rpc.key else _called(rpc)
    if missing := kind.fields.keys() - found.keys():
        raise ValueError(f"nothing answers {sorted(missing)} of {kind.name}")
    return {name: found[name] for name in kind.fields}


def _called(rpc: Rpc) -> Resolver:
    """Answer a field by a call of its own."""
    method = _method(rpc.method)
    is_page = NEXT_PAGE in method.output_type.fields_by_name
    is_list = len(method.output_type.fields) == 1

    async def ask(source: Any, info: Info, arguments: dict[str, Any]) -> Any:
        calls: Calls = info.context
        given = {name: getattr(source, own) for name, own in rpc.given.items()}
        response = await calls.call(method, _request(method.input_type, arguments, given))
        if is_page:
            return Page(response, is_later=bool(arguments.get("after")))
        return _in_turn(info, getattr(response, method.output_type.fields[0].name)) if is_list else response

    return lambda source, info, **arguments: Later(partial(ask, source, info, arguments))


def _loaded(rpc: Rpc, most_ids: int) -> Resolver:
    """Answer a field of many parents by one call."""
    batched = BatchedMethod(_method(rpc.method), most_ids)

    def resolve(source: Message, info: Info) -> Any:
        calls: Calls = info.context
        wanted = getattr(source, rpc.key)
        return calls.load(batched, wanted) if wanted else None

    return resolve


_RENAMED = {"first": "page_size", "after": "page_token"}


def _request(kind: Descriptor, arguments: dict[str, Any], given: dict[str, str]) -> Message:
    """Return the request that arguments make; its service judges it."""
    names = {each.json_name: each for each in kind.fields}
    values: dict[str, Any] = dict(given)
    for name, value in arguments.items():
        field = kind.fields_by_name[_RENAMED[name]] if name in _RENAMED else names[name]
        if value is not None:
            values[field.name] = _moment(field, value) if field.message_type else value
    return GetMessageClass(kind)(**values)


def _moment(field: FieldDescriptor, value: Any) -> Timestamp:
    moment = Timestamp()
    try:
        moment.FromJsonString(value)
    except (TypeError, ValueError, AttributeError):
        violation = FieldViolation(field.name, "must be a moment as RFC 3339 writes it", "VALUE_INVALID")
        raise InvalidArgument(f"{field.json_name} is no moment", violations=[violation]) from None
    return moment


def _resolver(field: FieldDescriptor) -> Resolver:
    """Answer a field from its message, as REST writes it, but for money."""
    name, kind = field.name, field.message_type
    if field.is_repeated:
        return _list_resolver(field)
    if kind is not None and kind.full_name == Timestamp.DESCRIPTOR.full_name:
        return lambda source, _: getattr(source, name).ToJsonString() if source.HasField(name) else None
    if field.type == FieldDescriptor.TYPE_INT64:
        return lambda source, _: str(getattr(source, name))
    if field.has_presence:
        return lambda source, _: getattr(source, name) if source.HasField(name) else None
    return lambda source, _: getattr(source, name)


def _list_resolver(field: FieldDescriptor) -> Resolver:
    name, kind = field.name, field.message_type
    if kind is None:
        return lambda source, _: list(getattr(source, name))
    if kind.GetOptions().map_entry:
        return lambda source, _: dict(getattr(source, name))
    return lambda source, info: _in_turn(info, getattr(source, name))


def _in_turn(info: Info, items: Sequence[Any]) -> list[Any]:
    calls: Calls = info.context
    return [Later(partial(calls.turns.take, each)) for each in items]


def _amount(source: Any, _: Info) -> str:
    """Write an amount with the decimals of its currency at least."""
    amount = amount_of(source.units, source.nanos).normalize()
    exponent = amount.as_tuple().exponent
    digits = max(minor_digits(source.currency_code), -exponent if isinstance(exponent, int) else 0)
    return f"{amount:.{digits}f}"


def _edges(page: Page, info: Info) -> list[Any]:
    last = len(page.items) - 1
    edges = [_Edge(node, page.end if at == last else None) for at, node in enumerate(page.items)]
    return _in_turn(info, edges)


def _beside(field: FieldDescriptor) -> Resolver:
    """Answer a field of a connection that stands in its method's answer beside the list."""
    resolve = _resolver(field)
    return lambda page, info: resolve(page.response, info)


_CONNECTION: dict[str, Resolver] = {
    "edges": _edges,
    "nodes": lambda page, info: _in_turn(info, page.items),
    "pageInfo": lambda page, _: page,
}
_BY_TYPE: dict[str, dict[str, Resolver]] = {
    "Money": {"currencyCode": lambda source, _: source.currency_code, "amount": _amount},
    "PageInfo": {
        "hasNextPage": lambda page, _: page.end is not None,
        "hasPreviousPage": lambda page, _: page.is_later,
        "startCursor": lambda _, __: None,
        "endCursor": lambda page, _: page.end,
    },
}
_EDGE: dict[str, Resolver] = {"node": lambda edge, _: edge.node, "cursor": lambda edge, _: edge.cursor}
