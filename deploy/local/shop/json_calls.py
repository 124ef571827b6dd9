"""Any method of the contract, called with JSON and answered in JSON, as the contract describes it."""

import difflib
import json
from collections.abc import Iterator, Sequence
from typing import Any

import grpc
from google.protobuf import json_format, message_factory
from google.protobuf.descriptor import Descriptor
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2

from deploy.local.errors import MeshError
from gateway.contract.model import Method
from services.read_mask import READ_MASK
from services.rpc.status import DETAILS_KEY

_REQUEST_ID_KEY = "x-request-id"
_SUGGESTIONS = 3
_SHOWN_FIELDS = 20


class Refused(MeshError):
    """A call was refused: what the status and its details say; `code` and `reason` stand apart for hints."""

    def __init__(self, error: grpc.RpcError) -> None:
        details = _Details(error)
        self.code: grpc.StatusCode = error.code()
        self.reason = details.info.reason
        title = " ".join(filter(None, (self.code.name, self.reason)))
        lines = [f"  {each.field}: {each.description}" for each in details.bad_request.field_violations]
        lines += [f"  request id: {details.request_id}"] if details.request_id else []
        super().__init__(f"{title}: {error.details()}", "\n".join(lines))


class _Details:
    """The details of a refusal, empty where it has none, and the id under which the logs know the call."""

    def __init__(self, error: Any) -> None:
        metadata = dict([*(error.initial_metadata() or ()), *(error.trailing_metadata() or ())])
        self.info, self.bad_request = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
        told = error_details_pb2.RequestInfo()
        for detail in _status_of(metadata).details:
            for known in (self.info, self.bad_request, told):
                detail.Unpack(known)
        self.request_id: str = told.request_id or metadata.get(_REQUEST_ID_KEY, "")


def _status_of(metadata: dict[str, Any]) -> status_pb2.Status:
    try:
        return status_pb2.Status.FromString(metadata.get(DETAILS_KEY, b""))
    except DecodeError:
        return status_pb2.Status()


def read_requests(method: Method, text: str) -> list[Message]:
    """Read the messages that a call sends: JSON objects, one behind the other where the method takes many.

    Raises:
        MeshError: the text is no JSON, a field is unknown or its value does not fit, or the number is wrong.
    """
    descriptor = method.descriptor.input_type
    values = list(_values(text)) or ([] if method.descriptor.client_streaming else [{}])
    if len(values) != 1 and not method.descriptor.client_streaming:
        raise MeshError(f"{method.name} takes one message, not {len(values)}.", "Give one JSON object.")
    return [_message(descriptor, value) for value in values]


def call(
    channel: grpc.Channel, method: Method, requests: Sequence[Message], metadata: Sequence[tuple[str, str]]
) -> Iterator[Message]:
    """Make a call within the method's deadline, and yield its answers as they come.

    Raises:
        Refused: it was refused, or did not end in time.
    """
    # On the wire a unary call is a stream of one message each way.
    invoke = channel.stream_stream(
        f"/{method.name}",
        request_serializer=type(requests[0]).SerializeToString if requests else None,
        response_deserializer=message_factory.GetMessageClass(method.descriptor.output_type).FromString,
    )
    try:
        yield from invoke(iter(requests), timeout=method.deadline_seconds, metadata=tuple(metadata))
    except grpc.RpcError as error:
        raise Refused(error) from error


def has_read_mask(requests: Sequence[Message]) -> bool:
    """Tell whether a call asks for some fields only."""
    return any(field.name == READ_MASK for request in requests for field, _ in request.ListFields())


def to_json(message: Message, *, indent: int | None = None, is_masked: bool = False) -> str:
    """Write a message as REST's callers get it: every field that can be empty is there all the same.

    Args:
        message: An answer.
        indent: Of a line that is deeper by one; None: all stands on one line.
        is_masked: Fields may have been left out: what is empty is not there.
    """
    return json_format.MessageToJson(
        message,
        indent=indent,
        ensure_ascii=False,
        always_print_fields_with_no_presence=not is_masked,
        descriptor_pool=_pool(message.DESCRIPTOR),
    )


def _pool(descriptor: Any) -> DescriptorPool:
    """Return where the kinds of an Any's content are found."""
    pool: DescriptorPool = descriptor.file.pool
    return pool


def _values(text: str) -> Iterator[Any]:
    decoder, text = json.JSONDecoder(), text.strip()
    while text:
        try:
            value, end = decoder.raw_decode(text)
        except json.JSONDecodeError as error:
            raise MeshError(
                f"This is not JSON: {error}.", "Give an object, such as '{\"pageSize\": 1}'."
            ) from error
        yield value
        text = text[end:].lstrip()


def _message(descriptor: Descriptor, value: Any) -> Message:
    if not isinstance(value, dict):
        raise MeshError("A message is a JSON object.", f"Its fields are: {_names(descriptor)}.")
    _refuse_unknown(descriptor, value, "")
    message: Message = message_factory.GetMessageClass(descriptor)()
    try:
        return json_format.ParseDict(value, message, descriptor_pool=_pool(descriptor))
    except json_format.ParseError as error:
        raise MeshError(f"{error}".rstrip(".") + ".", f"See {descriptor.full_name} in protos/.") from error


def _refuse_unknown(descriptor: Descriptor, value: Any, path: str) -> None:
    # Messages of protobuf's own have a JSON of their own: a duration is a text.
    if not isinstance(value, dict) or descriptor.full_name.startswith("google.protobuf."):
        return
    fields = {name: field for field in descriptor.fields for name in (field.json_name, field.name)}
    for key, inner in value.items():
        if key not in fields:
            raise MeshError(
                f"{descriptor.full_name} has no field {path}{key}.", _near(key, list(fields), descriptor)
            )
        kind = fields[key].message_type
        if kind is None or kind.GetOptions().map_entry:
            continue
        for number, each in enumerate(inner if isinstance(inner, list) else [inner]):
            _refuse_unknown(
                kind, each, f"{path}{key}[{number}]." if isinstance(inner, list) else f"{path}{key}."
            )


def _near(key: str, names: list[str], descriptor: Descriptor) -> str:
    near = difflib.get_close_matches(key, names, n=_SUGGESTIONS)
    fields = f"Its fields are: {_names(descriptor)}."
    return f"Near it: {', '.join(near)}. {fields}" if near else fields


def _names(descriptor: Descriptor) -> str:
    names = [str(field.json_name) for field in descriptor.fields]
    return ", ".join(names[:_SHOWN_FIELDS]) + (", …" if len(names) > _SHOWN_FIELDS else "") or "none"
