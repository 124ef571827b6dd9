"""The contract's rules (protovalidate) applied to a message."""

import protovalidate
from google.protobuf.message import Message

from services.errors import FieldViolation

_validator = protovalidate.Validator()


def violations_in(message: Message) -> list[FieldViolation]:
    """Return each broken rule with the path of its field, such as `lines[0].quantity`."""
    try:
        _validator.validate(message)
    except protovalidate.ValidationError as error:
        return [_violation(each) for each in error.violations]
    return []


def _violation(violation: protovalidate.Violation) -> FieldViolation:
    proto = violation.proto
    return FieldViolation(
        field=_path(proto.field),
        description=proto.message or "is not valid",
        # AIP-193 wants UPPER_SNAKE: "string.min_len" is STRING_MIN_LEN.
        reason=proto.rule_id.upper().replace(".", "_"),
    )


def _path(field: protovalidate.FieldPathPb | None) -> str:
    path = ""
    for element in field.elements if field is not None else ():
        path += f".{element.field_name}" if path else element.field_name
        if element.subscript is not None:
            path += f"[{element.subscript.value}]"
    return path
