"""Messages of any shape, good and bad, drawn from their descriptors (Hypothesis)."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from hypothesis import strategies as st

_DEEPEST = 3
_MOST_FIELDS = 6
_MOST_ITEMS = 3
# Past the most items of any field in the contract.
_TOO_MANY = 101
_MOST_MUTATIONS = 3
# Past what any method of the contract takes.
_TOO_LONG = "x" * 70_000

Draw = Callable[[st.SearchStrategy[Any]], Any]

# What has confused somebody's parser, comparison, query or terminal before.
_TEXTS = (
    "",
    " ",
    "\x00",
    "a\x00b",
    "\u202eabc",
    "İ",
    "ß",
    "e\u0301",
    "\ufeff",
    "\U0001f600" * 100,
    "me",
    "-",
    "*",
    "%",
    "' OR 1=1 --",
    "../../etc/passwd",
    "9" * 400,
    "NaN",
    "EUR",
    "eur",
    "tok_ok",
    "tok_declined",
    "someone@example.com",
    "javascript:alert(1)",
    "https://example.com/a.png",
    "00000000-0000-0000-0000-000000000000",
    "ffffffff-ffff-ffff-ffff-ffffffffffff",
    "018F0000-0000-7000-8000-00000000000A",
    "{018f0000-0000-7000-8000-00000000000a}",
    "urn:uuid:018f0000-0000-7000-8000-00000000000a",
    "018f000000007000800000000000000a",
    "018f0000-0000-7000-8000-00000000000a\n",
    "AAAA",
    "e30",
    "bnVsbA",
    "x" * 1_000,
    _TOO_LONG,
)

_INT32 = (0, 1, -1, 2, 100, 101, 10_000, 10_001, 2**31 - 1, -(2**31))
_INT64 = (*_INT32, 999_999_999, 10**9, 2**53, 2**63 - 1, -(2**63), 253_402_300_800, -62_135_596_801)
_NUMBERS: Mapping[int, st.SearchStrategy[Any]] = {
    FieldDescriptor.CPPTYPE_INT32: st.sampled_from(_INT32) | st.integers(-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_INT64: st.sampled_from(_INT64) | st.integers(-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT32: st.sampled_from((0, 1, 2**32 - 1)),
    FieldDescriptor.CPPTYPE_UINT64: st.sampled_from((0, 1, 2**64 - 1)),
    FieldDescriptor.CPPTYPE_DOUBLE: st.floats(allow_nan=False),
    FieldDescriptor.CPPTYPE_FLOAT: st.floats(allow_nan=False, width=32),
    FieldDescriptor.CPPTYPE_BOOL: st.booleans(),
    # Those the contract names, and others: an enum of proto3 is open.
    FieldDescriptor.CPPTYPE_ENUM: st.integers(-1, 9) | st.sampled_from((2**31 - 1, -(2**31))),
}


def requests(good: Message, known: Sequence[str]) -> st.SearchStrategy[bytes]:
    """Draw requests as they stand on the wire: the good one changed a little, anything at all, or bytes.

    Args:
        good: A request that its server understands; its type is the method's.
        known: Texts that mean something here, such as ids of what exists.
    """
    texts = st.sampled_from((*known, *_TEXTS)) | st.text(st.characters(codec="utf-8"), max_size=40)
    changed = st.composite(_changed)(good, texts).map(_wire)
    # Of protobuf's two implementations of a Descriptor, its types name one.
    kind: Any = good.DESCRIPTOR
    anything = st.composite(_anything)(kind, texts, 0).map(_wire)
    broken = st.composite(_broken)(changed)
    return st.one_of(changed, changed, anything, broken)


def _wire(message: Message) -> bytes:
    return bytes(message.SerializeToString())


def _changed(draw: Draw, good: Message, texts: st.SearchStrategy[str]) -> Message:
    """Set a few fields of a good request, however deep, to something else."""
    message = type(good)()
    message.CopyFrom(good)
    for _ in range(draw(st.integers(0, _MOST_MUTATIONS)) if message.DESCRIPTOR.fields else 0):
        holder: Message = message
        field = draw(st.sampled_from(tuple(holder.DESCRIPTOR.fields)))
        while _is_one_message(field) and draw(st.integers(0, 3)):
            holder = getattr(holder, field.name)
            holder.SetInParent()
            if not holder.DESCRIPTOR.fields:
                break
            field = draw(st.sampled_from(tuple(holder.DESCRIPTOR.fields)))
        if field.containing_type is holder.DESCRIPTOR:
            _set(draw, holder, field, texts, 0)
    return message


def _anything(draw: Draw, kind: Descriptor, texts: st.SearchStrategy[str], depth: int) -> Message:
    message = message_factory.GetMessageClass(kind)()
    if kind.fields and depth < _DEEPEST:
        chosen = st.lists(
            st.sampled_from(tuple(kind.fields)), max_size=_MOST_FIELDS, unique_by=lambda it: it.name
        )
        for field in draw(chosen):
            _set(draw, message, field, texts, depth)
    return message


def _set(
    draw: Draw, message: Message, field: FieldDescriptor, texts: st.SearchStrategy[str], depth: int
) -> None:
    message.ClearField(field.name)
    target = getattr(message, field.name)
    if (entry := _map_entry(field)) is not None:
        value_field = entry.fields_by_name["value"]
        if value_field.message_type is None:
            key = _value(draw, entry.fields_by_name["key"], texts, depth)
            target[key] = _value(draw, value_field, texts, depth)
    elif field.is_repeated:
        count = draw(st.integers(1, _MOST_ITEMS) | st.just(_TOO_MANY))
        value = _value(draw, field, texts, depth)
        # One value, many times: a hundred draws would leave no room for others. But nothing past 1 MiB: the
        # transport refuses that before the contract can.
        target.extend([value] * (1 if _is_long(value) else count))
    elif field.message_type is not None:
        target.CopyFrom(_anything(draw, field.message_type, texts, depth + 1))
        target.SetInParent()
    else:
        setattr(message, field.name, _value(draw, field, texts, depth))


def _value(draw: Draw, field: FieldDescriptor, texts: st.SearchStrategy[str], depth: int) -> Any:
    if field.message_type is not None:
        return _anything(draw, field.message_type, texts, depth + 1)
    if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        text = draw(texts)
        return text.encode() if field.type == FieldDescriptor.TYPE_BYTES else text
    return draw(_NUMBERS[field.cpp_type])


def _broken(draw: Draw, wires: st.SearchStrategy[bytes]) -> bytes:
    """Break the bytes of a message: cut, doubled, flipped, with unknown fields, or nested without end."""
    raw = draw(wires)[:2_000]
    at = draw(st.integers(0, len(raw)))
    return bytes(
        draw(
            st.sampled_from(
                (
                    raw[:at],
                    raw + raw,
                    raw[:at] + draw(st.binary(min_size=1, max_size=8)) + raw[at + 1 :],
                    # Field 15,000 as a varint; a group that never ends; a length past the end.
                    raw + b"\xc0\xa9\x07\x01",
                    raw + b"\x0b" * 200,
                    raw + b"\x0a\xff\xff\xff\xff\x07",
                )
            )
        )
    )


def _is_long(value: Any) -> bool:
    size = value.ByteSize() if isinstance(value, Message) else len(str(value))
    return bool(size > len(_TOO_LONG) / 10)


def _is_one_message(field: FieldDescriptor) -> bool:
    return field.message_type is not None and not field.is_repeated


def _map_entry(field: FieldDescriptor) -> Descriptor | None:
    entry = field.message_type
    return entry if entry is not None and entry.GetOptions().map_entry else None
