"""An amount that somebody sends is one amount to everybody, or it is refused (google/type/money.proto)."""

from collections.abc import Iterator
from typing import Any

import pytest
from google.api import field_behavior_pb2
from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.type.money_pb2 import Money

from services.rpc.policy import policies
from services.rpc.validation import violations_in
from tests.support.calls import descriptor

GOOD = Money(currency_code="USD", units=29, nanos=990_000_000)
BAD = {
    # 28 to whoever adds them up.
    "nanos against the units": Money(currency_code="USD", units=29, nanos=-1_000_000_000),
    "nanos of more than a unit": Money(currency_code="USD", units=29, nanos=1_000_000_000),
    "below zero": Money(currency_code="USD", units=-29),
    "a little below zero": Money(currency_code="USD", nanos=-1),
    "a currency in lower case": Money(currency_code="usd", units=29),
    "a currency of four letters": Money(currency_code="USDT", units=29),
    "no currency": Money(units=29),
}


def _inputs() -> Iterator[tuple[Descriptor, tuple[str, ...]]]:
    """Every amount in every request: the request and the path of fields to it."""
    for method in policies():
        request = descriptor(method).input_type
        if not descriptor(method).client_streaming:  # an import judges its rows itself, by the same rules
            yield from ((request, path) for path in _paths(request))


def _paths(message: Descriptor, depth: int = 4) -> Iterator[tuple[str, ...]]:
    for field in message.fields:
        if field.message_type is None or not depth or _is_output(field):
            continue
        if field.message_type.full_name == Money.DESCRIPTOR.full_name:
            yield (field.name,)
        else:
            first = f"{field.name}[0]" if field.is_repeated else field.name
            yield from ((first, *rest) for rest in _paths(field.message_type, depth - 1))


def _is_output(field: FieldDescriptor) -> bool:
    return field_behavior_pb2.OUTPUT_ONLY in field.GetOptions().Extensions[field_behavior_pb2.field_behavior]


def _complaints(request: Descriptor, path: tuple[str, ...], amount: Money) -> list[str]:
    message: Message = message_factory.GetMessageClass(request)()
    holder: Any = message
    for name in path[:-1]:
        field = getattr(holder, name.removesuffix("[0]"))
        holder = field.add() if name.endswith("[0]") else field
    getattr(holder, path[-1]).CopyFrom(amount)
    return [each.field for each in violations_in(message)]


def test_there_are_amounts_to_judge() -> None:
    found = {(request.name, path) for request, path in _inputs()}
    assert {
        ("PlaceOrderRequest", ("expected_total",)),
        ("CreateProductRequest", ("product", "price")),
    } <= found


@pytest.mark.parametrize("name", BAD)
def test_an_amount_that_reads_two_ways_is_refused_wherever_it_is_sent(name: str) -> None:
    for request, path in _inputs():
        dotted = ".".join(path)
        assert dotted in _complaints(request, path, BAD[name]), f"{request.full_name}.{dotted}"
        assert dotted not in _complaints(request, path, GOOD), f"{request.full_name}.{dotted}"
