"""Parts that requests of several nouns share: field masks (AIP-134, AIP-157, AIP-161)."""

from collections.abc import Sequence

from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message

from services.errors import FieldViolation, InvalidArgument
from services.read_mask import READ_MASK

# A mask that is this alone names every field: that there is, or that may be changed.
EVERYTHING = "*"


def masked_fields(message: Message, mask: FieldMask, updatable: Sequence[str]) -> list[str]:
    """Return the fields that an update asks to change: its mask's, or the populated ones without a mask.

    Raises:
        InvalidArgument: the mask names a field that cannot be changed.
    """
    paths = set(mask.paths)
    if paths == {EVERYTHING}:
        return list(updatable)
    if paths:
        _check_updatable(paths, updatable)
        return list(mask.paths)
    populated = {field.name for field, _ in message.ListFields()}
    return [name for name in updatable if name in populated]


def left_out_fields(mask: FieldMask, kind: type[Message]) -> list[str]:
    """Return the fields of an answer's message that a read mask does not name; none without a mask.

    Raises:
        InvalidArgument: the mask names a field that the message does not have.
    """
    paths, known = set(mask.paths), [str(field.name) for field in kind.DESCRIPTOR.fields]
    if not paths or paths == {EVERYTHING}:
        return []
    violations = [
        FieldViolation(READ_MASK, f"{path} is no field of {kind.DESCRIPTOR.name}", "FIELD_UNKNOWN")
        for path in sorted(paths.difference(known))
    ]
    if violations:
        raise InvalidArgument(f'{READ_MASK} may name {", ".join(known)}, or be "*"', violations=violations)
    return [name for name in known if name not in paths]


def _check_updatable(paths: set[str], updatable: Sequence[str]) -> None:
    violations = [
        FieldViolation("update_mask", f"{path} cannot be changed", "FIELD_NOT_UPDATABLE")
        for path in sorted(paths.difference(updatable))
    ]
    if violations:
        raise InvalidArgument(
            f'update_mask may name {", ".join(updatable)}, or be "*"', violations=violations
        )
