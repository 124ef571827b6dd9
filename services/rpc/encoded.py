"""A message that a servicer has as it goes over the wire: it is sent without being made and written again."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Encoded:
    """An answer in bytes, of the method's own message, written deterministically.

    `etag` is the message's field, for the header that the edge makes of it.
    """

    wire: bytes
    etag: str
