"""How long the work at hand may still take: no call made inside has more time than that."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from commerce_mesh_client.errors import DeadlineExceeded

# A call gets so much less than is left: its answer has to travel back before our own caller gives up.
SHAVED_SECONDS = 0.02

# On the monotonic clock.
_ends_at: ContextVar[float | None] = ContextVar("commerce_mesh_deadline", default=None)


@contextmanager
def deadline(seconds: float | None) -> Iterator[None]:
    """Give everything that is called inside the block this much time in all.

    Args:
        seconds: A servicer passes its own `context.time_remaining()`. None sets no bound. The bound of a
            block around this one stays: the earlier one holds.
    """
    outer = _ends_at.get()
    own = None if seconds is None else time.monotonic() + seconds
    bounds = [each for each in (outer, own) if each is not None]
    token = _ends_at.set(min(bounds, default=None))
    try:
        yield
    finally:
        _ends_at.reset(token)


def remaining_seconds() -> float | None:
    """Return the time that is left, 0 at least; None where nothing bounds it."""
    ends_at = _ends_at.get()
    return None if ends_at is None else max(0.0, ends_at - time.monotonic())


def seconds_for_call(own: float | None) -> float | None:
    """Return the deadline of a call that may take `own` seconds: never later than the block's.

    Raises:
        DeadlineExceeded: the block leaves no time for a call.
    """
    remaining = remaining_seconds()
    if remaining is None:
        return own
    seconds = remaining - SHAVED_SECONDS
    if seconds <= 0:
        raise DeadlineExceeded("the deadline leaves no time for the call")
    return seconds if own is None else min(own, seconds)
