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
        return [_violation(message, each) for each in error.violations]
    return []


def _violation(message: Message, violation: protovalidate.Violation) -> FieldViolation:
    proto = violation.proto
    return FieldViolation(
        field=_field_meant(message, _path(proto.field), proto.rule_id),
        description=proto.message or "is not valid",
        # AIP-193 wants UPPER_SNAKE: "string.min_len" is STRING_MIN_LEN.
        reason=proto.rule_id.upper().replace(".", "_"),
    )


def _field_meant(message: Message, path: str, rule_id: str) -> str:
    """Return the field that a rule is about: one of a message may judge a field of it, and be named by it.

    `user.email` is a rule of CreateUserRequest.user: elsewhere a User may come without an e-mail address.
    """
    field = message.DESCRIPTOR.fields_by_name.get(path)
    if field is None or field.message_type is None:
        return path
    named = {f"{path}.{each.name}" for each in field.message_type.fields}
    return rule_id if rule_id in named else path


def _path(field: protovalidate.FieldPathPb | None) -> str:
    path = ""
    for element in field.elements if field is not None else ():
        path += f".{element.field_name}" if path else element.field_name
        if element.subscript is not None:
            path += f"[{element.subscript.value}]"
    return path
