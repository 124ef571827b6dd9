"""Writes a file of a descriptor set as the text of a .proto: for the one that no wheel has the text of.

It knows what buf/validate/validate.proto uses and refuses the rest: what it writes compiles to what it read.
"""

import io
from collections.abc import Iterable, Iterator

from buf.validate import validate_pb2  # noqa: F401  without it the options of validate.proto are unknown
from google.protobuf import descriptor_pb2, text_format
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from gateway.contract.protoc import ContractError

_Field = descriptor_pb2.FieldDescriptorProto
_INDENT = "  "
# The end of a range of messages is the first number after it.
_AFTER_THE_LAST_NUMBER = 536_870_912


def proto_text(file: descriptor_pb2.FileDescriptorProto) -> str:
    """Return the text of a file in proto2, without its comments.

    Raises:
        ContractError: it uses what is not written here, such as services, nested messages or editions.
    """
    if file.syntax or file.service or file.public_dependency:
        raise ContractError(f"{file.name} is more than messages and enums of proto2")
    blocks = ['syntax = "proto2";', f"package {file.package};"]
    blocks += ["\n".join(f'import "{each}";' for each in file.dependency)]
    blocks += ["\n".join(f"option {each};" for each in _options(file.options))]
    for extendee in dict.fromkeys(each.extendee for each in file.extension):
        fields = [_field(each) for each in file.extension if each.extendee == extendee]
        blocks.append(_block(f"extend {extendee}", fields))
    blocks += [_block(f"enum {each.name}", list(_enum_lines(each))) for each in file.enum_type]
    blocks += [_block(f"message {each.name}", list(_message_lines(each))) for each in file.message_type]
    return "\n\n".join(filter(None, blocks)) + "\n"


def _block(head: str, lines: list[str]) -> str:
    return "\n".join([f"{head} {{", *(_INDENT + line for line in "\n".join(lines).splitlines()), "}"])


def _enum_lines(enum: descriptor_pb2.EnumDescriptorProto) -> Iterator[str]:
    yield from _reserved([(each.start, each.end) for each in enum.reserved_range], enum.reserved_name)
    for value in enum.value:
        yield f"{value.name} = {value.number};"


def _message_lines(message: descriptor_pb2.DescriptorProto) -> Iterator[str]:
    if message.nested_type or message.enum_type or message.extension:
        raise ContractError(f"{message.name} holds messages, enums or extensions of its own")
    yield from _reserved(
        [(each.start, each.end - 1) for each in message.reserved_range], message.reserved_name
    )
    for each in message.extension_range:
        last = "max" if each.end == _AFTER_THE_LAST_NUMBER else each.end - 1
        yield f"extensions {each.start} to {last};"
    told: set[int] = set()
    for field in message.field:
        if not field.HasField("oneof_index"):
            yield _field(field)
        elif field.oneof_index not in told:
            told.add(field.oneof_index)
            # Those of a oneof stand together: their order is that of the first.
            members = [
                _field(each, in_oneof=True)
                for each in message.field
                if each.HasField("oneof_index") and each.oneof_index == field.oneof_index
            ]
            yield _block(f"oneof {message.oneof_decl[field.oneof_index].name}", members)


def _reserved(ranges: list[tuple[int, int]], names: Iterable[str]) -> Iterator[str]:
    for first, last in ranges:
        yield f"reserved {first} to {last};"
    for name in names:
        yield f'reserved "{name}";'


def _field(field: _Field, *, in_oneof: bool = False) -> str:
    label = "" if in_oneof else f"{_Field.Label.Name(field.label).removeprefix('LABEL_').lower()} "
    kind = field.type_name or _Field.Type.Name(field.type).removeprefix("TYPE_").lower()
    options = [*_options(field.options)]
    options += [f"default = {field.default_value}"] if field.HasField("default_value") else []
    told = f" [{', '.join(options)}]" if options else ""
    return f"{label}{kind} {field.name} = {field.number}{told};"


def _options(options: Message) -> Iterator[str]:
    for descriptor, value in options.ListFields():
        name = f"({descriptor.full_name})" if descriptor.is_extension else descriptor.name
        yield f"{name} = {_value(descriptor, value)}"


def _value(descriptor: FieldDescriptor, value: object) -> str:
    text = io.StringIO()
    text_format.PrintFieldValue(descriptor, value, text, as_one_line=True)
    return text.getvalue().strip()
