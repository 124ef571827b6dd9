"""Where in the proto files each name and option stands, and what their comments say."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    EnumValueDescriptorProto,
    FileDescriptorProto,
    MethodDescriptorProto,
    ServiceDescriptorProto,
    SourceCodeInfo,
)

# Field numbers of descriptor.proto, of which the paths in SourceCodeInfo are made.
_FILE_MESSAGES = FileDescriptorProto.MESSAGE_TYPE_FIELD_NUMBER
_FILE_ENUMS = FileDescriptorProto.ENUM_TYPE_FIELD_NUMBER
_FILE_SERVICES = FileDescriptorProto.SERVICE_FIELD_NUMBER
_MESSAGE_FIELDS = DescriptorProto.FIELD_FIELD_NUMBER
_MESSAGE_MESSAGES = DescriptorProto.NESTED_TYPE_FIELD_NUMBER
_MESSAGE_ENUMS = DescriptorProto.ENUM_TYPE_FIELD_NUMBER
_ENUM_VALUES = EnumDescriptorProto.VALUE_FIELD_NUMBER
_SERVICE_METHODS = ServiceDescriptorProto.METHOD_FIELD_NUMBER
_OPTIONS = (
    MethodDescriptorProto.OPTIONS_FIELD_NUMBER,
    EnumValueDescriptorProto.OPTIONS_FIELD_NUMBER,
)

_SPAN_OF_ONE_LINE = 3


@dataclass(frozen=True)
class SourceLine:
    """A line of the contract; lines count from 1."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True)
class Block:
    """The lines that an option covers."""

    first: SourceLine
    last_line: int


class Sources:
    """Places, comments and option blocks of every name in a set of files, by full name."""

    def __init__(self, protos: Path, files: Mapping[str, FileDescriptorProto]) -> None:
        self._protos = protos
        self._places: dict[str, SourceLine] = {}
        self._comments: dict[str, str] = {}
        self._options: dict[tuple[str, int], Block] = {}
        for file in files.values():
            self._index(file)

    def place(self, full_name: str) -> SourceLine:
        """Return the line on which a name is declared."""
        return self._places[full_name]

    def comment(self, full_name: str) -> str:
        """Return what stands above a name, one paragraph a line; empty without a comment."""
        return self._comments.get(full_name, "")

    def option(self, full_name: str, number: int) -> SourceLine | None:
        """Return the line on which an option of a name begins, by the option's field number."""
        block = self._options.get((full_name, number))
        return block.first if block else None

    def entry(self, full_name: str, number: int, key: str) -> SourceLine | None:
        """Return the line of a key right inside an option's braces, or None if it is not there."""
        block = self._options.get((full_name, number))
        if block is None:
            return None
        depth = 0
        for line_number, line in self._lines(block):
            if depth == 1 and re.match(rf"\s*{key}\s*[:{{]", line):
                return SourceLine(block.first.file, line_number)
            depth += line.count("{") - line.count("}")
        return None

    def _lines(self, block: Block) -> Iterator[tuple[int, str]]:
        path = self._protos.parent / block.first.file
        if not path.exists():
            return  # An installed copy has the descriptors, not the files.
        text = path.read_text(encoding="utf-8").splitlines()
        for line_number in range(block.first.line, block.last_line + 1):
            yield line_number, text[line_number - 1]

    def _index(self, file: FileDescriptorProto) -> None:
        names = {path: f"{file.package}.{name}" for path, name in _names(file)}
        shown = f"{self._protos.name}/{file.name}"
        for location in file.source_code_info.location:
            path = tuple(location.path)
            if name := names.get(path):
                self._places[name] = SourceLine(shown, location.span[0] + 1)
                self._comments[name] = _paragraphs(location)
            elif (name := names.get(path[:-2])) and path[-2] in _OPTIONS:
                self._options[name, path[-1]] = Block(
                    SourceLine(shown, location.span[0] + 1), _last_line(location)
                )


def _names(file: FileDescriptorProto) -> Iterator[tuple[tuple[int, ...], str]]:
    for index, message in enumerate(file.message_type):
        yield from _message_names(message, (_FILE_MESSAGES, index), message.name)
    for index, enum in enumerate(file.enum_type):
        yield from _enum_names(enum, (_FILE_ENUMS, index), enum.name)
    for index, service in enumerate(file.service):
        path = (_FILE_SERVICES, index)
        yield path, service.name
        for number, method in enumerate(service.method):
            yield (*path, _SERVICE_METHODS, number), f"{service.name}.{method.name}"


def _message_names(
    message: DescriptorProto, path: tuple[int, ...], name: str
) -> Iterator[tuple[tuple[int, ...], str]]:
    yield path, name
    for index, field in enumerate(message.field):
        yield (*path, _MESSAGE_FIELDS, index), f"{name}.{field.name}"
    for index, nested in enumerate(message.nested_type):
        yield from _message_names(nested, (*path, _MESSAGE_MESSAGES, index), f"{name}.{nested.name}")
    for index, enum in enumerate(message.enum_type):
        yield from _enum_names(enum, (*path, _MESSAGE_ENUMS, index), f"{name}.{enum.name}")


def _enum_names(
    enum: EnumDescriptorProto, path: tuple[int, ...], name: str
) -> Iterator[tuple[tuple[int, ...], str]]:
    yield path, name
    for index, value in enumerate(enum.value):
        yield (*path, _ENUM_VALUES, index), f"{name}.{value.name}"


def _paragraphs(location: SourceCodeInfo.Location) -> str:
    paragraphs = re.split(r"\n\s*\n", location.leading_comments.strip())
    return "\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


def _last_line(location: SourceCodeInfo.Location) -> int:
    first, last = location.span[0], location.span[2]
    return (first if len(location.span) == _SPAN_OF_ONE_LINE else last) + 1
