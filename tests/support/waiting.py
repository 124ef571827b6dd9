"""How long a test waits for what it needs. A rule that is a time is never judged by this."""

import asyncio
from collections.abc import Awaitable, Callable

# A wait ends when what it waits for is there, so a long bound costs a good machine nothing; with a short one
# a busy machine fails what is right.
PATIENCE_SECONDS = 120.0
_POLL_SECONDS = 0.02


async def until(check: Callable[[], Awaitable[object]]) -> None:
    """Wait until something holds."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not await check():  # noqa: ASYNC110  what is waited for is in another process
            await asyncio.sleep(_POLL_SECONDS)
