"""The chain of the audit log: each event's hash covers the one before it.

The user service makes the hashes and `mesh audit verify` makes them anew, of an event as the contract has it.
"""

import hashlib
from collections.abc import Iterator
from typing import Any

from commerce.user.v1 import audit_pb2
from google.protobuf.timestamp_pb2 import Timestamp

# Before the first event.
BEGINNING = bytes(hashlib.sha256().digest_size)
_HASH = "hash"
_LENGTH_BYTES = 8


def event_hash(previous: bytes, event: audit_pb2.AuditEvent) -> bytes:
    """Return the hash of an event: 32 bytes.

    Args:
        previous: The hash of the event before it.
        event: With all fields that an administrator sees; its own hash is not looked at.

    It covers the fields that are set, each with its number and its length, in the order of their numbers: no
    two events are one text, and a field that the contract gets later changes no hash of before.
    """
    digest = hashlib.sha256(previous)
    for part in _parts(event):
        octets = part.encode()
        digest.update(len(octets).to_bytes(_LENGTH_BYTES, "big") + octets)
    return digest.digest()


def _parts(event: audit_pb2.AuditEvent) -> Iterator[str]:
    for field, value in event.ListFields():
        if field.name != _HASH:
            yield str(field.number)
            yield _text(value)


def _text(value: Any) -> str:
    if isinstance(value, Timestamp):
        return str(value.ToNanoseconds())
    if isinstance(value, str | int):
        return str(value)
    # Roles, as their numbers: protobuf's own lists say of no type what they are.
    return ",".join(map(str, value))
