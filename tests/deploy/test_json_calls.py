"""JSON becomes a method's messages, and what does not fit is named with what is near."""

import pytest
from commerce.product.v1 import product_pb2
from google.protobuf import json_format
from google.protobuf.message import Message

from deploy.local.cli import methods
from deploy.local.errors import MeshError
from deploy.local.shop import json_calls


def read(method: str, text: str) -> list[Message]:
    return json_calls.read_requests(methods.find(method), text)


@pytest.mark.parametrize("name", ["pageSize", "page_size"])
def test_a_field_may_be_spelled_as_in_rest_and_as_in_the_contract(name: str) -> None:
    (request,) = read("ListProducts", f'{{"{name}": 7}}')
    assert json_format.MessageToDict(request) == {"pageSize": 7}


def test_a_call_without_a_message_sends_an_empty_one() -> None:
    (request,) = read("ListProducts", " ")
    assert json_format.MessageToDict(request) == {}


def test_a_stream_takes_objects_one_behind_the_other() -> None:
    requests = read("ImportProducts", '{"rowNumber": "1"}\n{"rowNumber": "2"} {"rowNumber": "3"}')
    assert [json_format.MessageToDict(each)["rowNumber"] for each in requests] == ["1", "2", "3"]


@pytest.mark.parametrize(
    ("method", "text", "message", "remedy"),
    [
        ("PlaceOrder", '{"lines": [{}, {"quantty": 1}]}', r"lines\[1\]\.quantty", "Near it: quantity"),
        ("CreateProduct", '{"product": {"price": {"unit": 1}}}', r"product\.price\.unit", "units, nanos"),
        ("ListProducts", '{"pageSize": "many"}', "pageSize|page_size", "ListProductsRequest"),
        ("ListProducts", '{"pageSize": 1', "not JSON.*line 1 column", "pageSize"),
        ("ListProducts", "{} {}", "one message, not 2", "one JSON object"),
        ("ListProducts", "[]", "JSON object", "pageSize"),
    ],
)
def test_what_does_not_fit_is_named_with_its_place(method: str, text: str, message: str, remedy: str) -> None:
    with pytest.raises(MeshError, match=message) as refusal:
        read(method, text)
    assert remedy in refusal.value.remedy


def test_maps_and_protobufs_own_messages_are_not_looked_into_for_fields() -> None:
    (request,) = read(
        "UpdateProduct", '{"product": {"attributes": {"any key": "x"}}, "updateMask": "attributes"}'
    )
    assert json_format.MessageToDict(request)["product"] == {"attributes": {"any key": "x"}}


def test_what_a_mask_leaves_out_is_not_printed_as_empty() -> None:
    (masked,) = read("GetProduct", '{"readMask": "name"}')
    (whole,) = read("GetProduct", "{}")
    assert [json_calls.has_read_mask([each]) for each in (masked, whole)] == [True, False]
    assert "sku" not in json_calls.to_json(product_pb2.Product(name="A"), is_masked=True)


def test_an_answer_has_every_field_as_over_rest() -> None:
    (request,) = read("ListProducts", "{}")
    assert '"pageSize": 0' in json_calls.to_json(request)


def test_methods_are_completed_with_and_without_their_service() -> None:
    assert methods.complete("placeo") == ["PlaceOrder"]
    assert "OrderService/PlaceOrder" in methods.complete("OrderService/")
