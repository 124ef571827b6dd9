"""Background loops over a database: what may fail in them, and how it is told."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import structlog

from services.errors import ServiceError, first_of
from services.storage.postgres import database_failure

log = structlog.get_logger(__name__)


async def run_batches(
    failed: str, work: Callable[[], Awaitable[int]], *, batch: int, interval_seconds: float
) -> None:
    """Call `work` until cancelled: at once again while it finds a whole batch, else after the interval.

    Args:
        failed: What is logged when it fails: "the sweep failed".
        work: Does one batch and returns how many there were.
        batch: The most that it does at once.
        interval_seconds: Between two looks that find less, or fail.
    """
    while True:
        done = 0
        with outliving(failed):
            done = await work()
        if done < batch:
            await asyncio.sleep(interval_seconds)


@contextmanager
def outliving(failed: str, **details: str) -> Iterator[None]:
    """Log what fails in the block and go on; a loop that ended would end its process.

    A database that is away is told in one line, since each look says it again. Anything else is a bug, whose
    place in the code is logged with it.
    """
    try:
        yield
    except Exception as raised:  # the worker loop
        error = first_of(raised)
        is_bug = not isinstance(error, ServiceError) and database_failure(error) is None
        log.error(failed, error=type(error).__name__, exc_info=error if is_bug else False, **details)
