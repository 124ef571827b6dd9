"""Unique words for every place where a person may write something, and where they were sent."""

import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

# Letters and digits alone: no encoding of a log hides them.
_WORD_BYTES = 4


@dataclass
class Canaries:
    """Words that nobody else writes; each is known by what it was sent in."""

    prefix: str = field(default_factory=lambda: f"canary{secrets.token_hex(6)}")
    sent_in: dict[str, str] = field(default_factory=dict)

    def word(self, sent_in: str) -> str:
        """Make a word for one place."""
        word = f"{self.prefix}x{secrets.token_hex(_WORD_BYTES)}"
        self.sent_in[word] = sent_in
        return word

    def found_in(self, text: str) -> list[str]:
        """Name the places whose words a text holds, as they were written or as PostgreSQL writes bytes."""
        lines = [
            line
            for line in text.lower().splitlines()
            if self.prefix in line or self.prefix.encode().hex() in line
        ]
        return [f"{self._place_of(line)}: {line[:400]}" for line in lines]

    def _place_of(self, line: str) -> str:
        return next((place for word, place in self.sent_in.items() if word in line), "unknown")


def text_fields(message: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Name every field of a message type that takes text or bytes, also in the messages within it."""
    for each in message.fields:
        if each.message_type is not None:
            if each.message_type.full_name not in _WITHOUT_TEXT:
                yield from text_fields(each.message_type, (*path, each.name))
        elif each.type in {FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES}:
            yield (*path, each.name)


def with_text(request: Message, path: tuple[str, ...], text: str) -> Message:
    """Copy a request with one of its fields set to a text."""
    copy = type(request)()
    copy.CopyFrom(request)
    _set(copy, path, text)
    return copy


def _set(message: Any, path: tuple[str, ...], text: str) -> None:
    name, *rest = path
    described = message.DESCRIPTOR.fields_by_name[name]
    if rest and described.is_repeated:
        holder = getattr(message, name)
        if described.message_type.GetOptions().map_entry:
            holder[text] = text
        else:
            _set(holder[0] if holder else holder.add(), tuple(rest), text)
    elif rest:
        _set(getattr(message, name), tuple(rest), text)
    elif described.is_repeated:
        getattr(message, name).append(text)
    else:
        setattr(message, name, text.encode() if described.type == FieldDescriptor.TYPE_BYTES else text)


_WITHOUT_TEXT = frozenset({"google.protobuf.Timestamp", "google.protobuf.Duration"})
