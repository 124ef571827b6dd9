"""gRPC reflection, as v1 and as v1alpha: what grpcurl and its like ask a service about its methods.

grpcio-reflection is not used: it knows no v1, finds no methods by their names, and has no comments.
"""

import functools
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from google.protobuf import text_format
from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorProto, FileDescriptorSet
from grpc_channelz.v1 import channelz_pb2
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

NAMES = ("grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection")

_CONTRACT = Path(__file__).parents[2] / "generated" / "commerce.binpb"
# Comments elsewhere are three times as long as ours, and are read elsewhere.
_OURS = "commerce/"
_Request = reflection_pb2.ServerReflectionRequest
_Response = reflection_pb2.ServerReflectionResponse


@dataclass(frozen=True)
class _Files:
    """Every file that a service's descriptors need, and what each defines."""

    by_name: Mapping[str, FileDescriptorProto]
    # The name of the file that defines a symbol.
    of_symbol: Mapping[str, str]
    # The same of the extensions of a message, by their numbers.
    of_extension: Mapping[str, Mapping[int, str]]


def add_reflection(server: grpc.aio.Server, services: Sequence[str]) -> None:
    """Have a server answer questions about its services, of which only these are named."""
    servicer = _Reflection(sorted({*services, *NAMES}))
    # The messages of both versions are the same on the wire.
    handler = grpc.stream_stream_rpc_method_handler(
        servicer.answer, _Request.FromString, _Response.SerializeToString
    )
    handlers = [
        grpc.method_handlers_generic_handler(name, {"ServerReflectionInfo": handler}) for name in NAMES
    ]
    server.add_generic_rpc_handlers(handlers)


class _Reflection:
    def __init__(self, services: Sequence[str]) -> None:
        self._services = services

    async def answer(
        self, requests: AsyncIterator[reflection_pb2.ServerReflectionRequest], _: object
    ) -> AsyncIterator[reflection_pb2.ServerReflectionResponse]:
        sent = set[str]()
        async for request in requests:
            response = self._answer(request, sent)
            response.original_request.CopyFrom(request)
            response.valid_host = request.host
            yield response

    def _answer(
        self, request: reflection_pb2.ServerReflectionRequest, sent: set[str]
    ) -> reflection_pb2.ServerReflectionResponse:
        files, asked = _files(), request.WhichOneof("message_request")
        if asked == "list_services":
            return self._list()
        if asked == "file_by_filename":
            return _file(request.file_by_filename, sent)
        if asked == "file_containing_symbol":
            return _file(files.of_symbol.get(request.file_containing_symbol, ""), sent)
        if asked == "file_containing_extension":
            extension = request.file_containing_extension
            of_type = files.of_extension.get(extension.containing_type, {})
            return _file(of_type.get(extension.extension_number, ""), sent)
        if asked == "all_extension_numbers_of_type":
            return _extension_numbers(request.all_extension_numbers_of_type)
        return _error(grpc.StatusCode.INVALID_ARGUMENT, "the request asks nothing")

    def _list(self) -> reflection_pb2.ServerReflectionResponse:
        response = _Response()
        for name in self._services:
            response.list_services_response.service.add(name=name)
        return response


def _extension_numbers(message: str) -> reflection_pb2.ServerReflectionResponse:
    files = _files()
    if message not in files.of_symbol:
        return _error(grpc.StatusCode.NOT_FOUND, "not found")
    response = _Response()
    response.all_extension_numbers_response.base_type_name = message
    response.all_extension_numbers_response.extension_number.extend(
        sorted(files.of_extension.get(message, {}))
    )
    return response


def _file(name: str, sent: set[str]) -> reflection_pb2.ServerReflectionResponse:
    """Return a file and all that it needs, but for what the same stream has got before."""
    files = _files().by_name
    if name not in files:
        return _error(grpc.StatusCode.NOT_FOUND, "not found")
    response = _Response()
    waiting = [name]
    sent.discard(name)
    while waiting:
        if (each := waiting.pop()) not in sent:
            sent.add(each)
            response.file_descriptor_response.file_descriptor_proto.append(files[each].SerializeToString())
            waiting += files[each].dependency
    return response


def _error(code: grpc.StatusCode, message: str) -> reflection_pb2.ServerReflectionResponse:
    number: int = code.value[0]
    return _Response(error_response=reflection_pb2.ErrorResponse(error_code=number, error_message=message))


@functools.cache
def _files() -> _Files:
    """Read them when somebody asks for the first time, which on most servers nobody does."""
    known = {file.name: file for file in (*_grpcs_own(), *_contract())}
    of_symbol: dict[str, str] = {}
    of_extension: dict[str, dict[int, str]] = {}
    for file in known.values():
        of_symbol |= dict.fromkeys(_symbols(file), file.name)
        for extended, number in _extensions(file):
            of_extension.setdefault(extended, {})[number] = file.name
    return _Files(known, of_symbol, of_extension)


def _contract() -> Iterator[FileDescriptorProto]:
    for file in FileDescriptorSet.FromString(_CONTRACT.read_bytes()).file:
        if not file.name.startswith(_OURS):
            file.ClearField("source_code_info")
        yield file


def _grpcs_own() -> Iterator[FileDescriptorProto]:
    """Describe health, channelz and reflection; of its v1, grpcio-reflection has no descriptor."""
    for descriptor in (health_pb2.DESCRIPTOR, channelz_pb2.DESCRIPTOR, reflection_pb2.DESCRIPTOR):
        yield from _with_dependencies(descriptor)
    [alpha] = _with_dependencies(reflection_pb2.DESCRIPTOR)
    first = FileDescriptorProto()
    text_format.Parse(text_format.MessageToString(alpha).replace("v1alpha", "v1"), first)
    yield first


def _with_dependencies(descriptor: Any) -> Iterator[FileDescriptorProto]:
    file = FileDescriptorProto()
    descriptor.CopyToProto(file)
    yield file
    for each in descriptor.dependencies:
        yield from _with_dependencies(each)


def _symbols(file: FileDescriptorProto) -> Iterator[str]:
    scope = file.package
    for service in file.service:
        yield f"{scope}.{service.name}"
        yield from (f"{scope}.{service.name}.{method.name}" for method in service.method)
    for enum in file.enum_type:
        yield f"{scope}.{enum.name}"
        # Values stand beside their enum and not in it (protobuf's scoping, from C++).
        yield from (f"{scope}.{value.name}" for value in enum.value)
    yield from (f"{scope}.{extension.name}" for extension in file.extension)
    for message in file.message_type:
        yield from _symbols_in(message, scope)


def _symbols_in(message: DescriptorProto, scope: str) -> Iterator[str]:
    name = f"{scope}.{message.name}"
    yield name
    yield from (f"{name}.{field.name}" for field in (*message.field, *message.extension))
    yield from (f"{name}.{choice.name}" for choice in message.oneof_decl)
    for enum in message.enum_type:
        yield f"{name}.{enum.name}"
        yield from (f"{name}.{value.name}" for value in enum.value)
    for nested in message.nested_type:
        yield from _symbols_in(nested, name)


def _extensions(file: FileDescriptorProto) -> Iterator[tuple[str, int]]:
    """Name what a file extends; none of ours extends anything inside of a message."""
    for extension in file.extension:
        yield extension.extendee.removeprefix("."), extension.number
