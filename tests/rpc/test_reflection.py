"""Reflection answers what grpcurl and its like ask, under both of its names, with the contract's comments."""

from collections.abc import Mapping

import grpc
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto, ServiceDescriptorProto
from grpc_reflection.v1alpha.reflection_pb2 import (
    ExtensionRequest,
    ServerReflectionRequest,
    ServerReflectionResponse,
)

from services.rpc.reflection import NAMES
from tests.support.net import Net

ORDERS = "commerce.order.v1"
ORDER_FILE = "commerce/order/v1/order.proto"
# The largest that a client takes by default is 4 MiB; all of the contract is far below.
MOST_BYTES = 256 * 1024


async def asked(
    net: Net, *requests: ServerReflectionRequest, name: str = NAMES[0]
) -> list[ServerReflectionResponse]:
    server = await net.start("product", GetProduct=_never_called)
    channel = await net.bare_channel("operator", server.port)
    call: grpc.aio.StreamStreamMultiCallable[ServerReflectionRequest, ServerReflectionResponse]
    call = channel.stream_stream(
        f"/{name}/ServerReflectionInfo",
        request_serializer=ServerReflectionRequest.SerializeToString,
        response_deserializer=ServerReflectionResponse.FromString,
    )
    return [each async for each in call(iter(requests))]


async def _never_called(*_: object) -> None:
    raise AssertionError("nobody calls it")


def files_in(answer: ServerReflectionResponse) -> list[FileDescriptorProto]:
    found = answer.file_descriptor_response.file_descriptor_proto
    return [FileDescriptorProto.FromString(each) for each in found]


@pytest.mark.parametrize("name", NAMES)
async def test_reflection_names_the_services(net: Net, name: str) -> None:
    [answer] = await asked(net, ServerReflectionRequest(list_services=""), name=name)
    named = {each.name for each in answer.list_services_response.service}
    assert {"commerce.product.v1.ProductService", "grpc.health.v1.Health", *NAMES} <= named
    assert not any(each.startswith(f"{ORDERS}.") for each in named)


@pytest.mark.parametrize(
    ("symbol", "file"),
    {
        f"{ORDERS}.OrderService": ORDER_FILE,
        f"{ORDERS}.OrderService.PlaceOrder": ORDER_FILE,
        f"{ORDERS}.Order": ORDER_FILE,
        f"{ORDERS}.Order.order_id": ORDER_FILE,
        f"{ORDERS}.OrderState": ORDER_FILE,
        f"{ORDERS}.ORDER_STATE_PENDING": ORDER_FILE,
        "commerce.policy.v1.policy": "commerce/policy/v1/policy.proto",
        "grpc.health.v1.HealthCheckResponse.ServingStatus": "grpc_health/v1/health.proto",
        "grpc.reflection.v1.ServerReflection": "grpc_reflection/v1/reflection.proto",
        "grpc.reflection.v1alpha.ServerReflection": "grpc_reflection/v1alpha/reflection.proto",
    }.items(),
)
async def test_every_symbol_is_found_with_all_that_it_needs(net: Net, symbol: str, file: str) -> None:
    [answer] = await asked(net, ServerReflectionRequest(file_containing_symbol=symbol))
    found = files_in(answer)
    assert found[0].name == file
    names = [each.name for each in found]
    assert len(names) == len(set(names))
    assert {needed for each in found for needed in each.dependency} <= set(names)
    assert answer.ByteSize() < MOST_BYTES


async def test_the_first_version_describes_itself_in_its_own_names(net: Net) -> None:
    [answer] = await asked(net, ServerReflectionRequest(file_containing_symbol=NAMES[0]))
    [file] = files_in(answer)
    service: ServiceDescriptorProto = file.service[0]
    assert f"{file.package}.{service.name}" == NAMES[0]
    assert service.method[0].input_type == ".grpc.reflection.v1.ServerReflectionRequest"


async def test_comments_of_the_contract_are_kept_and_no_others(net: Net) -> None:
    [answer] = await asked(net, ServerReflectionRequest(file_by_filename=ORDER_FILE))
    commented = {
        each.name.partition("/")[0] for each in files_in(answer) if each.HasField("source_code_info")
    }
    assert commented == {"commerce"}
    order = files_in(answer)[0]
    assert "stock is held and prices are fixed at once" in str(order.source_code_info)
    # By it, callers of grpcurl read the names that REST has.
    assert order.message_type[0].field[0].json_name == "orderId"


async def test_a_stream_gets_no_file_twice_but_the_one_it_asks_for(net: Net) -> None:
    request = ServerReflectionRequest(file_by_filename=ORDER_FILE)
    first, second = await asked(net, request, request)
    assert len(files_in(first)) > 1
    assert [each.name for each in files_in(second)] == [ORDER_FILE]


async def test_extensions_are_found_by_what_they_extend(net: Net) -> None:
    options = "google.protobuf.MethodOptions"
    numbers, *_ = await asked(net, ServerReflectionRequest(all_extension_numbers_of_type=options))
    found = numbers.all_extension_numbers_response.extension_number
    extensions = (ExtensionRequest(containing_type=options, extension_number=number) for number in found)
    answers = await asked(
        net, *(ServerReflectionRequest(file_containing_extension=each) for each in extensions)
    )
    names = {files_in(each)[0].name for each in answers}
    assert names == {"commerce/policy/v1/policy.proto", "google/api/annotations.proto"}


NOT_FOUND: Mapping[str, ServerReflectionRequest] = {
    "symbol": ServerReflectionRequest(file_containing_symbol="commerce.order.v1.Nothing"),
    "file": ServerReflectionRequest(file_by_filename="commerce/nothing.proto"),
    "type": ServerReflectionRequest(all_extension_numbers_of_type="commerce.Nothing"),
    "extension": ServerReflectionRequest(
        file_containing_extension=ExtensionRequest(containing_type=f"{ORDERS}.Order", extension_number=7)
    ),
}


@pytest.mark.parametrize("kind", NOT_FOUND)
async def test_what_is_not_there_is_not_found(net: Net, kind: str) -> None:
    [answer] = await asked(net, NOT_FOUND[kind])
    assert answer.error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]
    assert answer.original_request == NOT_FOUND[kind]


async def test_a_question_that_asks_nothing_is_refused(net: Net) -> None:
    [answer] = await asked(net, ServerReflectionRequest())
    assert answer.error_response.error_code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
