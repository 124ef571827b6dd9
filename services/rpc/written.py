"""Reading what one wrote: a write tells its transaction, whoever sends that back is answered by what has it.

The caller sees a text of ours, "product-8412", and keeps one for each service. It is no secret and no right.
"""

import re
from contextvars import ContextVar

from services.rpc.encoded import Encoded
from services.rpc.sources import call_metadata
from services.telemetry.metadata import Metadata

# Of a call and of its answer; over REST it is a header of both.
WRITTEN = "x-written"
_TEXT = re.compile(r"([a-z]{1,20})-([0-9]{1,18})")

_told: ContextVar[str] = ContextVar("written", default="")


def tell_written(service: str, transaction: int) -> None:
    """Have the answer of the current call tell the transaction that it wrote in."""
    _told.set(f"{service}-{transaction}")


def asked_written(service: str) -> int | None:
    """Return the last transaction whose writes the current call asks to see; None: it names none of ours."""
    for key, value in call_metadata.get():
        if key == WRITTEN and isinstance(value, str) and (named := _TEXT.fullmatch(value)):
            return int(named[2]) if named[1] == service else None
    return None


def told_with(answer: object, *, etag: bool) -> Metadata:
    """Return what is said beside a message, in trailing metadata.

    There it goes with the answer and its status; ahead of them it would cost a message of its own, as much as
    half of the chain.

    Args:
        answer: The message, which may be encoded.
        etag: Whether its field `etag` is one of these things. Without it, it was asked for without it.
    """
    told = [(WRITTEN, text)] if (text := _told.get()) else []
    tag = str(getattr(answer, "etag", "")) if etag else ""
    return [*told, ("etag", f'"{tag}"')] if tag else told


def bytes_of(answer: object) -> bytes | None:
    """Return a message that comes encoded."""
    return answer.wire if isinstance(answer, Encoded) else None
