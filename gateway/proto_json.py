"""JSON as protobuf has it, in Python's own types."""

from typing import Any

Json = dict[str, Any]

_TYPES = "type.googleapis.com/"


def typed(message: str, **fields: Any) -> Json:
    """Return a message as google.protobuf.Any; `message` is its full name."""
    return {"@type": _TYPES + message, **fields}
