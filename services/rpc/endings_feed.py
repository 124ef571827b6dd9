"""Hears from the user service's feed which sessions end and whose roles change, and tells Endings."""

import asyncio
import random
import time
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Any, TypeAlias
from uuid import UUID

import grpc
import structlog
from commerce.event.v1 import event_pb2, event_pb2_grpc
from commerce.user.v1 import events_pb2
from google.protobuf import json_format
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message

from services.errors import PositionUnknown, ServiceError, Unavailable
from services.rpc.endings import TOKEN_SECONDS, Endings
from services.storage.events import NewEvent
from services.storage.loops import outliving

# Of a process that starts: what is older ends no token that still lives. A minute more than that, because
# transactions commit in another order than they begin, and clocks differ.
_FIRST_AGE = Duration(seconds=int(TOKEN_SECONDS) + 60)
# The feed says every 5 s that it lives.
_SILENCE_SECONDS = 12.0
# From one attempt to the next: a user service that restarts is back within seconds.
_PAUSE_SECONDS = (0.2, 0.6)
# Whoever does not hear for so long has it told, each time again: ended tokens go on working here meanwhile.
_DEAF_SECONDS = 15.0

log = structlog.get_logger(__name__)

Follow: TypeAlias = Callable[[event_pb2.FollowRequest], AsyncIterable[event_pb2.FollowResponse]]

# What ends tokens, of all that the feed tells.
_ENDING: Mapping[str, type[Message]] = {
    each.DESCRIPTOR.name: each
    for each in (events_pb2.UserUpdated, events_pb2.UserDeleted, events_pb2.SessionEnded)
}


def feed_of(channel: grpc.aio.Channel) -> Follow:
    """Return the feed of the service at the other end of a channel."""
    stub = event_pb2_grpc.EventFeedStub(channel)  # type: ignore[no-untyped-call, unused-ignore]
    follow: Follow = stub.Follow
    return follow


class EndingsFeed:
    """Follows the user service's feed for as long as the process runs.

    Until it has heard what has ended lately, no token is accepted. After that, tokens are accepted also while
    the feed cannot be followed: nobody who could end a session reaches the user service then either, or else
    the network between us is cut; and every token ends by itself within a quarter of an hour.

    Args:
        endings: What is told.
        follow: The user service's feed.
    """

    def __init__(self, endings: Endings, follow: Follow) -> None:
        self._endings = endings
        self._follow = follow
        self._position: int | None = None
        self._heard_at = self._told_at = time.monotonic()
        endings.begin_unknown()

    async def run(self) -> None:
        """Follow until cancelled."""
        while True:
            with outliving("ended sessions are not followed"):
                await self._follow_once()
            await asyncio.sleep(random.uniform(*_PAUSE_SECONDS))

    async def _follow_once(self) -> None:
        try:
            async with aclosing(self._answers()) as answers:
                async for answer in answers:
                    self._hear(answer)
        except ServiceError as error:
            self._endings.give_up_waiting()
            if error.reason == PositionUnknown.reason:
                # The user service's database was restored, to a time before what we have heard.
                self._position = None
            self._tell_if_deaf(error)

    async def _answers(self) -> AsyncGenerator[event_pb2.FollowResponse, None]:
        """Yield answers for as long as they come.

        Raises:
            Unavailable: none came for longer than the feed is ever silent.
        """
        answers = aiter(self._follow(self._request()))
        while True:
            try:
                async with asyncio.timeout(_SILENCE_SECONDS):
                    answer = await anext(answers)
            except StopAsyncIteration:
                return
            except TimeoutError:
                raise Unavailable("the feed is silent") from None
            yield answer

    def _request(self) -> event_pb2.FollowRequest:
        if self._position is None:
            return event_pb2.FollowRequest(max_age=_FIRST_AGE)
        return event_pb2.FollowRequest(after_position=self._position)

    def _hear(self, answer: event_pb2.FollowResponse) -> None:
        for event in answer.events:
            # One that is not understood keeps nobody from the next.
            with outliving("an event was not understood, and ends no token", position=str(event.position)):
                _apply(self._endings, event.type, event.version, _unpacked(event))
        self._position = answer.position
        self._heard_at = self._told_at = time.monotonic()
        if answer.caught_up:
            self._endings.know()

    def _tell_if_deaf(self, error: ServiceError) -> None:
        now = time.monotonic()
        if now - self._told_at > _DEAF_SECONDS:
            self._told_at = now
            log.error(
                "ended sessions are not heard of: their access tokens go on working here",
                seconds=round(now - self._heard_at),
                code=error.code,
                reason=error.reason,
            )


def hear_own(endings: Endings) -> Callable[[Sequence[NewEvent]], None]:
    """Return what the user service's own processes hear of events by, as they commit."""

    def hear(events: Sequence[NewEvent]) -> None:
        for event in events:
            if event.type in _ENDING:
                _apply(
                    endings,
                    event.type,
                    event.version,
                    json_format.ParseDict(dict(event.data), _ENDING[event.type]()),
                )

    return hear


def _unpacked(event: event_pb2.Event) -> Any:
    kind = _ENDING.get(event.type)
    if kind is None:
        return None
    data = kind()
    event.data.Unpack(data)
    return data


def _apply(endings: Endings, kind: str, version: int, data: Any) -> None:
    match kind:
        case "SessionEnded":
            endings.end_session(UUID(data.session_id))
        case "UserUpdated" if "roles" in data.changed_fields:
            endings.end_tokens_before(UUID(data.user_id), version)
        case "UserDeleted":
            endings.end_tokens_before(UUID(data.user_id), version)
