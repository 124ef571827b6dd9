"""What the contract takes in a JSON body: the fields of each message, for the script that judges bodies.

The transcoder drops a field that it does not know, and says of a value that does not fit no more than that.
"""

from collections.abc import Iterable, Iterator

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from gateway.proto_json import Json
from services.read_mask import READ_MASK

# The kinds that gateway/edge/json_body.lua judges, by the type of a field.
_KINDS = {
    FieldDescriptor.TYPE_STRING: "string",
    FieldDescriptor.TYPE_BYTES: "string",
    FieldDescriptor.TYPE_BOOL: "bool",
    FieldDescriptor.TYPE_ENUM: "enum",
    FieldDescriptor.TYPE_DOUBLE: "number",
    FieldDescriptor.TYPE_FLOAT: "number",
    FieldDescriptor.TYPE_INT32: "int32",
    FieldDescriptor.TYPE_SINT32: "int32",
    FieldDescriptor.TYPE_SFIXED32: "int32",
    FieldDescriptor.TYPE_INT64: "int64",
    FieldDescriptor.TYPE_SINT64: "int64",
    FieldDescriptor.TYPE_SFIXED64: "int64",
    FieldDescriptor.TYPE_UINT32: "uint32",
    FieldDescriptor.TYPE_FIXED32: "uint32",
    FieldDescriptor.TYPE_UINT64: "uint64",
    FieldDescriptor.TYPE_FIXED64: "uint64",
}
# Messages that JSON writes as a text.
_TEXTS = {
    "google.protobuf.Timestamp": "time",
    "google.protobuf.Duration": "string",
    "google.protobuf.FieldMask": "string",
}


def message_tables(roots: Iterable[Descriptor]) -> Json:
    """Return the fields of messages and of all below them, by the message's name and the field's.

    A field stands under both of its names, in JSON and in the contract, as JSON may use either.

    Raises:
        ValueError: a message has a JSON of its own that the script does not know.
    """
    tables: Json = {}
    waiting = list(roots)
    while waiting:
        message = waiting.pop()
        if message.full_name not in tables:
            tables[message.full_name] = _fields(message)
            waiting += _below(message)
    return dict(sorted(tables.items()))


def is_of_rest(field: FieldDescriptor) -> bool:
    """Tell whether a request over REST may have a field."""
    return bool(field.name != READ_MASK)


def _fields(message: Descriptor) -> Json:
    of_rest = filter(is_of_rest, message.fields)
    names = ((name, field) for field in of_rest for name in (field.name, field.json_name))
    return {name: _field(field) for name, field in names}


def _field(field: FieldDescriptor) -> Json:
    if held := _held_by_map(field):
        return {"name": field.name, "map": _value(held)}
    return {"name": field.name, **({"list": True} if field.is_repeated else {}), **_value(field)}


def _value(field: FieldDescriptor) -> Json:
    if field.enum_type is not None:
        return {"kind": "enum", "values": [value.name for value in field.enum_type.values]}
    if field.message_type is None:
        return {"kind": _KINDS[field.type]}
    name = str(field.message_type.full_name)
    if name in _TEXTS:
        return {"kind": _TEXTS[name]}
    if name.startswith("google.protobuf."):
        raise ValueError(f"{field.full_name}: {name} has a JSON of its own, which the edge cannot judge")
    return {"message": name}


def _below(message: Descriptor) -> Iterator[Descriptor]:
    for field in message.fields:
        held = _held_by_map(field) or field
        if held.message_type is not None and "message" in _value(held):
            yield held.message_type


def _held_by_map(field: FieldDescriptor) -> FieldDescriptor | None:
    entry = field.message_type
    return entry.fields_by_name["value"] if entry is not None and entry.GetOptions().map_entry else None
