"""How long the current call may still take; set by the server's chain, shaved by each outgoing call."""

import asyncio
from contextvars import ContextVar

_ACCURACY_SECONDS = 0.01

# The event loop's time at which the current call ends.
_ends_at: ContextVar[float | None] = ContextVar("deadline", default=None)


def remaining_seconds() -> float | None:
    """Return the time that is left, 0 at least; None outside of calls and in calls without a deadline."""
    ends_at = _ends_at.get()
    return None if ends_at is None else max(0.0, ends_at - asyncio.get_running_loop().time())


def is_over() -> bool:
    """Return whether the current call's time is over, within the clocks' accuracy."""
    remaining = remaining_seconds()
    return remaining is not None and remaining < _ACCURACY_SECONDS


def set_remaining(seconds: float | None) -> None:
    """Start the clock of the current call."""
    _ends_at.set(None if seconds is None else asyncio.get_running_loop().time() + seconds)
