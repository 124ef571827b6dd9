"""Reads a service's feed through its restarts: every event after a position, in order, once."""

import asyncio
import logging
import random
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from commerce.event.v1 import event_pb2

from commerce_mesh_client import errors
from commerce_mesh_client.deadlines import remaining_seconds
from commerce_mesh_client.positions import PositionStore

log = logging.getLogger("commerce_mesh_client")

# Of the pause before the next attempt; each is up to twice the one before, until an answer comes.
_FIRST_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 5.0
_MOST_DOUBLINGS = 10
# A service may ask for a longer pause; by then at the latest it is asked again.
_LONGEST_TOLD_SECONDS = 60.0
# A feed says every 5 s that it lives: one that has said nothing for so long is read anew.
_SILENCE_SECONDS = 30.0
# With less time than this before the end of the block around us, it is its end that the reader met.
_LEAST_SECONDS = 0.1

# What the next attempt may mend: the service is away, restarts or has too much to do, or we read too slowly.
_PASSING = (
    errors.Aborted,
    errors.Cancelled,
    errors.DeadlineExceeded,
    errors.ResourceExhausted,
    errors.Unavailable,
)
# So gRPC calls a connection that broke in the middle. With a reason it is a service that says it.
_BROKEN = (errors.Internal, errors.Unknown)

Follow = Callable[[event_pb2.FollowRequest], AsyncGenerator[event_pb2.FollowResponse, None]]


async def follow(
    follow_once: Follow, position: int | PositionStore, *, until_caught_up: bool
) -> AsyncGenerator[event_pb2.Event, None]:
    """Yield events as Client.follow says, by a stub's Follow."""
    store = None if isinstance(position, int) else position
    after = position if isinstance(position, int) else await asyncio.to_thread(position.load)
    async with aclosing(_resumed(follow_once, after, until_caught_up=until_caught_up)) as events:
        async for event in events:
            yield event
            if store is not None:
                await _keep(store, event.position)


async def _keep(store: PositionStore, position: int) -> None:
    """Save a position. A reader that is cancelled meanwhile ends once it is saved.

    A thread cannot be cancelled: left alone it would save while the next reader loads.
    """
    saving = asyncio.ensure_future(asyncio.to_thread(store.save, position))
    cancelled: asyncio.CancelledError | None = None
    while not saving.done():
        try:
            await asyncio.wait([saving])
        except asyncio.CancelledError as error:
            cancelled = error
    saving.result()
    if cancelled is not None:
        raise cancelled


async def _resumed(
    follow_once: Follow, position: int, *, until_caught_up: bool
) -> AsyncGenerator[event_pb2.Event, None]:
    failures = 0
    while True:
        request = event_pb2.FollowRequest(after_position=position, until_caught_up=until_caught_up)
        try:
            async with aclosing(_alive(follow_once(request))) as answers:
                async for answer in answers:
                    failures = 0
                    for event in answer.events:
                        position = event.position
                        yield event
            if until_caught_up:
                return
        except errors.CallError as error:
            if not _may_pass(error):
                raise
            log.warning("the feed was interrupted after position %d, and is resumed: %s", position, error)
            told = min(error.retry_after or 0.0, _LONGEST_TOLD_SECONDS)
            pause = max(_pause_seconds(failures), told)
        else:
            pause = _pause_seconds(failures)
        failures += 1
        remaining = remaining_seconds()
        await asyncio.sleep(pause if remaining is None else min(pause, remaining))


async def _alive(
    answers: AsyncGenerator[event_pb2.FollowResponse, None],
) -> AsyncGenerator[event_pb2.FollowResponse, None]:
    """Yield answers for as long as they come.

    Raises:
        Unavailable: none came for longer than the feed is ever silent.
    """
    async with aclosing(answers):
        while True:
            try:
                async with asyncio.timeout(_SILENCE_SECONDS):
                    answer = await anext(answers)
            except StopAsyncIteration:
                return
            except TimeoutError:
                raise errors.Unavailable(f"the feed has been silent for {_SILENCE_SECONDS:g} s") from None
            yield answer


def _may_pass(error: errors.CallError) -> bool:
    if isinstance(error, errors.ClientClosed):
        return False
    remaining = remaining_seconds()
    if remaining is not None and remaining < _LEAST_SECONDS:
        return False
    return isinstance(error, _PASSING) or (isinstance(error, _BROKEN) and not error.reason)


def _pause_seconds(failures: int) -> float:
    # A service may be away for days: the power of so many failures is no number any more.
    doubled = min(failures, _MOST_DOUBLINGS)
    longest = min(_FIRST_PAUSE_SECONDS * 2.0**doubled, _LONGEST_PAUSE_SECONDS)
    return random.uniform(longest / 2, longest)
